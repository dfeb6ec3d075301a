//! Whether a server is the one we mean: what is known of its host keys, and what follows from the
//! one it shows.
//!
//! Pins of the configuration come first, then the pins kept in the journal, then OpenSSH's known_hosts.
//! The first that knows the host decides. A key of another type than the known ones is a changed key:
//! whoever wants to be taken for the server would otherwise only have to offer a type we have not seen.

use std::collections::BTreeSet;
use std::path::PathBuf;

use russh::keys::{Algorithm, Certificate};

use super::algorithms::{Offer, Suite, has_type};
use super::host_certificate::{self, Fault, authority_of};
use super::known_hosts::{self, Entry, HostName, Mark};
use super::pin::fingerprint;
pub use super::pin::{HostKeyRecord, Pin};
use crate::entry::Time;
use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// Whom to trust, as the caller has it. Paths and pins are taken as they are.
#[derive(Debug, Clone, Default)]
pub struct HostTrust {
    /// Pins of the configuration: [`Pin::parse`]. Any of them will do.
    pub pinned: Vec<String>,
    /// Pins kept in the journal.
    pub journal_pins: Vec<String>,
    /// Files as of OpenSSH: `~/.ssh/known_hosts`, `/etc/ssh/ssh_known_hosts`. Those missing are empty.
    pub known_hosts: Vec<PathBuf>,
    /// The name to look up instead of the host's (`HostKeyAlias` of ssh_config), without a port.
    pub alias: Option<String>,
    /// Accept the key of a host that nothing is known of, and hand it back to be pinned.
    pub accept_new: bool,
    /// The algorithms it may prove itself and be spoken to with.
    pub suite: Suite,
}

impl HostTrust {
    /// Gathers what is known of a host. Reads the known_hosts files.
    /// Errors: a pin that is none (`Usage`), a file that exists and cannot be read or understood.
    pub fn look_up(&self, host: &str, port: u16) -> Result<Known> {
        let host = self.alias.as_deref().unwrap_or(host);
        let name = HostName::new(host, if self.alias.is_some() { 22 } else { port });
        let mut entries = Vec::new();
        for path in &self.known_hosts {
            entries.extend(known_hosts::lookup(path, &name)?);
        }
        Ok(Known {
            config: pins(&self.pinned)?,
            journal: pins(&self.journal_pins)?,
            entries,
            host: host.to_lowercase(),
            suite: self.suite.clone(),
        })
    }
}

fn pins(texts: &[String]) -> Result<Vec<Pin>> {
    let parse = |text: &String| {
        Pin::parse(text)
            .map_err(|e| Error::new(Kind::Usage, "use the host key", escape(text.as_bytes())).detail(e))
    };
    texts.iter().map(parse).collect()
}

/// What is known of one host.
#[derive(Debug, Clone, Default)]
pub struct Known {
    config: Vec<Pin>,
    journal: Vec<Pin>,
    entries: Vec<Entry>,
    /// What certificates must name, lower case.
    host: String,
    suite: Suite,
}

/// Where a key is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// As `host_key` in the configuration.
    Config,
    /// By `highwater server trust`, or accepted at first contact.
    Journal,
    /// In a known_hosts file: file and line, for people.
    KnownHosts(String),
    /// By an authority that signed its certificate, named in a known_hosts file: file and line.
    Authority(String),
    /// Where `ssh` itself looks, which made the session.
    Ssh,
}

/// What follows from the key that a server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key is recorded there.
    Trusted(Place),
    /// Nothing is known of the host.
    Unknown,
    /// Another key is known: its fingerprint, and where it is recorded.
    Changed {
        /// The fingerprint on record.
        known: String,
        /// Where it is recorded.
        place: Place,
    },
    /// The key was stolen or retired: a known_hosts file says so (file and line).
    Revoked(String),
    /// Only an authority that signs host keys is known (file and line), and the server shows a bare key.
    Authority(String),
    /// It shows a certificate that does not make it the host we mean.
    Certificate(Fault),
}

