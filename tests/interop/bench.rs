//! What one check has: a server, a folder of its own there, a near folder, and the program with a state of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater::path::RemoteRoot;
use highwater::remote::abilities::Known;
use highwater::remote::connect::{Endpoint, HostTrust, KeyFile, Login, connect};
use highwater::remote::far::Far;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::peers::Peer;
use crate::support::program::{Program, Round};
use crate::support::tree_of::{Times, TreeOf, assert_same, at, give_to, set_mtime};

/// How long a check waits for something that takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// The mtime of what checks write, so that no look at it comes too early.
pub const LONG_AGO: i64 = 1_600_000_000;

/// See the [module](self).
pub struct Bench<'a> {
    /// The server.
    pub peer: &'a Peer,
    /// Whether large variants are wanted.
    pub full: bool,
    /// The program.
    pub program: Program,
    folder: TempDir,
    name: String,
}

impl<'a> Bench<'a> {
    /// A far folder of this name is made, and belongs to who logs in.
    pub fn new(peer: &'a Peer, full: bool, name: &str) -> Self {
        let program = Program::new();
        program.trust(&peer.known_hosts);
        let name = name.replace(' ', "-");
        let bench = Self { peer, full, program, folder: tempfile::tempdir().unwrap(), name };
        fs::create_dir(peer.data.join(&bench.name)).unwrap();
        bench.give(&peer.data.join(&bench.name));
        bench
    }

    /// The near root. Not made yet.
    pub fn near(&self) -> PathBuf {
        self.folder.path().join("near")
    }

    /// The far root as this machine has it. Not made yet.
    pub fn far(&self) -> PathBuf {
        self.peer.data.join(&self.name).join("far")
    }

    /// Where something may be mounted: the folder that holds the far root.
    pub fn far_parent(&self) -> PathBuf {
        self.peer.data.join(&self.name)
    }

    /// The far root as clients call it.
    pub fn remote(&self) -> String {
        format!("{}/{}/far", self.peer.remote, self.name)
    }

    fn url(&self, port: u16, below: &str) -> OsString {
        format!("sftp://{}@127.0.0.1:{port}{}{below}", self.peer.user, self.remote()).into()
    }

    /// Gives what is there to who logs in.
    pub fn give(&self, path: &Path) {
        give_to(path, self.peer.numbers());
    }

    /// Makes a tree in the near root.
    pub fn put_near(&self, tree: &TreeOf) {
        tree.make(&self.near());
    }

    /// Makes a tree in the far root; it belongs to who logs in.
    pub fn put_far(&self, tree: &TreeOf) {
        tree.make(&self.far());
        self.give(&self.far());
    }

    /// Writes a near file, long ago.
    pub fn write_near(&self, name: &str, content: impl AsRef<[u8]>) {
        write(&self.near().join(name), content.as_ref(), LONG_AGO);
    }

    /// Writes a far file, long ago, that belongs to who logs in.
    pub fn write_far(&self, name: &str, content: impl AsRef<[u8]>) {
        write(&self.far().join(name), content.as_ref(), LONG_AGO + 60);
        self.give(&self.far());
    }

    /// The content of a far file.
    pub fn read_far(&self, name: &str) -> Vec<u8> {
        fs::read(self.far().join(name)).unwrap_or_else(|e| panic!("{name} at the far side: {e}"))
    }

    /// The content of a near file.
    pub fn read_near(&self, name: &str) -> Vec<u8> {
        fs::read(self.near().join(name)).unwrap_or_else(|e| panic!("{name} at the near side: {e}"))
    }

    /// A push of the near root.
    pub fn push(&self, flags: &[&str]) -> Round {
        self.push_by(self.peer.port, flags)
    }

    /// A pull of the far root.
    pub fn pull(&self, flags: &[&str]) -> Round {
        self.pull_by(self.peer.port, flags)
    }

    /// A push over somebody else's port.
    pub fn push_by(&self, port: u16, flags: &[&str]) -> Round {
        self.carry(self.push_args(port, flags))
    }

    /// A pull over somebody else's port.
    pub fn pull_by(&self, port: u16, flags: &[&str]) -> Round {
        self.carry(self.pull_args(port, flags))
    }

    /// The arguments of a push.
    pub fn push_args(&self, port: u16, flags: &[&str]) -> Vec<OsString> {
        self.args("push", self.near().into(), self.url(port, ""), flags)
    }

