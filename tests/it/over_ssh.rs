//! The tree over SFTP through a real connection to a real sshd.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;
use futures_util::future::try_join_all;
use highwater::entry::{Meta, Time};
use highwater::path::{RelPath, RemoteRoot};
use highwater::remote::abilities::Known;
use highwater::remote::connect::{Connection, Endpoint, HostTrust, KeyFile, Login, connect};
use highwater::remote::sftp::SftpTree;
use highwater::tree::contract::{Limits, check_all};
use highwater::tree::{SourceFile, StagedFile, Tree};

use crate::support::sshd::{Options, Sshd};

async fn log_in(sshd: &Sshd) -> Connection {
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: sshd.port(), user: sshd.user().into() };
    let login = Login { keys: vec![KeyFile::new(sshd.client_key_path())], ..Login::default() };
    let trust = HostTrust { known_hosts: vec![sshd.known_hosts_path()], ..HostTrust::default() };
    connect(&endpoint, &login, &trust).await.expect("the door is open")
}

/// A tree on `folder`, over two channels.
async fn tree(connection: &Connection, folder: &Path) -> SftpTree {
    let root = RemoteRoot::new(folder.as_os_str().as_bytes()).expect("a path");
    let first = connection.open_sftp().await.expect("a channel");
    let ident = connection.server().ident.clone();
    let tree = SftpTree::open(first, root, &ident, Known::default()).await.expect("a tree");
    tree.widen(connection.open_sftp().await.expect("a channel")).await.expect("a wider tree");
    tree
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tree_passes_the_contract_over_ssh() {
    let sshd = Sshd::start(Options::default());
    let connection = log_in(&sshd).await;
    check_all(&tree(&connection, &sshd.data()).await, Limits::FAR).await;
    connection.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_keys_are_agreed_on_while_files_are_carried() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 256;
    let config = vec!["RekeyLimit 512K".into(), "LogLevel DEBUG1".into()];
    let sshd = Sshd::start(Options { config, ..Options::default() });
    let connection = log_in(&sshd).await;
    let tree = tree(&connection, &sshd.data()).await;
    let path = RelPath::parse(&b"file"[..]).unwrap();
    let piece = |index: usize| Bytes::from(vec![u8::try_from(index % 251).unwrap(); PIECE]);
    let offset = |index: usize| (index * PIECE) as u64;
    let staged = tree.stage(&path).await.unwrap();
    try_join_all((0..PIECES).map(|i| staged.write_at(offset(i), piece(i)))).await.unwrap();
    staged
        .finish(offset(PIECES), &Meta { mode: 0o644, mtime: Time { secs: 1, nanos: 0 } }, false)
        .await
        .unwrap();
    let source = tree.open(&path).await.unwrap();
    let read = try_join_all((0..PIECES).map(|i| source.read_at(offset(i), PIECE as u64))).await.unwrap();
    assert!(read.iter().enumerate().all(|(i, bytes)| *bytes == piece(i)));
    let rekeyed = sshd.log().matches("rekeying").count();
    assert!(rekeyed >= 20, "only {rekeyed} new keys:\n{}", sshd.log());
}