impl Known {
    /// The host key algorithms to offer: first those for which a key is known, so that a server with
    /// several keys shows the one we know. Certificates are asked for where an authority is known that
    /// could vouch for them.
    pub(super) fn offer(&self) -> Offer {
        let by_authority = self.deciding_pins().is_none() && self.marked(Mark::Authority).next().is_some();
        Offer {
            host_keys: self.algorithms(),
            certificates: if by_authority { Suite::default().host_keys() } else { Vec::new() },
            suite: self.suite.clone(),
        }
    }

    /// Algorithms that may be used with the server.
    pub(super) fn suite(&self) -> &Suite {
        &self.suite
    }

    fn algorithms(&self) -> Vec<Algorithm> {
        let known = self.known_types();
        let is_known = |algorithm: &Algorithm| known.iter().any(|name| has_type(algorithm, name));
        let (first, rest): (Vec<_>, Vec<_>) = self.suite.host_keys().into_iter().partition(is_known);
        first.into_iter().chain(rest).collect()
    }

    /// Whether only fingerprints are known, so that the pinned key may be of a type not offered first.
    pub(super) fn may_be_of_any_type(&self) -> bool {
        self.deciding_pins().is_some_and(|(pins, _)| pins.iter().any(|pin| pin.key_type.is_none()))
    }

    /// The same of a host that has shown this key: from now on it must show this one.
    pub(super) fn only(&self, shown: &HostKeyRecord) -> Self {
        let pin = Pin { fingerprint: shown.fingerprint.clone(), key_type: Some(shown.key_type.clone()) };
        Self { config: vec![pin], journal: Vec::new(), ..self.clone() }
    }

    /// What follows from the key that the server shows.
    pub fn judge(&self, shown: &HostKeyRecord) -> Verdict {
        let is_shown = |entry: &&Entry| fingerprint(&entry.key) == shown.fingerprint;
        if let Some(entry) = self.marked(Mark::Revoked).find(is_shown) {
            return Verdict::Revoked(entry.place.clone());
        }
        if let Some((pins, place)) = self.deciding_pins() {
            return judge_pins(pins, place, shown);
        }
        let confirming = self.marked(Mark::Known).chain(self.marked(Mark::KnownWithoutPort)).find(is_shown);
        if let Some(entry) = confirming {
            return Verdict::Trusted(Place::KnownHosts(entry.place.clone()));
        }
        let same_type = self.marked(Mark::Known).find(|entry| entry.key_type == shown.key_type);
        if let Some(entry) = same_type.or_else(|| self.marked(Mark::Known).next()) {
            let place = Place::KnownHosts(entry.place.clone());
            return Verdict::Changed { known: fingerprint(&entry.key), place };
        }
        match self.marked(Mark::Authority).next() {
            Some(entry) => Verdict::Authority(entry.place.clone()),
            None => Verdict::Unknown,
        }
    }

    /// What follows from a certificate that the server shows, `shown` being the key it is for.
    pub(super) fn judge_certificate(
        &self,
        certificate: &Certificate,
        shown: &HostKeyRecord,
        now: Time,
    ) -> Verdict {
        let signed_by = authority_of(certificate).unwrap_or_default();
        let is_revoked = |entry: &&Entry| fingerprint(&entry.key) == signed_by;
        if let Some(entry) = self.marked(Mark::Revoked).find(is_revoked) {
            return Verdict::Revoked(entry.place.clone());
        }
        let of_key = self.judge(shown);
        if self.deciding_pins().is_some() || matches!(of_key, Verdict::Revoked(_)) {
            return of_key;
        }
        match host_certificate::check(certificate, self.marked(Mark::Authority), &self.host, now) {
            Ok(place) => Verdict::Trusted(Place::Authority(place)),
            Err(_) if matches!(of_key, Verdict::Trusted(_)) => of_key,
            Err(fault) => Verdict::Certificate(fault),
        }
    }

    /// Whether a known_hosts file says that a key must not be used.
    pub(super) fn is_revoked(&self, key: &HostKeyRecord) -> bool {
        self.marked(Mark::Revoked).any(|entry| fingerprint(&entry.key) == key.fingerprint)
    }

