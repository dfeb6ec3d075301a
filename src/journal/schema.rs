//! Opening the file: what is it, is it whole, and which schema has it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::damaged;
use super::failure::{Failure, is_damage, show};
use crate::clock::{Clock, Random};
use crate::error::{Error, Kind, Result};
use crate::id::Token;

/// Marks an SQLite file as a journal of ours: "HiWa" in ASCII.
pub(super) const APPLICATION_ID: i64 = 0x4869_5761;

/// The SQL that leads from each schema version to the next; the first makes schema 1. Once released, a
/// file of these is never changed.
const MIGRATIONS: [&str; 1] = [include_str!("sql/0001.sql")];

/// How long a call waits for a lock that another process holds on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Prepared statements kept per connection: more than there are different ones.
const STATEMENTS: usize = 96;

/// What the write-ahead log is cut down to when it had grown beyond it, in bytes.
const LOG_BYTES: i64 = 64 << 20;

/// Pages of 4 KiB in the write-ahead log that make a commit move them into the file.
const CHECKPOINT_PAGES: i64 = 4_000;

/// Memory for pages of the file per connection, in KiB.
const CACHE_KIBIBYTES: i64 = 16 << 10;

/// Makes closing the last connection leave the write-ahead log as it is.
const KEEP_LOG: DbConfig = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;

/// A file that is open and fit to use.
pub(super) struct Ready {
    /// For the writer.
    pub connection: Connection,
    /// Where the damaged file was moved, if there was one.
    pub rebuilt: Option<PathBuf>,
}

/// Opens the journal at `path`, made if it is missing, brought to the newest schema if it is older,
/// moved aside and made anew if it is damaged.
pub(super) fn open(path: &Path, clock: &dyn Clock, random: &dyn Random) -> Result<Ready> {
    match look(path, random)? {
        Found::Sound(connection) => Ok(Ready { connection, rebuilt: None }),
        Found::Damaged(reason) => {
            crate::crash::point("journal: damaged, before it is moved");
            let aside = damaged::move_aside(path, clock.now())?;
            crate::crash::point("journal: damaged, moved");
            tracing::warn!(%reason, aside = show(&aside), "the journal is damaged and is rebuilt");
            rebuild(path, aside, random)
        }
    }
}

fn rebuild(path: &Path, aside: PathBuf, random: &dyn Random) -> Result<Ready> {
    match look(path, random)? {
        Found::Sound(connection) => Ok(Ready { connection, rebuilt: Some(aside) }),
        Found::Damaged(reason) => Err(cannot_open(path)
            .detail(format!("even a new file is damaged: {reason}"))
            .hint("check the disk that holds it")),
    }
}

enum Found {
    Sound(Connection),
    Damaged(String),
}

fn look(path: &Path, random: &dyn Random) -> Result<Found> {
    create_private(path).map_err(|e| cannot_open(path).because(e).hint("check the folder that holds it"))?;
    if damaged::has_only_its_log(path) {
        return Ok(Found::Damaged("the file is empty, but its write-ahead log is not".into()));
    }
    match inspect(path, random) {
        Ok(found) => Ok(found),
        Err(Refused::Sql(error)) if is_damage(&error) => Ok(Found::Damaged(error.to_string())),
        Err(Refused::Sql(error)) => Err(Failure::of(&error).error("open the journal", path)),
        Err(Refused::Foreign(error)) => Err(error),
    }
}

/// Made by us and not by SQLite, because of the mode; the -wal and -shm files take theirs from it.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map(drop)?;
    crate::crash::point("journal: made, empty");
    Ok(())
}

/// Why a file was not taken.
enum Refused {
    Sql(rusqlite::Error),
    Foreign(Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn inspect(path: &Path, random: &dyn Random) -> Result<Found, Refused> {
    let mut connection = connect(path)?;
    connection.set_db_config(KEEP_LOG, true)?; // a damaged file is kept as it was found
    let version = version_of(&connection, path)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    if let Some(damage) = quick_check(&connection)? {
        return Ok(Found::Damaged(damage));
    }
    migrate(&mut connection, version, random)?;
    connection.set_db_config(KEEP_LOG, false)?;
    Ok(Found::Sound(connection))
}

/// Opens a file that is there and has the newest schema, beside a process that uses it: nothing is
/// checked as a whole, brought up to date or moved. One into which nothing was written yet counts as missing.
pub(super) fn open_beside(path: &Path) -> Result<Connection> {
    fs::metadata(path).map_err(|e| Error::io("open the journal", show(path), e))?;
    let known = connect(path).map_err(Refused::Sql).and_then(|c| Ok((version_of(&c, path)?, c)));
    match known {
        Ok((version, connection)) if version == MIGRATIONS.len() => Ok(connection),
        Ok((0, _)) => Err(Error::new(Kind::NotFound, "open the journal", show(path))
            .detail("it has not been begun yet")
            .hint("start the daemon or run a job once: that begins it")),
        Ok(_) => Err(cannot_open(path)
            .detail("an older highwater has written it")
            .hint("start the daemon or run a job once: that brings it up to date")),
        Err(Refused::Sql(error)) => Err(Failure::of(&error).error("open the journal", path)),
        Err(Refused::Foreign(error)) => Err(error),
    }
}

/// A connection with our settings. Not made read-only even for reading: every connection must be able
/// to write the shared memory file of the log.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// The schema version of the file, 0 for a new one.
fn version_of(connection: &Connection, path: &Path) -> Result<usize, Refused> {
    let application = number(connection, "application_id")?;
    let version = number(connection, "user_version")?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, usize::try_from(version)) {
        (0, Ok(0)) if tables == 0 => Ok(0),
        (APPLICATION_ID, Ok(version)) if (1..=MIGRATIONS.len()).contains(&version) => Ok(version),
        (APPLICATION_ID, _) => Err(Refused::Foreign(newer(path, version))),
        _ => Err(Refused::Foreign(not_ours(path))),
    }
}

fn newer(path: &Path, version: i64) -> Error {
    let ours = MIGRATIONS.len();
    cannot_open(path)
        .detail(format!("it has schema {version}, and this program knows none newer than {ours}"))
        .hint("a newer highwater has written it: use that one, or another state folder (--state DIR)")
}

fn not_ours(path: &Path) -> Error {
    cannot_open(path)
        .detail("it is the database of another program")
        .hint("move it away, or use another state folder (--state DIR)")
}

fn cannot_open(path: &Path) -> Error {
    Error::new(Kind::Journal, "open the journal", show(path))
}

/// The first thing SQLite finds wrong with the file.
fn quick_check(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then_some(verdict))
}

