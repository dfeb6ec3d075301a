//! The journal is damaged, cut short, lost, or an old copy comes back. Nothing may be deleted for it, and the
//! damaged one is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{deeds, either_way};
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts, Whole};
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
    whole: Whole::Faults(300),
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

/// Old copies are drawn more often: what makes a difference there is what happened since.
const HARMS: [Harm; 10] = [
    Harm::FlippedBits,
    Harm::FlippedInLog,
    Harm::CutShort,
    Harm::ZeroedPage,
    Harm::LostLog,
    Harm::Emptied,
    Harm::Removed,
    Harm::OldCopy,
    Harm::OldCopy,
    Harm::OldCopy,
];

impl Harm {
    /// Whether what is left may be a whole journal of an earlier time.
    fn rolls_back(self) -> bool {
        matches!(self, Self::OldCopy | Self::LostLog | Self::FlippedInLog)
    }
}

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
        leave_a_log(&mut case, &mut random)?;
        bench.sshd.wait_until_idle()?; // what the server still had to do for it is done
    }
    let harm = *random.pick(&HARMS);
    let is_harmed = apply(harm, &journal, &old, &mut random)?;
    let staged = oracle::staged(&case.target())?;
    let before = oracle::read(&case.target(), &case.world)?;
    let distrusted = harm == Harm::Removed || (harm == Harm::OldCopy && went_on);
    let is_empty = fs::metadata(&journal).map_or(0, |found| found.len()) == 0;
    let ran = put_right(&case, &journal)?;
    if is_empty || was_rebuilt(&journal)? {
        case.orphans = staged; // the agent's name was lost with its journal
    }
    judge(&case, &journal, harm, distrusted, &before, &ran)
        .map_err(|e| format!("{harm:?}: {e}: {}", ran.describe()))?;
    // A round that does not trust its journal leaves deletes, and what they make way for, to the next ones.
    for _ in 0..if harm.rolls_back() { 2 } else { 0 } {
        let ran = case.round(&[])?;
        if !matches!(ran.code(), Some(0 | 1)) {
            return Err(format!("after {harm:?}: {}", ran.describe()));
        }
    }
    case.check(Deletes::MayWait).map_err(|e| format!("after {harm:?}: {e}"))?;
    case.round(&[])?.did_nothing().map_err(|e| format!("{harm:?}: {e}"))?;
    watcher.end()?;
    Ok(Facts::struck(u64::from(is_harmed)).count("rebuilt", u64::from(was_rebuilt(&journal)?)))
}

/// A run that is killed leaves a write-ahead log behind.
fn leave_a_log(case: &mut Case, random: &mut Random) -> Result<()> {
    let moment = case.expected().mul_f64(random.below(1000) as f64 / 900.0);
    let began = Instant::now();
    let mut running = case.program.start(&mut case.program.command(&[]))?;
    case.work_along(deeds(random), moment)?;
    std::thread::sleep(moment.saturating_sub(began.elapsed()));
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
fn judge(case: &Case, journal: &Path, harm: Harm, distrusted: bool, before: &Tree, ran: &Ran) -> Result<()> {
    match ran.code() {
        Some(0) => case.check(Deletes::MayWait)?,
        Some(1 | 4) if harm.rolls_back() => {}
        _ => return Err("it was not put right".into()),
    }
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
    let is_moved = |name: &str| [".damaged-", ".by-hand"].iter().any(|part| name.contains(part));
    Ok(names.flatten().any(|entry| is_moved(&entry.file_name().to_string_lossy())))
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
