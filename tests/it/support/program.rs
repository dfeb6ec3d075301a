//! The program under test as a person starts it: with a home and a state folder of its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::account;
use super::tree_of::{give_to, set_mode};

/// The program, its home, and whoever starts it.
pub struct Program {
    home: TempDir,
    file: PathBuf,
    runs_as: Option<(u32, u32)>,
}

/// What one run came to.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Program {
    /// Started by whoever runs the tests.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(home.path().join(".ssh")).expect("a new folder");
        Self { home, file: assert_cmd::cargo::cargo_bin!("highwater").to_path_buf(), runs_as: None }
    }

    /// Started by the ordinary user, who may not be able to reach where the program was built.
    pub fn of_ordinary_user() -> Self {
        let numbers = account::numbers(account::ordinary());
        let built = Self::new();
        let file = built.home.path().join("highwater");
        if fs::hard_link(&built.file, &file).is_err() {
            fs::copy(&built.file, &file).expect("the program can be copied"); // on another file system
        }
        set_mode(&file, 0o755);
        give_to(built.home.path(), numbers);
        Self { file, runs_as: Some(numbers), ..built }
    }

    /// Its home.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Makes it know a host, by a line for known_hosts.
    pub fn trust(&self, known_hosts_line: &str) {
        let file = self.home().join(".ssh/known_hosts");
        let mut lines = fs::read_to_string(&file).unwrap_or_default();
        lines.push_str(known_hosts_line);
        fs::write(&file, lines).expect("known_hosts can be written");
    }

    /// The command, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.file);
        command.arg("--state").arg(self.home().join("state")).args(args);
        command.env("HOME", self.home()).env_remove("XDG_CONFIG_HOME").env_remove("SSH_AUTH_SOCK");
        if let Some((uid, gid)) = self.runs_as {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Runs it to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        let Output { status, stdout, stderr } = self.command(args).output().expect("the program can be run");
        let text = |bytes| String::from_utf8(bytes).expect("what it prints is text");
        Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs it with `--json`, for rounds: the document's jobs.
    pub fn rounds<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Vec<Round> {
        let mut command = self.command(args);
        let Output { status, stdout, stderr } =
            command.arg("--json").output().expect("the program can be run");
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let document: Value = serde_json::from_slice(&stdout)
            .unwrap_or_else(|e| panic!("no document ({e}), {status}:\n{stderr}"));
        assert_eq!(document["version"], 1);
        let jobs = document["jobs"].as_array().unwrap_or_else(|| panic!("no jobs: {document}\n{stderr}"));
        let code = status.code().unwrap_or(-1);
        jobs.iter().map(|job| Round { code, job: job.clone(), stderr: stderr.clone() }).collect()
    }
}

/// One round as `--json` told it.
#[derive(Debug)]
pub struct Round {
    /// The exit code of the run that it was part of.
    pub code: i32,
    /// What stands in the document.
    pub job: Value,
    /// Standard error of the run.
    pub stderr: String,
}

impl Round {
    /// A count.
    #[track_caller]
    pub fn count(&self, field: &str) -> u64 {
        self.job[field].as_u64().unwrap_or_else(|| panic!("{field} is no count: {:#}", self.job))
    }

    /// How many files were proved at a level.
    #[track_caller]
    pub fn verified(&self, level: &str) -> u64 {
        self.job["verified"][level].as_u64().unwrap_or_else(|| panic!("no level {level}: {:#}", self.job))
    }

    /// Kind and path of every problem, sorted.
    pub fn problems(&self) -> Vec<(String, String)> {
        self.list("problems")
    }

    /// Kind and path of everything that was put right on the way, sorted.
    pub fn recovered(&self) -> Vec<(String, String)> {
        self.list("recovered")
    }

    /// Whether it ended well: exit code 0 and nothing to complain about. Gives itself back.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.ends("ok", 0)
    }

    /// Whether it ended like this. Gives itself back.
    #[track_caller]
    pub fn ends(self, result: &str, code: i32) -> Self {
        assert_eq!(
            (self.job["result"].as_str(), self.code),
            (Some(result), code),
            "{:#}\n{}",
            self.job,
            self.stderr
        );
        self
    }

    /// Whether these counts are as expected. Gives itself back.
    #[track_caller]
    pub fn counts(self, expected: &[(&str, u64)]) -> Self {
        let found: Vec<(&str, u64)> = expected.iter().map(|&(field, _)| (field, self.count(field))).collect();
        assert_eq!(found, expected, "{:#}", self.job);
        self
    }

    /// Whether it changed nothing, and carried nothing. Gives itself back.
    #[track_caller]
    pub fn nothing(self) -> Self {
        let fields = ["files_sent", "files_received", "bytes_sent", "bytes_received", "bytes_resumed"];
        let more = ["renamed", "deleted", "displaced"];
        let expected: Vec<(&str, u64)> = fields.into_iter().chain(more).map(|field| (field, 0)).collect();
        self.counts(&expected)
    }

    fn list(&self, field: &str) -> Vec<(String, String)> {
        let text = |entry: &Value, key: &str| entry[key].as_str().expect("text").to_owned();
        let entries = self.job[field].as_array().expect("a list");
        let mut list: Vec<_> = entries.iter().map(|e| (text(e, "kind"), text(e, "path"))).collect();
        list.sort();
        list
    }
}
