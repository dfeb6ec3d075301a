//! The program ends itself at each of its crash points, as a crash would: twice, and once more while it
//! recovers from that.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use highwater::crash::POINTS;

use super::deeds;
use super::disks::LIMITED;
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts, Whole};
use crate::case::Case;
use crate::oracle::Deletes;
use crate::program::{Ran, Way};
use crate::random::Random;
use crate::server::Settings;
use crate::world::Sizes;
use crate::{Doing, Result};

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "crashes",
    about: "an abort at each named crash point, twice, and once more during the recovery",
    settings: Settings { config: "", before_sftp: LIMITED },
    case,
    short: 8,
    whole: Whole::Cases(POINTS.len() as u64 * TIMES),
};

/// Cases of each point.
const TIMES: u64 = 3;

/// How many worlds are tried until one leads to a point.
const TRIES: u32 = 12;

/// All of a large file is staged, and the journal knows of most of it: such rows are queued.
const STAGED: &str = "large: all pieces there";

/// Something has its final name, and the journal does not know of it.
const RENAMED: &str = "place: renamed";

/// What leads to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// Nothing was carried before.
    First(Way),
    /// A whole round was, and people worked on both sides since.
    Edited(Way),
    /// A whole round was, and since then one large file came; here and below it takes a while to carry.
    Large(Way),
    /// The same, and the run that carries it has crashed at this point already. Where the point tells, other
    /// things changed as well.
    Crashed(Way, &'static str),
    /// That, and the source has changed since.
    Overtaken(Way, &'static str),
    /// A job without a trash.
    NoTrash(Way),
    /// The journal is damaged, with its log beside it.
    Damaged,
    /// Nothing can be staged in a folder of its own.
    Beside,
    /// Files cannot grow at the far side.
    Limited,
}

/// Scenes in which a point is passed.
fn scenes(point: &str) -> &'static [Scene] {
    use Scene::{Beside, Crashed, Damaged, Edited, First, Large, Limited, NoTrash, Overtaken};
    use Way::{Pull, Push};
    match point {
        "journal: schema there, not committed" => &[First(Push), First(Pull)],
        "root: made" | "root: id staged" | "root: id placed" | "root: remembered" => &[First(Push)],
        "large: begun in the journal" | "large: progress noted" => &[Large(Push), Large(Pull)],
        "folder: made" | "folder: recorded" => &[First(Push), First(Pull)],
        "small: noted beside" => &[Beside],
        "small: discarded" => &[Limited],
        "large: taken up again" | "large: kept prefix recalled" => {
            &[Crashed(Push, STAGED), Crashed(Pull, STAGED)]
        }
        "large: kept one given up" => &[Overtaken(Push, STAGED), Overtaken(Pull, STAGED)],
        "intent: looked at" | "intent: settled" => &[Crashed(Push, RENAMED), Crashed(Pull, RENAMED)],
        "trash: fence moved" => &[Crashed(Push, "trash: moved"), Crashed(Pull, "trash: moved")],
        "fence: swept" => &[Crashed(Push, "small: staged"), Crashed(Pull, "small: staged")],
        _ if point.starts_with("fence: ") => &[Crashed(Push, STAGED), Crashed(Pull, STAGED)],
        _ if point.starts_with("bin: ") => &[NoTrash(Push)],
        _ if point.starts_with("journal: damaged") => &[Damaged],
        _ => &[Edited(Push), Edited(Pull), NoTrash(Push), NoTrash(Pull)],
    }
}

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let number = random.seed() % (POINTS.len() as u64 * TIMES);
    let (point, time) = (POINTS[(number / TIMES) as usize], number % TIMES);
    for attempt in 0..TRIES {
        let nth = if time == 0 || attempt > 3 { 1 } else { random.between(1, 5) };
        let scene = *random.pick(scenes(point));
        let what = |e| format!("{point}, time {nth}, {scene:?}: {e}");
        if let Some(crashes) =
            crash(bench, random.split(), scene, point, nth, time + 1 == TIMES).map_err(what)?
        {
            return Ok(Facts::struck(crashes));
        }
    }
    Err(format!("{point}: nothing led there"))
}

