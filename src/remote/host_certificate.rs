//! Host certificates (PROTOCOL.certkeys in OpenSSH's sources): whether one that a server shows, signed by an
//! authority of a known_hosts file, makes it the host we mean.

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate};

use super::known_hosts::{Entry, pattern_matches};
use super::pin::fingerprint;
use super::user_certificate::moment;
use crate::entry::Time;
use crate::path::escape;

/// More names than this of those a certificate is for are not told.
const MAX_NAMES: usize = 8;

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// For people: "it is for other.example".
    pub why: String,
    /// It is only that its time has not come or is over.
    pub is_of_time: bool,
}

/// The place of the authority that vouches for a host of this name (as typed, or its alias; lower case).
pub(super) fn check<'a>(
    certificate: &Certificate,
    authorities: impl Iterator<Item = &'a Entry>,
    host: &str,
    now: Time,
) -> Result<String, Fault> {
    let fault = |why: String| Fault { why, is_of_time: false };
    let authority = authority_of(certificate).map_err(fault)?;
    let known = { authorities }.find(|entry| fingerprint(&entry.key) == authority);
    let known = known.ok_or_else(|| fault(format!("it is signed by {authority}, which is not known")))?;
    purpose(certificate, host).map_err(fault)?;
    in_time(certificate, now).map_err(|why| Fault { why, is_of_time: true })?;
    let trusted = authority.parse().map_err(|_| fault("its authority cannot be named".into()))?;
    let secs = u64::try_from(now.secs).unwrap_or_default();
    let valid = certificate.validate_at(secs, [&trusted]);
    valid.map_err(|_| fault("the signature of its authority is wrong".into()))?;
    Ok(known.place.clone())
}

/// The fingerprint of who signed a certificate.
pub(super) fn authority_of(certificate: &Certificate) -> Result<String, String> {
    let key = russh::keys::PublicKey::new(certificate.signature_key().clone(), "");
    Ok(fingerprint(&key.to_bytes().map_err(|e| format!("its authority cannot be read: {e}"))?))
}

fn purpose(certificate: &Certificate, host: &str) -> Result<(), String> {
    if certificate.cert_type() != CertType::Host {
        return Err("it is for users, not for hosts".into());
    }
    if certificate.signature().algorithm() == (Algorithm::Rsa { hash: None }) {
        return Err("it is signed with SHA-1".into());
    }
    if let Some((option, _)) = certificate.critical_options().iter().next() {
        return Err(format!("it asks for \"{}\", which we do not know", escape(option.as_bytes())));
    }
    let names = certificate.valid_principals();
    if names.iter().any(|name| pattern_matches(name, host)) {
        return Ok(());
    }
    let shown = names.iter().take(MAX_NAMES).map(|name| escape(name.as_bytes()).chars().take(64).collect());
    match shown.collect::<Vec<String>>() {
        names if names.is_empty() => Err("it names no host (ssh-keygen -h -n HOST does)".into()),
        names => Err(format!("it is for {}", names.join(", "))),
    }
}

fn in_time(certificate: &Certificate, now: Time) -> Result<(), String> {
    let now = u64::try_from(now.secs).unwrap_or_default();
    if now >= certificate.valid_before() {
        return Err(format!("it is valid until {}", moment(certificate.valid_before())));
    }
    match now < certificate.valid_after() {
        true => Err(format!("it is valid from {}", moment(certificate.valid_after()))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::super::known_hosts::{HostName, lookup};
    use super::*;

    fn keygen(args: &[&str], file: &Path) {
        let mut command = Command::new("ssh-keygen");
        assert!(command.arg("-q").args(args).arg(file).status().unwrap().success(), "{args:?}");
    }

    /// A certificate made with these flags, and the entries of a file that names its authority.
    fn certified(flags: &[&str], known: bool) -> (Certificate, Vec<Entry>) {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["ca", "stranger", "key"] {
            keygen(&["-t", "ed25519", "-N", "", "-f"], &file(name));
        }
        let authority = file("ca").to_str().unwrap().to_owned();
        keygen(&[&["-s", &authority, "-I", "test"], flags].concat(), &file("key.pub"));
        let named = std::fs::read_to_string(file(if known { "ca.pub" } else { "stranger.pub" })).unwrap();
        std::fs::write(file("known_hosts"), format!("@cert-authority * {named}")).unwrap();
        let entries = lookup(&file("known_hosts"), &HostName::new("host.example", 22)).unwrap();
        let certificate = std::fs::read_to_string(file("key-cert.pub")).unwrap();
        (Certificate::from_openssh(certificate.trim()).unwrap(), entries)
    }

    #[test]
    fn a_certificate_makes_a_host_the_one_we_mean_or_says_why_not() {
        const SPRING: i64 = 1_711_929_600; // 2024-04-01
        let check = |flags: &[&str], known, days: i64, expected: &str| {
            let (certificate, entries) = certified(flags, known);
            let now = Time::from_secs(SPRING + days * 86_400);
            let found = super::check(&certificate, entries.iter(), "host.example", now);
            match (&found, expected.strip_prefix("fine ")) {
                (Ok(place), Some(line)) => assert!(place.ends_with(line), "{place}"),
                (Err(fault), None) => {
                    assert!(fault.why.contains(expected), "{fault:?}");
                    assert_eq!(fault.is_of_time, expected.contains("valid"), "{fault:?}");
                }
                _ => panic!("{flags:?}: {found:?}, not {expected}"),
            }
        };
        let year = "20240101000000Z:20240701000000Z";
        let fine = ["-h", "-n", "other.example,host.example", "-V", year];
        check(&fine, true, 0, "fine known_hosts, line 1");
        check(&["-h", "-n", "*.example"], true, 0, "fine known_hosts, line 1");
        check(&fine, false, 0, "which is not known");
        check(&fine, true, 365, "valid until 2024-07-01");
        check(&fine, true, -365, "valid from 2024-01-01");
        check(&["-h", "-n", "other.example"], true, 0, "it is for other.example");
        check(&["-h"], true, 0, "it names no host");
        check(&["-n", "host.example"], true, 0, "it is for users");
        check(&["-h", "-n", "host.example", "-O", "critical:x=y"], true, 0, "it asks for \"x\"");
    }

    #[test]
    fn a_forged_certificate_is_refused() {
        let (certificate, entries) = certified(&["-h", "-n", "host.example"], true);
        let forge = |at_from_end: usize| {
            let mut bytes = certificate.to_bytes().unwrap();
            let at = bytes.len() - at_from_end;
            bytes[at] ^= 1;
            Certificate::from_bytes(&bytes).unwrap()
        };
        let now = Time::from_secs(1_711_929_600);
        let fault = super::check(&forge(1), entries.iter(), "host.example", now).unwrap_err();
        assert!(fault.why.contains("signature of its authority"), "{fault:?}");
    }
}
