//! Opening the file: what is it, is it whole, which schema has it, and what to do if it is damaged.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::failure::{Failure, is_damage, show};
use crate::clock::{Clock, Random};
use crate::entry::Time;
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
            let aside = move_aside(path, clock.now())?;
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
    if lost_its_file(path) {
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
    options.open(path).map(drop)
}

/// SQLite would silently throw the log of an emptied file away.
fn lost_its_file(path: &Path) -> bool {
    let size = |p: &Path| fs::metadata(p).map_or(0, |m| m.len());
    size(path) == 0 && size(&beside(path, "-wal")) > 0
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
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    let version = version_of(&connection, path)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    if let Some(damage) = quick_check(&connection)? {
        return Ok(Found::Damaged(damage));
    }
    migrate(&mut connection, version, random)?;
    Ok(Found::Sound(connection))
}

/// The settings of every connection of ours.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
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
    transaction.commit()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Renames the file and its log to a name that is free, so that `sqlite3` can still open the three.
fn move_aside(path: &Path, now: Time) -> Result<PathBuf> {
    let aside = free_name(path, now);
    for ending in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, ending), beside(&aside, ending)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::new(Kind::Journal, "move the damaged journal aside", show(path))
                    .because(e)
                    .hint("check the folder that holds it"));
            }
            _ => {}
        }
    }
    Ok(aside)
}

fn free_name(path: &Path, now: Time) -> PathBuf {
    let stamp = stamp(now);
    let first = beside(path, &format!(".damaged-{stamp}"));
    let numbered = (2..).map(|n: u64| beside(path, &format!(".damaged-{stamp}-{n}")));
    let taken = |p: &PathBuf| fs::symlink_metadata(p).is_ok();
    std::iter::once(first).chain(numbered).find(|p| !taken(p)).unwrap_or_else(|| path.into())
}

