//! What all workloads share: folders, server, account, data, and what is done so far.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tempfile::TempDir;

use crate::access::Access;
use crate::args::Args;
use crate::data::{self, Made, Shape};
use crate::figures::Results;
use crate::server::{Sshd, User};
use crate::target::Judged;
use crate::turns;
use crate::workloads::{Place, Workload};
use crate::{Doing, Result};

/// The last name of every folder that is carried, and of what it is carried to.
pub const TREE: &str = "tree";

/// One workload that is done.
#[derive(Debug, Serialize)]
pub struct Finished {
    /// Its name.
    pub workload: &'static str,
    /// What was measured.
    #[serde(flatten)]
    pub result: Results,
    /// What came of its targets.
    #[serde(rename = "targets")]
    pub judged: Vec<Judged>,
}

/// A benchmark under way. What it made is gone when dropped.
pub struct Bench<'a> {
    /// How.
    pub args: &'a Args,
    /// Before the folders: it goes first.
    pub sshd: Sshd,
    /// Who logs in.
    pub user: User,
    /// How.
    pub access: Access,
    /// The program that is measured.
    pub highwater: PathBuf,
    /// Set when the benchmark is to stop.
    pub stop: Arc<AtomicBool>,
    memory: TempDir,
    disk: TempDir,
    data: Option<(Shape, Made)>,
    finished: Vec<Finished>,
}

impl<'a> Bench<'a> {
    /// Makes folders, keys and account, and starts the server.
    pub fn start(args: &'a Args) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).doing("listen for signals")?;
        }
        let (memory, disk) = (folder_in(&args.memory)?, folder_in(&args.disk)?);
        let user = User::ordinary()?;
        let sshd = Sshd::start(memory.path(), &Default::default())?;
        let access = Access::create(memory.path(), &user.name, sshd.client_key(), sshd.host_key()?)?;
        access.know(sshd.address().port())?;
        let highwater = highwater(args)?;
        Ok(Self { args, sshd, user, access, highwater, stop, memory, disk, data: None, finished: Vec::new() })
    }

    /// Runs one workload with every tool that takes part.
    pub fn run(&mut self, workload: &Workload) -> Result<Results> {
        let made = self.make_data(workload.shape.scaled(self.args.scale))?;
        turns::run(self, workload, made)
    }

    /// Keeps what came of a workload.
    pub fn keep(&mut self, workload: &'static str, result: Results, judged: Vec<Judged>) {
        self.finished.push(Finished { workload, result, judged });
    }

    /// What was kept.
    pub fn done(&self) -> &[Finished] {
        &self.finished
    }

    /// Fails when a signal has come.
    pub fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
    }

    /// The source's folder.
    pub fn source(&self) -> PathBuf {
        self.file("data").join(TREE)
    }

    /// Where targets are made, one folder for each tool.
    pub fn targets(&self, place: Place) -> &Path {
        match place {
            Place::Memory => self.memory.path(),
            Place::Disk => self.disk.path(),
        }
    }

    /// A file or folder of the benchmark's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.memory.path().join(name)
    }

    /// Leaves the data as it is when it has this shape already.
    fn make_data(&mut self, shape: Shape) -> Result<Made> {
        if let Some((_, made)) = self.data.filter(|(there, _)| *there == shape) {
            return Ok(made);
        }
        self.data = None;
        clear(&self.file("data"))?;
        let made = data::create(&self.source(), shape, self.args.seed)?;
        self.data = Some((shape, made));
        Ok(made)
    }
}

/// Removes a folder, when there is one.
pub fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("remove {}: {e}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A new folder that the server's user may pass through. Its name needs no quoting in any tool's language.
fn folder_in(parent: &Path) -> Result<TempDir> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let parent = fs::canonicalize(parent).doing(&format!("find {}", parent.display()))?;
    if !parent.to_str().is_some_and(|path| path.chars().all(is_plain)) {
        return Err(format!("{}: name a folder without spaces and the like", parent.display()));
    }
    let folder = tempfile::Builder::new().prefix("highwater-bench-").tempdir_in(parent);
    let folder = folder.doing("make a folder")?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).doing("open a folder")?;
    Ok(folder)
}

/// As given, or beside the folder of this program: target/release/highwater for
/// target/release/examples/bench_peers.
fn highwater(args: &Args) -> Result<PathBuf> {
    let this = std::env::current_exe().doing("find this program")?;
    let beside = this.parent().and_then(Path::parent).map(|folder| folder.join("highwater"));
    let path = args.highwater.clone().or(beside).ok_or("where is highwater? Use --highwater")?;
    std::path::absolute(path).doing("find highwater")
}
