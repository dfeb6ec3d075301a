//! `highwater demo`: where the demonstration is given, and how it is told.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::Context;
use super::account::Account;
use super::args::Demo;
use super::reach::Reach;
use crate::demo::{self, Around, Options, Report, Size, To};
use crate::error::{Error, Kind, Result};
use crate::journal::place::{StateDir, expand_home};
use crate::monitor::{Event, Monitor};
use crate::path::escape;
use crate::remote::route::{Route, Target};
use crate::report::progress::Progress;
use crate::report::{count, one_line};
use crate::units::human_duration;

/// What the sample follows from: any other number would do.
const SEED: u64 = 20_260;

/// No line of the story is longer.
const COLUMNS: usize = 80;

/// The temporary folder for what is large (file-hierarchy(7)).
const ROOMY: &str = "/var/tmp";

/// Where the text begins that follows the name of a part.
const INDENT: usize = 9;

/// So often the removal of a folder is tried in which the last file may only just have been made.
const REMOVALS: usize = 10;

/// Gives the demonstration, tells what it proved, and removes what it made.
pub async fn run(context: &Context, args: &Demo) -> Result<u8> {
    let size = Size::default();
    let place = Place::make(args, size)?;
    let teller = Teller { context };
    teller.tell("demo", &format!("everything happens in {}", shown(place.path())));
    let options = Options { folder: place.path().into(), size, seed: SEED, stop: context.stop.clone() };
    let given = demo::run(options, &teller).await;
    let kept = place.leave();
    let report = given?;
    let kept = kept?;
    if context.show.is_json() {
        context.show.document(&report)?;
    } else {
        tell_end(&teller, &report, &kept)?;
    }
    Ok(u8::from(!report.holds))
}

fn tell_end(teller: &Teller<'_>, report: &Report, left: &str) -> Result<()> {
    let time = human_duration(report.elapsed);
    if report.holds {
        let proved = format!(
            "no torn file, nothing lost, no connection without need; a cut and a damaged bit were put \
             right: all {} hold ({time})",
            count(report.held(), "expectation")
        );
        teller.tell("proved", &proved);
    }
    for (step, check) in report.failed() {
        let text = format!("{step}: expected: {}; found: {}", check.expected, check.found);
        teller.context.show.text(&paragraph("failed", &one_line(&text)))?;
    }
    teller.tell("", left);
    Ok(())
}

/// Prints, and makes connections.
struct Teller<'a> {
    context: &'a Context,
}

impl Around for Teller<'_> {
    type Dial = Reach;

    async fn reach(&self, to: To) -> Result<Reach> {
        let state = StateDir::resolve(Some(&to.state), &|_| None)?;
        let route = Route::default();
        let target = Target { endpoint: to.endpoint, login: to.login, trust: to.trust, route };
        let account = Account { target, notes: Vec::new() };
        Ok(Reach::new(&state, account, to.root).await?.with_journal(&to.journal))
    }

    fn watch(&self, title: &str) -> Arc<dyn Monitor> {
        Arc::new(Quieter(Progress::start(&self.context.bars, title)))
    }

    fn tell(&self, part: &str, text: &str) {
        let Context { show, bars, global, .. } = self.context;
        if global.quiet || show.is_json() {
            return;
        }
        let told = bars.suspend(|| show.text(&paragraph(part, &one_line(text))));
        if let Err(error) = told {
            tracing::warn!("{error}: {}", error.reason());
        }
    }
}

/// Progress without what was put right: the story tells that.
struct Quieter(Progress);

impl Monitor for Quieter {
    fn event(&self, event: Event) {
        if !matches!(event, Event::Recovered(_)) {
            self.0.event(event);
        }
    }
}

/// The folder of the demonstration.
enum Place {
    /// Removed at the end, whatever happens.
    Temporary(TempDir),
    /// Left for a person to look at.
    Kept(PathBuf),
}

