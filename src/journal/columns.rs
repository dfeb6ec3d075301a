//! Our words as columns of SQLite and back. What a column cannot hold, or a row should not, is an error
//! of the row, never a panic.

use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, ToSql, Type};
use rusqlite::{Row, Statement};

use crate::entry::{Kind, Stat, Time};
use crate::hash::{ContentHash, Level};
use crate::path::RelPath;

/// Binds parameters one after the other, from the first on.
pub(super) struct Binder<'a, 'c> {
    statement: &'a mut Statement<'c>,
    next: usize,
}

impl<'a, 'c> Binder<'a, 'c> {
    pub fn new(statement: &'a mut Statement<'c>) -> Self {
        Self { statement, next: 1 }
    }

    pub fn value(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }

    pub fn path(&mut self, path: &RelPath) -> rusqlite::Result<()> {
        self.value(path.to_key())
    }

    pub fn hash(&mut self, hash: Option<&ContentHash>) -> rusqlite::Result<()> {
        self.value(hash.map(|h| &h.as_bytes()[..]))
    }

    /// Seven columns: size, mtime, mtime_ns, mode, ctime, ctime_ns, inode. The kind has its own.
    pub fn stat(&mut self, stat: &Stat) -> rusqlite::Result<()> {
        self.value(stat.size.cast_signed())?;
        self.value(stat.mtime.secs)?;
        self.value(stat.mtime.nanos)?;
        self.value(stat.mode)?;
        self.value(stat.ctime.map(|t| t.secs))?;
        self.value(stat.ctime.map(|t| t.nanos))?;
        self.value(stat.inode.map(u64::cast_signed))
    }
}

/// Reads columns one after the other, from the first on.
pub(super) struct Columns<'a, 'r> {
    row: &'a Row<'r>,
    next: usize,
}

impl<'a, 'r> Columns<'a, 'r> {
    pub fn new(row: &'a Row<'r>) -> Self {
        Self { row, next: 0 }
    }

    pub fn value<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    pub fn count(&mut self) -> rusqlite::Result<u64> {
        Ok(self.value::<i64>()?.cast_unsigned())
    }

    pub fn path(&mut self) -> rusqlite::Result<RelPath> {
        let index = self.next;
        self.next += 1;
        let key = self.row.get_ref(index)?.as_blob()?;
        RelPath::from_key(key).map_err(|e| bad(index, e))
    }

    pub fn kind(&mut self) -> rusqlite::Result<Kind> {
        let code = self.value()?;
        self.known(kind_of(code))
    }

    pub fn level(&mut self) -> rusqlite::Result<Option<Level>> {
        match self.value()? {
            None => Ok(None),
            Some(code) => self.known(level_of(code)).map(Some),
        }
    }

    pub fn hash(&mut self) -> rusqlite::Result<Option<ContentHash>> {
        Ok(self.value::<Option<[u8; 32]>>()?.map(ContentHash::from_bytes))
    }

    /// The seven columns of [`Binder::stat`].
    pub fn stat(&mut self, kind: Kind) -> rusqlite::Result<Stat> {
        let size = self.count()?;
        let mtime = Time { secs: self.value()?, nanos: self.value()? };
        let mode = self.value()?;
        let ctime = match (self.value()?, self.value()?) {
            (Some(secs), Some(nanos)) => Some(Time { secs, nanos }),
            _ => None,
        };
        let inode = self.value::<Option<i64>>()?.map(i64::cast_unsigned);
        Ok(Stat { kind, size, mtime, mode, ctime, inode })
    }

    pub fn clock(&mut self) -> rusqlite::Result<Option<Time>> {
        Ok(self.value::<Option<i64>>()?.map(time_of))
    }

    /// What was made of the column just read; an error of that column if nothing could be.
    pub fn known<T>(&self, value: Option<T>) -> rusqlite::Result<T> {
        value.ok_or_else(|| bad(self.next.saturating_sub(1), FromSqlError::InvalidType))
    }
}

fn bad(index: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Blob, Box::new(error))
}

/// Kinds as the schema numbers them.
pub(super) fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::File => 1,
        Kind::Dir => 2,
        Kind::Link => 3,
        Kind::Other => 4,
    }
}

fn kind_of(code: i64) -> Option<Kind> {
    [Kind::File, Kind::Dir, Kind::Link, Kind::Other].into_iter().find(|&k| kind_code(k) == code)
}

/// Levels as the schema numbers them.
pub(super) fn level_code(level: Level) -> i64 {
    match level {
        Level::Ack => 1,
        Level::Sample => 2,
        Level::Full => 3,
    }
}

fn level_of(code: i64) -> Option<Level> {
    [Level::Ack, Level::Sample, Level::Full].into_iter().find(|&l| level_code(l) == code)
}

const NANOS_PER_SEC: i64 = 1_000_000_000;

/// A moment of our own clock as one column: nanoseconds since 1970, good from 1677 to 2262.
pub(super) fn clock_ns(time: Time) -> i64 {
    time.secs.saturating_mul(NANOS_PER_SEC).saturating_add(i64::from(time.nanos))
}

/// Takes back what [`clock_ns`] gave.
pub(super) fn time_of(ns: i64) -> Time {
    let nanos = u32::try_from(ns.rem_euclid(NANOS_PER_SEC)).unwrap_or_default(); // always below 10^9
    Time { secs: ns.div_euclid(NANOS_PER_SEC), nanos }
}

/// A length of time as one column, in nanoseconds; what is longer than 292 years is cut.
pub(super) fn duration_ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_columns_hold_what_they_can_and_saturate_beyond() {
        let check = |secs, nanos, ns| {
            assert_eq!(clock_ns(Time { secs, nanos }), ns);
            assert_eq!(time_of(ns), Time { secs, nanos });
        };
        check(0, 0, 0);
        check(1, 5, 1_000_000_005);
        check(-1, 999_999_999, -1);
        assert_eq!(clock_ns(Time::from_secs(i64::MAX)), i64::MAX);
        assert_eq!(clock_ns(Time::from_secs(i64::MIN)), i64::MIN);
        assert_eq!(duration_ns(Duration::MAX), i64::MAX);
    }
}
