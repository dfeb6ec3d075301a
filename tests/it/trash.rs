//! What push and pull do with what stands at the target, and what becomes of the bytes that make way.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use highwater::journal::Journal;

use crate::support::account;
use crate::support::rig::{Ran, Rig, Way, read, wait_until, write};

/// Looks at the target as a whole in every round, as long as rounds are a second apart.
const LOOKS: &str = "delete: true\naudit: 1s\nsettle: 0s";

/// A round of the job `j` that looks at the far side as a whole.
fn round(rig: &Rig) -> Ran {
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = second();
    wait_until("be a second later", || second() > before);
    rig.run()
}

/// A rig whose job has carried `a`, `b` and `d/c`.
fn carried(way: Way, job: &str) -> Rig {
    let rig = Rig::openssh();
    write(&rig.source(way), &[("a", "one"), ("b", "two"), ("d/c", "three")]);
    rig.configure(way, job);
    round(&rig).ends("ok", 0);
    rig
}

/// Where in the target's trash the things are that `highwater log` lists, with why and path.
fn in_trash(rig: &Rig, way: Way) -> Vec<(String, String, PathBuf)> {
    let place = |path: &str, folder: &str| rig.target(way).join(".highwater/trash").join(folder).join(path);
    let trash = rig.trash().into_iter();
    trash.map(|(why, path, folder)| (why, path.clone(), place(&path, &folder))).collect()
}

/// The one thing in the trash; it came there for this reason, from this path, and has this content.
#[track_caller]
fn kept(rig: &Rig, way: Way, why: &str, path: &str, content: &str) -> PathBuf {
    let trash = in_trash(rig, way);
    assert_eq!(trash.len(), 1, "{way:?}: {trash:?}");
    let (found_why, found_path, place) = trash[0].clone();
    assert_eq!((found_why.as_str(), found_path.as_str()), (why, path), "{way:?}");
    assert_eq!(read(&place).as_deref(), Some(content), "{way:?}: {}", place.display());
    place
}

fn nothing_in_trash(rig: &Rig, way: Way) {
    assert_eq!(rig.trash(), [], "{way:?}");
    let trash = rig.target(way).join(".highwater/trash");
    let left = fs::read_dir(&trash).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{way:?}: {}", trash.display());
}

#[test]
fn what_equals_base_follows_the_source() {
    for way in Way::BOTH {
        let rig = carried(way, LOOKS);
        write(&rig.source(way), &[("a", "another one")]);
        round(&rig).ends("ok", 0).counts(&[("displaced", 0), ("deleted", 0)]);
        assert_eq!(read(&rig.target(way).join("a")).as_deref(), Some("another one"));
        nothing_in_trash(&rig, way);
    }
}

#[test]
fn what_is_there_already_is_adopted_and_nothing_is_carried() {
    for way in Way::BOTH {
        let rig = Rig::openssh();
        for root in [rig.near(), rig.far()] {
            write(&root, &[("a", "one"), ("d/c", "three")]);
        }
        let files = if way == Way::Push { "files_sent" } else { "files_received" };
        let bytes = if way == Way::Push { "bytes_sent" } else { "bytes_received" };
        for _ in 0..2 {
            let ran = rig.carry(way, &["--delete"]).ends("ok", 0);
            ran.counts(&[(files, 0), (bytes, 0), ("displaced", 0), ("foreign", 0)]);
        }
        nothing_in_trash(&rig, way);
        fs::remove_file(rig.source(way).join("a")).unwrap();
        rig.carry(way, &["--delete"]).ends("ok", 0).counts(&[("deleted", 1)]);
        kept(&rig, way, "deleted", "a", "one");
    }
}

#[test]
fn what_base_does_not_know_makes_way_into_the_trash() {
    for way in Way::BOTH {
        let rig = Rig::openssh();
        write(&rig.source(way), &[("d/a", "ours")]);
        write(&rig.target(way), &[("d/a", "somebody else's")]);
        let ran = rig.carry(way, &[]).ends("ok", 0).counts(&[("displaced", 1), ("deleted", 0)]);
        assert_eq!(ran.list("recovered"), [("displaced".into(), "d/a".into())]);
        assert_eq!(read(&rig.target(way).join("d/a")).as_deref(), Some("ours"));
        kept(&rig, way, "displaced", "d/a", "somebody else's");
        rig.carry(way, &[]).ends("ok", 0).counts(&[("displaced", 0)]);
    }
}