    /// Whether a key is pinned or in a known_hosts file.
    pub(super) fn has(&self, key: &HostKeyRecord) -> bool {
        let mut pins = self.journal.iter().chain(&self.config).map(|pin| pin.fingerprint.as_str());
        pins.any(|pin| pin == key.fingerprint)
            || self.marked(Mark::Known).any(|entry| fingerprint(&entry.key) == key.fingerprint)
    }

    /// Whether these keys of the host are other ones than those pinned, or, where none are pinned, whether
    /// some are in no known_hosts file.
    pub(super) fn lacks(&self, keys: &[HostKeyRecord]) -> bool {
        let pinned: BTreeSet<&str> = self.journal.iter().map(|pin| pin.fingerprint.as_str()).collect();
        let shown: BTreeSet<&str> = keys.iter().map(|key| key.fingerprint.as_str()).collect();
        if !pinned.is_empty() {
            return pinned != shown;
        }
        let known: BTreeSet<String> = self.marked(Mark::Known).map(|entry| fingerprint(&entry.key)).collect();
        !shown.iter().all(|key| known.contains(*key))
    }

    fn deciding_pins(&self) -> Option<(&[Pin], Place)> {
        if !self.config.is_empty() {
            return Some((&self.config, Place::Config));
        }
        (!self.journal.is_empty()).then_some((&self.journal, Place::Journal))
    }

    fn marked(&self, mark: Mark) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.mark == mark)
    }

    fn known_types(&self) -> Vec<&str> {
        if let Some((pins, _)) = self.deciding_pins() {
            return pins.iter().filter_map(|pin| pin.key_type.as_deref()).collect();
        }
        let keys = self.marked(Mark::Known).chain(self.marked(Mark::KnownWithoutPort));
        keys.map(|entry| entry.key_type.as_str()).collect()
    }
}

fn judge_pins(pins: &[Pin], place: Place, shown: &HostKeyRecord) -> Verdict {
    if pins.iter().any(|pin| pin.fingerprint == shown.fingerprint) {
        return Verdict::Trusted(place);
    }
    let known: Vec<&str> = pins.iter().map(|pin| pin.fingerprint.as_str()).collect();
    Verdict::Changed { known: known.join(" or "), place }
}

/// The algorithms of one type of key at a time.
pub(super) fn by_type(algorithms: &[Algorithm]) -> impl Iterator<Item = &[Algorithm]> {
    let is_rsa = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Rsa { .. });
    algorithms.chunk_by(move |a, b| is_rsa(a) && is_rsa(b))
}

/// The error for a key that is not trusted. `target` is user, host and port for people; `host` and
/// `port` are what `highwater server trust` takes.
pub(super) fn refusal(
    verdict: &Verdict,
    shown: &HostKeyRecord,
    target: &str,
    host: &str,
    port: u16,
) -> Error {
    let kind = match verdict {
        Verdict::Changed { .. } | Verdict::Revoked(_) => Kind::HostKeyChanged,
        Verdict::Certificate(fault) if !fault.is_of_time => Kind::HostKeyChanged,
        _ => Kind::HostKeyUnknown,
    };
    let key = format!("{} {}", shown.key_type, shown.fingerprint);
    let trust = trust_command(host, port);
    let error = Error::new(kind, "trust the host key of", target);
    match verdict {
        Verdict::Changed { known, place } => error
            .detail(format!(
                "it shows {key}, but {known} is recorded {}; somebody may be listening in",
                place.describe()
            ))
            .hint(format!(
                "If the server was rebuilt, ask its operator for the new fingerprint, then {}",
                place.remedy(&trust)
            )),
        Verdict::Revoked(place) => error
            .detail(format!("it shows {key}, which is marked as revoked in {place}"))
            .hint("The key must not be used any more: ask the operator of the server."),
        Verdict::Authority(place) => error
            .detail(format!("it shows {key} without a certificate, though {place} names an authority for it"))
            .hint(format!("Compare the fingerprint with what the server's operator says, then run: {trust}")),
        Verdict::Certificate(fault) => error
            .detail(format!(
                "it shows {key} with a certificate that does not make it this host: {}",
                fault.why
            ))
            .hint("Ask the operator of the server for a certificate in force that names the host as you do."),
        Verdict::Unknown | Verdict::Trusted(_) => {
            error.detail(format!("it shows {key}, and nothing is known of this host")).hint(format!(
                "Compare the fingerprint with what the server's operator says, then run: {trust}; \
                 or accept whatever answers at first contact: --accept-new-host-key"
            ))
        }
    }
}

