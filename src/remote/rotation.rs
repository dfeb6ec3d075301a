//! New host keys of a server that is known already. After the login OpenSSH tells which keys it has
//! (`hostkeys-00@openssh.com`, PROTOCOL in its sources, §2.5), and signs the session with each on request.
//! Only keys that were proven so are learned, so that a server changes its keys without anybody's help.

use std::time::Duration;

use russh::keys::PublicKey;
use tokio::time::timeout;

use super::client::look;
use super::connect::{Connection, Session};
use super::host_key::{HostKeyRecord, HostTrust, Known, Place};
use crate::error::{Error, Kind, Result};

/// How long a server may take to prove its keys.
const PROOF_DEADLINE: Duration = Duration::from_secs(30);

impl Connection {
    /// The host keys to pin in the journal from now on, in place of those there: what the server says it has
    /// and has proven to hold. `None`: it has told of none since this was asked for last, nothing is new, or
    /// the configuration or an authority decides. `trust` has the pins as they are now.
    ///
    /// Errors: `Protocol` (it did not prove them), `Disconnected`, and those of [`HostTrust::look_up`].
    pub async fn new_host_keys(&self, trust: &HostTrust) -> Result<Option<Vec<HostKeyRecord>>> {
        let Some(session) = self.session() else { return Ok(None) }; // ssh learns them by itself
        let Some(told) = look(&session.notes).told_keys.take() else { return Ok(None) };
        let shown = &self.facts.host_key;
        if matches!(self.facts.trusted, Some(Place::Config | Place::Authority(_))) {
            return Ok(None);
        }
        let known = trust.look_up(&self.endpoint().host, self.endpoint().port)?;
        let told = usable(told, &known)?;
        let keys: Vec<HostKeyRecord> = told.iter().map(|(_, record)| record.clone()).collect();
        if !keys.contains(shown) {
            return Err(self.unproven("the key that it shows is not among them"));
        }
        if !known.lacks(&keys) {
            return Ok(None);
        }
        let is_new = |record: &HostKeyRecord| record != shown && !known.has(record);
        let new: Vec<PublicKey> =
            told.into_iter().filter(|(_, record)| is_new(record)).map(|(key, _)| key).collect();
        if !new.is_empty() {
            self.prove(session, new).await?;
        }
        Ok(Some(keys))
    }

    async fn prove(&self, session: &Session, keys: Vec<PublicKey>) -> Result<()> {
        match timeout(PROOF_DEADLINE, session.handle.hostkeys_prove(keys)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) if self.is_lost() => Err(self.lost()),
            Ok(Err(error)) => Err(self.unproven("it does not prove that it has them").because(error)),
            Err(_) => Err(self.unproven("it does not prove in time that it has them")),
        }
    }

    fn unproven(&self, why: &str) -> Error {
        Error::new(Kind::Protocol, "learn the host keys of", self.endpoint()).detail(why)
    }
}

