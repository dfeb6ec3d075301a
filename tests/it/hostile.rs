//! A server that lies: nothing is written outside the root, nothing panics, nothing reaches the terminal.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::hostile::{Script, Tale, folder_of};
use crate::support::rig::{Ran, Rig, Way};

const FILE: u32 = 0o100_644;
const FOLDER: u32 = 0o40_755;
const LINK: u32 = 0o120_777;

/// Everything below a folder: a path and its content, or what a link leads to.
fn all(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_symlink() {
            found.insert(path.clone(), fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec());
        } else if kind.is_dir() {
            found.insert(path.clone(), b"folder".to_vec());
            found.extend(all(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Everything in the rig's folder that is neither in the near root nor state of ours.
fn outside(rig: &Rig) -> BTreeMap<PathBuf, Vec<u8>> {
    let (near, state) = (rig.near(), rig.file("state"));
    let inside = |path: &PathBuf| path.starts_with(&near) && *path != near || path.starts_with(&state);
    all(&rig.file("")).into_iter().filter(|(path, _)| !inside(path)).collect()
}

/// What is in the near root, by name, ours left out.
fn carried(rig: &Rig) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (near, own) = (rig.near(), rig.near().join(".highwater"));
    let all = all(&near).into_iter().filter(|(path, _)| !path.starts_with(&own));
    all.map(|(path, content)| (path.strip_prefix(&near).unwrap().as_os_str().as_bytes().to_vec(), content))
        .collect()
}

/// Two pulls, told as a document and to a terminal: neither harms anything.
#[track_caller]
fn pulls(rig: &Rig) -> Ran {
    let before = outside(rig);
    let ran = rig.carry(Way::Pull, &["--delete"]);
    assert!([0, 1, 3, 4].contains(&ran.code), "{ran:?}");
    let text = Ran::of(&mut rig.command(Way::Pull, &["--delete", "-v"]));
    assert!([0, 1, 3, 4].contains(&text.code), "{text:?}");
    for said in [&ran.stdout, &ran.stderr, &text.stdout, &text.stderr] {
        let raw = said.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(raw, None, "{said:?}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert_eq!(outside(rig), before, "something was written outside the root");
    ran
}

#[test]
fn names_that_lead_out_of_their_folder_are_refused_and_told() {
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().join("evil").as_os_str().as_bytes().to_vec();
    let names: [&[u8]; 9] =
        [b"../evil", b"../../evil", &absolute, b"a/b", b"", b"nul\0nul", b"..\0", b"/", b"good/../../evil"];
    for name in names {
        let rig = Rig::hostile(folder_of(&[b".", b"..", b"good", name]));
        let ran = pulls(&rig);
        assert_eq!(carried(&rig), BTreeMap::from([(b"good".to_vec(), b"evil".to_vec())]), "{name:?}");
        assert_eq!(ran.code, 1, "{:?} was not told: {:#}", OsStr::from_bytes(name), ran.job());
        assert!(!ran.list("problems").is_empty());
    }
    assert_eq!(all(outside.path()), BTreeMap::new());
}

#[test]
fn names_that_come_twice_are_carried_at_most_once() {
    let rig = Rig::hostile(folder_of(&[b"twice", b"good", b"twice", b"twice"]));
    pulls(&rig);
    let carried = carried(&rig);
    assert_eq!(carried.get(&b"good"[..]), Some(&b"evil".to_vec()));
    assert!(carried.len() <= 2, "{carried:?}");
}

#[test]
fn names_of_ours_are_not_taken_from_a_server() {
    let rig = Rig::hostile(folder_of(&[b".highwater", b".highwater-evil", b"good"]));
    pulls(&rig);
    assert_eq!(carried(&rig).into_keys().collect::<Vec<_>>(), [b"good".to_vec()]);
    let own = all(&rig.near().join(".highwater"));
    assert!(!own.values().any(|content| content == b"evil"), "{own:?}");
}

#[test]
fn control_characters_in_names_do_not_reach_the_terminal() {
    let names: [&[u8]; 5] =
        [b"\x1b[31mred", b"two\nlines", b"bell\x07\r", b"\xff\xfe", "\u{9b}2J\u{7f}".as_bytes()];
    let rig = Rig::hostile(folder_of(&names));
    assert_eq!(pulls(&rig).code, 0);
    assert_eq!(carried(&rig).len(), names.len(), "bytes are bytes");
    // Now each of them is a problem: less is there than was said.
    let listed: Vec<_> = names.iter().map(|name| (name.to_vec(), FILE, 9)).collect();
    let short: Script = Arc::new(move |path, _| {
        Some(match path {
            b"/far" => Tale { mode: FOLDER, names: listed.clone(), ..Tale::default() },
            _ => Tale { mode: FILE, size: 9, content: b"evil".to_vec(), ..Tale::default() },
        })
    });
    let rig = Rig::hostile(short);
    assert_eq!(pulls(&rig).list("problems").len(), names.len());
    assert_eq!(carried(&rig), BTreeMap::new());
}

#[test]
fn a_link_that_an_earlier_pull_brought_is_not_written_through() {
    let victim = tempfile::tempdir().unwrap();
    fs::write(victim.path().join("x"), "mine").unwrap();
    let target = victim.path().as_os_str().as_bytes().to_vec();
    let phase = Arc::new(AtomicU64::new(0));
    let now = phase.clone();
    let script: Script = Arc::new(move |path, _| {
        let is_link = now.load(Ordering::SeqCst) == 0;
        let listed = (b"d".to_vec(), if is_link { LINK } else { FOLDER }, 4);
        Some(match path {
            b"/far" => Tale { mode: FOLDER, names: vec![listed], ..Tale::default() },
            b"/far/d" if is_link => Tale { mode: LINK, size: 4, link: target.clone(), ..Tale::default() },
            b"/far/d" => Tale {
                mode: FOLDER,
                names: vec![(b"x".to_vec(), FILE, 4), (b"new".to_vec(), FILE, 4)],
                ..Tale::default()
            },
            _ => Tale { mode: FILE, size: 4, content: b"evil".to_vec(), ..Tale::default() },
        })
    });
    let rig = Rig::hostile(script);
    pulls(&rig);
    assert!(rig.near().join("d").is_symlink());
    phase.store(1, Ordering::SeqCst);
    for _ in 0..2 {
        pulls(&rig);
        let there: Vec<_> = all(victim.path()).into_values().collect();
        assert_eq!(there, [b"mine".to_vec()], "it was written through the link");
    }
    assert!(rig.near().join("d").is_dir() && !rig.near().join("d").is_symlink());
}

#[test]
fn a_link_that_somebody_put_in_the_root_is_not_written_through() {
    let victim = tempfile::tempdir().unwrap();
    let script: Script = Arc::new(|path, _| {
        Some(match path {
            b"/far" => Tale { mode: FOLDER, names: vec![(b"d".to_vec(), FOLDER, 0)], ..Tale::default() },
            b"/far/d" => Tale { mode: FOLDER, names: vec![(b"x".to_vec(), FILE, 4)], ..Tale::default() },
            _ => Tale { mode: FILE, size: 4, content: b"evil".to_vec(), ..Tale::default() },
        })
    });
    let rig = Rig::hostile(script);
    symlink(victim.path(), rig.near().join("d")).unwrap();
    pulls(&rig);
    assert_eq!(all(victim.path()), BTreeMap::new());
    let rig = Rig::hostile(folder_of(&[b"x"]));
    symlink(victim.path(), rig.near().join(".highwater")).unwrap();
    pulls(&rig);
    assert_eq!(all(victim.path()), BTreeMap::new(), "staged through a link");
}

/// A folder with one thing `f`, which the listing calls `listed` and every look and read tells as `told`.
fn one(listed: (u32, u64), told: impl Fn(u64) -> Option<Tale> + Send + Sync + 'static) -> Script {
    Arc::new(move |path, nth| match path {
        b"/far" => {
            let names = vec![(b"f".to_vec(), listed.0, listed.1)];
            Some(Tale { mode: FOLDER, names, ..Tale::default() })
        }
        _ => told(nth),
    })
}

fn file(size: u64, content: &[u8]) -> Tale {
    Tale { mode: FILE, size, content: content.to_vec(), ..Tale::default() }
}

#[test]
fn sizes_that_are_lies_bring_nothing_half() {
    for size in [5, 1 << 20, 1 << 40, 1 << 62, u64::MAX] {
        let rig = Rig::hostile(one((FILE, size), move |_| Some(file(size, b"evil"))));
        let ran = pulls(&rig);
        assert_eq!((ran.code, carried(&rig)), (1, BTreeMap::new()), "{size}: {:#}", ran.job());
    }
    for (listed, told) in [(4, u64::MAX), (u64::MAX, 4), (0, 4), (4, 0), (3, 3)] {
        let rig = Rig::hostile(one((FILE, listed), move |_| Some(file(told, b"evil"))));
        pulls(&rig);
        let carried = carried(&rig);
        let whole = carried.values().all(|content| *content == b"evil"[..(told as usize).min(4)]);
        assert!(whole, "{listed} {told}: {carried:?}");
    }
}

#[test]
fn kinds_and_sizes_that_change_at_every_look_bring_nothing_half() {
    let kinds = [FILE, FOLDER, LINK, 0o140_644, 0o10_644, 0, 0o60_644, u32::MAX];
    for listed in [FILE, FOLDER, LINK, 0] {
        let flip = move |nth: u64| {
            let mode = kinds[(nth as usize) % kinds.len()];
            let link = b"../../evil".to_vec();
            let names = vec![(b"f".to_vec(), FILE, 4)];
            Some(Tale { mode, size: nth % 7, content: b"evil".to_vec(), link, names })
        };
        let rig = Rig::hostile(one((listed, 4), flip));
        pulls(&rig);
        for (name, content) in carried(&rig) {
            let told: [&[u8]; 3] = [b"folder", b"../../evil", b"evil"];
            assert!(told.iter().any(|told| told.starts_with(&content)), "{name:?}: {content:?}");
        }
    }
}

#[test]
fn a_folder_whose_type_is_left_out_proves_nothing_of_what_is_in_it() {
    let phase = Arc::new(AtomicU64::new(0));
    let now = phase.clone();
    let script: Script = Arc::new(move |path, _| {
        let is_whole = now.load(Ordering::SeqCst) == 0;
        let names = |names: &[&str]| names.iter().map(|name| (name.as_bytes().to_vec(), FILE, 4)).collect();
        Some(match path {
            b"/far" => Tale { mode: FOLDER, names: vec![(b"d".to_vec(), FOLDER, 0)], ..Tale::default() },
            b"/far/d" if is_whole => Tale { mode: FOLDER, names: names(&["x", "y"]), ..Tale::default() },
            b"/far/d" => Tale { names: names(&["y"]), ..Tale::default() },
            _ => file(4, b"evil"),
        })
    });
    let rig = Rig::hostile(script);
    pulls(&rig);
    let all = carried(&rig);
    assert_eq!(all.len(), 3, "{all:?}");
    phase.store(1, Ordering::SeqCst);
    pulls(&rig);
    assert_eq!(carried(&rig), all);
}