impl Place {
    fn make(args: &Demo, size: Size) -> Result<Self> {
        match &args.keep {
            Some(folder) => Self::named(folder, size).map(Self::Kept),
            None => Self::temporary(size).map(Self::Temporary),
        }
    }

    /// In the usual folder for such things; where that is too small, in the one for large ones.
    fn temporary(size: Size) -> Result<TempDir> {
        let usual = std::env::temp_dir();
        let room = match demo::need_room(&usual, size) {
            Err(_) if demo::need_room(Path::new(ROOMY), size).is_ok() => ROOMY.into(),
            Err(error) => return Err(error.hint("Set TMPDIR, or name a folder: highwater demo --keep DIR")),
            Ok(()) => usual,
        };
        let made = tempfile::Builder::new().prefix("highwater-demo-").tempdir_in(&room);
        made.map_err(|e| Error::io("make a folder in", shown(&room), e).hint("Set TMPDIR to another one."))
    }

    /// A folder that is new, or empty.
    fn named(folder: &Path, size: Size) -> Result<PathBuf> {
        let folder = std::path::absolute(expand_home(folder, &|name| std::env::var_os(name)))
            .map_err(|e| Error::io("find", shown(folder), e))?;
        let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        demo::need_room(there, size)?;
        if there == folder {
            let mut entries = fs::read_dir(&folder)
                .map_err(|e| Error::new(Kind::Usage, "work in", shown(&folder)).because(e))?;
            if entries.next().is_some() {
                return Err(Error::new(Kind::Usage, "work in", shown(&folder))
                    .detail("it is not empty")
                    .hint("Name a folder that is empty, or new."));
            }
        }
        fs::create_dir_all(&folder).map_err(|e| Error::io("make the folder", shown(&folder), e))?;
        Ok(folder)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }

    /// Removes the folder, or leaves it as it is. Returns what to say of it.
    fn leave(self) -> Result<String> {
        let folder = match self {
            Self::Kept(folder) => {
                return Ok(format!(
                    "kept in {}: source; server/data, with its trash in .highwater/trash; pulled; state, with \
                     the journals",
                    shown(&folder)
                ));
            }
            Self::Temporary(folder) => folder,
        };
        remove(folder.path())?;
        Ok(format!("{} is removed again", shown(folder.path())))
    }
}

/// Removes a folder with all that is in it, also what somebody who was told to stop was just making.
fn remove(folder: &Path) -> Result<()> {
    let mut removals = (0..REMOVALS).map(|_| fs::remove_dir_all(folder));
    let last = removals.find(|removed| !is_not_empty(removed)).unwrap_or_else(|| fs::remove_dir_all(folder));
    last.map_err(|e| Error::io("remove", shown(folder), e))
}

fn is_not_empty(removed: &io::Result<()>) -> bool {
    matches!(removed, Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty)
}

