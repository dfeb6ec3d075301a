//! Running a program of the configuration: its words as they are, no shell, within a time, and of what it
//! says only the end is kept.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::{Error, Kind, Result};
use crate::path::escape;
use crate::report::one_line;
use crate::units::human_duration;

/// What is kept of what it says, in bytes: the end, where programs say why they give up.
const KEPT_BYTES: usize = 2 << 10;
/// How long a program that took too long may take to end by itself once it was told.
const LAST_DEEDS: Duration = Duration::from_secs(2);
/// How long is waited for what a program left running and that may hold its output open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A program to run.
#[derive(Debug)]
pub(super) struct Program<'a> {
    /// What is being done, as a verb phrase: "run the hook".
    pub operation: &'a str,
    /// The program and its arguments. Only the program's name is ever shown: arguments may hold what is
    /// nobody's business.
    pub words: &'a [String],
    /// Environment variables besides those that we have ourselves.
    pub variables: Vec<(&'static str, String)>,
    /// Environment variables of ours that it is not to have.
    pub hidden: &'a [String],
    /// What it may read on its standard input.
    pub input: Vec<u8>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Program<'_> {
    /// Runs it to its end. Dropping this ends the program and what it started. Errors: `TimedOut`, `NotFound`
    /// or `Permission` if it cannot be started, `Failed` if it did not end with 0; with the end of what it said.
    pub async fn run(self) -> Result<()> {
        let (mut child, said) = self.start().map_err(|e| Error::io(self.operation, self.name(), e))?;
        let mut group = Group(child.id());
        let heard = Arc::new(Mutex::new(VecDeque::new()));
        let mut talk = JoinSet::new(); // whose tasks end when it is dropped
        let stdin = child.stdin.take();
        talk.spawn(feed(stdin, self.input.clone()));
        talk.spawn(hear(said, Arc::clone(&heard)));
        let ended = timeout(self.timeout, child.wait()).await;
        if ended.is_err() {
            group.end(&mut child).await;
        }
        group.0 = None;
        let all = async { while talk.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, all).await; // what it left running may go on talking, to nobody
        let said = last_lines(&heard.lock().unwrap_or_else(PoisonError::into_inner));
        match ended {
            Ok(Ok(status)) if status.success() => {
                tracing::debug!(program = self.name(), said, "{} succeeded", self.operation);
                Ok(())
            }
            Ok(Ok(status)) => Err(self.failed(status, &said)),
            Ok(Err(error)) => Err(Error::io(self.operation, self.name(), error)),
            Err(_) => Err(self.endless(&said)),
        }
    }

    fn name(&self) -> String {
        escape(self.words.first().map(String::as_bytes).unwrap_or_default())
    }

    fn start(&self) -> io::Result<(Child, pipe::Receiver)> {
        let Some((program, arguments)) = self.words.split_first() else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the command is empty"));
        };
        let (said, output) = io::pipe()?;
        let mut command = Command::new(program);
        command.args(arguments).process_group(0).kill_on_drop(true);
        for name in self.hidden {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        Ok((command.spawn()?, pipe::Receiver::from_owned_fd(said.into())?))
    }

    fn failed(&self, status: ExitStatus, said: &str) -> Error {
        let error = Error::new(Kind::Failed, self.operation, self.name());
        error.detail(with(format!("it ended with {status}"), said))
    }

    fn endless(&self, said: &str) -> Error {
        let why = format!("it was ended because it took longer than {}", human_duration(self.timeout));
        Error::new(Kind::TimedOut, self.operation, self.name()).detail(with(why, said))
    }
}

fn with(what: String, said: &str) -> String {
    if said.is_empty() { what } else { format!("{what}, saying: {said}") }
}

/// A program and what it started, ended when this is dropped unless the number was taken out: then the
/// program has ended, and the number may soon be that of another.
struct Group(Option<u32>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal); // it may have ended by itself just now
        }
    }

    /// Asks it to end, then ends it.
    async fn end(&mut self, child: &mut Child) {
        self.signal(Signal::TERM);
        let _ = timeout(LAST_DEEDS, child.wait()).await; // it may not care
        self.signal(Signal::KILL);
        let _ = child.wait().await; // nothing is left to be told
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// A program need not read what it could.
async fn feed(stdin: Option<ChildStdin>, input: Vec<u8>) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(&input).await; // it does not care to know
    }
}

