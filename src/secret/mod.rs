//! Passwords and passphrases, fetched from where the configuration says they are.
//!
//! The configuration holds references only ([`Secret`]); reading one gives a [`Revealed`], which is
//! never shown and wiped when dropped.

pub mod terminal;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use crate::config::model::Secret;
use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// Longest secret that is read, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// How long a command may take to print a secret; it may have to ask a person or a device.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// A password or passphrase. Shown as "…", wiped when dropped.
/// What the SSH library is handed to send is a copy of its own, which it does not wipe.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed(Zeroizing<String>);

impl Revealed {
    /// Takes a secret as somebody typed it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A person who can be asked, where there is one. Unattended work has none.
pub trait Prompt: fmt::Debug + Send + Sync {
    /// Shows the question, which is safe to show, and reads an answer without showing it.
    /// Blocks; `None` when the person declines.
    fn ask(&self, question: &str) -> Option<Revealed>;
}

/// Fetches a secret; one line end at its end is dropped. Blocks, for a command up to a minute.
/// Errors: `Login`, saying where the secret was looked for.
pub fn reveal(source: &Secret) -> Result<Revealed> {
    let text = match source {
        Secret::Env(name) => std::env::var(name).map_err(|e| error(source).because(e))?.into(),
        Secret::File(path) => read_file(source, path, Guard::OwnerOnly)?,
        Secret::Command(words) => run(source, words)?,
        Secret::Credential(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| homeless(source))?;
            // systemd lets the service's user read it by an ACL, which shows as group bits.
            read_file(source, &Path::new(&folder).join(name), Guard::None)?
        }
    };
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(error(source).detail("it is empty"));
    }
    Ok(Revealed::new(line))
}

fn error(source: &Secret) -> Error {
    Error::new(Kind::Login, "get the secret", source)
}

fn homeless(source: &Secret) -> Error {
    error(source)
        .detail("$CREDENTIALS_DIRECTORY is not set")
        .hint("Credentials exist in services that systemd starts with LoadCredential= or SetCredential=.")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    OwnerOnly,
    None,
}

fn read_file(source: &Secret, path: &Path, guard: Guard) -> Result<Zeroizing<String>> {
    let file = File::open(path).map_err(|e| error(source).because(e))?;
    let stat = file.metadata().map_err(|e| error(source).because(e))?;
    if guard == Guard::OwnerOnly && stat.mode() & 0o077 != 0 {
        let shown = escape(path.as_os_str().as_encoded_bytes());
        let open = error(source).detail("others on this machine may read it");
        return Err(open.hint(format!("Run: chmod 600 {shown}")));
    }
    read_all(file).map_err(|e| error(source).because(e))
}

fn read_all(source: impl Read) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(4096)); // growing would leave copies behind
    source.take(MAX_SECRET_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn run(source: &Secret, words: &[String]) -> Result<Zeroizing<String>> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(error(source).detail("the command is empty"));
    };
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| error(source).because(e))?;
    let outcome = collect(source, &mut child);
    if outcome.is_err() {
        stop(&mut child);
    }
    let (status, said, complaint) = outcome?;
    if status.success() { Ok(said) } else { Err(failed(source, status, &complaint)) }
}

/// How the command ended and what it printed on its two outputs, or an error after the deadline.
fn collect(source: &Secret, child: &mut Child) -> Result<(ExitStatus, Zeroizing<String>, String)> {
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(error(source).detail("its output cannot be read"));
    };
    let deadline = Instant::now() + COMMAND_DEADLINE;
    let said = aside(move || read_all(stdout));
    let complaint = aside(move || read_text(stderr));
    let said = said.recv_timeout(COMMAND_DEADLINE).map_err(|_| endless(source))?;
    let said = said.map_err(|e| error(source).because(e))?;
    let status = wait(source, child, deadline)?;
    // Something it left running may hold this output open for ever.
    let complaint = complaint.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    Ok((status, said, complaint))
}

fn wait(source: &Secret, child: &mut Child, deadline: Instant) -> Result<ExitStatus> {
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().map_err(|e| error(source).because(e))? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(5)); // it has closed its output and is about to end
    }
    Err(endless(source))
}

fn endless(source: &Secret) -> Error {
    error(source).detail(format!("the command has not ended within {} s", COMMAND_DEADLINE.as_secs()))
}

fn failed(source: &Secret, status: ExitStatus, complaint: &str) -> Error {
    let complaint: String = complaint.chars().take(300).collect();
    let said = if complaint.is_empty() { String::new() } else { format!(": {complaint}") };
    error(source).detail(format!("the command ended with {status}{said}"))
}

/// Does something that may block on a thread of its own.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (done, outcome) = mpsc::sync_channel(1);
    std::thread::spawn(move || done.send(work()));
    outcome
}

fn read_text(source: impl Read) -> String {
    let mut text = Vec::new();
    let read = source.take(MAX_SECRET_BYTES).read_to_end(&mut text);
    read.map(|_| escape(text.trim_ascii())).unwrap_or_default() // what was said besides does not matter
}

/// Ends a command and what it started.
fn stop(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL); // it may have ended by itself just now
    }
    let _ = child.wait(); // nothing is left to be told
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn shell(script: &str) -> Secret {
        Secret::Command(["sh", "-c", script].map(String::from).into())
    }

    #[test]
    fn secrets_lose_one_line_end_and_are_never_shown() {
        let check = |script: &str, expected: &str| {
            let secret = reveal(&shell(script)).unwrap();
            assert_eq!(secret.expose(), expected);
            assert_eq!(format!("{secret:?}"), "…");
        };
        check("echo hunter2", "hunter2");
        check("printf 'a b\\r\\n'", "a b");
        check("printf ' a\\n\\n' | cat", " a\n");
    }

    #[test]
    fn what_cannot_be_had_is_told_with_its_place() {
        let check = |source: Secret, expected: &str| {
            let error = reveal(&source).unwrap_err();
            assert_eq!(error.kind(), Kind::Login);
            let text = format!("{error}: {}", error.reason());
            assert!(text.contains(expected), "{text}");
            assert!(text.contains(&source.to_string()), "{text}");
        };
        check(shell("echo locked >&2; exit 3"), "exit status: 3: locked");
        check(shell("true"), "it is empty");
        check(Secret::Command(vec!["/no/such/program".into()]), "No such file");
        check(Secret::Command(Vec::new()), "the command is empty");
        check(Secret::Env("HIGHWATER_NO_SUCH_VARIABLE".into()), "not found");
        check(Secret::File("/no/such/file".into()), "No such file");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pw");
        std::fs::write(&path, "hunter2\n").unwrap();
        let check = |mode: u32, readable: bool| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = reveal(&Secret::File(path.clone()));
            assert_eq!(read.is_ok(), readable, "{mode:o}");
        };
        check(0o600, true);
        check(0o400, true);
        check(0o640, false);
        check(0o604, false);
    }
}
