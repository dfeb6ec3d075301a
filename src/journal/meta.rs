//! Single facts about this agent and its journal.

use rusqlite::{OptionalExtension, params};

use super::Journal;
use crate::error::{Error, Kind, Result};
use crate::id::Token;

/// The key of this agent's id.
pub(super) const AGENT: &str = "agent";

impl Journal {
    /// Who we are to far sides: drawn when the journal was made, never changed.
    pub async fn agent(&self) -> Result<Token> {
        let text = self.meta_get(AGENT).await?;
        text.as_deref().and_then(Token::parse).ok_or_else(|| {
            Error::new(Kind::Journal, "read the agent's id in", super::show(self.path()))
                .hint("move the file aside: the next start makes a new one and compares both sides")
        })
    }

    /// The value of a key; `None` if it was never set.
    pub async fn meta_get(&self, key: &str) -> Result<Option<String>> {
        let key = key.to_owned();
        self.read(move |c| {
            let mut statement = c.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
            statement.query_row([key], |row| row.get(0)).optional()
        })
        .await
    }

    /// Sets the value of a key.
    pub async fn meta_set(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.commit(move |c| {
            let mut statement = c.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
            statement.execute(params![key, value]).map(drop)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::journal;

    #[tokio::test]
    async fn values_are_kept_by_key() {
        let (journal, _) = journal().await;
        assert_eq!(journal.meta_get("generation").await.unwrap(), None);
        for value in ["1", "", "é"] {
            journal.meta_set("generation", value).await.unwrap();
            assert_eq!(journal.meta_get("generation").await.unwrap().as_deref(), Some(value));
        }
    }

    #[tokio::test]
    async fn every_journal_has_an_agent_of_its_own() {
        let (one, _) = journal().await;
        let (other, _) = journal().await;
        let agent = one.agent().await.unwrap();
        assert_eq!(one.agent().await.unwrap(), agent);
        assert_ne!(other.agent().await.unwrap(), agent);
    }
}
