//! Where state lives on this machine.
//!
//! ```text
//! <state>/journal.db             the journal of the config's jobs, with -wal and -shm while it is open
//! <state>/daemon.lock            held by the daemon
//! <state>/control.sock           where the daemon is talked to
//! <state>/pairs/<hash>/          the same for one-round commands without a config, per pair of ends
//! ```

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::failure::show;
use crate::error::{Error, Kind, Result};

/// Looks an environment variable up: `std::env::var_os`, or a table in tests.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The folder of the journal and the locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir(PathBuf);

/// The two ends of a one-round command.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// The near root, with all links resolved.
    pub local: &'a Path,
    /// The login.
    pub user: &'a str,
    /// The host that is connected to.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// The far root as the server is asked for it.
    pub remote: &'a [u8],
}

impl StateDir {
    /// The first of: `--state DIR`, what systemd made for the service (`$STATE_DIRECTORY`, so
    /// `/var/lib/highwater`; systemd.exec(5)), `$XDG_STATE_HOME/highwater`, `~/.local/state/highwater`.
    /// Makes nothing. Errors with [`Kind::Usage`] if none of them is to be had.
    pub fn resolve(cli: Option<&Path>, env: Env<'_>) -> Result<Self> {
        if let Some(path) = cli {
            return absolute(&expand_home(path, env)).map(Self);
        }
        let path = service_dir(env)
            .or_else(|| absolute_var("XDG_STATE_HOME", env).map(|p| p.join("highwater")))
            .or_else(|| home(env).map(|p| p.join(".local/state/highwater")));
        path.map(Self).ok_or_else(|| {
            Error::new(Kind::Usage, "find a folder for the state", "")
                .detail("this user has no home folder")
                .hint("name one with --state DIR")
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The journal of the config's jobs.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.db")
    }

    /// The lock that the daemon, or whoever else runs the config's jobs, holds.
    pub fn lock(&self) -> PathBuf {
        self.0.join("daemon.lock")
    }

    /// Where the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// The state of one-round commands between these two ends, whatever their flags.
    pub fn pair(&self, ends: &Ends<'_>) -> StateDir {
        let mut hasher = blake3::Hasher::new();
        let port = ends.port.to_string();
        let local = ends.local.as_os_str().as_bytes();
        for part in [local, ends.user.as_bytes(), ends.host.as_bytes(), port.as_bytes(), ends.remote] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash = hasher.finalize().to_hex();
        StateDir(self.0.join("pairs").join(&hash[..32]))
    }

    /// Makes the folder and its missing parents, closed to all others (mode 0700).
    pub fn create(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|e| {
            Error::io("make the state folder", show(&self.0), e).hint("name another one with --state DIR")
        })
    }
}

/// This user's home folder: `$HOME`, then the password file's.
pub fn home(env: Env<'_>) -> Option<PathBuf> {
    let from_env = env("HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    from_env.or_else(std::env::home_dir).filter(|p| p.is_absolute())
}

/// `~` and `~/x` with the home folder in place of the tilde; everything else as it is.
pub fn expand_home(path: &Path, env: Env<'_>) -> PathBuf {
    match (path.strip_prefix("~"), home(env)) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| {
        Error::new(Kind::Usage, "use the state folder", show(path))
            .because(e)
            .hint("name an absolute path with --state DIR")
    })
}

/// A variable that names an absolute path; the XDG base directory specification says to ignore others.
fn absolute_var(name: &str, env: Env<'_>) -> Option<PathBuf> {
    env(name).map(PathBuf::from).filter(|p| p.is_absolute())
}

/// The first of the folders that systemd made; it separates several by colons.
fn service_dir(env: Env<'_>) -> Option<PathBuf> {
    std::env::split_paths(&env("STATE_DIRECTORY")?).find(|p| p.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_state_folder_is_the_first_that_was_named() {
        let check = |cli: Option<&str>, vars: &[(&str, &str)], expected: &str| {
            let env = |name: &str| vars.iter().find(|v| v.0 == name).map(|v| OsString::from(v.1));
            let state = StateDir::resolve(cli.map(Path::new), &env).unwrap();
            assert_eq!(state.path(), Path::new(expected), "{cli:?} {vars:?}");
        };
        let home = ("HOME", "/home/ann");
        let xdg = ("XDG_STATE_HOME", "/xdg");
        let service = ("STATE_DIRECTORY", "/var/lib/highwater:/var/lib/other");
        check(Some("/s"), &[home, xdg, service], "/s");
        check(Some("~/s"), &[home], "/home/ann/s");
        check(Some("~"), &[home], "/home/ann");
        check(Some("/~/s"), &[home], "/~/s");
        check(None, &[home, xdg, service], "/var/lib/highwater");
        check(None, &[home, xdg], "/xdg/highwater");
        check(None, &[home], "/home/ann/.local/state/highwater");
        check(None, &[home, ("XDG_STATE_HOME", "relative")], "/home/ann/.local/state/highwater");
        check(None, &[home, ("XDG_STATE_HOME", "")], "/home/ann/.local/state/highwater");
    }

    #[test]
    fn a_relative_state_folder_is_taken_from_where_we_are() {
        let state = StateDir::resolve(Some(Path::new("s")), &|_| None).unwrap();
        assert_eq!(state.path(), std::env::current_dir().unwrap().join("s"));
    }

    #[test]
    fn each_part_of_the_ends_makes_another_pair() {
        let state = StateDir(PathBuf::from("/s"));
        let ends = Ends { local: Path::new("/a"), user: "u", host: "h", port: 22, remote: b"/b" };
        let pair = |ends: Ends<'_>| state.pair(&ends).path().to_owned();
        assert_eq!(pair(ends), pair(ends));
        assert_eq!(pair(ends).parent(), Some(Path::new("/s/pairs")));
        let name = pair(ends).file_name().unwrap().to_owned();
        assert_eq!(name, "6afb520e929824650c3819c0ac31337a", "a pair that moves loses its journal");
        for other in [
            Ends { local: Path::new("/a/"), user: "v", ..ends },
            Ends { local: Path::new("/"), ..ends },
            Ends { user: "uh", host: "", ..ends },
            Ends { port: 2222, ..ends },
            Ends { remote: b"b", ..ends },
        ] {
            assert_ne!(pair(other), pair(ends), "{other:?}");
        }
    }

    #[test]
    fn folders_are_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir(folder.path().join("a/b"));
        state.create().unwrap();
        state.create().unwrap();
        for path in [state.path(), state.path().parent().unwrap()] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }
}
