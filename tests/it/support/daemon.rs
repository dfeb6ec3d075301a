//! The daemon as a process of its own, its log in a file.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::rig::{Rig, wait_until};

/// How long the daemon may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    /// How long the log was when it started.
    seen: usize,
}

impl Daemon {
    /// Starts it with the rig's config and waits until it says so.
    pub fn start(rig: &Rig) -> Self {
        let mut daemon = Self::launch(rig);
        daemon.wait_for("started with");
        daemon
    }

    /// Starts it.
    pub fn launch(rig: &Rig) -> Self {
        Self::launch_as(rig, |_| {})
    }

    /// Starts it with its command changed so.
    pub fn launch_as(rig: &Rig, change: impl FnOnce(&mut Command)) -> Self {
        let log = rig.file("daemon.log");
        let seen = fs::read(&log).map_or(0, |text| text.len());
        let file = File::options().create(true).append(true).open(&log).expect("the log can be made");
        let mut command = rig.program(["daemon".into(), "--config".into(), rig.file("config.yml")]);
        command.env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        change(&mut command);
        let child = command.stdout(Stdio::null()).stderr(file).spawn().expect("the daemon can be run");
        Self { child, log, seen }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let text = fs::read(&self.log).expect("a log");
        String::from_utf8_lossy(&text[self.seen..]).into_owned()
    }

    /// Waits until it has logged this.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.wait_for_times(text, 1);
    }

    /// Waits until it has logged this so often.
    #[track_caller]
    pub fn wait_for_times(&mut self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log().matches(text).count() < times {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the daemon ended without {text:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "{text:?} is not in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("the daemon can be signalled");
    }

    /// Waits until it has ended; says how, and how long that took.
    #[track_caller]
    pub fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let mut status = None;
        wait_until("end the daemon", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        (status.expect("it ended"), began.elapsed())
    }

    /// Ends it as a service manager does, within its ten seconds.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let (status, took) = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        assert!(took < Duration::from_secs(10), "it took {took:?}:\n{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
