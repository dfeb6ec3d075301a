//! A damaged file: never repaired, never removed, moved out of the way under a name that says when.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::failure::show;
use crate::entry::Time;
use crate::error::{Error, Kind, Result};

/// Whether the file is empty though its log is not. SQLite would silently throw that log away.
pub(super) fn has_only_its_log(path: &Path) -> bool {
    let size = |p: &Path| fs::metadata(p).map_or(0, |m| m.len());
    size(path) == 0 && size(&beside(path, "-wal")) > 0
}

/// Renames the file and its log to a name that is free, so that `sqlite3` can still open the three.
/// The file goes first: were we cut off then, the log alone would tell the next start.
pub(super) fn move_aside(path: &Path, now: Time) -> Result<PathBuf> {
    let aside = free_name(path, now);
    for ending in ["", "-wal", "-shm"] {
        match fs::rename(beside(path, ending), beside(&aside, ending)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::new(Kind::Journal, "move the damaged journal aside", show(path))
                    .because(e)
                    .hint("check the folder that holds it"));
            }
            _ => {}
        }
        if ending.is_empty() {
            crate::crash::point("journal: damaged, moved without its log");
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

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;
    use crate::clock::{Random, SeededRandom};

    const PAGE_BYTES: usize = 4096;

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

    fn check_damaged(bytes: &[u8], what: &str) {
        let place = Place::new();
        fs::write(place.path(), bytes).unwrap();
        let ready = place.open().unwrap();
        let aside = place.beside("journal.db.damaged-20260301T021500Z");
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
        fs::write(place.beside("journal.db-wal"), "log").unwrap();
        assert!(place.open().unwrap().rebuilt.is_some());
        let log = place.beside("journal.db.damaged-20260301T021500Z-wal");
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
            assert_eq!(fs::read_to_string(place.beside(&name)).unwrap(), content);
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

    #[test]
    fn the_log_of_a_damaged_file_is_kept_as_it_was() {
        let place = Place::new();
        let sound = filled();
        fs::write(place.path(), &sound).unwrap();
        let connection = place.open().unwrap().connection;
        connection.execute("INSERT INTO jobs (name) VALUES ('in the log')", []).unwrap();
        let crashed = Place::new();
        let mut bytes = sound;
        let last_page = bytes.len() - PAGE_BYTES;
        bytes[last_page] ^= 0x5a;
        fs::write(crashed.path(), &bytes).unwrap();
        fs::copy(place.beside("journal.db-wal"), crashed.beside("journal.db-wal")).unwrap();
        let log = fs::read(crashed.beside("journal.db-wal")).unwrap();
        let aside = crashed.open().unwrap().rebuilt.unwrap();
        assert_eq!(fs::read(beside(&aside, "-wal")).unwrap(), log);
        assert_eq!(fs::read(aside).unwrap(), bytes);
    }
}
