//! Who may log in, with what, to which folder.
//!
//! There is no account by default and no way in without one; a server without accounts does not start.
//! Passwords are kept as keyed hashes and compared in constant time.

use std::collections::BTreeMap;
use std::path::Path;

use russh::keys::PublicKey;

use super::misbehave::Misbehave;
use super::sftp::SessionOptions;
use crate::clock::{Random, SystemRandom};
use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// The option of an authorized_keys line that takes away rights, none of which anybody has here.
const HARMLESS_OPTION: &str = "restrict";

/// Somebody who may log in.
#[derive(Debug, Clone)]
pub struct Account {
    name: String,
    keys: Vec<PublicKey>,
    password: Option<Secret>,
    options: SessionOptions,
}

/// A password, as a hash under a key that this process made up.
#[derive(Clone)]
struct Secret {
    key: [u8; 32],
    hash: blake3::Hash,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    fn new(password: &str) -> Self {
        let mut key = [0; 32];
        for half in key.chunks_exact_mut(16) {
            half.copy_from_slice(&SystemRandom.u128().to_le_bytes());
        }
        Self { key, hash: blake3::keyed_hash(&key, password.as_bytes()) }
    }

    /// blake3's hashes compare in constant time.
    fn is(&self, password: &str) -> bool {
        blake3::keyed_hash(&self.key, password.as_bytes()) == self.hash
    }
}

impl Account {
    /// An account for the folder `root`, which has to exist. Nobody can log in to it before it has a
    /// key or a password.
    pub fn new(name: &str, root: &Path) -> Result<Self> {
        let options = SessionOptions::new(root)?;
        Ok(Self { name: name.into(), keys: Vec::new(), password: None, options })
    }

    /// Lets in whoever holds the private half of `key`.
    #[must_use]
    pub fn key(mut self, key: PublicKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Lets in the keys of an authorized_keys file. A line with options is refused, as we would not keep
    /// to them; only `restrict` says nothing that is not so anyway.
    pub fn authorized_keys(mut self, text: &str) -> Result<Self> {
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if !line.is_empty() && !line.starts_with('#') {
                self.keys.push(key_of(line).ok_or_else(|| bad_line(number))?);
            }
        }
        Ok(self)
    }

    /// Lets in whoever knows the password. Errors with `Usage` if it is empty.
    pub fn password(mut self, password: &str) -> Result<Self> {
        if password.is_empty() {
            let error = Error::new(Kind::Usage, "set the password of account", escape(self.name.as_bytes()));
            return Err(error.detail("an empty password would let everybody in"));
        }
        self.password = Some(Secret::new(password));
        Ok(self)
    }

    /// Whether the account may change nothing.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options = self.options.read_only(read_only);
        self
    }

    /// The faults that the account's sessions commit.
    #[must_use]
    pub fn misbehave(mut self, script: Misbehave) -> Self {
        self.options = self.options.misbehave(script);
        self
    }

    /// What its sessions work on.
    pub(super) fn options(&self) -> &SessionOptions {
        &self.options
    }

    fn check(&self) -> Result<()> {
        let refuse = |detail: &str| {
            Err(Error::new(Kind::Usage, "set up account", escape(self.name.as_bytes())).detail(detail))
        };
        match self.name.as_str() {
            "" => refuse("an account needs a name"),
            _ if self.keys.is_empty() && self.password.is_none() => {
                refuse("it has neither a key nor a password, so nobody could log in")
            }
            _ => Ok(()),
        }
    }
}

fn key_of(line: &str) -> Option<PublicKey> {
    let key = line.strip_prefix(HARMLESS_OPTION).filter(|rest| rest.starts_with([' ', '\t']));
    PublicKey::from_openssh(key.unwrap_or(line).trim_start()).ok()
}

fn bad_line(number: usize) -> Error {
    Error::new(Kind::Usage, "read the authorised keys", format!("(line {number})"))
        .detail("it is no public key, or one with options, which are not kept to here")
        .hint("Remove the options, or the line.")
}

/// All accounts of a server, by name.
#[derive(Debug, Clone, Default)]
pub struct Accounts(BTreeMap<String, Account>);

