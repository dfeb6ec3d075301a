//! What one check of a client has: `highwater serve`, a folder here and one over there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;

use super::{Deed, Kind, Login};
use crate::support::pair::Server;

/// See the [module](self).
pub struct Bench<'a> {
    kind: &'a Kind,
    server: &'a Server,
    login: Login,
    folder: TempDir,
    name: String,
}

impl<'a> Bench<'a> {
    /// A folder of this name is made on the server.
    pub fn new(kind: &'a Kind, server: &'a Server, peers: &Path, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        let Server::Serve(serve) = server else { panic!("it is our own that is tested") };
        let known_hosts = home.join("known_hosts");
        fs::write(&known_hosts, format!("{}\n", serve.known_hosts())).unwrap();
        let (user, port) = server.login();
        let peers = fs::canonicalize(peers).unwrap();
        let login = Login { port, user, key: server.key(), known_hosts, home, peers };
        let name = name.replace([' ', ','], "-");
        fs::create_dir(server.data().join(&name)).unwrap();
        Self { kind, server, login, folder, name }
    }

    /// A path over there, as the client has it.
    pub fn there(&self, path: &str) -> String {
        format!("/{}/{path}", self.name)
    }

    /// The same as this machine has it.
    pub fn served(&self, path: &str) -> PathBuf {
        self.server.data().join(&self.name).join(path)
    }

    /// A path here.
    pub fn here(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Has the client do something that must go well; what it printed.
    #[track_caller]
    pub fn does(&self, deed: &Deed<'_>) -> String {
        match self.try_it(deed) {
            Ok(printed) => printed,
            Err(said) => panic!("{deed:?} went wrong: {said}"),
        }
    }

    /// Has the client do something; what it complained about, if it failed.
    pub fn try_it(&self, deed: &Deed<'_>) -> Result<String, String> {
        let Some(mut command) = (self.kind.command)(&self.login, deed) else {
            panic!("this client has no command for {deed:?}");
        };
        command.current_dir(self.folder.path()).env("HOME", &self.login.home).env_remove("SSH_AUTH_SOCK");
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|e| panic!("{:?} cannot be run: {e}", command.get_program()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(format!("{}{}{}", output.status, text(&output.stderr), text(&output.stdout))),
        }
    }

    /// Has the client log in with another key from now on.
    pub fn with_key(mut self, key: PathBuf) -> Self {
        self.login.key = key;
        self
    }

    /// Has the client know another host key.
    pub fn with_known_hosts(self, line: &str) -> Self {
        fs::write(&self.login.known_hosts, line).unwrap();
        self
    }

    /// The server's line for known_hosts.
    pub fn known_hosts(&self) -> String {
        fs::read_to_string(&self.login.known_hosts).unwrap()
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.served("")); // what is left goes with the server's folder
    }
}
