//! Which algorithms a session may agree on.
//!
//! A post-quantum hybrid key exchange comes first, authenticated ciphers before others, the fastest of this
//! processor first. Nothing with SHA-1 or CBC, unless the configuration calls the server a legacy one.

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Names, Preferred, cipher, compression, kex, mac};

use super::dialect::Reader;

/// Which algorithms a server may be spoken to with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suite {
    /// SHA-1 and CBC too, and sessions whose beginning somebody in between could cut off.
    pub legacy: bool,
}

/// What is offered to a server to prove who it is.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    /// The algorithms of host keys, the best first.
    pub(super) host_keys: Vec<Algorithm>,
    /// Those of host certificates, which come before keys.
    pub(super) certificates: Vec<Algorithm>,
    pub(super) suite: Suite,
}

/// Host key algorithms in the order in which they are offered when nothing is known. No SHA-1, no DSA.
const HOST_KEYS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// `ssh-rsa` as a signature, which is made with SHA-1.
const LEGACY_HOST_KEY: Algorithm = Algorithm::Rsa { hash: None };

/// Exchanges of keys, the hybrid one first, then elliptic curves, then groups of at least 2048 bits.
const EXCHANGES: [kex::Name; 12] = [
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G18_SHA512,
    kex::DH_G17_SHA512,
    kex::DH_G15_SHA512,
    kex::DH_G14_SHA256,
];

const LEGACY_EXCHANGES: [kex::Name; 3] = [kex::DH_GEX_SHA1, kex::DH_G14_SHA1, kex::DH_G1_SHA1];

/// Not exchanges: what we know besides, told by name (RFC 8308 §2.1; PROTOCOL in OpenSSH's sources, §1.10).
const ABLE_TO: [kex::Name; 2] =
    [kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

/// AES first where the processor has instructions for it, ChaCha20 first elsewhere.
const CIPHERS_WITH_AES: [cipher::Name; 5] = [
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];
const CIPHERS_WITHOUT_AES: [cipher::Name; 5] = [
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];

const LEGACY_CIPHERS: [cipher::Name; 3] = [cipher::AES_256_CBC, cipher::AES_192_CBC, cipher::AES_128_CBC];

const MACS: [mac::Name; 4] = [mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];

const LEGACY_MACS: [mac::Name; 2] = [mac::HMAC_SHA1_ETM, mac::HMAC_SHA1];

impl Suite {
    /// The algorithms of host keys, the best first.
    pub(super) fn host_keys(&self) -> Vec<Algorithm> {
        with_legacy(self.legacy, &HOST_KEYS, &[LEGACY_HOST_KEY])
    }

    /// Whether host keys of this type, `ssh-rsa` and the like, may be used.
    pub(super) fn takes(&self, key_type: &str) -> bool {
        self.host_keys().iter().any(|algorithm| has_type(algorithm, key_type))
    }

    fn ciphers(&self, has_aes: bool) -> Vec<cipher::Name> {
        let modern = if has_aes { &CIPHERS_WITH_AES } else { &CIPHERS_WITHOUT_AES };
        with_legacy(self.legacy, modern, &LEGACY_CIPHERS)
    }

    /// Whether a session with these algorithms may go on. Without strict key exchange somebody in between
    /// can cut packets off its beginning unseen (CVE-2023-48795), except where the cipher is AES-GCM: its
    /// nonces are counted apart from the packets.
    pub(super) fn allows(&self, names: &Names) -> bool {
        let is_gcm = [cipher::AES_128_GCM, cipher::AES_256_GCM].contains(&names.cipher);
        names.strict_kex() || is_gcm || self.legacy
    }
}

impl Offer {
    /// As the SSH library takes it.
    pub(super) fn preferred(self) -> Preferred {
        let legacy = self.suite.legacy;
        let exchanges = with_legacy(legacy, &EXCHANGES, &LEGACY_EXCHANGES);
        Preferred {
            kex: exchanges.into_iter().chain(ABLE_TO).collect(),
            key: Cow::Owned(self.host_keys),
            host_key_certificates: Cow::Owned(self.certificates),
            cipher: Cow::Owned(self.suite.ciphers(has_aes())),
            mac: Cow::Owned(with_legacy(legacy, &MACS, &LEGACY_MACS)),
            compression: Cow::Borrowed(&[compression::NONE]),
        }
    }
}

/// Whether keys of the type `name` are used with this algorithm: `ssh-rsa` keys sign in several ways.
pub(super) fn has_type(algorithm: &Algorithm, name: &str) -> bool {
    match algorithm {
        Algorithm::Rsa { .. } => name == "ssh-rsa",
        other => other.as_str() == name,
    }
}

fn with_legacy<T: Clone>(legacy: bool, modern: &[T], old: &[T]) -> Vec<T> {
    let old = if legacy { old } else { &[] };
    modern.iter().chain(old).cloned().collect()
}

/// Whether the processor has instructions for AES.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// What was agreed on for a session, by the names of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    /// Key exchange.
    pub key_exchange: String,
    /// Whether it was a strict one, in which nothing can be cut off unseen.
    pub strict: bool,
    /// The server's signature.
    pub host_key: String,
    /// Cipher, the same both ways.
    pub cipher: String,
    /// Integrity of what we send and of what we receive; `none` where the cipher sees to it.
    pub mac: (String, String),
}