fn trust_command(host: &str, port: u16) -> String {
    let host = escape(host.as_bytes());
    match port {
        22 => format!("highwater server trust {host}"),
        port => format!("highwater server trust -p {port} {host}"),
    }
}

impl Place {
    fn describe(&self) -> String {
        match self {
            Place::Config => "in the configuration".into(),
            Place::Journal => "as pinned before".into(),
            Place::KnownHosts(line) => format!("in {line}"),
            Place::Authority(line) => format!("by the authority in {line}"),
            Place::Ssh => "where ssh looks".into(),
        }
    }

    fn remedy(&self, trust: &str) -> String {
        match self {
            Place::Config => "change host_key in the configuration".into(),
            Place::Journal | Place::KnownHosts(_) | Place::Authority(_) | Place::Ssh => {
                format!("run: {trust}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};

    use super::*;

    const SHOWN: &str = "ssh-ed25519 AQID";
    const OTHER: &str = "ssh-ed25519 BAUG";
    const RSA: &str = "ssh-rsa BwgJ";

    fn record(text: &str) -> HostKeyRecord {
        let (key_type, key) = text.split_once(' ').unwrap();
        HostKeyRecord::new(key_type, &Base64::decode_vec(key).unwrap())
    }

    fn known(trust: &HostTrust, known_hosts: &str, port: u16) -> Known {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        std::fs::write(&path, known_hosts).unwrap();
        let trust = HostTrust { known_hosts: vec![path], ..trust.clone() };
        trust.look_up("Host.example", port).unwrap()
    }

    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Trusted(Place::Config) => "config",
            Verdict::Trusted(Place::Journal) => "journal",
            Verdict::Trusted(Place::KnownHosts(_)) => "known",
            Verdict::Trusted(Place::Authority(_)) => "certified",
            Verdict::Trusted(Place::Ssh) => "ssh",
            Verdict::Certificate(_) => "certificate",
            Verdict::Unknown => "unknown",
            Verdict::Changed { .. } => "changed",
            Verdict::Revoked(_) => "revoked",
            Verdict::Authority(_) => "authority",
        }
    }

    #[test]
    fn known_hosts_decide_where_nothing_is_pinned() {
        let check = |lines: &str, port: u16, expected: &str| {
            let verdict = known(&HostTrust::default(), lines, port).judge(&record(SHOWN));
            assert_eq!(word(&verdict), expected, "{lines} {port}");
        };
        check("", 22, "unknown");
        check("other.example ssh-ed25519 AQID", 22, "unknown");
        check("host.example ssh-ed25519 AQID", 22, "known");
        check("host.example ssh-ed25519 BAUG\nhost.example ssh-ed25519 AQID", 22, "known");
        check("host.example ssh-ed25519 BAUG", 22, "changed");
        check("host.example ssh-rsa BwgJ", 22, "changed");
        check("host.example ssh-dss BwgJ", 22, "changed");
        check("*.example ssh-ed25519 BAUG", 22, "changed");
        check("*.example,!host.example ssh-ed25519 BAUG", 22, "unknown");
        check("[host.example]:22 ssh-ed25519 AQID", 22, "unknown");
        check("[host.example]:2222 ssh-ed25519 AQID", 2222, "known");
        check("[host.example]:2222 ssh-ed25519 BAUG", 2222, "changed");
        check("host.example ssh-ed25519 AQID", 2222, "known");
        check("host.example ssh-ed25519 BAUG", 2222, "unknown");
        check("host.example ssh-ed25519 AQID\n@revoked * ssh-ed25519 AQID", 22, "revoked");
        check("host.example ssh-ed25519 AQID\n@revoked * ssh-ed25519 BAUG", 22, "known");
        check("@revoked host.example ssh-ed25519 BAUG", 22, "unknown");
        check("@cert-authority *.example ssh-ed25519 AQID", 22, "authority");
        check("@cert-authority *.example ssh-rsa BwgJ\nhost.example ssh-ed25519 AQID", 22, "known");
    }

    #[test]
    fn pins_come_before_known_hosts_and_the_configuration_before_the_journal() {
        let fingerprint = record(SHOWN).fingerprint;
        let check = |config: &[&str], journal: &[&str], lines: &str, expected: &str| {
            let texts = |pins: &[&str]| pins.iter().map(ToString::to_string).collect();
            let trust =
                HostTrust { pinned: texts(config), journal_pins: texts(journal), ..HostTrust::default() };
            let verdict = known(&trust, lines, 22).judge(&record(SHOWN));
            assert_eq!(word(&verdict), expected, "{config:?} {journal:?} {lines}");
        };
        check(&[&fingerprint], &[], "", "config");
        check(&[&format!("{fingerprint}=")], &[], "", "config");
        check(&[OTHER, &fingerprint], &[], "", "config");
        check(&[SHOWN], &[OTHER], "host.example ssh-ed25519 BAUG", "config");
        check(&[OTHER], &[SHOWN], "host.example ssh-ed25519 AQID", "changed");
        check(&[], &[SHOWN], "host.example ssh-ed25519 BAUG", "journal");
        check(&[], &[RSA], "host.example ssh-ed25519 AQID", "changed");
        check(&[SHOWN], &[], "@revoked * ssh-ed25519 AQID", "revoked");
    }

    #[test]
    fn a_pin_that_is_none_is_a_mistake_of_the_user() {
        let trust = HostTrust { pinned: vec!["SHA256:abc".into()], ..HostTrust::default() };
        assert_eq!(trust.look_up("host", 22).unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn algorithms_of_known_keys_are_offered_first() {
        let check = |lines: &str, expected: &[&str]| {
            let offered = known(&HostTrust::default(), lines, 22).algorithms();
            assert_eq!(offered.len(), Suite::default().host_keys().len());
            let first: Vec<&str> = offered.iter().take(expected.len()).map(Algorithm::as_str).collect();
            assert_eq!(first, expected, "{lines}");
        };
        check("", &["ssh-ed25519", "ecdsa-sha2-nistp256"]);
        check("host.example ssh-rsa BwgJ", &["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
        check("host.example ecdsa-sha2-nistp384 BwgJ", &["ecdsa-sha2-nistp384", "ssh-ed25519"]);
        check("@revoked * ssh-rsa BwgJ", &["ssh-ed25519"]);
        check("host.example ssh-dss BwgJ", &["ssh-ed25519"]);
    }

    #[test]
    fn an_alias_is_looked_up_without_a_port() {
        let trust = HostTrust { alias: Some("store".into()), ..HostTrust::default() };
        let verdict = known(&trust, "store ssh-ed25519 AQID", 2222).judge(&record(SHOWN));
        assert_eq!(word(&verdict), "known");
    }

    #[test]
    fn refusals_say_what_where_and_what_to_do() {
        let check = |lines: &str, port: u16, kind: Kind, parts: &[&str]| {
            let verdict = known(&HostTrust::default(), lines, port).judge(&record(SHOWN));
            let error = refusal(&verdict, &record(SHOWN), "me@host.example", "host.example", port);
            assert_eq!(error.kind(), kind);
            let text = format!("{error} {}", error.hint_text().unwrap());
            for part in parts {
                assert!(text.contains(part), "{part} in {text}");
            }
        };
        let shown = &record(SHOWN).fingerprint;
        let other = &record(OTHER).fingerprint;
        let command = "highwater server trust -p 2222 host.example";
        check("", 2222, Kind::HostKeyUnknown, &[shown, command, "--accept-new-host-key"]);
        check("", 22, Kind::HostKeyUnknown, &["highwater server trust host.example"]);
        check(
            "host.example ssh-ed25519 BAUG",
            22,
            Kind::HostKeyChanged,
            &[shown, other, "line 1", "rebuilt"],
        );
        check("@revoked * ssh-ed25519 AQID", 22, Kind::HostKeyChanged, &[shown, "revoked"]);
        check("@cert-authority * ssh-ed25519 AQID", 22, Kind::HostKeyUnknown, &["without a certificate"]);
    }
}
