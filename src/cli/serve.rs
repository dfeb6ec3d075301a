//! `highwater serve`: a folder for SFTP clients, until a signal comes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::Serve;
use super::{Context, journals, me};
use crate::config::model::Secret;
use crate::error::{Error, Kind, Result};
use crate::journal::place::expand_home;
use crate::path::escape;
use crate::secret::reveal;
use crate::server::accounts::{Account, Accounts};
use crate::server::{HostKey, Limits, RunningServer, Server, ServerConfig};

/// The longest authorized_keys file that is read, in bytes.
const MAX_KEYS_BYTES: u64 = 1024 * 1024;

const LOGINS: &str = "Give --authorized-keys FILE, or --password-file FILE.";

/// Serves the folder and says where, then waits for a signal. The sessions there are get a goodbye.
pub async fn run(context: &Context, args: &Serve) -> Result<u8> {
    let user = args.user.clone().map_or_else(me::login_name, Ok)?;
    let accounts = Accounts::new([account(args, &user)?])?;
    let host_key = host_key(context, args)?;
    let line = host_key.public_line()?;
    let server =
        Server::start(ServerConfig { listen: args.listen, accounts, host_key, limits: Limits::default() })
            .await?;
    let told = tell(context, args, &user, &server, &line);
    if told.is_ok() {
        // Fails only if nobody could ever stop us, and then there is nothing to wait for.
        let _ = context.stop.clone().wait_for(|&stop| stop).await;
    }
    server.stop().await;
    told.map(|()| 0)
}

#[derive(Serialize)]
struct Serving<'a> {
    version: u32,
    address: String,
    port: u16,
    user: &'a str,
    read_only: bool,
    fingerprint: &'a str,
    known_hosts: String,
}

fn tell(context: &Context, args: &Serve, user: &str, server: &RunningServer, key: &str) -> Result<()> {
    let addr = server.addr();
    let known_hosts = format!("[{}]:{} {key}", addr.ip(), addr.port());
    let (address, port, fingerprint) = (addr.ip().to_string(), addr.port(), server.fingerprint());
    let serving =
        Serving { version: 1, address, port, user, read_only: args.read_only, fingerprint, known_hosts };
    context.show.either(&serving, || {
        let folder = shown(&args.folder);
        let how = if args.read_only { ", read only" } else { "" };
        let user = escape(user.as_bytes());
        format!(
            "serving {folder} to {user} at sftp://{user}@{addr}/{how}\n\
             host key {fingerprint}; for known_hosts: {}\n\
             Ctrl-C stops",
            serving.known_hosts
        )
    })
}

/// The one account. Errors with `Usage` unless there is a way to log in to it.
fn account(args: &Serve, user: &str) -> Result<Account> {
    if !args.folder.is_dir() {
        return Err(Error::new(Kind::Usage, "serve", shown(&args.folder)).detail("it is not a folder"));
    }
    let password = password(args)?;
    if password.is_none() && args.authorized_keys.is_none() {
        let error = Error::new(Kind::Usage, "serve", shown(&args.folder));
        return Err(error.detail("nobody could log in").hint(LOGINS));
    }
    let mut account = Account::new(user, &args.folder)?.read_only(args.read_only);
    if let Some(path) = &args.authorized_keys {
        account = account.authorized_keys(&read_keys(&home(path))?)?;
    }
    match password {
        Some(source) => account.password(reveal(&source)?.expose()),
        None => Ok(account),
    }
}

fn read_keys(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_KEYS_BYTES).read_to_string(&mut text));
    read.map_err(|e| Error::new(Kind::Usage, "read the authorised keys", shown(path)).because(e))?;
    Ok(text)
}

fn password(args: &Serve) -> Result<Option<Secret>> {
    match (&args.password, &args.password_file) {
        (Some(reference), _) => secret(reference).map(Some),
        (None, Some(path)) => absolute(path).map(|path| Some(Secret::File(path))),
        (None, None) => Ok(None),
    }
}

/// Reads a reference to a secret. What is refused is not repeated: it may be the secret.
fn secret(reference: &str) -> Result<Secret> {
    let refused = || {
        Error::new(Kind::Usage, "take the password", "")
            .detail("it is given by reference: other users of this machine can see the command line")
            .hint("Write env:NAME, file:PATH, cmd:COMMAND or credential:NAME.")
    };
    let words = |command: &str| command.split_whitespace().map(str::to_owned).collect();
    match reference.split_once(':') {
        Some((_, "")) => Err(refused()),
        Some(("env", name)) => Ok(Secret::Env(name.into())),
        Some(("file", path)) => absolute(Path::new(path)).map(Secret::File),
        Some(("cmd", command)) => Ok(Secret::Command(words(command))),
        Some(("credential", name)) if !name.contains('/') && name != ".." => {
            Ok(Secret::Credential(name.into()))
        }
        _ => Err(refused()),
    }
}

fn host_key(context: &Context, args: &Serve) -> Result<HostKey> {
    if let Some(path) = &args.host_key {
        return HostKey::load_or_create(&home(path));
    }
    let state = journals::state_dir(context)?;
    state.create()?;
    HostKey::load_or_create(&state.path().join("host_key"))
}

fn home(path: &Path) -> PathBuf {
    expand_home(path, &|name| std::env::var_os(name))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(home(path)).map_err(|e| Error::io("find", shown(path), e))
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_by_reference_only() {
        let check = |text: &str, expected: Secret| assert_eq!(secret(text).unwrap(), expected);
        check("env:PW", Secret::Env("PW".into()));
        check("file:/etc/pw", Secret::File("/etc/pw".into()));
        check("cmd:pass show x", Secret::Command(vec!["pass".into(), "show".into(), "x".into()]));
        check("credential:pw", Secret::Credential("pw".into()));
        for bad in ["hunter2", "hunter2:x", "env:", "credential:../hunter2"] {
            let error = secret(bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(!format!("{error:?}").contains("hunter2"), "{bad}");
        }
    }
}