/// The keys of types that we use, each once, without those that must not be used.
fn usable(told: Vec<PublicKey>, known: &Known) -> Result<Vec<(PublicKey, HostKeyRecord)>> {
    let mut usable: Vec<(PublicKey, HostKeyRecord)> = Vec::new();
    for key in told {
        let record = HostKeyRecord::from_key(&key)?;
        let is_double = usable.iter().any(|(_, other)| *other == record);
        if !is_double && known.suite().takes(&record.key_type) && !known.is_revoked(&record) {
            usable.push((key, record));
        }
    }
    Ok(usable)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::private::Ed25519Keypair;
    use russh::server::{Auth, Config, Handler};

    use super::super::connect::{Endpoint, Login, connect_stream};
    use super::*;
    use crate::config::model::Secret;

    /// A server that lets everybody in and proves nothing.
    struct Host;

    impl Handler for Host {
        type Error = russh::Error;

        async fn auth_password(&mut self, _: &str, _: &str) -> std::result::Result<Auth, russh::Error> {
            Ok(Auth::Accept)
        }
    }

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn record(seed: u8) -> HostKeyRecord {
        HostKeyRecord::from_key(key(seed).public_key()).unwrap()
    }

    /// The key of seed 1 is the one that is shown, that of seed 9 was stolen.
    fn trust(config: &[u8], journal: &[u8], known_hosts: &[u8], folder: &std::path::Path) -> HostTrust {
        let texts = |seeds: &[u8]| seeds.iter().map(|seed| record(*seed).public_key).collect();
        let mut lines: String = format!("@revoked * {}\n", record(9).public_key);
        lines.extend(known_hosts.iter().map(|seed| format!("example.org {}\n", record(*seed).public_key)));
        let file = folder.join("known_hosts");
        std::fs::write(&file, lines).unwrap();
        let (pinned, journal_pins) = (texts(config), texts(journal));
        HostTrust { pinned, journal_pins, known_hosts: vec![file], ..HostTrust::default() }
    }

    async fn connection(trust: &HostTrust) -> Connection {
        let config = Arc::new(Config { keys: vec![key(1)], ..Config::default() });
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(russh::server::run_stream(config, far, Host));
        let password = Some(Secret::Command(vec!["echo".into(), "x".into()]));
        let endpoint = Endpoint { host: "example.org".into(), port: 22, user: "web1".into() };
        connect_stream(near, &endpoint, &Login { password, ..Login::default() }, trust).await.unwrap()
    }

    /// What the keys told of come to: those to pin, or why they are not learned.
    async fn learn(
        (config, journal, known_hosts): (&[u8], &[u8], &[u8]),
        told: &[u8],
    ) -> std::result::Result<Option<Vec<HostKeyRecord>>, String> {
        let folder = tempfile::tempdir().unwrap();
        let trust = trust(config, journal, known_hosts, folder.path());
        let connection = connection(&trust).await;
        let keys = told.iter().map(|seed| key(*seed).public_key().clone()).collect();
        look(&connection.session().expect("a session of ours").notes).told_keys = Some(keys);
        let learned = connection.new_host_keys(&trust).await;
        assert!(!connection.is_lost());
        assert_eq!(connection.new_host_keys(&trust).await.unwrap(), None, "it is looked at once");
        learned.map_err(|error| format!("{:?} {error}", error.kind()))
    }

    #[tokio::test]
    async fn keys_without_proof_are_not_learned_and_the_session_goes_on() {
        let check = async |journal: &[u8], told: &[u8], expected: &str| {
            let why = learn((&[], journal, &[]), told).await.unwrap_err();
            assert!(why.contains(expected), "{why}");
        };
        check(&[1], &[1, 2], "it does not prove that it has them").await;
        check(&[1, 3], &[1, 2], "it does not prove that it has them").await;
        check(&[1], &[2], "the key that it shows is not among them").await;
        check(&[1], &[], "is not among them").await;
    }

    #[tokio::test]
    async fn what_is_known_needs_no_proof() {
        let check = async |trust: (&[u8], &[u8], &[u8]), told: &[u8], expected: Option<&[u8]>| {
            let expected = expected.map(|seeds| seeds.iter().map(|seed| record(*seed)).collect());
            assert_eq!(learn(trust, told).await, Ok(expected), "{trust:?} {told:?}");
        };
        check((&[], &[1], &[]), &[1], None).await;
        check((&[], &[1], &[]), &[1, 1], None).await;
        check((&[], &[1], &[]), &[1, 9], None).await;
        check((&[], &[1, 2], &[]), &[1], Some(&[1])).await; // the other is not the server's any more
        check((&[], &[], &[1]), &[1], None).await;
        check((&[], &[], &[1, 2]), &[1], None).await; // what a person wrote is a person's to remove
        check((&[], &[1], &[1, 2]), &[1, 2], Some(&[1, 2])).await;
        check((&[1], &[1], &[]), &[1, 2], None).await; // the configuration decides
    }
}
