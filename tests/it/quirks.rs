//! What servers do that OpenSSH's does not, met by the tree over SFTP, without SSH in between.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use highwater::entry::{Meta, Stat, Time};
use highwater::error::Kind;
use highwater::id::Token;
use highwater::path::{RelPath, RemoteRoot};
use highwater::remote::abilities::{Can, Known};
use highwater::remote::sftp::SftpTree;
use highwater::server::misbehave::{Deed, Fault, Misbehave, Op, Rule};
use highwater::server::{SessionOptions, serve_stream};
use highwater::tree::{Blind, StagedFile, Tree, own};
use tempfile::TempDir;

/// Our own server on a folder, misbehaving.
struct Quirky {
    folder: TempDir,
    options: SessionOptions,
    script: Misbehave,
}

impl Quirky {
    fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let (folder, script) = (tempfile::tempdir().unwrap(), Misbehave::script(rules));
        let options = SessionOptions::new(folder.path()).unwrap().misbehave(script.clone());
        Self { folder, options, script }
    }

    fn channel(&self) -> tokio::io::DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve_stream(far, self.options.clone()));
        near
    }

    async fn tree(&self) -> SftpTree {
        self.tree_of("SSH-2.0-Highwater_0").await
    }

    /// The server calls itself so.
    async fn tree_of(&self, ident: &str) -> SftpTree {
        let root = RemoteRoot::new(b"/").unwrap();
        SftpTree::open(self.channel(), root, ident, Known::default()).await.unwrap()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let listed = std::fs::read_dir(self.folder.path().join(folder)).unwrap();
        listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

const META: Meta = Meta { mode: 0o600, mtime: Time { secs: 1_000, nanos: 0 } };

fn at(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).unwrap()
}

/// Stages `content` in a staging folder and places it at `target`.
async fn put(tree: &SftpTree, target: &str, content: &'static [u8]) -> highwater::error::Result<()> {
    let (path, finished) = stage(tree, content).await?;
    tree.place(&path, &at(target), &finished).await.map(drop)
}

async fn stage(tree: &SftpTree, content: &'static [u8]) -> highwater::error::Result<(RelPath, Stat)> {
    let agent = Token::parse("00112233445566778899aabbccddeeff").unwrap();
    own::make_folders(tree, &[own::folder(), own::stages(), own::stage(&agent)]).await.unwrap();
    let path = own::staged(&agent, &agent);
    let staged = tree.stage(&path).await?;
    staged.write_at(0, Bytes::from_static(content)).await?;
    let finished = staged.finish(content.len() as u64, &META, false).await?;
    Ok((path, finished))
}