/// The name of a part, and its text in lines that fit a terminal.
fn paragraph(part: &str, text: &str) -> String {
    let mut lines = vec![format!("{part:<INDENT$}")];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        let is_first = line == INDENT;
        if !is_first && line + 1 + word.chars().count() > COLUMNS {
            lines.push(" ".repeat(INDENT));
        } else if !is_first && let Some(last) = lines.last_mut() {
            last.push(' ');
        }
        if let Some(last) = lines.last_mut() {
            last.push_str(word);
        }
    }
    lines.join("\n")
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_a_terminal() {
        let check = |part: &str, text: &str, expected: &str| assert_eq!(paragraph(part, text), expected);
        check("push 1", "sends everything", "push 1   sends everything");
        check("", "and so on", "         and so on");
        let (long, longer) = ("x".repeat(71), "y".repeat(72));
        check("a", &format!("{long} b"), &format!("a        {long}\n         b"));
        check("a", &format!("b {longer}"), &format!("a        b\n         {longer}"));
    }

    const SMALL: Size = Size { small_files: 150, large_bytes: 64 << 20 };

    /// A demonstration in which something is done to the source when a round begins.
    struct Sabotage<'a> {
        teller: Teller<'a>,
        round: &'static str,
        does: fn(&Path),
        source: PathBuf,
    }

    impl Around for Sabotage<'_> {
        type Dial = Reach;

        async fn reach(&self, to: To) -> Result<Reach> {
            self.teller.reach(to).await
        }

        fn watch(&self, title: &str) -> Arc<dyn Monitor> {
            if title == self.round {
                (self.does)(&self.source.join("letters/0000.dat"));
            }
            self.teller.watch(title)
        }

        fn tell(&self, part: &str, text: &str) {
            self.teller.tell(part, text);
        }
    }

    fn context() -> (tokio::sync::watch::Sender<bool>, Context) {
        let global = crate::cli::args::Global { quiet: true, ..Default::default() };
        let (go, stop) = tokio::sync::watch::channel(false);
        let (show, bars) = (crate::cli::show::Show::new(&global), crate::report::progress::bars(true));
        (go, Context { global, show, bars, log: crate::report::log::Log::default(), stop })
    }

    async fn give(round: &'static str, does: fn(&Path)) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let (_go, context) = context();
        let source = folder.path().join("source");
        let around = Sabotage { teller: Teller { context: &context }, round, does, source };
        let stop = context.stop.clone();
        let options = Options { folder: folder.path().into(), size: SMALL, seed: 7, stop };
        demo::run(options, &around).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everything_holds_on_a_small_tree() {
        let report = give("none", |_| ()).await;
        let failed: Vec<_> = report.failed().collect();
        assert!(report.holds && failed.is_empty(), "{failed:?}");
        let steps: Vec<_> = report.steps.iter().map(|step| (step.step, step.connections)).collect();
        assert_eq!(steps, [("push 1", 2), ("push 2", 1), ("push 3", 0), ("push 4", 1), ("pull", 1)]);
        assert!(report.steps[0].bytes_gone_on_after > 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_expectation_that_does_not_hold_ends_it_and_is_named() {
        let change = |path: &Path| fs::write(path, "other").unwrap();
        for (round, expected) in [
            ("push 3", "push 3: it does not connect"),
            ("pull", "pull: both trees are the same, byte for byte"),
        ] {
            let report = give(round, change).await;
            let failed: Vec<_> =
                report.failed().map(|(step, check)| format!("{step}: {}", check.expected)).collect();
            assert!(!report.holds && failed.iter().any(|f| f == expected), "{failed:?}");
            assert_eq!(report.steps.last().map(|step| step.step), Some(round));
        }
    }

    #[test]
    fn only_a_folder_with_nothing_in_it_is_worked_in() {
        let folder = tempfile::tempdir().unwrap();
        let size = Size { small_files: 1, large_bytes: 0 };
        let new = folder.path().join("new/one");
        assert_eq!(Place::named(&new, size).unwrap(), new);
        assert_eq!(Place::named(&new, size).unwrap(), new);
        fs::write(new.join("x"), "x").unwrap();
        for refused in [new.clone(), new.join("x")] {
            assert_eq!(Place::named(&refused, size).unwrap_err().kind(), Kind::Usage);
        }
        let error = Place::named(&folder.path().join("big"), Size { large_bytes: u64::MAX / 8, ..size });
        assert_eq!(error.unwrap_err().kind(), Kind::NoSpace);
        assert!(!folder.path().join("big").exists());
    }

    #[test]
    fn nothing_is_left_of_a_temporary_folder() {
        let size = Size { small_files: 1, large_bytes: 0 };
        let place = Place::Temporary(Place::temporary(size).unwrap());
        let folder = place.path().to_path_buf();
        fs::create_dir(folder.join("x")).unwrap();
        fs::write(folder.join("x/y"), "y").unwrap();
        assert!(place.leave().unwrap().contains("removed"));
        assert!(!folder.exists());
    }
}
