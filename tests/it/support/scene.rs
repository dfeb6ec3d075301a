//! A rig whose program is stopped in the middle, or whose content is looked at byte by byte.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use highwater::server::misbehave::Misbehave;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::rig::{Ran, Rig, Way};
use super::sshd::Options;

/// How long a run may take to reach what a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a round that does nothing counts.
const NOTHING: [(&str, u64); 8] = [
    ("files_sent", 0),
    ("files_received", 0),
    ("bytes_sent", 0),
    ("bytes_received", 0),
    ("bytes_resumed", 0),
    ("renamed", 0),
    ("deleted", 0),
    ("displaced", 0),
];

/// A rig, and what its server does wrong.
pub struct Scene {
    rig: Rig,
    script: Misbehave,
}

impl Deref for Scene {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Rig {
        &mut self.rig
    }
}

impl Scene {
    /// With OpenSSH.
    pub fn sshd(options: Options) -> Self {
        Self { rig: Rig::with_sshd(options), script: Misbehave::default() }
    }

    /// With our own server, which behaves until its script says otherwise.
    pub fn own() -> Self {
        let script = Misbehave::default();
        Self { rig: Rig::ours(script.clone()), script }
    }

    /// What our own server does wrong.
    pub fn script(&self) -> &Misbehave {
        &self.script
    }

    /// Puts a file into the source. It is a minute old, so that no look at it comes too early.
    pub fn put(&self, way: Way, name: &str, content: &[u8]) {
        write_old(&self.source(way).join(name), content);
    }

    /// What stands at the target; `None`: nothing.
    pub fn placed(&self, way: Way, name: &str) -> Option<Vec<u8>> {
        match fs::read(self.target(way).join(name)) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// Starts a run.
    pub fn start(&self, way: Way, flags: &[&str]) -> Running {
        let mut command = self.command(way, flags);
        command.arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().expect("the program can be run"))
    }

    /// Starts a run and stops it by a signal when its staged file has grown to `bytes`. Returns what it
    /// told, if it was not killed, and how large the staged file was at the end.
    pub fn cut(&self, way: Way, flags: &[&str], bytes: u64, signal: Signal) -> (Option<Ran>, u64) {
        let mut running = self.start(way, flags);
        running.wait_until("stage so much", || self.staged_bytes(way) >= bytes);
        running.signal(signal);
        let ran = running.end();
        (ran, self.staged_bytes(way))
    }

    /// What is in the target's staging folders.
    pub fn staged(&self, way: Way) -> Vec<PathBuf> {
        let agents = entries(&self.target(way).join(".highwater/stage"));
        agents.iter().flat_map(|agent| entries(agent)).collect()
    }

    /// The size of the largest thing there.
    pub fn staged_bytes(&self, way: Way) -> u64 {
        let size = |path: PathBuf| Some(fs::symlink_metadata(path).ok()?.len()); // it may be gone by now
        self.staged(way).into_iter().filter_map(size).max().unwrap_or(0)
    }

    /// Whether all is done: the target has this file, nothing is staged, and one more run does nothing.
    #[track_caller]
    pub fn is_done(&self, way: Way, name: &str, content: &[u8]) {
        assert!(self.placed(way, name).as_deref() == Some(content), "{name} is not what it should be");
        assert!(self.staged(way).is_empty(), "nothing stays staged");
        does_nothing(self.carry(way, &[]));
    }
}

/// The count of content that crossed.
pub fn crossed(way: Way) -> &'static str {
    if way == Way::Push { "bytes_sent" } else { "bytes_received" }
}

/// Whether a run had nothing to do.
#[track_caller]
pub fn does_nothing(ran: Ran) {
    ran.ends("ok", 0).counts(&NOTHING);
}

/// How many files were proved at a level.
#[track_caller]
pub fn verified(ran: &Ran, level: &str) -> u64 {
    ran.job()["verified"][level].as_u64().unwrap_or_else(|| panic!("no level {level}: {:#}", ran.job()))
}

/// A run that has not ended.
pub struct Running(Child);

impl Running {
    /// Waits until `reached`. Panics when it takes too long or the program ends before.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut reached: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached() {
            assert!(!self.has_ended(), "the program ended before it could {what}");
            assert!(Instant::now() < deadline, "the program takes too long to {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("the program can be waited for").is_some()
    }

    /// Sends it a signal. It may have ended by itself.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.0), signal); // not waited for yet: the number is its own
    }

    /// Waits for its end. `None`: it was killed.
    pub fn end(self) -> Option<Ran> {
        let output = self.0.wait_with_output().expect("the program can be waited for");
        let text = |bytes| String::from_utf8(bytes).expect("what it prints is text");
        let code = output.status.code()?;
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let json = serde_json::from_str(&stdout).unwrap_or(Value::Null);
        Some(Ran { code, json, stdout, stderr })
    }
}

/// `len` bytes that no compression or hole shortens, others for each `seed`.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Writes a file with its folder and makes it a minute old.
pub fn write_old(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
    fs::write(path, content).expect("the file can be written");
    set_age(path, Duration::from_secs(60));
}

/// Sets when a file was modified.
pub fn set_age(path: &Path, age: Duration) {
    set_modified(path, SystemTime::now() - age);
}

/// Replaces a file's content and leaves its mtime as it was.
pub fn rewrite(path: &Path, content: &[u8]) {
    let before = fs::metadata(path).and_then(|found| found.modified()).expect("the file is there");
    fs::write(path, content).expect("the file can be written");
    set_modified(path, before);
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(path).expect("the file is there");
    file.set_modified(time).expect("the time can be set");
}

/// What is in a folder that may not be there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