fn migrate(connection: &mut Connection, from: usize, random: &dyn Random) -> rusqlite::Result<()> {
    if from == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for sql in &MIGRATIONS[from..] {
        transaction.execute_batch(sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len().cast_signed() as i64)?;
    if from == 0 {
        let agent = Token::draw(random);
        transaction
            .execute("INSERT INTO meta VALUES (?1, ?2)", params![super::meta::AGENT, agent.as_str()])?;
    }
    crate::crash::point("journal: schema there, not committed");
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::testing::Place;
    use super::*;

    #[test]
    fn a_new_file_is_private_and_opens_again() {
        let place = Place::new();
        for _ in 0..2 {
            let ready = place.open().unwrap();
            assert_eq!(ready.rebuilt, None);
            for name in place.names() {
                let mode = fs::metadata(place.beside(&name)).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{name}");
            }
        }
    }

    #[test]
    fn the_settings_are_in_force() {
        let place = Place::new();
        let connection = place.open().unwrap().connection;
        let check = |pragma, expected| assert_eq!(number(&connection, pragma).unwrap(), expected, "{pragma}");
        check("application_id", APPLICATION_ID);
        check("user_version", 1);
        check("foreign_keys", 1);
        check("synchronous", 1);
        check("busy_timeout", 10_000);
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn only_a_file_that_is_up_to_date_is_opened_beside_its_owner() {
        let place = Place::new();
        assert_eq!(open_beside(&place.path()).unwrap_err().kind(), Kind::NotFound);
        for made_just_now in ["", "PRAGMA journal_mode = wal"] {
            match made_just_now {
                "" => fs::write(place.path(), "").unwrap(),
                sql => place.sql(sql),
            }
            assert_eq!(open_beside(&place.path()).unwrap_err().kind(), Kind::NotFound, "{made_just_now}");
        }
        let check = |reason: &str| {
            let error = open_beside(&place.path()).unwrap_err();
            assert_eq!(error.kind(), Kind::Journal);
            assert!(error.reason().contains(reason), "{}", error.reason());
        };
        let owner = place.open().unwrap();
        open_beside(&place.path()).unwrap();
        place.sql("PRAGMA user_version = 2");
        check("schema 2");
        drop(owner);
        fs::write(place.path(), "no database").unwrap();
        check("not a database");
        assert!(!place.names().iter().any(|name| name.contains("damaged")));
    }

    fn check_refused(place: &Place, reason: &str, hint: &str) {
        let before = fs::read(place.path()).ok();
        let error = place.open().err().unwrap();
        assert_eq!(error.kind(), Kind::Journal);
        assert!(error.reason().contains(reason), "{}", error.reason());
        assert!(error.hint_text().unwrap().contains(hint), "{:?}", error.hint_text());
        assert_eq!(fs::read(place.path()).ok(), before);
        assert!(!place.names().iter().any(|name| name.contains("damaged")));
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let place = Place::new();
        drop(place.open().unwrap());
        place.sql("PRAGMA user_version = 2");
        check_refused(
            &place,
            "it has schema 2, and this program knows none newer than 1",
            "a newer highwater",
        );
        place.sql("PRAGMA user_version = 1");
        assert_eq!(place.open().unwrap().rebuilt, None);
    }

    #[test]
    fn another_programs_database_is_refused_and_left_alone() {
        for sql in ["CREATE TABLE t (x)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"] {
            let place = Place::new();
            place.sql(sql);
            check_refused(&place, "another program", "--state DIR");
        }
    }

    #[test]
    fn a_folder_in_its_place_is_refused() {
        let place = Place::new();
        fs::create_dir(place.path()).unwrap();
        check_refused(&place, "directory", "check the folder");
        let place = Place::new();
        fs::remove_dir(place.path().parent().unwrap()).unwrap();
        assert_eq!(place.open().err().unwrap().kind(), Kind::Journal);
    }
}