async fn hear(mut said: pipe::Receiver, heard: Arc<Mutex<VecDeque<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = said.read(&mut buffer).await {
        let mut kept = heard.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&buffer[..length]);
        let excess = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..excess);
    }
}

/// The last lines of what was kept, on one line.
fn last_lines(kept: &VecDeque<u8>) -> String {
    let bytes: Vec<u8> = kept.iter().copied().collect();
    let lines: Vec<&[u8]> =
        bytes.split(|&b| b == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    one_line(&last.iter().map(|line| escape(line.trim_ascii())).collect::<Vec<_>>().join(" / "))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, timeout: Duration) -> String {
        let words = ["sh", "-c", script].map(String::from);
        let program = Program {
            operation: "run the hook",
            words: &words,
            variables: vec![("HIGHWATER_JOB", "nightly".into())],
            hidden: &[],
            input: b"{\"a\":1}\n".to_vec(),
            timeout,
        };
        match program.run().await {
            Ok(()) => "ok".into(),
            Err(error) => format!("{error} [{}]", error.kind().as_str()),
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_program_is_told_by_how_it_ends_and_what_it_said_last() {
        let check = async |script: &str, expected: &str| assert_eq!(sh(script, LONG).await, expected);
        check("test \"$HIGHWATER_JOB\" = nightly && read line && test \"$line\" = '{\"a\":1}'", "ok").await;
        check("exec <&-; exit 0", "ok").await;
        check("exit 3", "cannot run the hook sh: it ended with exit status: 3 [failed]").await;
        let both = "echo one; printf 'two\\033[2J\\n\\n' >&2; exit 1";
        let said = "cannot run the hook sh: it ended with exit status: 1, saying: one / two\\x1b[2J [failed]";
        check(both, said).await;
        let much = "i=0; while [ $i -lt 9000 ]; do echo line $i; i=$((i+1)); done; exit 1";
        let end = "saying: line 8995 / line 8996 / line 8997 / line 8998 / line 8999 [failed]";
        assert!(sh(much, LONG).await.ends_with(end));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_by_its_name_alone() {
        let words = ["/no/such/program", "hunter2"].map(String::from);
        let program = |words| Program {
            operation: "tell",
            words,
            variables: Vec::new(),
            hidden: &[],
            input: Vec::new(),
            timeout: LONG,
        };
        let error = program(&words).run().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (Kind::NotFound, "cannot tell /no/such/program")
        );
        assert!(!format!("{error:?}").contains("hunter2"));
        assert_eq!(program(&[]).run().await.unwrap_err().kind(), Kind::NotFound);
    }

    /// Whether the process of this number is there and not only waiting to be buried.
    fn runs(id: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn until_gone(id: &str) {
        let gone = async {
            while runs(id) {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, gone).await.expect("it goes on running");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let ids = folder.path().join("ids");
        let script = format!("echo waiting; sleep 1000 & echo $! $$ > {}; wait", ids.to_str().unwrap());
        let found = sh(&script, Duration::from_secs(1)).await;
        let expected = "cannot run the hook sh: it was ended because it took longer than 1.0s, saying: waiting \
                        [timed-out]";
        assert_eq!(found, expected);
        for id in std::fs::read_to_string(&ids).unwrap().split_whitespace() {
            until_gone(id).await;
        }
    }

    #[tokio::test]
    async fn nobody_who_waits_any_more_leaves_a_program_running() {
        let folder = tempfile::tempdir().unwrap();
        let ids = folder.path().join("ids");
        let script =
            format!("sleep 1000 & echo $! $$ > {0}.new; mv {0}.new {0}; wait", ids.to_str().unwrap());
        let there = async {
            while !ids.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            found = sh(&script, LONG) => panic!("{found}"),
            () = there => {}
        }
        for id in std::fs::read_to_string(&ids).unwrap().split_whitespace() {
            until_gone(id).await;
        }
    }
}
