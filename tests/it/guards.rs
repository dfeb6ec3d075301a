//! Guards: what a round refuses to do until a person has looked, and that nothing is deleted without proof.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use highwater::journal::Journal;
use highwater::server::misbehave::{Deed, Fault, Misbehave, Op, Rule};

use crate::support::account;
use crate::support::rig::{Ran, Rig, Way, files_in, read, write};

/// Follows deletes, connects only when there is something to push, takes far files at the first look.
const JOB: &str = "delete: true\naudit: 0\nsettle: 0s";

const FILES: [(&str, &str); 4] = [("a", "one"), ("b", "two"), ("c", "three"), ("d/e", "four")];

/// A rig whose source has been carried, by the job `j` or by a command.
struct Carried {
    rig: Rig,
    way: Way,
    by_job: bool,
}

impl Carried {
    fn new(way: Way, by_job: bool) -> Self {
        Self::on(Rig::openssh(), way, by_job)
    }

    fn on(rig: Rig, way: Way, by_job: bool) -> Self {
        write(&rig.source(way), &FILES);
        rig.configure(way, JOB);
        let carried = Self { rig, way, by_job };
        carried.round().ends("ok", 0);
        assert_eq!(files_in(&carried.target()), FILES.len());
        carried
    }

    fn round(&self) -> Ran {
        if self.by_job { self.rig.run() } else { self.rig.carry(self.way, &["--delete"]) }
    }

    /// A person says that it is meant.
    fn accept(&self) -> Ran {
        if self.by_job {
            self.rig.resume(&[]);
            return self.rig.run();
        }
        self.rig.carry(self.way, &["--delete", "--accept-deletes"])
    }

    fn source(&self) -> PathBuf {
        self.rig.source(self.way)
    }

    fn target(&self) -> PathBuf {
        self.rig.target(self.way)
    }

    /// The next round halts and says this, and nothing is deleted at the target.
    #[track_caller]
    fn halts(&self, parts: &[&str]) {
        let before = tree(&self.target());
        let way_on =
            if self.by_job { "highwater resume j" } else { "the same command with --accept-deletes" };
        let ran = self.round().ends("halted", 4).says(parts).says(&[way_on]);
        ran.counts(&[("deleted", 0), ("displaced", 0)]);
        assert_eq!(tree(&self.target()), before, "{:?}", self.way);
    }
}