impl Algorithms {
    pub(super) fn new(names: &Names) -> Self {
        Self {
            key_exchange: names.kex.as_ref().into(),
            strict: names.strict_kex(),
            host_key: names.key.as_str().into(),
            cipher: names.cipher.as_ref().into(),
            mac: (names.client_mac.as_ref().into(), names.server_mac.as_ref().into()),
        }
    }
}

/// Whether a host proved itself by a signature (RFC 4253 §6.6: its algorithm, then the rest) of the algorithm that
/// was agreed on. The library takes any that the key can make: of an RSA key also one with SHA-1.
pub(super) fn is_signed_as_agreed(signature: &[u8], agreed: &str) -> bool {
    let by_certificate = agreed.strip_suffix("-cert-v01@openssh.com");
    Reader::new(signature).string() == Ok(by_certificate.unwrap_or(agreed).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::dialect::put_string;
    use super::*;

    #[test]
    fn a_signature_is_of_the_algorithm_that_was_agreed_on() {
        let check = |signed: &str, agreed: &str, expected: bool| {
            let mut signature = Vec::new();
            put_string(&mut signature, signed.as_bytes());
            put_string(&mut signature, b"whatever");
            assert_eq!(is_signed_as_agreed(&signature, agreed), expected, "{signed} for {agreed}");
        };
        check("rsa-sha2-512", "rsa-sha2-512", true);
        check("rsa-sha2-512", "rsa-sha2-512-cert-v01@openssh.com", true);
        check("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", true);
        check("ssh-rsa", "rsa-sha2-512", false);
        check("ssh-rsa", "rsa-sha2-256-cert-v01@openssh.com", false);
        check("rsa-sha2-256", "rsa-sha2-512", false);
        check("ssh-rsa", "ssh-rsa", true);
        assert!(!is_signed_as_agreed(b"", "ssh-ed25519"));
    }

    fn offer(legacy: bool) -> Preferred {
        let suite = Suite { legacy };
        Offer { host_keys: suite.host_keys(), certificates: Vec::new(), suite }.preferred()
    }

    /// All names of an offer but that of the SHA-1 in `ssh-rsa`, which does not say so.
    fn names(offer: &Preferred) -> Vec<String> {
        let exchanges = offer.kex.iter().map(|name| name.as_ref().to_owned());
        let ciphers = offer.cipher.iter().map(|name| name.as_ref().to_owned());
        let macs = offer.mac.iter().map(|name| name.as_ref().to_owned());
        exchanges.chain(ciphers).chain(macs).collect()
    }

    #[test]
    fn what_is_old_is_offered_to_legacy_servers_only() {
        let is_old = |name: &String| name.contains("sha1") || name.ends_with("-cbc");
        let old = |legacy| names(&offer(legacy)).into_iter().filter(is_old).count();
        assert_eq!((old(false), old(true)), (0, 8));
        let signs_with_sha1 = |legacy| offer(legacy).key.contains(&LEGACY_HOST_KEY);
        assert_eq!((signs_with_sha1(false), signs_with_sha1(true)), (false, true));
        let old_first = |legacy| names(&offer(legacy)).iter().position(is_old);
        assert!(old_first(true).is_some_and(|at| at >= EXCHANGES.len()), "modern ones come first");
    }

    #[test]
    fn the_best_comes_first() {
        let offer = offer(false);
        assert_eq!(offer.kex[0].as_ref(), "mlkem768x25519-sha256");
        assert_eq!(offer.kex[1].as_ref(), "curve25519-sha256");
        assert_eq!(*offer.compression, [compression::NONE]);
        let suite = Suite::default();
        assert_eq!(suite.ciphers(true)[0], cipher::AES_128_GCM);
        assert_eq!(suite.ciphers(false)[0], cipher::CHACHA20_POLY1305);
    }
}
