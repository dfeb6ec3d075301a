//! The tree over SFTP against real servers, without SSH in between.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use highwater::path::RemoteRoot;
use highwater::remote::abilities::Known;
use highwater::remote::sftp::SftpTree;
use highwater::tree::contract::{Limits, check_all};
use tokio::net::UnixStream;

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// OpenSSH's sftp-server on one end of a socket; ended by its process id.
struct Server(Child);

impl Server {
    fn start() -> (Self, UnixStream) {
        let (ours, theirs) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let input = Stdio::from(OwnedFd::from(theirs.try_clone().unwrap()));
        let server = Command::new(SFTP_SERVER).stdin(input).stdout(OwnedFd::from(theirs)).spawn().unwrap();
        (Self(server), UnixStream::from_std(ours).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

/// A tree on `folder` whose server calls itself `ident`, over two channels.
async fn tree(folder: &Path, ident: &str) -> (Vec<Server>, SftpTree) {
    let root = RemoteRoot::new(folder.as_os_str().as_bytes()).unwrap();
    let (first, stream) = Server::start();
    let tree = SftpTree::open(stream, root, ident, Known::default()).await.unwrap();
    let (second, stream) = Server::start();
    tree.widen(stream).await.unwrap();
    (vec![first, second], tree)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_passes_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (_servers, tree) = tree(folder.path(), "SSH-2.0-OpenSSH_9.2p1").await;
    check_all(&tree, Limits::FAR).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_may_not_keep_order_passes_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let (_servers, tree) = tree(folder.path(), "SSH-2.0-Go").await;
    check_all(&tree, Limits::FAR).await;
}