fn stamp(now: Time) -> String {
    match jiff::Timestamp::from_second(now.secs) {
        Ok(at) => at.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Err(_) => now.secs.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::clock::{ManualClock, SeededRandom};

    const PAGE_BYTES: usize = 4096;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("journal.db")
        }

        fn open(&self) -> Result<Ready> {
            let clock = ManualClock::new(Time::from_secs(1_772_331_300));
            open(&self.path(), &clock, &SeededRandom::new(1))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path()).unwrap();
            let mut names: Vec<String> =
                entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn sql(&self, sql: &str) {
            Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
        }
    }

    /// The bytes of a closed journal with enough rows for a tree of pages.
    fn filled() -> Vec<u8> {
        let place = Place::new();
        let connection = place.open().unwrap().connection;
        connection.execute("INSERT INTO jobs (name) VALUES ('j')", []).unwrap();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
                    INSERT INTO changes (job, path, what, seen)
                    SELECT 1, CAST(printf('some/path/%d', i) AS BLOB), 1, 1 FROM n";
        connection.execute(fill, []).unwrap();
        drop(connection);
        fs::read(place.path()).unwrap()
    }

    #[test]
    fn a_new_file_is_private_and_opens_again() {
        let place = Place::new();
        for _ in 0..2 {
            let ready = place.open().unwrap();
            assert_eq!(ready.rebuilt, None);
            for name in place.names() {
                let mode = fs::metadata(place.folder.path().join(&name)).unwrap().permissions().mode();
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

    fn check_damaged(bytes: &[u8], what: &str) {
        let place = Place::new();
        fs::write(place.path(), bytes).unwrap();
        let ready = place.open().unwrap();
        let aside = place.folder.path().join("journal.db.damaged-20260301T021500Z");
        assert_eq!(ready.rebuilt.as_ref(), Some(&aside), "{what}");
        assert_eq!(fs::read(aside).unwrap(), bytes, "{what}: it is kept as it was");
        let jobs: i64 = ready.connection.query_row("SELECT count(*) FROM jobs", [], |r| r.get(0)).unwrap();
        assert_eq!(jobs, 0, "{what}");
        drop(ready);
        assert_eq!(place.open().unwrap().rebuilt, None, "{what}: once is enough");
    }

    #[test]
    fn damage_of_every_page_is_found_and_the_file_kept() {
        let sound = filled();
        assert!(sound.len() > 20 * PAGE_BYTES);
        for start in (0..sound.len()).step_by(PAGE_BYTES) {
            let first_byte = if start == 0 { 100 } else { start }; // page 1 begins with the file's header
            let mut bytes = sound.clone();
            bytes[first_byte] ^= 0x5a;
            check_damaged(&bytes, &format!("page type at {start}"));
            let mut bytes = sound.clone();
            bytes[first_byte..start + PAGE_BYTES].fill(0);
            check_damaged(&bytes, &format!("zeros at {start}"));
        }
    }

    #[test]
    fn damage_of_the_file_as_a_whole_is_found() {
        let sound = filled();
        let mut flipped = sound.clone();
        flipped[0] ^= 1;
        check_damaged(&flipped, "magic");
        check_damaged(b"this is no database at all, but it is longer than nothing", "text");
        check_damaged(&[0; 3 * PAGE_BYTES], "zeros");
        for cut in [50, 100, PAGE_BYTES, PAGE_BYTES + 7, sound.len() / 2, sound.len() - PAGE_BYTES] {
            check_damaged(&sound[..cut], &format!("cut at {cut}"));
        }
    }

    #[test]
    fn a_row_that_nobody_could_have_written_is_damage() {
        let place = Place::new();
        drop(place.open().unwrap());
        place.sql(
            "PRAGMA ignore_check_constraints = on; INSERT INTO jobs (id, name, paused) VALUES (1, 'j', 9)",
        );
        assert!(place.open().unwrap().rebuilt.is_some());
    }

    #[test]
    fn an_emptied_file_with_a_log_is_damage() {
        let place = Place::new();
        fs::write(place.path(), "").unwrap();
        fs::write(place.folder.path().join("journal.db-wal"), "log").unwrap();
        assert!(place.open().unwrap().rebuilt.is_some());
        let log = place.folder.path().join("journal.db.damaged-20260301T021500Z-wal");
        assert_eq!(fs::read(log).unwrap(), b"log");
    }

    #[test]
    fn a_second_damaged_file_does_not_replace_the_first() {
        let place = Place::new();
        let stem = "journal.db.damaged-20260301T021500Z";
        for (content, name) in
            [("one", stem.to_owned()), ("two", format!("{stem}-2")), ("three", format!("{stem}-3"))]
        {
            fs::write(place.path(), content).unwrap();
            drop(place.open().unwrap());
            assert_eq!(fs::read_to_string(place.folder.path().join(name)).unwrap(), content);
        }
    }

    #[test]
    fn flipped_bits_never_panic_and_never_lose_the_file() {
        let sound = filled();
        let random = SeededRandom::new(7);
        for _ in 0..100 {
            let at = usize::try_from(random.u64() % sound.len() as u64).unwrap();
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (random.u64() % 8);
            let place = Place::new();
            fs::write(place.path(), &bytes).unwrap();
            match place.open().map(|ready| ready.rebuilt) {
                Ok(None) => {}
                Ok(Some(aside)) => assert_eq!(fs::read(aside).unwrap(), bytes, "{at}"),
                Err(error) => assert_eq!(error.kind(), Kind::Journal, "{at}: {error}"),
            }
        }
    }

    fn check_refused(place: &Place, reason: &str, hint: &str) {
        let before = place.names();
        let error = place.open().err().unwrap();
        assert_eq!(error.kind(), Kind::Journal);
        assert!(error.reason().contains(reason), "{}", error.reason());
        assert!(error.hint_text().unwrap().contains(hint), "{:?}", error.hint_text());
        assert_eq!(place.names(), before);
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
        let place = Place { folder: tempfile::tempdir().unwrap() };
        fs::remove_dir(place.folder.path()).unwrap();
        assert_eq!(place.open().err().unwrap().kind(), Kind::Journal);
    }
}
