//! Sessions over a pipe in memory, as our own client holds them: dialect layer and russh-sftp.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::misbehave::{Deed, Fault, Misbehave, Op, Rule};
use super::*;
use crate::path::{from_wire, to_wire};
use crate::remote::dialect::FrameLimits;
use crate::remote::dialect::payload::{Reader, put_string, put_u32, put_u64};
use crate::remote::stream::DialectStream;

mod faults;

/// A session, its client, and the folder it serves (`served`, in a folder with a secret beside it).
struct Fixture {
    sftp: RawSftpSession,
    end: JoinHandle<End>,
    script: Misbehave,
    outer: TempDir,
}

const READ: OpenFlags = OpenFlags::READ;
const NEW: OpenFlags = OpenFlags::from_bits_retain(0x2 | 0x8 | 0x20);
const CREATE: OpenFlags = OpenFlags::from_bits_retain(0x1 | 0x2 | 0x8);

async fn start() -> Fixture {
    start_with(|options| options).await
}

async fn misbehaving(rules: impl IntoIterator<Item = Rule>) -> Fixture {
    let script = Misbehave::script(rules);
    let mut fixture = start_with(|options| options.misbehave(script.clone())).await;
    fixture.script = script;
    fixture
}

async fn start_with(adjust: impl FnOnce(SessionOptions) -> SessionOptions) -> Fixture {
    let outer = tempfile::tempdir().unwrap();
    let served = outer.path().join("served");
    std::fs::create_dir(&served).unwrap();
    std::fs::write(outer.path().join("secret"), "secret").unwrap();
    let (near, far) = tokio::io::duplex(1 << 16);
    let options = adjust(SessionOptions::new(&served).unwrap());
    let end = tokio::spawn(serve_stream(far, options));
    let limits = FrameLimits::default();
    let config =
        Config { max_packet_len: limits.inner_packet_bytes(), request_timeout_secs: 60, ..Config::default() };
    let sftp = RawSftpSession::new_with_config(DialectStream::for_client(near, limits), config);
    sftp.init().await.unwrap();
    Fixture { sftp, end, script: Misbehave::default(), outer }
}

