//! Private keys, mostly in files: OpenSSH's format, PEM (PKCS#1, PKCS#8, SEC1) and PuTTY's.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use russh::keys::{Algorithm, PrivateKey, PublicKey, decode_secret_key, load_public_key};
use zeroize::Zeroizing;

use crate::config::model::Secret;
use crate::path::escape;
use crate::secret::{Prompt, reveal};

/// Larger files are no keys.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// How often a person may mistype a passphrase.
const TRIES: usize = 3;

/// A private key to log in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The file, or where else the text of the key is.
    pub source: Secret,
    /// Where its passphrase is, if it has one.
    pub passphrase: Option<Secret>,
}

/// What became of opening a key file.
pub(super) enum Opened {
    /// The key.
    Ready(Box<PrivateKey>),
    /// It is encrypted and nobody gave a passphrase. With its public half, if that could be found.
    Locked(Option<PublicKey>),
    /// Only its public half is here: the private one may be in ssh-agent, or on a security key.
    Public(PublicKey),
}

impl KeyFile {
    /// A key without a passphrase, or whose passphrase a person or ssh-agent knows.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { source: Secret::File(path.into()), passphrase: None }
    }

    /// Reads the key; otherwise says why not, for people. Blocks.
    pub(super) fn open(&self, prompt: Option<&dyn Prompt>) -> Result<Opened, String> {
        if let Some(public) = self.only_public() {
            return Ok(Opened::Public(public));
        }
        let text = self.text()?;
        if !is_encrypted(&text) {
            let key = decode_secret_key(&text, None).map_err(|e| format!("is not a private key: {e}"))?;
            return Ok(match key.algorithm() {
                Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => {
                    Opened::Public(key.public_key().clone())
                }
                _ => Opened::Ready(Box::new(key)),
            });
        }
        if let Some(source) = &self.passphrase {
            let passphrase = reveal(source).map_err(|e| {
                format!("is encrypted; its passphrase cannot be had from {source}: {}", e.reason())
            })?;
            return match decode_secret_key(&text, Some(passphrase.expose())) {
                Ok(key) => Ok(Opened::Ready(Box::new(key))),
                Err(_) => Err(format!("is encrypted, and the passphrase from {source} does not open it")),
            };
        }
        match prompt {
            Some(prompt) => self.ask(&text, prompt),
            None => Ok(Opened::Locked(self.public(&text))),
        }
    }

    /// Whether it is a file that is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(&self.source, Secret::File(path) if !path.exists())
    }

    /// The public key where the file holds nothing else, or the private one is kept elsewhere.
    fn only_public(&self) -> Option<PublicKey> {
        let Secret::File(path) = &self.source else { return None };
        if path.extension().is_some_and(|extension| extension == "pub") {
            return load_public_key(path).ok();
        }
        self.public_beside().filter(|_| self.is_missing())
    }

    fn public_beside(&self) -> Option<PublicKey> {
        let Secret::File(path) = &self.source else { return None };
        let mut beside = path.clone().into_os_string();
        beside.push(".pub");
        load_public_key(beside).ok()
    }

    fn text(&self) -> Result<Zeroizing<String>, String> {
        match &self.source {
            Secret::File(path) => read(path),
            source => {
                let text = reveal(source).map_err(|e| format!("cannot be had: {}", e.reason()))?;
                Ok(Zeroizing::new(text.expose().to_string()))
            }
        }
    }

    fn ask(&self, text: &str, prompt: &dyn Prompt) -> Result<Opened, String> {
        for _ in 0..TRIES {
            let Some(passphrase) = prompt.ask(&format!("Passphrase of the key {self}: ")) else {
                return Ok(Opened::Locked(self.public(text)));
            };
            if let Ok(key) = decode_secret_key(text, Some(passphrase.expose())) {
                return Ok(Opened::Ready(Box::new(key)));
            }
        }
        Err("is encrypted, and none of the passphrases opened it".into())
    }

    /// The public half, which OpenSSH's format keeps readable and ssh-keygen writes beside the others.
    fn public(&self, text: &str) -> Option<PublicKey> {
        let within = PrivateKey::from_openssh(text).ok().map(|key| key.public_key().clone());
        within.or_else(|| self.public_beside())
    }
}

