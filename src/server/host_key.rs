//! The key that our server proves itself with.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};

use crate::clock::{Random, SystemRandom};
use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// A private host key.
#[derive(Clone)]
pub struct HostKey(PrivateKey);

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

impl HostKey {
    /// A new Ed25519 key, kept nowhere.
    pub fn generate() -> Self {
        let mut seed = [0; 32];
        for half in seed.chunks_exact_mut(16) {
            half.copy_from_slice(&SystemRandom.u128().to_le_bytes());
        }
        Self(Ed25519Keypair::from_seed(&seed).into())
    }

    /// Reads the key at `path` (OpenSSH's format, no passphrase, nobody else's to read), or makes one
    /// there with mode 0600 if nothing stands there.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        match Self::load(path) {
            Err(error) if error.kind() == Kind::NotFound => Self::create(path),
            outcome => outcome,
        }
    }

    /// Reads the key at `path`.
    pub fn load(path: &Path) -> Result<Self> {
        let failed = |error: io::Error| Error::io("read the host key", shown(path), error);
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            let error = Error::new(Kind::Permission, "use the host key", shown(path));
            return Err(error.detail("others may read it").hint("chmod 600 that file."));
        }
        let text = io::read_to_string(file).map_err(failed)?;
        let key = PrivateKey::from_openssh(text.as_bytes());
        let key = key.map_err(|e| Error::new(Kind::Usage, "read the host key", shown(path)).because(e))?;
        if key.is_encrypted() {
            let error = Error::new(Kind::Usage, "use the host key", shown(path));
            return Err(error.detail("it has a passphrase").hint("Host keys are kept without one."));
        }
        Ok(Self(key))
    }

    /// Written beside its place and linked to it, so that whoever makes one at the same time finds a
    /// whole key, and the same one.
    fn create(path: &Path) -> Result<Self> {
        let key = Self::generate();
        let failed = |error: io::Error| Error::io("write a new host key", shown(path), error);
        let mut beside = path.as_os_str().to_os_string();
        beside.push(format!(".{:016x}", SystemRandom.u64()));
        let beside = Path::new(&beside);
        let written = key.write_to(beside).and_then(|()| fs::hard_link(beside, path));
        let removed = fs::remove_file(beside);
        match written {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            outcome => outcome.and(removed).map(|()| key).map_err(failed),
        }
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let text = self.0.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// `SHA256:…`, as ssh and ssh-keygen show it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The public half as a line of known_hosts has it: `ssh-ed25519 AAAA…`.
    pub fn public_line(&self) -> Result<String> {
        let line = self.0.public_key().to_openssh();
        line.map_err(|e| Error::new(Kind::Internal, "write out the host key", "").because(e))
    }

    pub(super) fn private(&self) -> PrivateKey {
        self.0.clone()
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host_key");
        let made = HostKey::load_or_create(&path).unwrap();
        let found = HostKey::load_or_create(&path).unwrap();
        assert_eq!(made.fingerprint(), found.fingerprint());
        assert!(made.fingerprint().starts_with("SHA256:"));
        assert_ne!(made.fingerprint(), HostKey::generate().fingerprint());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn ssh_keygen_agrees_with_us() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host_key");
        let key = HostKey::load_or_create(&path).unwrap();
        let output = std::process::Command::new("ssh-keygen").arg("-lf").arg(&path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&key.fingerprint()), "{text}");
        assert!(key.public_line().unwrap().starts_with("ssh-ed25519 AAAA"));
    }

    #[test]
    fn what_is_no_safe_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host_key");
        fs::write(&path, "nonsense").unwrap();
        let check = |kind| assert_eq!(HostKey::load_or_create(&path).unwrap_err().kind(), kind);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        check(Kind::Permission);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        check(Kind::Usage);
        let nowhere = folder.path().join("missing/host_key");
        assert_eq!(HostKey::load_or_create(&nowhere).unwrap_err().kind(), Kind::NotFound);
    }
}
