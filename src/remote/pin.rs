//! Public keys of servers, their fingerprints, and pins: what a server must show.

use aws_lc_rs::digest;
use base64ct::{Base64, Base64Unpadded, Encoding};
use russh::keys::PublicKey;

use crate::error::{Error, Kind, Result};

/// A server's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeyRecord {
    /// `ssh-ed25519` and the like.
    pub key_type: String,
    /// Type and key as in known_hosts: `ssh-ed25519 AAAA…`. What the journal keeps as a pin.
    pub public_key: String,
    /// `SHA256:…`, as OpenSSH shows it.
    pub fingerprint: String,
}

impl HostKeyRecord {
    pub(super) fn new(key_type: &str, blob: &[u8]) -> Self {
        Self {
            key_type: key_type.into(),
            public_key: format!("{key_type} {}", Base64::encode_string(blob)),
            fingerprint: fingerprint(blob),
        }
    }

    /// The record of a key as the SSH library hands it over.
    pub fn from_key(key: &PublicKey) -> Result<Self> {
        let blob =
            key.to_bytes().map_err(|e| Error::new(Kind::Protocol, "read the host key", "").because(e))?;
        Ok(Self::new(key.algorithm().as_str(), &blob))
    }
}

/// The fingerprint of a key in SSH's encoding, as OpenSSH shows it.
pub(super) fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", Base64Unpadded::encode_string(digest::digest(&digest::SHA256, blob).as_ref()))
}

/// A key that a server must show: all of it, or only its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub(super) fingerprint: String,
    /// Unknown where only a fingerprint is given.
    pub(super) key_type: Option<String>,
}

impl Pin {
    /// Takes `SHA256:…` or `ssh-ed25519 AAAA…`; otherwise says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut fields = text.split_whitespace();
        let (first, key) = (fields.next().unwrap_or_default(), fields.next());
        if let Some(hash) = first.strip_prefix("SHA256:") {
            let hash = hash.trim_end_matches('=');
            return match Base64Unpadded::decode_vec(hash) {
                Ok(bytes) if bytes.len() == 32 => {
                    Ok(Self { fingerprint: format!("SHA256:{hash}"), key_type: None })
                }
                _ => Err("a fingerprint is SHA256: and 43 characters of Base64".into()),
            };
        }
        let blob = key.and_then(|key| Base64::decode_vec(key).ok());
        let blob =
            blob.ok_or("a host key is written SHA256:… (its fingerprint) or ssh-ed25519 AAAA… (all of it)")?;
        Ok(Self { fingerprint: fingerprint(&blob), key_type: Some(first.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_openssh() {
        // ssh-keygen -lf on this key.
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let expected = "SHA256:T7SvZ2cslqpPj6nKzitCBHHlpVF3r3MvLwmFL0fk0IE";
        let record = HostKeyRecord::from_key(&key.parse().unwrap()).unwrap();
        assert_eq!((record.public_key.as_str(), record.fingerprint.as_str()), (key, expected));
        let check = |text: &str, key_type: Option<&str>| {
            let pin = Pin::parse(text).unwrap();
            assert_eq!((pin.fingerprint.as_str(), pin.key_type.as_deref()), (expected, key_type));
        };
        check(key, Some("ssh-ed25519"));
        check(&format!(" {key} root@host\n"), Some("ssh-ed25519"));
        check(expected, None);
        check(&format!("{expected}="), None);
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for text in ["", "MD5:00:11:22", "SHA256:abc", "ssh-ed25519", "ssh-ed25519 ****"] {
            assert!(Pin::parse(text).is_err(), "{text}");
        }
    }
}