#[test]
fn what_was_changed_since_base_makes_way_into_the_trash() {
    for way in Way::BOTH {
        let rig = carried(way, LOOKS);
        write(&rig.target(way), &[("a", "changed over there")]);
        let ran = round(&rig).ends("ok", 0).counts(&[("displaced", 1)]);
        assert_eq!(ran.list("recovered"), [("displaced".into(), "a".into())]);
        assert_eq!(read(&rig.target(way).join("a")).as_deref(), Some("one"));
        kept(&rig, way, "displaced", "a", "changed over there");
        round(&rig).ends("ok", 0).counts(&[("displaced", 0), ("unchanged", 4)]);
    }
}

#[test]
fn changes_on_both_sides_keep_both() {
    for way in Way::BOTH {
        let rig = carried(way, LOOKS);
        write(&rig.source(way), &[("a", "changed at the source")]);
        write(&rig.target(way), &[("a", "changed over there")]);
        round(&rig).ends("ok", 0).counts(&[("displaced", 1)]);
        assert_eq!(read(&rig.target(way).join("a")).as_deref(), Some("changed at the source"));
        kept(&rig, way, "displaced", "a", "changed over there");
    }
}

#[test]
fn a_folder_in_the_way_goes_to_the_trash_with_all_that_is_in_it() {
    for way in Way::BOTH {
        let rig = Rig::openssh();
        write(&rig.source(way), &[("a", "a file")]);
        write(&rig.target(way), &[("a/x", "1"), ("a/y/z", "2")]);
        rig.carry(way, &[]).ends("ok", 0).counts(&[("displaced", 1)]);
        assert_eq!(read(&rig.target(way).join("a")).as_deref(), Some("a file"));
        let (why, path, place) = in_trash(&rig, way).remove(0);
        assert_eq!((why.as_str(), path.as_str()), ("displaced", "a"));
        assert_eq!(read(&place.join("x")).as_deref(), Some("1"));
        assert_eq!(read(&place.join("y/z")).as_deref(), Some("2"));
    }
}

#[test]
fn what_is_none_of_ours_is_left_and_counted() {
    for way in Way::BOTH {
        let rig = carried(way, LOOKS);
        write(&rig.target(way), &[("theirs", "x"), ("d/theirs", "y"), ("new/z", "z")]);
        for _ in 0..2 {
            let ran = round(&rig).ends("ok", 0).counts(&[("deleted", 0), ("displaced", 0)]);
            assert!(ran.count("foreign") >= 3, "{:#}", ran.job());
        }
        assert_eq!(read(&rig.target(way).join("d/theirs")).as_deref(), Some("y"));
        nothing_in_trash(&rig, way);
    }
}

#[test]
fn a_folder_that_is_gone_at_the_source_stays_as_long_as_others_have_something_in_it() {
    for way in Way::BOTH {
        let rig = carried(way, LOOKS);
        write(&rig.target(way), &[("d/theirs", "y")]);
        fs::remove_dir_all(rig.source(way).join("d")).unwrap();
        round(&rig).ends("ok", 0).counts(&[("deleted", 1)]);
        assert_eq!(read(&rig.target(way).join("d/theirs")).as_deref(), Some("y"));
        kept(&rig, way, "deleted", "d/c", "three");
    }
}

#[test]
fn what_is_gone_at_the_source_goes_to_the_trash_and_a_rename_brings_it_back() {
    for way in Way::BOTH {
        let rig = carried(way, LOOKS);
        fs::remove_file(rig.source(way).join("a")).unwrap();
        round(&rig).ends("ok", 0).counts(&[("deleted", 1), ("displaced", 0)]);
        let (back, place) = (rig.target(way).join("a"), kept(&rig, way, "deleted", "a", "one"));
        assert_eq!(read(&back), None);
        fs::rename(&place, &back).unwrap();
        round(&rig).ends("ok", 0).counts(&[("deleted", 0), ("displaced", 0), ("foreign", 1)]);
        assert_eq!(read(&back).as_deref(), Some("one"));
        // The source has the same again: adopted. Something else: it makes way once more.
        write(&rig.source(way), &[("a", "one")]);
        round(&rig).ends("ok", 0).counts(&[("displaced", 0), ("foreign", 0)]);
        assert_eq!(read(&back).as_deref(), Some("one"));
    }
}