/// Paths and contents below a root, what is ours left out; nothing if it is missing.
fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(root) else { return found };
    for entry in entries.map(Result::unwrap) {
        let (name, path) = (entry.file_name(), entry.path());
        if name.as_encoded_bytes().starts_with(b".highwater") {
            continue;
        }
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(tree(&path)),
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

fn each(mut check: impl FnMut(Way, bool)) {
    for way in Way::BOTH {
        for by_job in [false, true] {
            check(way, by_job);
        }
    }
}

fn empty(root: &Path) {
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
}

/// Puts an empty folder in the place of `root`, and returns where that is now.
fn replace(root: &Path) -> PathBuf {
    let aside = root.with_extension("aside");
    fs::rename(root, &aside).unwrap();
    fs::create_dir(root).unwrap();
    aside
}

#[test]
fn an_emptied_source_halts_and_deletes_nothing() {
    each(|way, by_job| {
        let carried = Carried::new(way, by_job);
        empty(&carried.source());
        carried.halts(&["is empty of everything", "(4 names)"]);
        carried.halts(&[]);
        write(&carried.source(), &FILES);
        if by_job {
            carried.halts(&["it is halted"]);
            carried.accept().ends("ok", 0).counts(&[("deleted", 0)]);
        }
        carried.round().ends("ok", 0).counts(&[("deleted", 0)]);
    });
}

#[test]
fn a_missing_source_halts_and_deletes_nothing() {
    each(|way, by_job| {
        let carried = Carried::new(way, by_job);
        let aside = carried.source().with_extension("aside");
        fs::rename(carried.source(), &aside).unwrap();
        carried.halts(&["does not exist any more"]);
        carried.halts(&[]);
        fs::rename(&aside, carried.source()).unwrap();
        if by_job {
            carried.halts(&["it is halted"]);
            carried.accept().ends("ok", 0).counts(&[("deleted", 0)]);
        }
        carried.round().ends("ok", 0).counts(&[("deleted", 0)]);
    });
}

#[test]
fn a_source_with_an_empty_folder_in_its_place_halts() {
    each(|way, by_job| {
        let carried = Carried::new(way, by_job);
        replace(&carried.source());
        carried.halts(&["is empty of everything"]);
    });
}

#[test]
fn a_near_source_with_another_folder_in_its_place_halts() {
    for by_job in [false, true] {
        let carried = Carried::new(Way::Push, by_job);
        let aside = replace(&carried.source());
        write(&carried.source(), &[("a", "one"), ("other", "x")]);
        carried.halts(&["another folder than before", "only 1 of the 4 names"]);
        // The same content in another folder is a restored backup, or a disk that moved.
        fs::remove_dir_all(carried.source()).unwrap();
        let copied = Command::new("cp").arg("-a").arg(&aside).arg(carried.source()).status().unwrap();
        assert!(copied.success());
        if by_job {
            carried.rig.resume(&[]);
        }
        carried.round().ends("ok", 0).counts(&[("deleted", 0), ("displaced", 0)]);
    }
}

#[test]
fn a_source_on_a_disk_that_is_not_there_any_more_halts() {
    for by_job in [false, true] {
        // Another file system comes and goes behind one path, as with a mount, but without its rights.
        let (rig, disk) = (Rig::openssh(), tempfile::tempdir_in("/dev/shm").unwrap());
        let mount = |disk: &Path| {
            let aside = rig.file("aside");
            symlink(disk, &aside).unwrap();
            fs::rename(&aside, rig.near()).unwrap();
        };
        fs::remove_dir(rig.near()).unwrap();
        mount(disk.path());
        write(&rig.near(), &FILES);
        rig.configure(Way::Push, JOB);
        let round = || if by_job { rig.run() } else { rig.carry(Way::Push, &["--delete"]) };
        round().ends("ok", 0);
        fs::create_dir(rig.file("empty")).unwrap();
        mount(&rig.file("empty"));
        for _ in 0..2 {
            let ran = round();
            assert!(ran.code == 4 || !by_job, "{ran:?}");
            assert_eq!((ran.count("deleted"), files_in(&rig.far())), (0, 4));
        }
    }
}

#[test]
fn a_missing_near_target_halts() {
    for by_job in [false, true] {
        let carried = Carried::new(Way::Pull, by_job);
        fs::rename(carried.target(), carried.target().with_extension("aside")).unwrap();
        carried.halts(&["does not exist any more"]);
        assert!(!carried.target().exists());
        carried.accept().ends("ok", 0).counts(&[("files_received", 4)]);
        assert_eq!(files_in(&carried.target()), 4);
    }
}

#[test]
fn a_target_with_an_empty_folder_in_its_place_halts_until_a_person_accepts_it() {
    each(|way, by_job| {
        let carried = Carried::new(way, by_job);
        replace(&carried.target());
        if way == Way::Push {
            write(&carried.source(), &[("new", "something to push")]);
        }
        carried.halts(&[]);
        carried.halts(&[]);
        assert_eq!(tree(&carried.target()), [], "{way:?}: nothing is written there");
        let files = if way == Way::Push { ("files_sent", 5) } else { ("files_received", 4) };
        carried.accept().ends("ok", 0).counts(&[files, ("deleted", 0)]);
        carried.round().ends("ok", 0).counts(&[("deleted", 0), ("displaced", 0)]);
    });
}

#[test]
fn a_far_target_that_is_gone_or_does_not_know_itself_halts_until_a_person_accepts_it() {
    let check = |change: &dyn Fn(&Path), says: &str, sent: u64| {
        for by_job in [false, true] {
            let carried = Carried::new(Way::Push, by_job);
            write(&carried.source(), &[("new", "something to push")]);
            change(&carried.target());
            carried.halts(&[says]);
            carried.halts(&[]);
            let ran = carried.accept().ends("ok", 0);
            ran.counts(&[("files_sent", sent), ("deleted", 0), ("displaced", 0)]);
            assert_eq!(files_in(&carried.target()), 5);
            carried.round().ends("ok", 0).counts(&[("files_sent", 0), ("deleted", 0)]);
        }
    };
    check(&|root| fs::remove_dir_all(root).unwrap(), "does not exist any more", 5);
    check(
        &|root| fs::remove_file(root.join(".highwater/root.json")).unwrap(),
        "has lost .highwater/root.json",
        1,
    );
    let other = |root: &Path| {
        let file = root.join(".highwater/root.json");
        fs::write(&file, with_another_id(&fs::read_to_string(&file).unwrap())).unwrap();
    };
    check(&other, "is another root than before", 1);
}

/// The same JSON with another id in it.
fn with_another_id(text: &str) -> String {
    let mut document: serde_json::Value = serde_json::from_str(text).unwrap();
    let fields = document.as_object_mut().unwrap();
    let id = fields.values_mut().find(|value| value.as_str().is_some_and(|id| id.len() == 32)).unwrap();
    *id = "0123456789abcdef0123456789abcdef".into();
    document.to_string()
}

#[test]
fn many_small_rounds_cannot_empty_a_side() {
    for way in Way::BOTH {
        let rig = Rig::openssh();
        let source = rig.source(way);
        for folder in 0..10 {
            let files: Vec<(String, String)> =
                (0..120).map(|n| (format!("d{folder}/f{n}"), format!("{folder} {n}"))).collect();
            let files: Vec<(&str, &str)> = files.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect();
            write(&source, &files);
        }
        write(&source, &[("stays", "x")]);
        rig.configure(way, JOB);
        rig.run().ends("ok", 0);
        let mut gone = 0;
        for folder in 0..10 {
            fs::remove_dir_all(source.join(format!("d{folder}"))).unwrap();
            write(&source, &[(&format!("new{folder}"), "goes on")]);
            let ran = rig.run();
            gone += ran.count("deleted");
            if ran.code == 0 {
                continue;
            }
            let ran =
                ran.ends("held", 4).says(&["the limit of 120 for ", "highwater resume j --accept-deletes"]);
            assert!(ran.count("held") > 0);
            assert_eq!(read(&rig.target(way).join(format!("new{folder}"))).as_deref(), Some("goes on"));
        }
        assert_eq!(gone, 120, "{way:?}");
        assert_eq!(files_in(&rig.target(way)), 1_200 - 120 + 10 + 1);
        rig.run().ends("held", 4).counts(&[("deleted", 0), ("held", 1_080)]);
        rig.resume(&["--accept-deletes"]);
        rig.run().ends("ok", 0).counts(&[("deleted", 1_080), ("held", 0)]);
        assert_eq!(files_in(&rig.target(way)), 11);
        assert_eq!(rig.trash().len(), 1_200, "{way:?}: all of them are in the trash");
        assert_eq!(files_below(&rig.target(way).join(".highwater/trash")), 1_200);
        // The acceptance was for once.
        for n in 0..10 {
            fs::remove_file(source.join(format!("new{n}"))).unwrap();
        }
        rig.run().ends("held", 4).counts(&[("deleted", 0), ("held", 10)]);
    }
}

/// How many files there are in a tree, all of them.
fn files_below(root: &Path) -> usize {
    let entries = fs::read_dir(root).unwrap().map(Result::unwrap);
    entries.map(|e| if e.file_type().unwrap().is_dir() { files_below(&e.path()) } else { 1 }).sum()
}

#[test]
fn a_command_lets_held_deletes_go_with_a_flag() {
    for way in Way::BOTH {
        let rig = Rig::openssh();
        let names: Vec<String> = (0..30).map(|n| format!("f{n}")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        write(&rig.source(way), &files);
        rig.carry(way, &[]).ends("ok", 0);
        for name in &names[..21] {
            fs::remove_file(rig.source(way).join(name)).unwrap();
        }
        rig.carry(way, &[]).ends("ok", 0).counts(&[("deleted", 0), ("held", 0)]);
        for _ in 0..2 {
            let ran = rig.carry(way, &["--delete"]).ends("held", 4).counts(&[("deleted", 0), ("held", 21)]);
            ran.says(&["21 deletes are more than the limit of 20", "--accept-deletes"]);
        }
        let ran = rig.carry(way, &["--delete", "--accept-deletes"]);
        ran.ends("ok", 0).counts(&[("deleted", 21), ("held", 0)]);
        assert_eq!((files_in(&rig.target(way)), rig.trash().len()), (9, 21));
    }
}

#[test]
fn accepting_deletes_accepts_no_lost_root() {
    for way in Way::BOTH {
        let carried = Carried::new(way, true);
        carried.rig.resume(&["--accept-deletes"]);
        replace(&carried.source());
        carried.halts(&["is empty of everything"]);
    }
}

/// The journal of one-round commands; its write-ahead log is written back when a round ends.
fn journal(rig: &Rig) -> PathBuf {
    let pairs = fs::read_dir(rig.file("state/pairs")).unwrap();
    let pairs: Vec<PathBuf> = pairs.map(|pair| pair.unwrap().path()).collect();
    assert_eq!(pairs.len(), 1, "{pairs:?}");
    pairs[0].join("journal.db")
}

#[test]
fn a_restored_old_journal_deletes_nothing_and_adopts() {
    for way in Way::BOTH {
        let carried = Carried::new(way, false);
        let (journal, copy) = (journal(&carried.rig), carried.rig.file("copy.db"));
        fs::copy(&journal, &copy).unwrap();
        write(&carried.source(), &[("a", "changed"), ("late", "new")]);
        carried.round().ends("ok", 0);
        fs::remove_file(carried.source().join("b")).unwrap();
        carried.round().ends("ok", 0).counts(&[("deleted", 1)]);
        // What the old journal takes for ours and gone at the source is the target's by now.
        write(&carried.target(), &[("b", "somebody else's by now")]);
        fs::remove_file(carried.source().join("c")).unwrap();
        for tail in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{tail}", journal.display()));
        }
        fs::copy(&copy, &journal).unwrap();
        let ran = carried.round();
        ran.counts(&[("deleted", 0), ("displaced", 0)]);
        assert_eq!(read(&carried.target().join("b")).as_deref(), Some("somebody else's by now"), "{way:?}");
        assert_eq!(read(&carried.target().join("c")).as_deref(), Some("three"), "{way:?}");
        assert_eq!(read(&carried.target().join("late")).as_deref(), Some("new"));
        carried.round();
        carried.round().ends("ok", 0).counts(&[("displaced", 0)]);
        assert_eq!(read(&carried.target().join("b")).as_deref(), Some("somebody else's by now"));
    }
}

#[test]
fn without_its_journal_a_round_adopts_and_deletes_nothing() {
    for way in Way::BOTH {
        let carried = Carried::new(way, false);
        let journal = journal(&carried.rig);
        for tail in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{tail}", journal.display()));
        }
        fs::remove_file(carried.source().join("b")).unwrap();
        let ran = carried.round().ends("ok", 0);
        ran.counts(&[
            ("deleted", 0),
            ("displaced", 0),
            ("foreign", 1),
            ("files_sent", 0),
            ("files_received", 0),
        ]);
        assert_eq!(files_in(&carried.target()), 4);
    }
}

