//! What is known of servers: what they can do, and the host keys that a person accepted.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Journal;
use super::columns::{Columns, clock_ns, time_of};
use crate::entry::Time;
use crate::error::Result;

/// A host key that a person accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The host as it is connected to.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// `ssh-ed25519` and the like.
    pub key_type: String,
    /// The public key in base64, as known_hosts has it.
    pub key: String,
    /// `SHA256:…`, as ssh shows it.
    pub fingerprint: String,
    /// When it was accepted.
    pub added: Time,
}

const ABILITIES: &str = "SELECT abilities FROM servers WHERE identity = ?1";
const SET_ABILITIES: &str = "INSERT OR REPLACE INTO servers VALUES (?1, ?2)";
const PIN: &str = "INSERT OR REPLACE INTO pins (host, port, key, key_type, fingerprint, added_ns)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const PINS: &str = "SELECT host, port, key_type, key, fingerprint, added_ns FROM pins
                    WHERE host = ?1 AND port = ?2 ORDER BY added_ns, key_type";
const UNPIN: &str = "DELETE FROM pins WHERE host = ?1 AND port = ?2";

impl Journal {
    /// What was probed of the server with this identity, as JSON; `None` if nothing was.
    pub async fn server_abilities(&self, identity: &str) -> Result<Option<String>> {
        let identity = identity.to_owned();
        self.read(move |c| c.prepare_cached(ABILITIES)?.query_row([identity], |row| row.get(0)).optional())
            .await
    }

    /// Replaces what was probed of a server.
    pub async fn set_server_abilities(&self, identity: &str, json: &str) -> Result<()> {
        let (identity, json) = (identity.to_owned(), json.to_owned());
        self.commit(move |c| c.prepare_cached(SET_ABILITIES)?.execute([identity, json]).map(drop)).await
    }

    /// Accepts a host key, beside those accepted before.
    pub async fn add_pin(&self, pin: Pin) -> Result<()> {
        self.commit(move |c| insert(c, &pin)).await
    }

    /// The accepted keys of a host, oldest first.
    pub async fn pins(&self, host: &str, port: u16) -> Result<Vec<Pin>> {
        let host = host.to_owned();
        self.read(move |c| c.prepare_cached(PINS)?.query_map(params![host, port], pin_of)?.collect()).await
    }

    /// Accepts these host keys of a host, and forgets those accepted before.
    pub async fn replace_pins(&self, host: &str, port: u16, pins: Vec<Pin>) -> Result<()> {
        let host = host.to_owned();
        self.commit(move |c| {
            c.prepare_cached(UNPIN)?.execute(params![host, port])?;
            pins.iter().try_for_each(|pin| insert(c, pin))
        })
        .await
    }
}

fn insert(c: &Connection, pin: &Pin) -> rusqlite::Result<()> {
    let added = clock_ns(pin.added);
    let values = params![pin.host, pin.port, pin.key, pin.key_type, pin.fingerprint, added];
    c.prepare_cached(PIN)?.execute(values).map(drop)
}

fn pin_of(row: &Row<'_>) -> rusqlite::Result<Pin> {
    let mut columns = Columns::new(row);
    Ok(Pin {
        host: columns.value()?,
        port: columns.value()?,
        key_type: columns.value()?,
        key: columns.value()?,
        fingerprint: columns.value()?,
        added: time_of(columns.value()?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::journal;
    use super::*;

    fn pin(port: u16, key: &str, secs: i64) -> Pin {
        Pin {
            host: "backup.example.org".into(),
            port,
            key_type: "ssh-ed25519".into(),
            key: key.into(),
            fingerprint: format!("SHA256:{key}"),
            added: Time { secs, nanos: 7 },
        }
    }

    #[tokio::test]
    async fn abilities_are_kept_per_identity() {
        let (journal, _) = journal().await;
        assert_eq!(journal.server_abilities("x").await.unwrap(), None);
        for json in ["{}", r#"{"fsync": true}"#] {
            journal.set_server_abilities("x", json).await.unwrap();
            assert_eq!(journal.server_abilities("x").await.unwrap().as_deref(), Some(json));
        }
        assert_eq!(journal.server_abilities("y").await.unwrap(), None);
    }

    #[tokio::test]
    async fn pins_belong_to_a_host_and_port() {
        let (journal, _) = journal().await;
        for pin in [pin(22, "BBB", 2), pin(22, "AAA", 1), pin(2222, "CCC", 1), pin(22, "BBB", 3)] {
            journal.add_pin(pin).await.unwrap();
        }
        let of = async |port| journal.pins("backup.example.org", port).await.unwrap();
        assert_eq!(of(22).await, [pin(22, "AAA", 1), pin(22, "BBB", 3)]);
        assert_eq!(journal.pins("backup.example.com", 22).await.unwrap(), []);
        journal.replace_pins("backup.example.org", 22, vec![pin(22, "DDD", 4)]).await.unwrap();
        assert_eq!(of(22).await, [pin(22, "DDD", 4)]);
        assert_eq!(of(2222).await, [pin(2222, "CCC", 1)]);
    }
}
