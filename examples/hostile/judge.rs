//! What must hold after every round, whatever the server did. Judged from the disks and from what went over the wire.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::Result;
use crate::run::Ran;
use crate::story::Way;
use crate::teller::{ROOT, Witness};
use crate::world::{Thing, Tree};

/// What is known of a round.
pub struct Round<'a> {
    pub way: Way,
    pub near: &'a Path,
    /// The near root before and after.
    pub before: &'a Tree,
    pub after: &'a Tree,
    pub witness: &'a Witness,
    /// Whether deletes are followed.
    pub delete: bool,
}

/// Exit codes that a server may bring about: done, problems, not reached, a person must look. Not a bug (5), nor a
/// mistake in the config (2).
const CODES: [i32; 4] = [0, 1, 3, 4];

/// What a run printed and how it ended.
pub fn run(ran: &Ran, most_kib: u64) -> Result<()> {
    let said = [&ran.stdout[..], &ran.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    for text in &said {
        if let Some(raw) =
            text.chars().find(|c| c.is_control() && *c != '\n' || ['\u{202e}', '\u{fffd}'].contains(c))
        {
            return Err(format!("{raw:?} was printed raw: {text:?}"));
        }
        if text.contains("panicked") {
            return Err(format!("it panicked: {text}"));
        }
    }
    if !ran.code.is_some_and(|code| CODES.contains(&code)) {
        return Err(format!("it ended with {:?}: {}", ran.code, said[1]));
    }
    if ran.peak > most_kib {
        return Err(format!("it took {} KiB of memory", ran.peak));
    }
    Ok(())
}

/// What a round did to the disks.
pub fn round(round: &Round<'_>) -> Result<()> {
    if round.witness.leaked {
        return Err("what is outside of the root was sent".into());
    }
    if let Some(outside) = round.witness.outside.first() {
        return Err(format!("a change outside of the far root: {outside}"));
    }
    match round.way {
        Way::Push => Ok(()), // the near root is among what is untouchable
        Way::Pull => pulled(round),
    }
}

fn pulled(round: &Round<'_>) -> Result<()> {
    if round.witness.changes > 0 {
        return Err(format!("a pull sent {} requests that change something", round.witness.changes));
    }
    for (path, thing) in round.after {
        if thing.mode & 0o6000 != 0 {
            return Err(format!("{} has mode {:o}", path.display(), thing.mode));
        }
        if ![0o100_000, 0o040_000, 0o120_000].contains(&(thing.mode & 0o170_000)) {
            return Err(format!("{} is neither file nor folder nor link: {:o}", path.display(), thing.mode));
        }
    }
    nothing_is_lost(round)?;
    deletes_are_proved(round)
}

/// What nobody but people here wrote is still there, at its path or elsewhere in the root.
fn nothing_is_lost(round: &Round<'_>) -> Result<()> {
    let contents: BTreeSet<&[u8]> = round.after.values().map(|thing| thing.content.as_slice()).collect();
    for (path, thing) in round.before {
        let is_own = thing.is_file() && thing.content.starts_with(b"mine ");
        if is_own && !contents.contains(thing.content.as_slice()) {
            return Err(format!("{} is lost", path.display()));
        }
    }
    Ok(())
}

/// What is gone from its path is in the trash. It made way for something else, or deletes are followed and the far side
/// told that the path, or one above it, does not exist.
fn deletes_are_proved(round: &Round<'_>) -> Result<()> {
    let own = round.near.join(".highwater");
    let kept = round.after.iter().filter(|(path, _)| path.starts_with(&own));
    let contents: BTreeSet<&[u8]> = kept.map(|(_, thing)| thing.content.as_slice()).collect();
    for (path, thing) in round.before.iter().filter(|(path, _)| !path.starts_with(&own)) {
        if round.after.contains_key(path) {
            continue;
        }
        if thing.is_file() && !contents.contains(thing.content.as_slice()) {
            return Err(format!("{} is gone and not in the trash", path.display()));
        }
        if made_way(round, path, thing) {
            continue;
        }
        if !round.delete {
            return Err(format!("{} was removed, and deletes are not followed", path.display()));
        }
        if !told_of(round, path, &round.witness.absent) {
            return Err(format!("{} was removed without proof", path.display()));
        }
    }
    Ok(())
}

/// Whether a file or link stands above the path, or the far side told of one: there, or at the path of a folder.
fn made_way(round: &Round<'_>, path: &Path, thing: &Thing) -> bool {
    let above = path.parent().unwrap_or(round.near);
    let within = |above: &&Path| above.starts_with(round.near) && *above != round.near;
    let stands = |path: &Path| round.after.get(path).is_some_and(|thing| !thing.is_folder());
    let told = if thing.is_folder() { path } else { above };
    above.ancestors().take_while(within).any(stands) || told_of(round, told, &round.witness.no_folders)
}

/// Whether a path below the near root, or one above it, is among these of the far side.
fn told_of(round: &Round<'_>, path: &Path, told: &BTreeSet<Vec<u8>>) -> bool {
    let Ok(below) = path.strip_prefix(round.near) else { return false };
    let paths = below.ancestors().filter(|path| !path.as_os_str().is_empty());
    paths.map(|path| [ROOT, b"/", path.as_os_str().as_bytes()].concat()).any(|far| told.contains(&far))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u32 = 0o100_644;
    const LINK: u32 = 0o120_777;
    const FOLDER: u32 = 0o040_755;

    fn tree(things: &[(&str, u32, &str)]) -> Tree {
        let thing = |mode: u32, content: &str| Thing { mode, mtime: 0, content: content.into() };
        things
            .iter()
            .map(|(path, mode, content)| (Path::new("/near").join(path), thing(*mode, content)))
            .collect()
    }

    type Things<'a> = &'a [(&'a str, u32, &'a str)];

    /// What is wrong with a pull that follows deletes and was told that these paths do not exist.
    fn check(before: Things<'_>, after: Things<'_>, absent: &[&str], expected: Option<&str>) {
        let absent = absent.iter().map(|path| [ROOT, b"/", path.as_bytes()].concat()).collect();
        let witness = Witness { absent, ..Witness::default() };
        let (before, after) = (tree(before), tree(after));
        let near = Path::new("/near");
        let judged = round(&Round {
            way: Way::Pull,
            near,
            before: &before,
            after: &after,
            witness: &witness,
            delete: true,
        });
        match expected {
            None => assert_eq!(judged, Ok(())),
            Some(part) => assert!(judged.as_ref().is_err_and(|what| what.contains(part)), "{judged:?}"),
        }
    }

    #[test]
    fn a_judge_sees_what_is_wrong() {
        let trash = ".highwater/trash/1/a";
        check(&[("a", FILE, "x")], &[("a", FILE, "new")], &[], None);
        check(&[("a", FILE, "x")], &[(trash, FILE, "x")], &["a"], None);
        check(&[("a", FILE, "x")], &[(trash, FILE, "x")], &[], Some("without proof"));
        check(&[("a", FILE, "x")], &[], &["a"], Some("not in the trash"));
        check(&[("d", FOLDER, ""), ("d/a", FILE, "x")], &[(".highwater/d/a", FILE, "x")], &["d"], None);
        check(&[("d", FOLDER, ""), ("d/a", FILE, "x")], &[("d", LINK, "y"), (trash, FILE, "x")], &[], None);
        check(&[("a", FILE, "mine 1")], &[("a", FILE, "x")], &[], Some("is lost"));
        check(&[("a", FILE, "mine 1")], &[("a", FILE, "x"), (trash, FILE, "mine 1")], &[], None);
        check(&[], &[("a", 0o104_755, "")], &[], Some("has mode"));
        check(&[], &[("a", 0o010_644, "")], &[], Some("neither"));
    }

    #[test]
    fn what_is_printed_and_how_it_ends_is_looked_at() {
        let check = |code, stderr: &str, peak, fine: bool| {
            let (stdout, stderr) = (Vec::new(), stderr.into());
            let ran = Ran { code, stdout, stderr, peak, time: std::time::Duration::ZERO };
            assert_eq!(run(&ran, 100).is_ok(), fine, "{ran:?}");
        };
        check(Some(0), "two\nlines\n", 100, true);
        check(Some(5), "", 1, false);
        check(None, "", 1, false);
        check(Some(0), "", 101, false);
        check(Some(1), "\x1b[31m", 1, false);
        check(Some(1), "\u{9b}31m", 1, false);
        check(Some(1), "a thread panicked", 1, false);
    }
}