const STAGE: &str = ".highwater/stage/00112233445566778899aabbccddeeff";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_for_an_extension_that_was_never_announced_is_no_refusal_to_replace() {
    let server = Quirky::new([
        Rule::on(Op::Init, Fault::Unannounced(vec!["posix-rename@openssh.com".into()])),
        Rule::on(Op::PosixRename, Fault::failure()),
    ]);
    let tree = server.tree().await;
    put(&tree, "f", b"old").await.unwrap();
    put(&tree, "f", b"new").await.unwrap();
    assert_eq!(std::fs::read(server.folder.path().join("f")).unwrap(), b"new");
    assert_eq!(server.names(STAGE), [""; 0], "the old version is gone");
    assert_eq!(tree.known().posix_rename, Can::No);
    assert_eq!(server.script.requests(Op::PosixRename), 1, "asked for once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_version_of_a_broken_replacement_lies_where_the_sweep_looks() {
    let server = Quirky::new([
        Rule::on(Op::PosixRename, Fault::unsupported()),
        Rule::on(Op::Rename, Fault::CutAfter).from_nth(2), // the old version aside, after the first placing
    ]);
    let tree = server.tree().await;
    put(&tree, "f", b"old").await.unwrap();
    let error = put(&tree, "f", b"new").await.unwrap_err();
    assert!(error.kind().loses_connection(), "{error}");
    assert_eq!(server.names("").len(), 1, "nothing but our own folder");
    let again = server.tree().await;
    let listing = again.list(&at(STAGE)).await.unwrap();
    assert_eq!(listing.entries.len(), 2, "the old version and the staged file: {listing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_version_that_cannot_be_removed_does_not_fail_the_new_one() {
    let server =
        Quirky::new([Rule::on(Op::PosixRename, Fault::unsupported()), Rule::on(Op::Remove, Fault::denied())]);
    let tree = server.tree().await;
    put(&tree, "f", b"old").await.unwrap();
    put(&tree, "f", b"new").await.unwrap();
    assert_eq!(std::fs::read(server.folder.path().join("f")).unwrap(), b"new");
}

/// OpenSSH's RENAME makes a second name for a file, which some disks do not have and some policies forbid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_rename_always_fails_what_stands_in_the_way_is_looked_for_before() {
    for refusal in [Fault::failure(), Fault::denied(), Fault::unsupported()] {
        let server = Quirky::new([Rule::on(Op::Rename, refusal)]);
        let tree = server.tree().await;
        let place = async |name: &str| {
            let (path, finished) = stage(&tree, b"content").await.unwrap();
            let placed = tree.place_onto_nothing(&path, &at(name), &finished, false).await;
            placed.map(drop).map_err(|error| error.kind())
        };
        assert_eq!(tree.traits().blind, Blind::NewFolders);
        assert_eq!(place("one").await, Ok(()));
        assert_eq!(tree.traits().blind, Blind::Nowhere);
        assert_eq!(place("two").await, Ok(()));
        std::fs::write(server.folder.path().join("three"), "somebody's").unwrap();
        assert_eq!(
            place("three").await,
            Err(Kind::Exists),
            "one that was begun before that is looked for too"
        );
        for (name, content) in [("one", "content"), ("two", "content"), ("three", "somebody's")] {
            assert_eq!(std::fs::read(server.folder.path().join(name)).unwrap(), content.as_bytes());
        }
        assert_eq!(server.script.requests(Op::Rename), 1, "asked for once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_takes_no_detour_over_what_came_meanwhile() {
    let server = Quirky::new([Rule::on(Op::PosixRename, Fault::unsupported())]);
    let tree = server.tree_of("SSH-2.0-AsyncSSH_2.24.1").await;
    std::fs::write(server.folder.path().join("f"), "somebody's").unwrap();
    let (path, finished) = stage(&tree, b"content").await.unwrap();
    let placed = tree.place_onto_nothing(&path, &at("f"), &finished, true).await;
    assert_eq!(placed.map_err(|error| error.kind()), Err(Kind::Exists));
    assert_eq!(std::fs::read(server.folder.path().join("f")).unwrap(), b"somebody's");
}

/// A server says FAILURE of it, as of a rename to another disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_came_after_the_look_is_not_taken_for_another_disk() {
    let server = Quirky::new([]);
    let tree = server.tree().await;
    std::fs::create_dir(server.folder.path().join("f")).unwrap();
    let (path, finished) = stage(&tree, b"content").await.unwrap();
    let placed = tree.place_onto_nothing(&path, &at("f"), &finished, true).await;
    assert_eq!(placed.map_err(|error| error.kind()), Err(Kind::Exists));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_folder_that_may_not_be_read_does_not_end_fsync_of_folders() {
    let server = Quirky::new([
        Rule::on(Op::Open, Fault::denied()).below("/closed"),
        Rule::on(Op::Open, Fault::failure()).below("/odd"),
    ]);
    let tree = server.tree().await;
    for folder in ["closed", "odd", "open"] {
        tree.make_dir(&at(folder), 0o700).await.unwrap();
    }
    assert!(!tree.sync_dir(&at("closed")).await.unwrap());
    assert!(!tree.sync_dir(&at("odd")).await.unwrap());
    assert_eq!(tree.known().fsync_dir, Can::Unknown);
    assert!(tree.sync_dir(&at("open")).await.unwrap());
    assert_eq!(tree.known().fsync_dir, Can::Yes);
    server.script.add(Rule::on(Op::Fsync, Fault::failure()));
    assert!(!tree.sync_dir(&at("open")).await.unwrap());
    assert_eq!(tree.known().fsync_dir, Can::No);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_that_nobody_waits_for_any_more_is_closed_again() {
    for op in [Op::Open, Op::OpenDir] {
        let mut server = Quirky::new([Rule::on(op, Fault::Stall(Duration::from_secs(3600))).once()]);
        server.options = server.options.clone().max_handles(1);
        std::fs::write(server.folder.path().join("f"), "content").unwrap();
        let tree = server.tree().await;
        let given_up = async {
            match op {
                Op::Open => tree.open(&at("f")).await.map(drop),
                _ => tree.list(&RelPath::root()).await.map(drop),
            }
        };
        tokio::select! {
            _ = given_up => panic!("it was answered"),
            () = server.script.wait_for(Deed::Stalled, 1) => {}
        }
        server.script.clear();
        tree.open(&at("f")).await.unwrap(); // the server allows one handle
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_file_makes_room_for_another_before_it_is_placed() {
    let mut server = Quirky::new([]);
    server.options = server.options.clone().max_handles(1);
    let tree = server.tree().await;
    let staged = tree.stage(&at(".highwater-1")).await.unwrap();
    staged.finish(0, &META, false).await.unwrap();
    let other = tokio::time::timeout(Duration::from_secs(20), tree.stage(&at(".highwater-2"))).await;
    other.expect("the first one keeps its permit").unwrap();
    drop(staged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_handle_to_a_staged_file_is_proved_before_it_is_believed() {
    let server = Quirky::new([]);
    let tree = server.tree().await;
    let path = at(".highwater-1");
    let first = tree.stage(&path).await.unwrap();
    let none = tree.reopen_beside(&path, &[&first]).await.err().unwrap();
    assert_eq!(none.kind(), Kind::Unsupported, "there is one channel");
    tree.widen(server.channel()).await.unwrap();
    tree.widen(server.channel()).await.unwrap();
    assert_eq!(tree.traits().writers, 3);

    let second = tree.reopen_beside(&path, &[&first]).await.unwrap();
    assert!(!second.is_proved);
    tree.note_beside(true);
    assert_eq!(tree.known().two_handles, Can::Yes);
    let third = tree.reopen_beside(&path, &[&first, &second.staged]).await.unwrap();
    assert!(third.is_proved);
    let hands = [&first, &second.staged, &third.staged];
    tree.reopen_beside(&path, &hands).await.err().unwrap(); // each on a channel of its own
    let pieces = ["one", "two", "six"].map(|piece| Bytes::from_static(piece.as_bytes()));
    let writing =
        hands.iter().zip(&pieces).zip([0, 3, 6]).map(|((hand, piece), at)| hand.write_at(at, piece.clone()));
    join_all(writing).await.into_iter().for_each(|written| written.unwrap());
    second.staged.close().await.unwrap();
    third.staged.close().await.unwrap();
    assert_eq!(server.script.requests(Op::Close), 2, "both are closed before the first one is finished");
    assert_eq!(first.read_at(0, 10).await.unwrap(), "onetwosix");
    first.finish(9, &META, false).await.unwrap();

    tree.note_beside(false);
    assert_eq!(tree.traits().writers, 1);
}

/// Reads back what is staged on a server with this identification, and counts the handles that it takes.
async fn read_back(ident: &str, opened: u64) {
    let server = Quirky::new([]);
    let tree = server.tree_of(ident).await;
    let staged = tree.stage(&at(".highwater-1")).await.unwrap();
    staged.write_at(0, Bytes::from_static(b"content")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(staged.read_at(0, 100).await.unwrap(), "content");
    }
    staged.finish(7, &META, false).await.unwrap();
    assert_eq!(server.script.requests(Op::Open), opened, "{ident}");
    assert_eq!(server.script.requests(Op::Close), opened, "{ident}: all is closed before it is placed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rclone_is_never_asked_to_read_through_a_handle_that_writes() {
    read_back("SSH-2.0-Highwater_0", 1).await;
    read_back("SSH-2.0-rclone/v1.60.1", 2).await;
    read_back("SSH-2.0-Go", 2).await;
}

/// ProFTPD's mod_sftp 1.3.8 had other handles end where the file ended when they were opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mod_sftp_is_read_back_through_the_handle_that_writes() {
    read_back("SSH-2.0-mod_sftp", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_opens_only_once_is_read_through_the_handle_there_is() {
    let server = Quirky::new([Rule::on(Op::Open, Fault::denied()).from_nth(2)]);
    let tree = server.tree_of("SSH-2.0-Go").await;
    let staged = tree.stage(&at(".highwater-1")).await.unwrap();
    staged.write_at(0, Bytes::from_static(b"content")).await.unwrap();
    assert_eq!(staged.read_at(0, 100).await.unwrap(), "content");
}

/// ProFTPD's mod_sftp 1.3.8 moved the file that a link points to, to another disk even.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_not_renamed_where_a_rename_follows_them() {
    let server = Quirky::new([]);
    let tree = server.tree_of("SSH-2.0-mod_sftp").await;
    std::os::unix::fs::symlink("file", server.folder.path().join("link")).unwrap();
    std::fs::write(server.folder.path().join("file"), "content").unwrap();
    assert!(!tree.traits().links);
    for refused in [
        tree.make_link(&at("new"), b"file").await,
        tree.read_link(&at("link")).await.map(drop),
        tree.move_aside(&at("link"), &at("aside")).await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), Kind::Unsupported);
    }
    assert_eq!(tree.read_link(&at("missing")).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(server.script.requests(Op::Rename), 0);
    tree.move_aside(&at("file"), &at("aside")).await.unwrap();
}

/// By a detour, the file that the link points to would be moved, and removed as the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_a_rename_follows_is_not_replaced() {
    let server = Quirky::new([]);
    let tree = server.tree_of("SSH-2.0-mod_sftp").await;
    std::os::unix::fs::symlink("file", server.folder.path().join("link")).unwrap();
    std::fs::write(server.folder.path().join("file"), "content").unwrap();
    assert_eq!(put(&tree, "link", b"new").await.unwrap_err().kind(), Kind::Unsupported);
    assert_eq!(std::fs::read_link(server.folder.path().join("link")).unwrap(), std::path::Path::new("file"));
    assert_eq!(std::fs::read(server.folder.path().join("file")).unwrap(), b"content");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_not_tried_among_what_lies_in_the_trash() {
    let server = Quirky::new([]);
    let tree = server.tree_of("SSH-2.0-Go").await;
    let trash = server.folder.path().join(".highwater/trash/round");
    std::fs::create_dir_all(&trash).unwrap();
    let kept = ["data-1", "data-2", "data-3"].map(|name| trash.join(name));
    kept.iter().for_each(|path| std::fs::write(path, "kept").unwrap());
    std::os::unix::fs::symlink("file", server.folder.path().join("data")).unwrap();
    tree.move_aside(&at("data"), &at(".highwater/trash/round/data")).await.unwrap();
    kept.iter().for_each(|path| assert_eq!(std::fs::read(path).unwrap(), b"kept"));
    assert_eq!((server.names(".highwater").len(), tree.known().keeps_links), (1, Can::Yes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strange_server_shows_what_it_does_with_links_before_one_is_moved() {
    let check = async |rules: Vec<Rule>, expected: Can| {
        let told = format!("{rules:?}");
        let server = Quirky::new(rules);
        let tree = server.tree_of("SSH-2.0-Go").await;
        std::os::unix::fs::symlink("file", server.folder.path().join("link")).unwrap();
        let moved = tree.move_aside(&at("link"), &at("aside")).await;
        assert_eq!((moved.is_ok(), tree.known().keeps_links), (expected == Can::Yes, expected), "{told}");

        assert_eq!(tree.make_link(&at("new"), b"file").await.is_ok(), expected == Can::Yes, "{told}");
        assert!(server.names("").iter().all(|name| !name.starts_with(".highwater")), "{told}");
    };
    check(vec![], Can::Yes).await;
    check(vec![Rule::on(Op::Rename, Fault::failure())], Can::Unknown).await;
    check(vec![Rule::on(Op::ReadLink, Fault::failure())], Can::Unknown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_changes_names_is_not_given_those_it_would_change() {
    let odd = b"caf\xe9";
    let changed = Rule::on(Op::List, Fault::Omit(vec![b"\xff".to_vec()]));
    for (rules, keeps) in [(vec![changed], Can::No), (Vec::new(), Can::Yes)] {
        let server = Quirky::new(rules);
        let tree = server.tree_of("SSH-2.0-ssh2js1.17.0srv").await;
        put(&tree, "plain", b"one").await.unwrap();
        assert_eq!(tree.known().keeps_names, Can::Unknown, "nothing is tried ahead of the work");
        let path = RelPath::parse(*odd).unwrap();
        let (staged, finished) = stage(&tree, b"two").await.unwrap();
        let placed = tree.place_onto_nothing(&staged, &path, &finished, true).await;
        let made = tree.make_dir(&RelPath::parse(*b"d\xff").unwrap(), 0o755).await;
        let linked = tree.make_link(&at("link"), odd).await;
        let outcomes = [placed.map(drop), made, linked].map(|outcome| outcome.map_err(|e| e.kind()));
        let expected = if keeps == Can::Yes { Ok(()) } else { Err(Kind::Name) };
        assert_eq!((tree.known().keeps_names, outcomes), (keeps, [expected; 3]));
        let beside = server.names(".highwater");
        assert_eq!(beside, ["stage"], "what was tried is gone");
    }
}
