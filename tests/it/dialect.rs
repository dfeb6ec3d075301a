//! The dialect layer between the SFTP library and programs that never heard of it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use highwater::path::{from_wire, to_wire};
use highwater::remote::dialect::{FrameError, FrameLimits, Reader, UNKNOWN_REQUEST, put_string};
use highwater::remote::stream::DialectStream;
use russh_sftp::client::error::Error;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{File, FileAttributes, Name, OpenFlags, Packet, StatusCode};
use russh_sftp::server::{self, Handler};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";
const LIMITS: FrameLimits = FrameLimits { packet_bytes: 257 * 1024 };

/// Bytes that are no UTF-8, a newline, and every byte from 0x80 on.
fn odd_name() -> Vec<u8> {
    b"\xff\n\x80 ".iter().copied().chain(0x80..=0xff).collect()
}

/// OpenSSH's sftp-server with a session to it; waits for the server's end when dropped.
struct OpenSsh {
    session: Option<RawSftpSession>,
    server: Child,
}

impl OpenSsh {
    async fn start() -> Self {
        let (ours, theirs) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let input = Stdio::from(OwnedFd::from(theirs.try_clone().unwrap()));
        let server = Command::new(SFTP_SERVER).stdin(input).stdout(OwnedFd::from(theirs)).spawn().unwrap();
        let session = session(DialectStream::for_client(UnixStream::from_std(ours).unwrap(), LIMITS)).await;
        Self { session: Some(session), server }
    }

    fn session(&self) -> &RawSftpSession {
        self.session.as_ref().unwrap()
    }
}

impl Drop for OpenSsh {
    fn drop(&mut self) {
        drop(self.session.take());
        let _ = self.server.kill(); // it may have ended by itself
        let _ = self.server.wait();
    }
}

async fn session<S>(stream: S) -> RawSftpSession
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let config = Config { max_packet_len: LIMITS.inner_packet_bytes(), ..Config::default() };
    let session = RawSftpSession::new_with_config(stream, config);
    assert_eq!(session.init().await.unwrap().version, 3);
    session
}

fn wire(folder: &Path, name: &[u8]) -> String {
    to_wire(&[folder.as_os_str().as_bytes(), b"/", name].concat())
}

async fn names_in(session: &RawSftpSession, folder: &Path) -> BTreeSet<Vec<u8>> {
    let handle = session.opendir(to_wire(folder.as_os_str().as_bytes())).await.unwrap().handle;
    let mut names = BTreeSet::new();
    loop {
        match session.readdir(&*handle).await {
            Ok(page) => names.extend(page.files.iter().map(|file| from_wire(&file.filename))),
            Err(Error::Status(status)) if status.status_code == StatusCode::Eof => break,
            Err(error) => panic!("{error}"),
        }
    }
    session.close(handle).await.unwrap();
    names.remove(&b"."[..]);
    names.remove(&b".."[..]);
    names
}

fn creating() -> OpenFlags {
    OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE
}

#[tokio::test]
async fn names_of_any_bytes_are_created_listed_renamed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let openssh = OpenSsh::start().await;
    let (session, name, other) = (openssh.session(), odd_name(), b"\xc3\xa9 \xc3".to_vec());
    let path = wire(folder.path(), &name);

    let handle = session.open(&*path, creating(), FileAttributes::empty()).await.unwrap().handle;
    session.write(&*handle, 0, vec![0xff; 100_000]).await.unwrap();
    session.close(handle).await.unwrap();
    let on_disk = std::fs::read(folder.path().join(OsStr::from_bytes(&name))).unwrap();
    assert_eq!(on_disk, vec![0xff; 100_000]);
    assert_eq!(session.lstat(&*path).await.unwrap().attrs.size, Some(100_000));
    assert_eq!(names_in(session, folder.path()).await, BTreeSet::from([name.clone()]));

    session.rename(&*path, wire(folder.path(), &other)).await.unwrap();
    assert_eq!(names_in(session, folder.path()).await, BTreeSet::from([other.clone()]));
    let mut payload = Vec::new();
    put_string(&mut payload, &[folder.path().as_os_str().as_bytes(), b"/", &other].concat());
    put_string(&mut payload, &[folder.path().as_os_str().as_bytes(), b"/", &name].concat());
    let renamed = session.extended("posix-rename@openssh.com", payload).await.unwrap();
    assert!(matches!(renamed, Packet::Status(status) if status.status_code == StatusCode::Ok));

    session.remove(&*path).await.unwrap();
    assert_eq!(names_in(session, folder.path()).await, BTreeSet::new());
    match session.lstat(&*path).await {
        Err(Error::Status(status)) => assert_eq!(status.status_code, StatusCode::NoSuchFile),
        other => panic!("{other:?}"),
    }
}

