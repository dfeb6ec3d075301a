//! OpenSSH user certificates (PROTOCOL.certkeys in OpenSSH's sources): a public key that an authority has
//! signed, to log in with where the server knows the authority and not the key.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PublicKey};
use russh::{AgentAuthError, Signer};
use tokio::net::UnixStream;

use super::key_file::KeyFile;
use crate::config::model::Secret;
use crate::entry::Time;
use crate::path::escape;

/// Larger files are no certificates.
const MAX_CERTIFICATE_BYTES: u64 = 256 * 1024;

/// More names than this of those a certificate is for are not told.
const MAX_NAMES: usize = 8;

/// A certificate for a key, and what it is called.
#[derive(Debug, Clone)]
pub(super) struct UserCertificate {
    pub(super) certificate: Certificate,
    /// The path of its file, escaped.
    pub(super) name: String,
}

impl UserCertificate {
    /// Reads a certificate. Otherwise says why not, for people.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let name = escape(path.as_os_str().as_encoded_bytes());
        let text = read(path).map_err(|e| format!("certificate {name} cannot be read: {e}"))?;
        let certificate = Certificate::from_openssh(text.trim());
        let certificate = certificate.map_err(|e| format!("certificate {name} is none: {e}"))?;
        match certificate.cert_type() {
            CertType::User => Ok(Self { certificate, name }),
            CertType::Host => Err(format!("certificate {name} is for hosts, not for logging in")),
        }
    }

    /// Whether it is for this key.
    pub(super) fn is_for(&self, key: &PublicKey) -> bool {
        self.certificate.public_key() == key.key_data()
    }
}

/// Where OpenSSH looks for the certificate of a key: beside it.
pub(super) fn beside(key: &KeyFile) -> Option<PathBuf> {
    let Secret::File(path) = &key.source else { return None };
    let mut path = path.clone().into_os_string();
    path.push("-cert.pub");
    Some(PathBuf::from(path)).filter(|path| path.exists())
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_CERTIFICATE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// What may be why a server refused a certificate, as far as the certificate itself tells.
pub(super) fn why_refused(certificate: &Certificate, user: &str, now: Time) -> Option<String> {
    let now = u64::try_from(now.secs).unwrap_or_default();
    let names = certificate.valid_principals();
    if now >= certificate.valid_before() {
        Some(format!("it is valid until {}", moment(certificate.valid_before())))
    } else if now < certificate.valid_after() {
        Some(format!("it is valid from {}", moment(certificate.valid_after())))
    } else if names.is_empty() {
        Some("it names nobody who may log in".into())
    } else if !names.iter().any(|name| name == user) {
        let shown: Vec<String> = names
            .iter()
            .take(MAX_NAMES)
            .map(|name| escape(name.as_bytes()).chars().take(64).collect())
            .collect();
        Some(format!("it is for {}", shown.join(", ")))
    } else {
        None
    }
}

/// A time in a certificate: seconds since 1970, UTC.
pub(super) fn moment(secs: u64) -> String {
    let time = i64::try_from(secs).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    time.map_or_else(|| "the end of time".into(), |time| time.to_string())
}

/// Signs with a key that we hold ourselves.
pub(super) struct OwnKey(pub(super) Arc<PrivateKey>);

impl Signer for OwnKey {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        sign(&self.0, hash, to_sign).map_err(|e| AgentAuthError::Key(e.into()))
    }
}

/// What is signed, followed by the signature as RFC 4252 §7 has it.
fn sign(
    key: &PrivateKey,
    hash: Option<HashAlg>,
    mut to_sign: Vec<u8>,
) -> Result<Vec<u8>, russh::keys::ssh_key::Error> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(&to_sign)?,
        _ => key.try_sign(&to_sign)?,
    };
    signature.encode_prefixed(&mut to_sign)?;
    Ok(to_sign)
}

/// Signs with a key of ssh-agent for a certificate that the agent does not hold itself.
pub(super) struct AgentKey<'a>(pub(super) &'a mut AgentClient<UnixStream>);

impl Signer for AgentKey<'_> {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        let key = AgentIdentity::from(identity.public_key().into_owned());
        Ok(self.0.sign_request(&key, hash, to_sign).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn keygen(args: &[&str], file: &Path) {
        let mut command = Command::new("ssh-keygen");
        command.arg("-q").args(args).arg(file);
        assert!(command.status().unwrap().success(), "{args:?}");
    }

    /// A key with a certificate beside it, made with these flags of ssh-keygen.
    fn certified(folder: &Path, flags: &[&str]) -> KeyFile {
        let (authority, key) = (folder.join("ca"), folder.join("key"));
        for file in [&authority, &key] {
            keygen(&["-t", "ed25519", "-N", "", "-f"], file);
        }
        let authority = authority.to_str().unwrap();
        keygen(&[&["-s", authority, "-I", "test"], flags].concat(), &key.with_extension("pub"));
        KeyFile::new(key)
    }

    #[test]
    fn what_a_certificate_is_for_tells_why_it_was_refused() {
        let check = |flags: &[&str], now: i64, expected: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            let key = certified(folder.path(), flags);
            let found = UserCertificate::read(&beside(&key).unwrap()).unwrap();
            let why = why_refused(&found.certificate, "web1", Time::from_secs(now));
            assert_eq!(why.as_deref(), expected, "{flags:?}");
        };
        let spring = 1_711_929_600; // 2024-04-01
        let valid = ["-V", "20240101000000Z:20240701000000Z", "-n", "web1,web2"];
        check(&valid, spring, None);
        check(&valid, spring + 365 * 86_400, Some("it is valid until 2024-07-01T00:00:00Z"));
        check(&valid, spring - 365 * 86_400, Some("it is valid from 2024-01-01T00:00:00Z"));
        check(&["-n", "ana,b\u{1b}c"], spring, Some("it is for ana, b\\x1bc"));
        check(&[], spring, Some("it names nobody who may log in"));
    }

    #[test]
    fn what_is_no_user_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let key = certified(folder.path(), &["-h", "-n", "host"]);
        let error = UserCertificate::read(&beside(&key).unwrap()).unwrap_err();
        assert!(error.ends_with("key-cert.pub is for hosts, not for logging in"), "{error}");
        let error = UserCertificate::read(&folder.path().join("key.pub")).unwrap_err();
        assert!(error.contains("key.pub is none"), "{error}");
        assert!(UserCertificate::read(&folder.path().join("none")).unwrap_err().contains("No such file"));
    }
}