/// The path of a file, the reference to anything else. Escaped.
impl std::fmt::Display for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Secret::File(path) => f.write_str(&escape(path.as_os_str().as_encoded_bytes())),
            source => source.fmt(f),
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    let file = File::open(path).map_err(unreadable)?;
    let stat = file.metadata().map_err(unreadable)?;
    // As ssh does: a key that somebody else owns was put there on purpose (a mounted secret, say).
    if stat.mode() & 0o077 != 0 && stat.uid() == rustix::process::geteuid().as_raw() {
        return Err("may be read by others on this machine (chmod 600 helps)".into());
    }
    let mut text = Zeroizing::new(String::with_capacity(16 * 1024)); // growing would leave copies behind
    file.take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn is_encrypted(text: &str) -> bool {
    let putty = text.trim_start().starts_with("PuTTY-User-Key-File-");
    let encrypted_putty = || !text.lines().any(|line| line.trim() == "Encryption: none");
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
        || (putty && encrypted_putty())
        || PrivateKey::from_openssh(text).is_ok_and(|key| key.is_encrypted())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    use std::sync::Mutex;

    use super::*;
    use crate::secret::Revealed;

    #[derive(Debug)]
    struct Answers(Mutex<Vec<&'static str>>);

    impl Prompt for Answers {
        fn ask(&self, question: &str) -> Option<Revealed> {
            assert!(question.starts_with("Passphrase of the key /"), "{question}");
            self.0.lock().unwrap().pop().map(Revealed::new)
        }
    }

    fn echo(text: &str) -> Secret {
        Secret::Command(vec!["echo".into(), text.into()])
    }

    fn path_of(key: &KeyFile) -> &Path {
        let Secret::File(path) = &key.source else { panic!("a file") };
        path
    }

    fn generate(folder: &Path, args: &[&str], passphrase: &str) -> KeyFile {
        let path = folder.join("key");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", passphrase, "-f"]).arg(&path).args(args);
        assert!(command.status().unwrap().success());
        KeyFile::new(path)
    }

    #[test]
    fn keys_are_read_in_every_format_ssh_keygen_writes() {
        let check = |args: &[&str], passphrase: &str| {
            let folder = tempfile::tempdir().unwrap();
            let mut key = generate(folder.path(), args, passphrase);
            if !passphrase.is_empty() {
                assert!(matches!(key.open(None).unwrap(), Opened::Locked(Some(_))), "{args:?}");
                key.passphrase = Some(echo(passphrase));
            }
            let Opened::Ready(opened) = key.open(None).unwrap_or_else(|e| panic!("{args:?}: {e}")) else {
                panic!("{args:?} stays locked");
            };
            let public = load_public_key(path_of(&key).with_extension("pub")).unwrap();
            assert_eq!(opened.public_key().key_data(), public.key_data(), "{args:?}");
        };
        for passphrase in ["", "secret"] {
            check(&["-t", "ed25519"], passphrase);
            check(&["-t", "ecdsa"], passphrase);
            check(&["-t", "ecdsa", "-b", "521"], passphrase);
            check(&["-t", "rsa", "-b", "2048"], passphrase);
            check(&["-t", "rsa", "-b", "2048", "-m", "PEM"], passphrase);
            check(&["-t", "rsa", "-b", "2048", "-m", "PKCS8"], passphrase);
            check(&["-t", "ecdsa", "-m", "PKCS8"], passphrase);
        }
        check(&["-t", "ecdsa", "-m", "PEM"], "");
    }

    #[test]
    fn a_key_that_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let check = |key: &KeyFile, expected: &str| {
            let complaint = key.open(None).err().unwrap();
            assert!(complaint.contains(expected), "{complaint}");
        };
        check(&KeyFile::new(folder.path().join("none")), "No such file");
        let mut key = generate(folder.path(), &["-t", "ed25519"], "secret");
        key.passphrase = Some(echo("wrong"));
        check(&key, "the passphrase from cmd:echo wrong does not open it");
        key.passphrase = Some(Secret::Command(vec!["false".into()]));
        check(&key, "the command ended with exit status: 1");
        std::fs::set_permissions(path_of(&key), std::fs::Permissions::from_mode(0o640)).unwrap();
        check(&key, "may be read by others");
        std::fs::set_permissions(path_of(&key), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(path_of(&key), "hello").unwrap();
        check(&key, "is not a private key");
    }

    #[test]
    fn a_public_key_stands_for_one_that_is_kept_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let key = generate(folder.path(), &["-t", "ed25519"], "");
        let public = KeyFile::new(path_of(&key).with_extension("pub"));
        assert!(matches!(public.open(None).unwrap(), Opened::Public(_)));
        std::fs::remove_file(path_of(&key)).unwrap();
        assert!(matches!(key.open(None).unwrap(), Opened::Public(_)));
    }

    #[test]
    fn a_key_need_not_be_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = generate(folder.path(), &["-t", "ed25519"], "");
        let path = path_of(&file).display().to_string();
        let printed = KeyFile { source: Secret::Command(vec!["cat".into(), path]), passphrase: None };
        assert!(matches!(printed.open(None).unwrap(), Opened::Ready(_)));
        let missing = KeyFile { source: Secret::Env("HIGHWATER_NO_SUCH_VARIABLE".into()), passphrase: None };
        assert_eq!(missing.to_string(), "env:HIGHWATER_NO_SUCH_VARIABLE");
        assert!(missing.open(None).err().unwrap().starts_with("cannot be had"));
    }

    #[test]
    fn a_person_may_mistype_a_passphrase_twice() {
        let folder = tempfile::tempdir().unwrap();
        let key = generate(folder.path(), &["-t", "ed25519", "-a", "1"], "secret");
        let open = |answers: &[&'static str]| key.open(Some(&Answers(Mutex::new(answers.to_vec()))));
        assert!(matches!(open(&["secret", "no", "no"]).unwrap(), Opened::Ready(_)));
        assert!(open(&["secret", "no", "no", "no"]).is_err());
        assert!(matches!(open(&["no"][..0]).unwrap(), Opened::Locked(Some(_))));
    }
}
