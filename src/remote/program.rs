//! A program that carries a byte stream: its standard input and output are the stream, the end of what it says on
//! standard error is kept. It is ended and reaped when the stream is dropped.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::path::escape;

/// What is kept of what a program says, in bytes.
const KEPT_BYTES: usize = 8 << 10;

/// How long a program may take to end by itself once its stream is gone.
const LAST_DEEDS: Duration = Duration::from_millis(300);

/// How long is waited for a program's last words once it has ended: what it left running may hold on to them.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a program reads and writes. Dropping this ends it.
pub(super) struct Piped {
    /// Gone once it was shut down: only that tells the program so.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    _leash: oneshot::Sender<()>,
}

/// What is known of a program from outside, also after it has ended.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    said: Arc<Mutex<Said>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

/// What a program said on standard error.
#[derive(Debug, Default)]
struct Said {
    kept: VecDeque<u8>,
    /// Lines that are kept apart, for they begin with what was asked for.
    debug: Vec<String>,
}

/// Lines that begin so are what `ssh -v` tells of itself; those with `debug1: ` are kept without it.
const DEBUG: [&str; 5] = ["debug1: ", "Authenticated to ", "OpenSSH_", "Transferred: ", "Bytes per second: "];

/// So many of them are kept: those of a handshake and a login.
const MOST_DEBUG: usize = 400;

/// Starts a program. In `unattended` use it gets a process group of its own, which is ended as a whole; otherwise it
/// stays in ours, so that it can ask for something on the terminal.
pub(super) fn start(mut command: Command, unattended: bool) -> io::Result<(Piped, Witness)> {
    if unattended {
        command.process_group(0);
    }
    command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("the program has no pipes"));
    };
    let (leash, released) = oneshot::channel();
    let (tell, ended) = watch::channel(None);
    let said = Arc::new(Mutex::new(Said::default()));
    let group = if unattended { child.id() } else { None };
    tokio::spawn(keep(child, group, stderr, Arc::clone(&said), released, tell));
    Ok((Piped { stdin: Some(stdin), stdout, _leash: leash }, Witness { said, ended }))
}

/// Listens to a program until it has ended, or ends it when nobody holds it any more; and reaps it.
async fn keep(
    mut child: Child,
    group: Option<u32>,
    stderr: ChildStderr,
    said: Arc<Mutex<Said>>,
    released: oneshot::Receiver<()>,
    tell: watch::Sender<Option<ExitStatus>>,
) {
    let hearing = tokio::spawn(hear(stderr, said));
    let ended = tokio::select! {
        status = child.wait() => status,
        _ = released => {
            // With its stream most end by themselves, some with a word.
            match timeout(LAST_DEEDS, child.wait()).await {
                Ok(status) => status,
                Err(_) => {
                    end_group(group);
                    let _ = child.start_kill(); // it may have ended by itself just now
                    child.wait().await
                }
            }
        }
    };
    let abort = hearing.abort_handle();
    let _ = timeout(LAST_WORDS, hearing).await; // what it left running may go on talking
    abort.abort();
    if let Ok(status) = ended {
        tell.send_replace(Some(status));
    }
}

fn end_group(group: Option<u32>) {
    if let Some(group) = group.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::TERM); // it may have ended by itself just now
    }
}

async fn hear(mut stderr: ChildStderr, said: Arc<Mutex<Said>>) {
    let mut buffer = [0; 4096];
    let mut line = Vec::new();
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        for &byte in &buffer[..length] {
            line.push(byte);
            if byte == b'\n' || line.len() >= KEPT_BYTES {
                lock(&said).take(&line);
                line.clear();
            }
        }
    }
    lock(&said).take(&line);
}

impl Said {
    fn take(&mut self, line: &[u8]) {
        let text = escape(line.trim_ascii());
        let is_debug = DEBUG.iter().any(|start| text.starts_with(start));
        match text.strip_prefix(DEBUG[0]).unwrap_or(&text) {
            debug if is_debug && self.debug.len() < MOST_DEBUG => self.debug.push(debug.into()),
            _ if is_debug => {}
            _ => {
                self.kept.extend(line);
                let excess = self.kept.len().saturating_sub(KEPT_BYTES);
                self.kept.drain(..excess);
            }
        }
    }
}

impl Witness {
    /// The last lines of what it said, on one line. Escaped.
    pub(super) fn last_words(&self) -> String {
        let said = lock(&self.said);
        let bytes: Vec<u8> = said.kept.iter().copied().collect();
        let lines: Vec<String> = bytes
            .split(|&b| b == b'\n')
            .map(|line| escape(line.trim_ascii()))
            .filter(|line| !line.is_empty())
            .collect();
        lines[lines.len().saturating_sub(8)..].join(" / ")
    }

    /// What it told of itself, line by line. Escaped.
    pub(super) fn debug(&self) -> Vec<String> {
        lock(&self.said).debug.clone()
    }

    /// Told once the program has ended, and how.
    pub(super) fn ended(&self) -> watch::Receiver<Option<ExitStatus>> {
        self.ended.clone()
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin.as_mut().map_or(Poll::Ready(Ok(())), |stdin| Pin::new(stdin).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.as_mut().poll_flush(cx);
        if flushed.is_ready() {
            self.stdin = None;
        }
        flushed
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::AsyncWriteExt;

    use super::*;

    fn sh(script: &str, unattended: bool) -> (Piped, Witness) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        start(command, unattended).unwrap()
    }

    #[tokio::test]
    async fn what_is_written_comes_back_and_what_it_says_is_kept() {
        let (mut stream, witness) = sh("printf 'debug1: one\\nno\\033[2J\\n\\nlast' >&2; cat; exit 3", true);
        stream.write_all(b"abc").await.unwrap();
        let mut back = [0; 3];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"abc");
        stream.shutdown().await.unwrap();
        let status = *witness.ended().wait_for(Option::is_some).await.unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(3));
        assert_eq!(
            (witness.last_words().as_str(), witness.debug()),
            ("no\\x1b[2J / last", vec!["one".into()])
        );
    }

    #[tokio::test]
    async fn it_ends_with_its_leash_and_so_does_what_it_started() {
        for unattended in [true, false] {
            let script = if unattended { "sleep 1000 & echo $!; wait" } else { "echo $$; exec sleep 1000" };
            let (mut stream, witness) = sh(script, unattended);
            let mut line = String::new();
            while !line.ends_with('\n') {
                line.push(char::from(stream.read_u8().await.unwrap()));
            }
            let mut ended = witness.ended();
            drop(stream);
            assert!(ended.wait_for(Option::is_some).await.unwrap().is_some());
            let process = format!("/proc/{}/stat", line.trim());
            let is_gone =
                || std::fs::read_to_string(Path::new(&process)).map_or(true, |stat| stat.contains(") Z "));
            let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
            while !is_gone() {
                assert!(tokio::time::Instant::now() < deadline, "{line} goes on");
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_no_program() {
        assert_eq!(
            start(Command::new("/no/such/program"), true).err().unwrap().kind(),
            io::ErrorKind::NotFound
        );
    }
}