/// OpenSSH numbers its handles in four bytes, so from 128 on they are no UTF-8.
#[tokio::test]
async fn three_hundred_handles_are_open_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let openssh = OpenSsh::start().await;
    let session = openssh.session();
    let mut handles = Vec::new();
    for n in 0..300u32 {
        let path = wire(folder.path(), n.to_string().as_bytes());
        let handle = session.open(path, creating(), FileAttributes::empty()).await.unwrap().handle;
        session.write(&*handle, 0, n.to_be_bytes().to_vec()).await.unwrap();
        handles.push(handle);
    }
    assert!(handles.iter().any(|handle| !handle.is_ascii()));
    for (n, handle) in (0u32..).zip(&handles) {
        assert_eq!(session.read(&**handle, 0, 10).await.unwrap().data, n.to_be_bytes());
        assert_eq!(session.fstat(&**handle).await.unwrap().attrs.size, Some(4));
        let mut payload = Vec::new();
        put_string(&mut payload, &from_wire(handle));
        let synced = session.extended("fsync@openssh.com", payload).await.unwrap();
        assert!(matches!(synced, Packet::Status(status) if status.status_code == StatusCode::Ok));
    }
    for handle in handles {
        session.close(handle).await.unwrap();
    }
}

#[tokio::test]
async fn payloads_of_extensions_cross_untouched() {
    let openssh = OpenSsh::start().await;
    let reply = openssh.session().extended("limits@openssh.com", Vec::new()).await.unwrap();
    let Packet::ExtendedReply(reply) = reply else { panic!("{reply:?}") };
    let mut reader = Reader::new(&reply.data);
    assert_eq!(reader.u64(), Ok(256 * 1024));
    assert_eq!(reader.rest().len(), 24);
}

/// A server of the SFTP library that gives back each path it is asked for.
struct Echo;

impl Handler for Echo {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, StatusCode> {
        Ok(Name { id, files: vec![File::new(path, FileAttributes::empty())] })
    }

    async fn extended(&mut self, _: u32, request: String, data: Vec<u8>) -> Result<Packet, StatusCode> {
        assert_eq!((request.as_str(), data), (UNKNOWN_REQUEST, vec![21]));
        Err(StatusCode::OpUnsupported)
    }
}

async fn echo() -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(100);
    let config = server::Config { max_client_packet_len: LIMITS.inner_packet_bytes() };
    server::run_with_config(DialectStream::for_server(theirs, LIMITS), Echo, config).await;
    ours
}

#[tokio::test]
async fn our_two_facings_understand_each_other() {
    let session = session(DialectStream::for_client(echo().await, LIMITS)).await;
    let all: Vec<u8> = (0..=255).collect();
    for path in [&b"plain"[..], &all, &all.repeat(100), b""] {
        let reply = session.realpath(to_wire(path)).await.unwrap();
        assert_eq!(from_wire(&reply.files[0].filename), path);
    }
}

async fn ask(stream: &mut DuplexStream, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    put_string(&mut packet, body);
    stream.write_all(&packet).await.unwrap();
    let mut reply = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn a_strange_client_gets_its_ids_back_and_a_bad_one_is_shown_out() {
    let mut stream = echo().await;
    assert_eq!(ask(&mut stream, b"\x01\0\0\0\x03").await[..5], *b"\x02\0\0\0\x03");
    let unknown = ask(&mut stream, b"\x15\0\0\x01\x07whatever").await;
    assert_eq!(unknown[..9], *b"\x65\0\0\x01\x07\0\0\0\x08");
    let bad = ask(&mut stream, b"\x05\0\0\x01\x08\0\0\x01\0short").await;
    assert_eq!(bad[..9], *b"\x65\0\0\x01\x08\0\0\0\x05");
    let text = FrameError::Truncated { kind: 5 }.to_string();
    assert_eq!(bad[13..13 + text.len()], *text.as_bytes());
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
}