/// What was renamed right before a crash is not in base yet.
#[test]
#[cfg(feature = "crash-points")]
fn a_small_file_placed_right_before_a_crash_goes_with_its_source() {
    for (way, path) in Way::BOTH.into_iter().flat_map(|way| [(way, "new"), (way, "a")]) {
        let rig = carried(way, LOOKS);
        write(&rig.source(way), &[(path, "placed, not recorded")]);
        let crashed =
            rig.with_config(&["run", "j"]).env("HIGHWATER_CRASH", "place: renamed:1").output().unwrap();
        assert_eq!(crashed.status.code(), None, "{crashed:?}");
        assert_eq!(read(&rig.target(way).join(path)).as_deref(), Some("placed, not recorded"), "{way:?}");
        fs::remove_file(rig.source(way).join(path)).unwrap();
        round(&rig).ends("ok", 0).counts(&[("deleted", 1), ("foreign", 0)]);
        assert_eq!(read(&rig.target(way).join(path)), None, "{way:?}");
    }
}

#[test]
fn a_displaced_file_that_is_brought_back_is_displaced_again() {
    for way in Way::BOTH {
        let rig = carried(way, LOOKS);
        write(&rig.target(way), &[("a", "changed over there")]);
        round(&rig).ends("ok", 0);
        let place = kept(&rig, way, "displaced", "a", "changed over there");
        fs::rename(&place, rig.target(way).join("a")).unwrap();
        round(&rig).ends("ok", 0).counts(&[("displaced", 1)]);
        assert_eq!(read(&rig.target(way).join("a")).as_deref(), Some("one"));
        let again = in_trash(&rig, way).into_iter().filter(|(_, _, place)| place.exists());
        let contents: Vec<_> = again.map(|(_, _, place)| read(&place)).collect();
        assert_eq!(contents, [Some("changed over there".to_owned())]);
    }
}

#[test]
fn what_was_changed_at_the_target_is_not_deleted() {
    for way in Way::BOTH {
        let rig = carried(way, LOOKS);
        fs::remove_file(rig.source(way).join("a")).unwrap();
        write(&rig.target(way), &[("a", "changed over there")]);
        let ran = round(&rig).ends("problems", 1).counts(&[("deleted", 0), ("displaced", 0)]);
        assert_eq!(ran.list("problems"), [("changed-at-target".into(), "a".into())]);
        assert_eq!(read(&rig.target(way).join("a")).as_deref(), Some("changed over there"));
        round(&rig).ends("ok", 0).counts(&[("deleted", 0), ("foreign", 1)]);
    }
}

#[test]
fn the_trash_is_swept_after_its_time() {
    for way in Way::BOTH {
        let rig = carried(way, "delete: true\naudit: 1s\ntrash: 1s");
        fs::remove_file(rig.source(way).join("d/c")).unwrap();
        let ran = round(&rig).ends("ok", 0).counts(&[("deleted", 1)]);
        assert_eq!(ran.list("problems"), []);
        wait_until("sweep the trash", || {
            round(&rig).ends("ok", 0);
            rig.trash().is_empty()
        });
        nothing_in_trash(&rig, way);
    }
}

#[test]
fn the_trash_is_not_swept_before_its_time() {
    for way in Way::BOTH {
        let rig = carried(way, "delete: true\naudit: 1s\ntrash: 1h");
        fs::remove_file(rig.source(way).join("a")).unwrap();
        for _ in 0..3 {
            round(&rig).ends("ok", 0);
        }
        kept(&rig, way, "deleted", "a", "one");
    }
}

#[test]
fn without_a_trash_nothing_is_kept_but_folders_of_others() {
    for way in Way::BOTH {
        let rig = carried(way, "delete: true\naudit: 1s\ntrash: 0");
        fs::remove_file(rig.source(way).join("a")).unwrap();
        write(&rig.target(way), &[("b", "changed over there"), ("new/x", "theirs")]);
        write(&rig.source(way), &[("new", "a file where they have a folder")]);
        let ran = round(&rig).ends("problems", 1).counts(&[("deleted", 1), ("displaced", 1)]);
        assert_eq!(ran.list("problems"), [("exists".into(), "new".into())]);
        assert_eq!(read(&rig.target(way).join("a")), None);
        assert_eq!(read(&rig.target(way).join("b")).as_deref(), Some("two"));
        assert_eq!(read(&rig.target(way).join("new/x")).as_deref(), Some("theirs"));
        nothing_in_trash(&rig, way);
    }
}