/// How many crashes there were; `None` if the point was not passed so often.
fn crash(
    bench: &Bench,
    mut random: Random,
    scene: Scene,
    point: &str,
    nth: u64,
    again: bool,
) -> Result<Option<u64>> {
    let mut case = set(bench, &mut random, scene)?;
    let watcher = case.watch();
    let obstacle = Obstacle::put(bench, &case, scene)?;
    if let Scene::Crashed(_, first) | Scene::Overtaken(_, first) = scene
        && !crash_at(&mut case, first, 1)?.has_aborted()
    {
        return Ok(None);
    }
    if let Scene::Overtaken(..) = scene {
        overtake(&mut case)?;
    }
    let deeds = if let Scene::Edited(_) = scene { deeds(&mut random) } else { 0 };
    if !crash_amid(&mut case, point, nth, deeds)?.has_aborted() {
        return Ok(None);
    }
    let mut crashes = 1;
    if again {
        let second = if random.chance(30) { point } else { *random.pick(&POINTS) };
        crashes += u64::from(crash_at(&mut case, second, random.between(1, 3))?.has_aborted());
    }
    obstacle.remove()?;
    let deletes = if scene == Scene::Damaged { Deletes::MayWait } else { Deletes::Followed };
    case.settle(deletes)?;
    watcher.end()?;
    Ok(Some(crashes))
}

/// Both sides before the run that is to crash.
fn set(bench: &Bench, random: &mut Random, scene: Scene) -> Result<Case> {
    let sizes = Sizes { small: 20, large: 2, large_bytes: 3 << 20 };
    let way = match scene {
        Scene::First(way) | Scene::Edited(way) | Scene::NoTrash(way) | Scene::Large(way) => way,
        Scene::Crashed(way, _) | Scene::Overtaken(way, _) => way,
        Scene::Beside => Way::Pull,
        Scene::Damaged | Scene::Limited => Way::Push,
    };
    let end = bench.far_end()?;
    let mut case = Case::first(random.split(), bench, &end, sizes, way)?;
    if let Scene::NoTrash(_) = scene {
        case.run_without_trash(&end)?;
    }
    if let Scene::First(_) | Scene::Beside = scene {
        if way == Way::Push {
            fs::remove_dir(case.target()).doing("leave the root to be made")?;
        }
        return Ok(case);
    }
    if let Scene::Large(_) | Scene::Crashed(_, RENAMED) = scene {
        case.whole_round()?;
    } else {
        case.round_and_edits()?;
    }
    if let Scene::Large(_) | Scene::Crashed(..) | Scene::Overtaken(..) = scene {
        case.add_large(random.between(12 << 20, 20 << 20))?;
    }
    if scene == Scene::Damaged {
        damage(&case)?;
    }
    Ok(case)
}

/// One run that is to end at a point.
fn crash_at(case: &mut Case, point: &str, nth: u64) -> Result<Ran> {
    crash_amid(case, point, nth, 0)
}

/// The same, with so many deeds of people meanwhile.
fn crash_amid(case: &mut Case, point: &str, nth: u64, deeds: u64) -> Result<Ran> {
    let within = case.expected();
    let mut command = case.program.command(&[]);
    command.env("HIGHWATER_CRASH", format!("{point}:{nth}"));
    let running = case.program.start(&mut command)?;
    case.work_along(deeds, within)?;
    let ran = running.end()?;
    match ran.code() {
        None if ran.has_aborted() => Ok(ran),
        Some(0 | 1) => Ok(ran),
        _ => Err(format!("it ended otherwise than by {point}: {}", ran.describe())),
    }
}

/// The user replaces every large file.
fn overtake(case: &mut Case) -> Result<()> {
    let large: Vec<String> = case.source_files(4 << 20);
    large.iter().try_for_each(|path| case.replace(path))
}

/// The file loses its second page, and some log stands beside it.
fn damage(case: &Case) -> Result<()> {
    let journal = case.program.journal()?;
    let mut bytes = fs::read(&journal).doing("read the journal")?;
    let end = bytes.len().min(8192);
    bytes[4096..end].fill(0xa5);
    fs::write(&journal, bytes).doing("damage the journal")?;
    let mut log = journal.into_os_string();
    log.push("-wal");
    fs::write(log, "no log").doing("damage the journal")
}

/// What stands in the way of the runs that crash, and of no other.
struct Obstacle {
    file: Option<PathBuf>,
}

impl Obstacle {
    fn put(bench: &Bench, case: &Case, scene: Scene) -> Result<Self> {
        let file = match scene {
            Scene::Beside => {
                let own = case.target().join(".highwater");
                fs::create_dir_all(&own).doing("make a folder")?;
                Some((own.join("stage"), ""))
            }
            Scene::Limited => Some((bench.folder().join("limit"), "1")),
            _ => None,
        };
        if let Some((path, text)) = &file {
            fs::write(path, text).doing("put something in the way")?;
        }
        Ok(Self { file: file.map(|(path, _)| path) })
    }

    fn remove(mut self) -> Result<()> {
        match self.file.take() {
            Some(path) => fs::remove_file(path).doing("take it out of the way"),
            None => Ok(()),
        }
    }
}

impl Drop for Obstacle {
    fn drop(&mut self) {
        if let Some(path) =
            self.file.take().filter(|path| path.symlink_metadata().is_ok_and(|found| found.nlink() > 0))
        {
            let _ = fs::remove_file(path); // a case that failed has told why already
        }
    }
}