/// What happens to the bytes of a file.
type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

#[test]
fn a_damaged_journal_is_kept_aside_and_made_anew_without_deleting_anything() {
    let flip = |at: usize| {
        move |bytes: &mut Vec<u8>| {
            let len = bytes.len();
            (0..400).for_each(|n| bytes[(at + n * 37) % len] ^= 0x5a);
        }
    };
    let (head, body) = (flip(0), flip(5_000));
    let half = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let page = |bytes: &mut Vec<u8>| bytes.truncate(100);
    let noise = |bytes: &mut Vec<u8>| bytes.fill(b'x');
    let damages: [Damage<'_>; 5] = [&head, &body, &half, &page, &noise];
    for (number, damage) in damages.into_iter().enumerate() {
        for way in Way::BOTH {
            let carried = Carried::new(way, false);
            let journal = journal(&carried.rig);
            let mut bytes = fs::read(&journal).unwrap();
            damage(&mut bytes);
            fs::write(&journal, &bytes).unwrap();
            fs::remove_file(carried.source().join("b")).unwrap();
            let ran = carried.round().ends("ok", 0);
            assert!(
                ran.stderr.contains("the journal was damaged; it is kept as"),
                "{number}: {}",
                ran.stderr
            );
            ran.counts(&[("deleted", 0), ("displaced", 0), ("files_sent", 0), ("files_received", 0)]);
            assert_eq!(files_in(&carried.target()), 4, "{number} {way:?}");
            let state = journal.parent().unwrap();
            let kept = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
            assert!(
                kept.filter_map(|path| fs::read(path).ok()).any(|kept| kept == bytes),
                "{number} {way:?}"
            );
        }
    }
}

#[test]
fn a_folder_that_cannot_be_searched_is_a_problem_and_nothing_is_deleted() {
    for mode in [0o444, 0o000] {
        let carried = Carried::on(Rig::of_ordinary_user(), Way::Pull, false);
        let (uid, gid) = account::numbers(account::ORDINARY);
        let folder = carried.source().join("d");
        chown(&folder, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        fs::remove_file(carried.source().join("a")).unwrap();
        for deleted in [1, 0] {
            let ran = carried.round().ends("problems", 1).counts(&[("deleted", deleted)]);
            let problems = ran.list("problems");
            assert!(problems.iter().all(|(_, path)| path.starts_with('d')), "{mode:o}: {problems:?}");
            assert!(problems.iter().any(|(kind, _)| kind == "permission-denied"), "{mode:o}: {problems:?}");
        }
        assert_eq!(read(&carried.target().join("d/e")).as_deref(), Some("four"), "{mode:o}");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        carried.round().ends("ok", 0).counts(&[("deleted", 0)]);
    }
}

#[test]
fn a_listing_that_leaves_names_out_deletes_nothing() {
    let omit = |names: &[&str]| Fault::Omit(names.iter().map(|name| name.as_bytes().to_vec()).collect());
    let lies = [
        omit(&["a"]),
        omit(&["a", "b", "d"]),
        omit(&["a", "b", "c", "d"]),
        omit(&["e"]),
        Fault::EndListingAfter(0),
        Fault::EndListingAfter(2),
        Fault::EndListingAfter(3),
    ];
    for way in Way::BOTH {
        let script = Misbehave::default();
        let carried = Carried::on(Rig::ours(script.clone()), way, false);
        for lie in &lies {
            script.add(Rule::on(Op::List, lie.clone()));
            forget_last_look(&carried.rig);
            let ran = carried.rig.carry(way, &["--delete", "--accept-deletes"]);
            ran.counts(&[("deleted", 0), ("displaced", 0)]);
            assert_eq!(files_in(&carried.target()), 4, "{way:?} {lie:?}");
            script.clear();
        }
        assert!(script.deeds(Deed::Lied) >= lies.len() as u64);
        forget_last_look(&carried.rig);
        carried.round().ends("ok", 0).counts(&[("deleted", 0), ("displaced", 0)]);
        assert_eq!(carried.rig.trash(), []);
    }
}

/// Makes the next round look at the far side as a whole.
fn forget_last_look(rig: &Rig) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let journal = Journal::open(&journal(rig)).unwrap().journal;
        for (job, _) in journal.jobs().await.unwrap() {
            journal.update_job_state(job, |state| state.last_audit = None).await.unwrap();
        }
        journal.close().await.unwrap();
    });
}