impl Fixture {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.outer.path().join("served").join(name)
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn content(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    async fn open(&self, name: &str, flags: OpenFlags) -> Result<String, SftpError> {
        self.sftp.open(name, flags, FileAttributes::empty()).await.map(|h| h.handle)
    }

    async fn read(&self, name: &str, len: u32) -> Result<Vec<u8>, SftpError> {
        let handle = self.open(name, READ).await?;
        let data = self.sftp.read(handle.as_str(), 0, len).await.map(|d| d.data);
        self.sftp.close(handle).await?;
        data
    }

    async fn list(&self, name: &str) -> Result<Vec<String>, SftpError> {
        let handle = self.sftp.opendir(name).await?.handle;
        let mut names = Vec::new();
        loop {
            match self.sftp.readdir(handle.as_str()).await {
                Ok(reply) => names.extend(reply.files.into_iter().map(|f| f.filename)),
                Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => break,
                Err(error) => return Err(error),
            }
        }
        self.sftp.close(handle).await?;
        names.sort();
        Ok(names)
    }

    async fn extended(&self, name: &str, strings: &[&[u8]]) -> Result<Vec<u8>, SftpError> {
        let mut payload = Vec::new();
        strings.iter().for_each(|string| put_string(&mut payload, string));
        self.extended_raw(name, payload).await
    }

    async fn extended_raw(&self, name: &str, payload: Vec<u8>) -> Result<Vec<u8>, SftpError> {
        match self.sftp.extended(name, payload).await? {
            Packet::ExtendedReply(reply) => Ok(reply.data),
            Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(Vec::new()),
            Packet::Status(status) => Err(SftpError::Status(status)),
            other => panic!("{other:?}"),
        }
    }
}

/// The code and text of what must have been refused.
fn refused<T: std::fmt::Debug>(outcome: Result<T, SftpError>) -> (StatusCode, String) {
    match outcome {
        Err(SftpError::Status(status)) => (status.status_code, status.error_message),
        other => panic!("not refused: {other:?}"),
    }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, SftpError>) -> StatusCode {
    refused(outcome).0
}

fn attributes(set: impl FnOnce(&mut FileAttributes)) -> FileAttributes {
    let mut attrs = FileAttributes::empty();
    set(&mut attrs);
    attrs
}

#[tokio::test]
async fn files_are_written_in_place_and_read_to_their_end() {
    let f = start().await;
    let handle = f.open("new", NEW).await.unwrap();
    f.sftp.write(handle.as_str(), 4, b"tail".to_vec()).await.unwrap();
    f.sftp.write(handle.as_str(), 0, b"head".to_vec()).await.unwrap();
    f.sftp.close(handle.as_str()).await.unwrap();
    assert_eq!(code(f.sftp.close(handle).await), StatusCode::Failure);
    assert_eq!(f.content("new"), b"headtail");
    assert_eq!(code(f.open("new", NEW).await), StatusCode::Failure);
    assert_eq!(f.read("/new", 5).await.unwrap(), b"headt");
    assert_eq!(f.read("./new", 500).await.unwrap(), b"headtail");
    let handle = f.open("new", READ).await.unwrap();
    assert_eq!(code(f.sftp.read(handle.as_str(), 8, 1).await), StatusCode::Eof);
    assert_eq!(code(f.sftp.read(handle.as_str(), u64::MAX, 1).await), StatusCode::BadMessage);
    assert_eq!(code(f.open("missing", READ).await), StatusCode::NoSuchFile);
    let append = f.open("new", OpenFlags::WRITE | OpenFlags::APPEND).await.unwrap();
    f.sftp.write(append.as_str(), 0, b"more".to_vec()).await.unwrap();
    assert_eq!(f.content("new"), b"headtailmore");
    let truncated = f.open("new", OpenFlags::WRITE | OpenFlags::TRUNCATE).await.unwrap();
    assert_eq!(f.sftp.fstat(truncated).await.unwrap().attrs.size, Some(0));
}

#[tokio::test]
async fn reads_are_as_long_as_limits_says() {
    let f = start().await;
    f.put("big", &"x".repeat(300_000));
    assert_eq!(f.read("big", 300_000).await.unwrap().len(), MAX_DATA_BYTES as usize);
    let limits = f.extended("limits@openssh.com", &[]).await.unwrap();
    let mut fields = Reader::new(&limits);
    let numbers: Vec<u64> = (0..4).map(|_| fields.u64().unwrap()).collect();
    assert_eq!(numbers, [262_144, 261_120, 261_120, 1000]);
    let handle = f.open("new", NEW).await.unwrap();
    f.sftp.write(handle, 0, vec![7; MAX_DATA_BYTES as usize]).await.unwrap();
    assert_eq!(f.content("new").len(), MAX_DATA_BYTES as usize);
}

#[tokio::test]
async fn metadata_is_set_and_told() {
    let f = start().await;
    f.put("file", "12345");
    let times = attributes(|a| (a.atime, a.mtime) = (Some(5), Some(1_000_000_000)));
    f.sftp.setstat("file", times).await.unwrap();
    f.sftp.setstat("file", attributes(|a| a.permissions = Some(0o100_640))).await.unwrap();
    f.sftp.setstat("file", attributes(|a| a.size = Some(3))).await.unwrap();
    f.sftp.setstat("file", attributes(|a| a.mtime = Some(u32::MAX))).await.unwrap();
    let attrs = f.sftp.stat("file").await.unwrap().attrs;
    let told = (attrs.size, attrs.permissions, attrs.mtime);
    assert_eq!(told, (Some(3), Some(0o100_640), Some(u32::MAX)));
    let handle = f.open("file", OpenFlags::READ | OpenFlags::WRITE).await.unwrap();
    let all = attributes(|a| {
        (a.size, a.permissions, a.atime, a.mtime) = (Some(1), Some(0o600), Some(7), Some(9));
    });
    f.sftp.fsetstat(handle.as_str(), all).await.unwrap();
    let attrs = f.sftp.fstat(handle).await.unwrap().attrs;
    let told = (attrs.size, attrs.permissions, attrs.atime, attrs.mtime);
    assert_eq!(told, (Some(1), Some(0o100_600), Some(7), Some(9)));
    let uid = std::fs::metadata(f.path("file")).unwrap().uid();
    f.sftp.setstat("file", attributes(|a| a.uid = Some(uid))).await.unwrap();
    let stranger = attributes(|a| a.uid = Some(uid + 1));
    assert_eq!(code(f.sftp.setstat("file", stranger).await), StatusCode::PermissionDenied);
}

#[tokio::test]
async fn links_are_followed_by_stat_and_setstat_alone() {
    let f = start().await;
    f.put("file", "12345");
    symlink("file", f.path("link")).unwrap();
    let is_link = |mode: Option<u32>| mode.unwrap() & 0o170_000 == 0o120_000;
    assert!(is_link(f.sftp.lstat("link").await.unwrap().attrs.permissions));
    assert!(!is_link(f.sftp.stat("link").await.unwrap().attrs.permissions));
    f.sftp.setstat("link", attributes(|a| a.mtime = Some(77))).await.unwrap();
    let mut payload = Vec::new();
    put_string(&mut payload, b"link");
    [0x8, 55, 55].into_iter().for_each(|number| put_u32(&mut payload, number));
    f.extended_raw("lsetstat@openssh.com", payload).await.unwrap();
    assert_eq!(f.sftp.lstat("link").await.unwrap().attrs.mtime, Some(55));
    assert_eq!(f.sftp.stat("link").await.unwrap().attrs.mtime, Some(77));
    let mut payload = Vec::new();
    put_string(&mut payload, b"file");
    put_u32(&mut payload, 0x1);
    put_u64(&mut payload, 0);
    assert_eq!(code(f.extended_raw("lsetstat@openssh.com", payload).await), StatusCode::BadMessage);
    // OpenSSH's order of arguments: the target first, where the draft has the link.
    f.sftp.symlink("any/target", "made").await.unwrap();
    assert_eq!(f.sftp.readlink("made").await.unwrap().files[0].filename, "any/target");
    assert_eq!(code(f.sftp.readlink("file").await), StatusCode::BadMessage);
}

#[tokio::test]
async fn nothing_leads_out_of_the_root() {
    let f = start().await;
    symlink("../secret", f.path("up")).unwrap();
    symlink(f.outer.path().join("secret"), f.path("absolute")).unwrap();
    symlink("..", f.path("parent")).unwrap();
    for path in ["../secret", "/../secret", "up", "absolute", "parent/secret", "a/../../secret"] {
        assert_eq!(code(f.open(path, READ).await), StatusCode::NoSuchFile, "{path}");
        assert_eq!(code(f.sftp.stat(path).await), StatusCode::NoSuchFile, "{path}");
    }
    let real = async |path: &str| f.sftp.realpath(path).await.unwrap().files[0].filename.clone();
    assert_eq!(real(".").await, "/");
    assert_eq!(real("../../etc/./passwd").await, "/etc/passwd");
    assert_eq!(real("").await, "/");
    let reply = f.sftp.opendir("/").await.unwrap().handle;
    let files = f.sftp.readdir(reply).await.unwrap().files;
    let inode = |name: &str| files.iter().find(|f| f.filename == name).unwrap().attrs.mtime;
    assert_eq!(inode(".."), inode("."));
    f.open("parent/new", NEW).await.unwrap();
    assert!(f.path("new").exists(), "a link upwards from the root is the root");
    assert_eq!(std::fs::read(f.outer.path().join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn folders_are_made_listed_and_removed() {
    let f = start().await;
    f.sftp.mkdir("dir", attributes(|a| a.permissions = Some(0o40_750))).await.unwrap();
    assert_eq!(std::fs::metadata(f.path("dir")).unwrap().permissions().mode() & 0o777, 0o750);
    let again = f.sftp.mkdir("dir", FileAttributes::empty()).await;
    assert_eq!(refused(again), (StatusCode::Failure, "File exists".into()));
    for byte in [0xffu8, b'\n', 0xc3] {
        let name = to_wire(&[b"dir/x", &[byte][..]].concat());
        f.sftp.open(name, NEW, FileAttributes::empty()).await.unwrap();
    }
    let names: Vec<Vec<u8>> = f.list("dir").await.unwrap().iter().map(|n| from_wire(n)).collect();
    assert_eq!(names, [&b"."[..], b"..", b"x\n", b"x\xc3", b"x\xff"]);
    assert_eq!(refused(f.sftp.rmdir("dir").await), (StatusCode::Failure, "Directory not empty".into()));
    assert_eq!(code(f.sftp.remove("dir").await), StatusCode::Failure);
    for name in &names[2..] {
        f.sftp.remove(to_wire(&[b"dir/", name.as_slice()].concat())).await.unwrap();
    }
    f.sftp.rmdir("dir").await.unwrap();
    assert_eq!(code(f.sftp.rmdir("dir").await), StatusCode::NoSuchFile);
    assert_eq!(code(f.sftp.opendir("dir").await), StatusCode::NoSuchFile);
    assert_eq!(code(f.sftp.rmdir("/").await), StatusCode::Failure);
}

#[tokio::test]
async fn renames_replace_only_when_asked_to() {
    let f = start().await;
    f.put("a", "a");
    f.put("b", "b");
    assert_eq!(refused(f.sftp.rename("a", "b").await), (StatusCode::Failure, "File exists".into()));
    f.sftp.rename("a", "c").await.unwrap();
    f.extended("posix-rename@openssh.com", &[b"c", b"b"]).await.unwrap();
    assert_eq!(f.content("b"), b"a");
    assert!(!f.path("c").exists());
    f.extended("hardlink@openssh.com", &[b"b", b"twin"]).await.unwrap();
    assert_eq!(std::fs::metadata(f.path("b")).unwrap().nlink(), 2);
    assert_eq!(code(f.extended("hardlink@openssh.com", &[b"b", b"twin"]).await), StatusCode::Failure);
}

#[tokio::test]
async fn files_and_folders_are_synced_and_room_is_told() {
    let f = start().await;
    let file = f.open("file", NEW).await.unwrap();
    let folder = f.open("/", READ).await.unwrap();
    for handle in [&file, &folder] {
        f.extended("fsync@openssh.com", &[&from_wire(handle)]).await.unwrap();
    }
    assert_eq!(code(f.sftp.read(folder, 0, 1).await), StatusCode::Failure);
    assert_eq!(code(f.open("/", CREATE).await), StatusCode::Failure);
    let listing = from_wire(&f.sftp.opendir("/").await.unwrap().handle);
    assert_eq!(code(f.extended("fsync@openssh.com", &[&listing]).await), StatusCode::Failure);
    let by_path = f.extended("statvfs@openssh.com", &[b"/"]).await.unwrap();
    let by_handle = f.extended("fstatvfs@openssh.com", &[&from_wire(&file)]).await.unwrap();
    assert_eq!((by_path.len(), by_handle.len()), (88, 88));
    assert!(Reader::new(&by_path).u64().unwrap() > 0);
    assert_eq!(code(f.extended("statvfs@openssh.com", &[b"/none"]).await), StatusCode::NoSuchFile);
    assert_eq!(code(f.extended("unheard@of", &[]).await), StatusCode::OpUnsupported);
}

#[tokio::test]
async fn hundreds_of_handles_survive_the_wire() {
    let f = start_with(|options| options.max_handles(300)).await;
    let mut handles = Vec::new();
    for i in 0..300 {
        handles.push(f.open(&format!("f{i}"), NEW).await.unwrap());
    }
    assert_eq!(from_wire(&handles[255]), [0, 0, 0, 255]);
    assert_eq!(refused(f.open("more", NEW).await).1, "too many open handles");
    assert!(!f.path("more").exists());
    assert_eq!(code(f.sftp.opendir("/").await), StatusCode::Failure);
    for (i, handle) in handles.iter().enumerate() {
        f.sftp.write(handle.as_str(), 0, i.to_string().into_bytes()).await.unwrap();
    }
    f.sftp.close(handles[128].as_str()).await.unwrap();
    assert_eq!(f.open("more", NEW).await.unwrap(), handles[128]);
    assert_eq!(f.content("f200"), b"200");
}

#[tokio::test]
async fn a_reader_changes_nothing() {
    let f = start_with(|options| options.read_only(true)).await;
    f.put("file", "content");
    assert_eq!(f.read("file", 100).await.unwrap(), b"content");
    assert_eq!(f.list("/").await.unwrap(), [".", "..", "file"]);
    let empty = FileAttributes::empty;
    let check = |outcome: Result<(), SftpError>| assert_eq!(code(outcome), StatusCode::PermissionDenied);
    for flags in [NEW, CREATE, OpenFlags::WRITE, READ | OpenFlags::TRUNCATE, READ | OpenFlags::APPEND] {
        check(f.open("file", flags).await.map(drop));
    }
    check(f.sftp.setstat("file", empty()).await.map(drop));
    check(f.sftp.remove("file").await.map(drop));
    check(f.sftp.mkdir("dir", empty()).await.map(drop));
    check(f.sftp.rmdir("dir").await.map(drop));
    check(f.sftp.rename("file", "b").await.map(drop));
    check(f.sftp.symlink("a", "b").await.map(drop));
    check(f.extended("posix-rename@openssh.com", &[b"file", b"b"]).await.map(drop));
    check(f.extended("hardlink@openssh.com", &[b"file", b"b"]).await.map(drop));
    let handle = f.open("file", READ).await.unwrap();
    check(f.sftp.fsetstat(handle.as_str(), attributes(|a| a.permissions = Some(0))).await.map(drop));
    check(f.sftp.write(handle, 0, b"x".to_vec()).await.map(drop));
    assert_eq!(f.list("/").await.unwrap(), [".", "..", "file"]);
    assert_eq!(f.content("file"), b"content");
}

#[tokio::test]
async fn special_files_are_seen_but_not_opened() {
    let f = start().await;
    rustix::fs::mkfifoat(rustix::fs::CWD, f.path("fifo"), rustix::fs::Mode::RWXU).unwrap();
    assert_eq!(f.sftp.stat("fifo").await.unwrap().attrs.permissions.unwrap() & 0o170_000, 0o010_000);
    for flags in [READ, OpenFlags::WRITE, CREATE] {
        assert_eq!(code(f.open("fifo", flags).await), StatusCode::Failure);
    }
}

#[tokio::test]
async fn a_session_that_is_left_ends() {
    let f = start().await;
    f.sftp.close_session().unwrap();
    drop(f.sftp);
    assert_eq!(f.end.await.unwrap(), End::Closed);
}

/// A session that raw bytes are sent to.
async fn raw(requests: &[u8]) -> (Vec<u8>, End) {
    let root = tempfile::tempdir().unwrap();
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let end = tokio::spawn(serve_stream(far, SessionOptions::new(root.path()).unwrap()));
    near.write_all(requests).await.unwrap();
    near.shutdown().await.unwrap();
    let mut replies = Vec::new();
    near.read_to_end(&mut replies).await.unwrap();
    (replies, end.await.unwrap())
}

const INIT: &[u8] = b"\0\0\0\x05\x01\0\0\0\x03";

#[tokio::test]
async fn what_is_no_sftp_ends_the_session() {
    // The id and status of the last reply, if that is a STATUS.
    let check = async |requests: &[u8], expected: End, last: Option<(u32, u32)>| {
        let (bytes, end) = raw(requests).await;
        assert_eq!(end, expected, "{requests:?}");
        let mut rest = Reader::new(&bytes);
        let mut status = None;
        while let Ok(packet) = rest.string() {
            let mut fields = Reader::new(&packet[1..]);
            status = (packet[0] == 101).then(|| (fields.u32().unwrap(), fields.u32().unwrap()));
        }
        assert_eq!(status, last, "{requests:?}");
    };
    let realpath = b"\0\0\0\x0a\x10\0\0\0\x07\0\0\0\x01.";
    let cut_short = b"\0\0\0\x0a\x10\0\0\0\x07\0\0\0\x02.";
    let unknown = b"\0\0\0\x05\x63\0\0\0\x07";
    check(INIT, End::Closed, None).await;
    check(&[INIT, realpath].concat(), End::Closed, None).await;
    check(&[INIT, unknown].concat(), End::Closed, Some((7, 8))).await;
    check(&[INIT, realpath, INIT].concat(), End::BadPacket, None).await;
    check(realpath, End::BadPacket, None).await;
    check(&[INIT, cut_short].concat(), End::BadPacket, Some((7, 5))).await;
    check(&[INIT, b"\xff\xff\xff\xff"].concat(), End::BadPacket, None).await;
    let taken_for_id = u32::from_be_bytes(*b" HTT");
    check(&[INIT, b"GET / HTTP/1.1\r\n"].concat(), End::BadPacket, Some((taken_for_id, 5))).await;
    check(&[INIT, &realpath[..9]].concat(), End::Lost, None).await;
}

/// A client that sends everything before it takes the first reply (paramiko's prefetch does).
#[tokio::test]
async fn requests_are_taken_while_replies_lie() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("f"), vec![1; 100_000]).unwrap();
    let (mut near, far) = tokio::io::duplex(1024);
    let session = tokio::spawn(serve_stream(far, SessionOptions::new(root.path()).unwrap()));
    let mut requests = INIT.to_vec();
    requests.extend_from_slice(b"\0\0\0\x12\x03\0\0\0\x01\0\0\0\x01f\0\0\0\x01\0\0\0\0");
    for _ in 0..20_000 {
        requests.extend_from_slice(b"\0\0\0\x19\x05\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x64");
    }
    near.write_all(&requests).await.unwrap();
    near.shutdown().await.unwrap();
    let mut replies = Vec::new();
    near.read_to_end(&mut replies).await.unwrap();
    assert_eq!(session.await.unwrap(), End::Closed);
    assert!(replies.len() > 20_000 * 100, "{}", replies.len());
}