impl Accounts {
    /// Errors with `Usage` if there is none, if two have one name, or if nobody could log in to one.
    pub fn new(accounts: impl IntoIterator<Item = Account>) -> Result<Self> {
        let mut all = BTreeMap::new();
        for account in accounts {
            account.check()?;
            if let Some(twin) = all.insert(account.name.clone(), account) {
                let error = Error::new(Kind::Usage, "set up account", escape(twin.name.as_bytes()));
                return Err(error.detail("there are two of that name"));
            }
        }
        if all.is_empty() {
            let error = Error::new(Kind::Usage, "start the server", "");
            return Err(error.detail("there is no account, so nobody could log in"));
        }
        Ok(Self(all))
    }

    /// Whether any account has a password.
    pub(super) fn take_passwords(&self) -> bool {
        self.0.values().any(|account| account.password.is_some())
    }

    /// Whether any account has a key.
    pub(super) fn take_keys(&self) -> bool {
        self.0.values().any(|account| !account.keys.is_empty())
    }

    /// The account that a password opens.
    pub(super) fn by_password(&self, name: &str, password: &str) -> Option<&Account> {
        let account = self.0.get(name)?;
        account.password.as_ref()?.is(password).then_some(account)
    }

    /// The account that a key opens, whose possession somebody else checks.
    pub(super) fn by_key(&self, name: &str, key: &PublicKey) -> Option<&Account> {
        let account = self.0.get(name)?;
        account.keys.iter().any(|known| known.key_data() == key.key_data()).then_some(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA";

    fn account(name: &str) -> Account {
        Account::new(name, Path::new("/")).unwrap()
    }

    fn key(line: &str) -> PublicKey {
        PublicKey::from_openssh(line).unwrap()
    }

    #[test]
    fn only_the_right_secret_opens_the_right_account() {
        let alice = account("alice").key(key(ALICE));
        let bob = account("bob").password("opensesame").unwrap();
        let accounts = Accounts::new([alice, bob]).unwrap();
        let check = |name: &str, password: &str, opens: bool| {
            assert_eq!(accounts.by_password(name, password).is_some(), opens, "{name} {password}");
        };
        check("bob", "opensesame", true);
        check("bob", "opensesam", false);
        check("bob", "", false);
        check("Bob", "opensesame", false);
        check("alice", "", false);
        check("", "", false);
        let check = |name: &str, line: &str, opens: bool| {
            assert_eq!(accounts.by_key(name, &key(line)).is_some(), opens, "{name} {line}");
        };
        check("alice", ALICE, true);
        check("alice", &format!("{ALICE} comment"), true);
        check("alice", BOB, false);
        check("bob", ALICE, false);
        assert!(accounts.take_keys() && accounts.take_passwords());
    }

    #[test]
    fn a_server_that_nobody_could_log_in_to_is_refused() {
        let check = |accounts: Vec<Account>, expected: &str| {
            let error = Accounts::new(accounts).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(expected), "{error}");
        };
        let alice = || account("alice").key(key(ALICE));
        check(vec![], "no account");
        check(vec![account("alice")], "neither a key nor a password");
        check(vec![alice(), alice()], "two of that name");
        check(vec![account("").key(key(ALICE))], "needs a name");
        assert!(account("bob").password("").is_err());
        assert!(Account::new("bob", Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn authorized_keys_are_read_and_options_refused() {
        let check = |text: &str, expected: Result<usize, &str>| match account("a").authorized_keys(text) {
            Ok(account) => assert_eq!(Ok(account.keys.len()), expected, "{text}"),
            Err(error) => assert!(error.to_string().contains(expected.unwrap_err()), "{error}"),
        };
        check("", Ok(0));
        check(&format!("# mine\n\n{ALICE} alice@home #1\n  {BOB}\n"), Ok(2));
        check(&format!("restrict {ALICE}\r\n"), Ok(1));
        check(&format!("{ALICE}\ncommand=\"ls -l\" {BOB}"), Err("(line 2): it is no public key"));
        check(&format!("restrict,pty {BOB}"), Err("options"));
        check(&format!("restricted {BOB}"), Err("options"));
        check("ssh-ed25519 AAAA", Err("(line 1)"));
    }
}
