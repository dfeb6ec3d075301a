//! One run of the program: with a deadline, and its memory at its highest.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::memory;
use crate::world::World;
use crate::{Doing, Result};

/// How often whoever waits looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None`: a signal.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// KiB.
    pub peak: u64,
    pub time: Duration,
}

/// The program under test.
#[derive(Debug, Clone)]
pub struct Program<'a> {
    pub file: &'a Path,
    pub patience: Duration,
}

impl Program<'_> {
    /// Runs it with these arguments, with the session's home and state.
    pub fn run(&self, world: &World, args: &[&str]) -> Result<Ran> {
        let (out, err) = (world.at("notes/out"), world.at("notes/err"));
        let mut command = Command::new(self.file);
        command
            .arg("--config")
            .arg(world.at("home/config.yml"))
            .arg("--state")
            .arg(world.at("state"))
            .args(args);
        command
            .env_clear()
            .env("HOME", world.at("home"))
            .env("PATH", "/usr/bin:/bin")
            .current_dir(world.at("home"));
        let file = |path: &Path| File::create(path).doing("make a file for the output");
        command.stdin(Stdio::null()).stdout(file(&out)?).stderr(file(&err)?);
        let (began, mut peak) = (Instant::now(), 0);
        let mut child = command.spawn().doing("run the program")?;
        let status = loop {
            peak = peak.max(memory(child.id()).peak);
            if let Some(status) = child.try_wait().doing("wait for the program")? {
                break status;
            }
            if began.elapsed() > self.patience {
                child.kill().doing("end the program")?;
                child.wait().doing("wait for the program")?;
                return Err(format!("{args:?} has not ended within {:?}", self.patience));
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let read = |path: &Path| fs::read(path).doing("read the output");
        Ok(Ran { code: status.code(), stdout: read(&out)?, stderr: read(&err)?, peak, time: began.elapsed() })
    }
}