#[test]
fn without_the_right_to_a_trash_nothing_makes_way_and_the_round_says_so() {
    let rig = Rig::of_ordinary_user();
    write(&rig.near(), &[("a", "one"), ("b", "two")]);
    rig.configure(Way::Push, LOOKS);
    round(&rig).ends("ok", 0);
    let trash = rig.far().join(".highwater/trash");
    fs::create_dir(&trash).unwrap();
    fs::set_permissions(&trash, fs::Permissions::from_mode(0o555)).unwrap();
    fs::remove_file(rig.near().join("a")).unwrap();
    write(&rig.far(), &[("b", "changed over there"), ("c", "theirs")]);
    let (uid, gid) = account::numbers(account::ORDINARY);
    for name in ["b", "c"] {
        chown(rig.far().join(name), Some(uid), Some(gid)).unwrap();
    }
    write(&rig.near(), &[("c", "ours"), ("e", "goes on")]);
    let ran = round(&rig).ends("held", 4).counts(&[("deleted", 0), ("displaced", 0), ("held", 3)]);
    let expected = ["a", "b", "c"].map(|path| ("permission-denied".to_owned(), path.to_owned()));
    assert_eq!(ran.list("problems"), expected);
    let expected = [("a", "one"), ("b", "changed over there"), ("c", "theirs"), ("e", "goes on")];
    for (path, content) in expected {
        assert_eq!(read(&rig.far().join(path)).as_deref(), Some(content), "{path}");
    }
    fs::set_permissions(&trash, fs::Permissions::from_mode(0o755)).unwrap();
    chown(&trash, Some(uid), Some(gid)).unwrap();
    round(&rig).ends("ok", 0).counts(&[("deleted", 1), ("displaced", 2), ("held", 0)]);
    assert_eq!(in_trash(&rig, Way::Push).len(), 3);
}

#[test]
fn our_own_names_inside_a_folder_in_the_trash_do_not_keep_it_there() {
    for way in Way::BOTH {
        let rig = Rig::openssh();
        write(&rig.source(way), &[("a", "a file")]);
        write(&rig.target(way), &[("a/.highwater/root.json", "of a root inside"), ("a/.highwater-0", "x")]);
        rig.configure(way, "delete: true\naudit: 1s\nsettle: 0s\ntrash: 1s");
        round(&rig).ends("ok", 0).counts(&[("displaced", 1)]);
        wait_until("sweep the trash", || {
            round(&rig).ends("ok", 0);
            rig.trash().is_empty()
        });
        nothing_in_trash(&rig, way);
    }
}

#[test]
fn trash_of_ours_that_no_row_knows_is_swept_after_its_time() {
    for way in Way::BOTH {
        let rig = carried(way, "delete: true\naudit: 1s\ntrash: 1h");
        let stages = rig.target(way).join(".highwater/stage");
        let agent = fs::read_dir(stages).unwrap().next().unwrap().unwrap().file_name();
        let agent = agent.to_str().unwrap()[..8].to_owned();
        let trash = rig.target(way).join(".highwater/trash");
        let old = format!("20200101T000000Z-{agent}-1/d");
        let (new, other) = (format!("20990101T000000Z-{agent}-1"), "20200101T000000Z-00000000-1".to_owned());
        for folder in [&old, &new, &other] {
            write(&trash.join(folder), &[("x", "y")]);
        }
        forget_last_sweep(&rig);
        round(&rig).ends("ok", 0);
        let mut left: Vec<_> =
            fs::read_dir(&trash).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [other, new], "{way:?}");
    }
}

/// Makes the next round that looks at the target look for what no row knows.
fn forget_last_sweep(rig: &Rig) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let journal = Journal::open(&rig.file("state/journal.db")).unwrap().journal;
        let job = journal.find_job("j").await.unwrap().unwrap();
        journal.meta_set(&format!("strays-swept-{}", job.0), "0").await.unwrap();
        journal.close().await.unwrap();
    });
}