    /// The arguments of a pull.
    pub fn pull_args(&self, port: u16, flags: &[&str]) -> Vec<OsString> {
        self.args("pull", self.url(port, ""), self.near().into(), flags)
    }

    /// The same of one file `name`.
    pub fn of_file(&self, command: &str, name: &str) -> Round {
        let (near, far) = (self.near().join(name).into(), self.url(self.peer.port, &format!("/{name}")));
        let (from, to) = if command == "push" { (near, far) } else { (far, near) };
        self.carry(self.args(command, from, to, &[]))
    }

    fn args(&self, command: &str, from: OsString, to: OsString, flags: &[&str]) -> Vec<OsString> {
        let mut args = vec![command.into(), "-i".into(), self.peer.client_key.clone().into(), from, to];
        args.extend(flags.iter().map(OsString::from));
        args
    }

    fn carry(&self, args: Vec<OsString>) -> Round {
        let mut rounds = self.program.rounds(args);
        assert_eq!(rounds.len(), 1, "{rounds:?}");
        rounds.remove(0)
    }

    /// A run that is not waited for.
    pub fn start(&self, args: Vec<OsString>) -> Running {
        let log = File::create(self.folder.path().join("log")).unwrap();
        let mut command = self.program.command(args);
        Running(
            command
                .args(["--json", "--quiet"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }

    /// Whether both roots hold the same, and nothing stays staged on either side.
    #[track_caller]
    pub fn is_same(&self) {
        assert_same(&self.near(), &self.far(), Times::Seconds);
        self.nothing_is_staged();
    }

    /// Whether nothing stays staged.
    #[track_caller]
    pub fn nothing_is_staged(&self) {
        for root in [self.near(), self.far()] {
            let staged = staged(&root);
            assert!(staged.is_empty(), "this stays staged: {staged:?}");
        }
    }

    /// Runs something with the far tree: one connection, its root made.
    pub fn with_tree<F: AsyncFnOnce(Arc<Far>)>(&self, use_it: F) {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let tree = Arc::new(self.connect().await);
            use_it(tree).await;
        });
    }

    async fn connect(&self) -> Far {
        let endpoint =
            Endpoint { host: "127.0.0.1".into(), port: self.peer.port, user: self.peer.user.clone() };
        let login = Login { keys: vec![KeyFile::new(&self.peer.client_key)], ..Login::default() };
        let known_hosts = self.program.home().join(".ssh/known_hosts");
        let trust = HostTrust { known_hosts: vec![known_hosts], ..HostTrust::default() };
        let connection = connect(&endpoint, &login, &trust).await;
        let connection = Arc::new(connection.unwrap_or_else(|e| panic!("{e}: {}", e.reason())));
        let root = RemoteRoot::new(self.remote().as_bytes()).unwrap();
        let far = Far::open(connection, root, None, Known::default()).await;
        far.unwrap_or_else(|e| panic!("{e}: {}", e.reason()))
    }
}

impl Drop for Bench<'_> {
    /// The next check finds the room again.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.far_parent()); // what is left goes with the server's folder
    }
}

/// A run that has not ended. Killed when dropped.
pub struct Running(Child);

impl Running {
    /// Waits until `reached`. Panics when it takes too long or the program ends before.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut reached: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached() {
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "the program ended before it could {what}: {ended:?}");
            assert!(Instant::now() < deadline, "the program takes too long to {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Writes a file, its folder made, with this mtime.
pub fn write(path: &Path, content: &[u8], mtime: i64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    set_mtime(path, mtime, 0);
}

/// What lies in the staging folders of a root.
pub fn staged(root: &Path) -> Vec<PathBuf> {
    let inside = |folder: PathBuf| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    inside(at(root, ".highwater/stage")).into_iter().flat_map(inside).collect()
}

/// The things in the trash of a root by their paths, whatever the round.
pub fn trash(root: &Path) -> Vec<(String, Vec<u8>)> {
    let rounds = fs::read_dir(root.join(".highwater/trash")).into_iter().flatten().flatten();
    let mut found: Vec<_> = rounds.flat_map(|round| files_below(&round.path())).collect();
    found.sort();
    found
}

fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = crate::support::tree_of::paths_below(folder, &|_| true);
    let files = paths.into_iter().filter(|path| at(folder, path).is_file());
    files
        .map(|path| (String::from_utf8_lossy(&path).into_owned(), fs::read(at(folder, &path)).unwrap()))
        .collect()
}
