//! What ssh_config says of algorithms: which of those that we would offer are offered, and in which order. Nothing is
//! added that would not be offered without it: `+ssh-rsa` and the like are for `legacy: true` to say.

use std::borrow::Cow;

use russh::Preferred;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::error::{Error, Kind, Result};
use crate::path::escape;
use crate::sshconfig::names::assemble;

/// Settings as ssh_config has them, with their `+`, `-` or `^`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `KexAlgorithms`
    pub exchanges: Option<String>,
    /// `Ciphers`
    pub ciphers: Option<String>,
    /// `MACs`
    pub macs: Option<String>,
    /// `HostKeyAlgorithms`
    pub host_keys: Option<String>,
}

impl Wishes {
    /// What is offered of this. Errors with `Usage` if nothing of a kind is left.
    pub(super) fn apply(&self, offered: Preferred) -> Result<Preferred> {
        let host_keys = self.host_keys.as_deref();
        let certificates = listed(&offered.host_key_certificates, Algorithm::to_certificate_type, host_keys);
        let key = listed(&offered.key, |algorithm| algorithm.as_str().to_owned(), host_keys);
        let exchange = |name: &russh::kex::Name| name.as_ref().to_owned();
        // Not exchanges, but what we know besides (RFC 8308 §2.1; PROTOCOL in OpenSSH's sources, §1.10).
        let is_sign = |name: &russh::kex::Name| {
            exchange(name).starts_with("ext-info-") || exchange(name).starts_with("kex-strict-")
        };
        let (signs, exchanges): (Vec<_>, Vec<_>) = offered.kex.iter().copied().partition(is_sign);
        let mut kex = listed(&exchanges, exchange, self.exchanges.as_deref());
        let cipher = listed(&offered.cipher, |name| name.as_ref().to_owned(), self.ciphers.as_deref());
        let mac = listed(&offered.mac, |name| name.as_ref().to_owned(), self.macs.as_deref());
        let left = [
            (kex.is_empty(), "KexAlgorithms", &self.exchanges),
            (cipher.is_empty(), "Ciphers", &self.ciphers),
            (mac.is_empty(), "MACs", &self.macs),
            (key.is_empty() && certificates.is_empty(), "HostKeyAlgorithms", &self.host_keys),
        ];
        if let Some((_, keyword, setting)) = left.into_iter().find(|(is_empty, ..)| *is_empty) {
            return Err(none_left(keyword, setting.as_deref().unwrap_or_default()));
        }
        kex.extend(signs);
        Ok(Preferred {
            kex: Cow::Owned(kex),
            key: Cow::Owned(key),
            host_key_certificates: Cow::Owned(certificates),
            cipher: Cow::Owned(cipher),
            mac: Cow::Owned(mac),
            compression: offered.compression,
        })
    }
}

fn none_left(keyword: &str, setting: &str) -> Error {
    let subject = format!("{keyword} {}", escape(setting.as_bytes()));
    Error::new(Kind::Usage, "use what ssh_config says:", subject)
        .detail("none of these algorithms is offered here")
        .hint("Name modern ones; or say via: ssh in the server's entry of the config, and ssh makes the session.")
}

/// The offered ones that a setting leaves, in its order.
fn listed<T: Clone>(offered: &[T], name: impl Fn(&T) -> String, setting: Option<&str>) -> Vec<T> {
    let names: Vec<String> = offered.iter().map(&name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wanted = assemble(setting, &names, &names);
    wanted
        .iter()
        .filter_map(|wanted| Some(offered[names.iter().position(|name| name == wanted)?].clone()))
        .collect()
}

/// Whether a key may be used to log in, signing so (`PubkeyAcceptedAlgorithms`).
pub(super) fn is_accepted(setting: Option<&str>, key: &PublicKey, hash: Option<HashAlg>) -> bool {
    let algorithm = match key.algorithm() {
        Algorithm::Rsa { .. } => Algorithm::Rsa { hash },
        other => other,
    };
    let name = algorithm.as_str();
    !assemble(setting, &[name], &[name]).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(wishes: &Wishes) -> Result<Preferred> {
        wishes.apply(Preferred::DEFAULT)
    }

    fn names<T: AsRef<str>>(list: &[T]) -> Vec<&str> {
        list.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn lists_are_shortened_and_put_in_order_but_not_made_longer() {
        let set = |text: &str| Some(text.to_owned());
        let default = Preferred::DEFAULT;
        let usual = names(&default.kex);
        let wishes = Wishes {
            exchanges: Some(format!("{},{}", usual[1], usual[0])),
            ciphers: set("^aes256-ctr"),
            macs: set("-*etm*"),
            host_keys: set("rsa-sha2-512,ssh-ed25519"),
        };
        let offered = apply(&wishes).unwrap();
        assert_eq!(names(&offered.kex)[..2], [usual[1], usual[0]]);
        assert!(
            names(&offered.kex)[2..].iter().all(|name| name.contains("ext-info") || name.contains("strict"))
        );
        assert_eq!(names(&offered.cipher)[0], "aes256-ctr");
        assert_eq!(offered.cipher.len(), Preferred::DEFAULT.cipher.len());
        assert!(names(&offered.mac).iter().all(|name| !name.contains("etm")));
        assert_eq!(
            offered.key.iter().map(Algorithm::as_str).collect::<Vec<_>>(),
            ["rsa-sha2-512", "ssh-ed25519"]
        );
        let more = Wishes { ciphers: set("+3des-cbc,none"), ..Wishes::default() };
        assert_eq!(apply(&more).unwrap().cipher, Preferred::DEFAULT.cipher);
        assert_eq!(apply(&Wishes::default()).unwrap().kex.len(), Preferred::DEFAULT.kex.len());
    }

    #[test]
    fn nothing_left_is_a_mistake() {
        let error = apply(&Wishes { ciphers: Some("3des-cbc".into()), ..Wishes::default() }).unwrap_err();
        assert_eq!((error.kind(), error.subject()), (Kind::Usage, "Ciphers 3des-cbc"));
    }

    #[test]
    fn keys_log_in_if_their_algorithm_is_accepted() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let key: PublicKey = key.parse().unwrap();
        let check = |setting: Option<&str>, expected| assert_eq!(is_accepted(setting, &key, None), expected);
        check(None, true);
        check(Some("ssh-ed25519*"), true);
        check(Some("-ssh-ed*"), false);
        check(Some("+ssh-rsa"), true);
        check(Some("ecdsa-sha2-nistp256"), false);
    }
}
