//! The journal is damaged, cut short, lost, or an old copy comes back. Nothing may be deleted for it, and the
//! damaged one is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::either_way;
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts};
use crate::case::Case;
use crate::oracle::{self, Deletes};
use crate::program::Ran;
use crate::random::Random;
use crate::server::Settings;
use crate::world::{Sizes, Tree};
use crate::{Doing, Result};

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "journals",
    about: "journals with flipped bits, cut short, without their log, removed, or replaced by an older copy",
    settings: Settings { config: "", before_sftp: "" },
    case,
    short: 6,
    whole: None,
};

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    FlippedBits,
    FlippedInLog,
    CutShort,
    ZeroedPage,
    LostLog,
    Emptied,
    Removed,
    OldCopy,
}

const HARMS: [Harm; 8] = [
    Harm::FlippedBits,
    Harm::FlippedInLog,
    Harm::CutShort,
    Harm::ZeroedPage,
    Harm::LostLog,
    Harm::Emptied,
    Harm::Removed,
    Harm::OldCopy,
];

const PAGE_BYTES: usize = 4096;

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let sizes = Sizes { small: 60, large: 2, large_bytes: 3 << 20 };
    let way = either_way(&mut random);
    let mut case = Case::first(random.split(), bench, &bench.far_end()?, sizes, way)?;
    case.round_and_edits()?;
    let journal = case.program.journal()?;
    let old = fs::read(&journal).doing("keep an old copy")?;
    let went_on = random.chance(50);
    if went_on {
        case.round(&[])?.ends(0)?;
        case.check(Deletes::Followed)?;
        case.world.agree();
        case.edit(true)?;
    }
    let watcher = case.watch();
    if random.chance(50) {
        leave_a_log(&case, &mut random)?;
    }
    let harm = *random.pick(&HARMS);
    let is_harmed = apply(harm, &journal, &old, &mut random)?;
    let before = oracle::read(&case.target(), &case.world)?;
    let distrusted = harm == Harm::Removed || (harm == Harm::OldCopy && went_on);
    let ran = put_right(&case, &journal)?;
    judge(&case, &journal, distrusted, &before, &ran)
        .map_err(|e| format!("{harm:?}: {e}: {}", ran.describe()))?;
    if harm == Harm::OldCopy {
        // Deletes of which the old copy knows wait for this round; but not of what it knows otherwise.
        let ran = case.round(&[])?;
        if ran.of_kind("problems", "changed-at-target") == 0 {
            ran.ends(0)?;
        }
        case.check_but_staged(Deletes::MayWait)?;
    }
    case.round(&[])?.did_nothing().map_err(|e| format!("{harm:?}: {e}"))?;
    watcher.end()?;
    Ok(Facts::struck(u64::from(is_harmed)).count("rebuilt", u64::from(was_rebuilt(&journal)?)))
}

/// A run that is killed leaves a write-ahead log behind.
fn leave_a_log(case: &Case, random: &mut Random) -> Result<()> {
    let mut running = case.program.start(&mut case.program.command(&[]))?;
    std::thread::sleep(Duration::from_millis(random.below(200)));
    running.kill();
    running.end().map(drop)
}

/// Whether there was something to harm.
fn apply(harm: Harm, journal: &Path, old: &[u8], random: &mut Random) -> Result<bool> {
    let log = log_of(journal);
    match harm {
        Harm::FlippedBits => change(journal, |bytes| flip(bytes, random)),
        Harm::FlippedInLog => change(&log, |bytes| flip(bytes, random)),
        Harm::CutShort => change(journal, |bytes| bytes.truncate(random.below(bytes.len() as u64) as usize)),
        Harm::ZeroedPage => change(journal, |bytes| {
            let page = random.below((bytes.len() / PAGE_BYTES) as u64) as usize * PAGE_BYTES;
            let end = bytes.len().min(page + PAGE_BYTES);
            bytes[page..end].fill(0);
        }),
        Harm::LostLog => {
            let was_there = log.exists();
            remove(&log)?;
            Ok(was_there)
        }
        Harm::Emptied => change(journal, Vec::clear),
        Harm::Removed => {
            for path in [journal, &log, &beside(journal, "-shm")] {
                remove(path)?;
            }
            Ok(true)
        }
        Harm::OldCopy => {
            for path in [&log, &beside(journal, "-shm")] {
                remove(path)?;
            }
            fs::write(journal, old).doing("put the old copy back").map(|()| true)
        }
    }
}

fn change(path: &Path, harm: impl FnOnce(&mut Vec<u8>)) -> Result<bool> {
    let mut bytes = fs::read(path).unwrap_or_default(); // a log may not be there
    if bytes.is_empty() {
        return Ok(false);
    }
    harm(&mut bytes);
    fs::write(path, bytes).doing("harm the journal").map(|()| true)
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..random.between(1, 20) {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
    }
}

/// One round. A journal that the program refuses to touch is moved away by hand, as it says.
fn put_right(case: &Case, journal: &Path) -> Result<Ran> {
    let ran = case.round(&[])?;
    if ran.code() != Some(5) {
        return Ok(ran);
    }
    for ending in ["", "-wal", "-shm"] {
        let path = beside(journal, ending);
        if path.exists() {
            fs::rename(&path, beside(journal, &format!(".by-hand{ending}")))
                .doing("move the journal away")?;
        }
    }
    case.round(&[])
}

/// Whether it ended as it must. `distrusted`: this journal knows nothing, or not the last of it.
fn judge(case: &Case, journal: &Path, distrusted: bool, before: &Tree, ran: &Ran) -> Result<()> {
    if ran.code() != Some(0) {
        return Err("it was not put right".into());
    }
    case.check_but_staged(Deletes::MayWait)?;
    let knows_nothing = was_rebuilt(journal)? || distrusted;
    if knows_nothing && ran.count("deleted") > 0 {
        return Err("it deleted by a journal that it should not trust".into());
    }
    if knows_nothing {
        let stay = |path: &String| case.world.source.contains_key(path) || !is_swapped(case, path);
        let must_stay =
            before.iter().filter(|(path, _)| stay(path)).map(|(p, n)| (p.clone(), n.clone())).collect();
        oracle::lost_nothing(&case.world, &case.target(), &must_stay)?;
    }
    Ok(())
}

/// Whether something of another kind took the place of a folder that it was in: that moves it to the trash.
fn is_swapped(case: &Case, path: &str) -> bool {
    let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
    folders
        .into_iter()
        .any(|folder| case.world.source.get(folder).is_some_and(|node| *node != crate::world::Node::Dir))
}

fn was_rebuilt(journal: &Path) -> Result<bool> {
    let folder = journal.parent().ok_or("the journal lies in no folder")?;
    let names = fs::read_dir(folder).doing("look beside the journal")?;
    Ok(names.flatten().any(|entry| entry.file_name().to_string_lossy().contains(".damaged-")))
}

fn log_of(journal: &Path) -> PathBuf {
    beside(journal, "-wal")
}

fn beside(journal: &Path, ending: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).doing("remove a file"),
        _ => Ok(()),
    }
}