#[test]
fn a_preview_of_a_root_that_was_accepted_in_anothers_place_sends_all() {
    let carried = Carried::new(Way::Push, false);
    replace(&carried.target());
    write(&carried.source(), &[("new", "x")]);
    write(&carried.target(), &[("theirs", "y")]);
    let shown = carried.rig.carry(Way::Push, &["--accept-deletes", "--dry-run"]);
    assert_eq!((shown.code, tree(&carried.target()).len()), (0, 1), "{shown:?}");
    let text = shown.json.to_string();
    for path in ["\"a\"", "\"b\"", "\"c\"", "\"d/e\"", "\"new\""] {
        assert!(text.contains(path), "{path} is not shown: {text}");
    }
}

#[test]
fn what_a_person_accepted_is_used_up_by_the_round_that_deletes() {
    let rig = Rig::of_ordinary_user();
    let names: Vec<String> = (0..60).map(|n| format!("f{n:02}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    write(&rig.near(), &files);
    rig.configure(Way::Push, JOB);
    rig.run().ends("ok", 0);
    let remove = |names: &[String]| names.iter().for_each(|n| fs::remove_file(rig.near().join(n)).unwrap());
    remove(&names[..25]);
    rig.run().ends("held", 4).counts(&[("held", 25)]);
    let trash = rig.far().join(".highwater/trash");
    fs::create_dir(&trash).unwrap();
    fs::set_permissions(&trash, fs::Permissions::from_mode(0o555)).unwrap();
    rig.resume(&["--accept-deletes"]);
    rig.run().ends("held", 4).counts(&[("deleted", 0), ("held", 25)]);
    // Held for lack of a trash, they were not deleted and count for nothing; nor is the word still good.
    let (uid, gid) = account::numbers(account::ORDINARY);
    fs::set_permissions(&trash, fs::Permissions::from_mode(0o755)).unwrap();
    chown(&trash, Some(uid), Some(gid)).unwrap();
    let ran = rig.run().ends("held", 4).counts(&[("deleted", 0), ("held", 25)]);
    assert!(!ran.message().contains("after"), "{}", ran.message());
    write(&rig.near(), &files[..10]);
    rig.run().ends("ok", 0).counts(&[("deleted", 15)]);
    remove(&names[30..36]);
    rig.run().ends("held", 4).says(&["6 deletes after 15"]);
}
