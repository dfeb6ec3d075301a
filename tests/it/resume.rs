//! Runs that are cut off in the middle: the next one, or the same, goes on from the proven offset.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::rig::{Ran, Way};
use crate::support::scene::{Scene, crossed, does_nothing, noise, rewrite, set_age, verified};
use crate::support::sshd::Options;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 28 * MIB;

/// Where runs are cut: some pieces are journaled by then, and some are not there yet.
const CUT_AT: u64 = 20 * MIB;

/// Slow enough that whoever looks every millisecond comes in time.
const SLOWLY: [&str; 2] = ["--limit", "24MiB/s"];

fn big() -> Vec<u8> {
    noise(SIZE as usize, 1)
}

#[track_caller]
fn has_recovered(round: &Ran, kind: &str, path: &str) {
    let recovered = round.list("recovered");
    assert!(recovered.contains(&(kind.into(), path.into())), "{recovered:?}\n{}", round.stderr);
}

/// A rig with a transfer of `big` that was killed in its middle.
fn cut_off(way: Way) -> Scene {
    let rig = Scene::sshd(Options::default());
    rig.put(way, "big", &big());
    let (told, _) = rig.cut(way, &SLOWLY, CUT_AT, Signal::KILL);
    assert!(told.is_none(), "it had ended: {told:?}");
    assert_eq!(rig.placed(way, "big"), None);
    rig
}

fn check_cut(way: Way, signal: Signal) {
    let rig = Scene::sshd(Options::default());
    rig.put(way, "big", &big());
    let (told, staged) = rig.cut(way, &SLOWLY, CUT_AT, signal);
    assert_eq!(told.is_none(), signal == Signal::KILL);
    if let Some(round) = told {
        round.ends("failed", 130);
    }
    assert_eq!(rig.placed(way, "big"), None);
    let next = rig.carry(way, &[]).ends("ok", 0);
    let (resumed, crossed) = (next.count("bytes_resumed"), next.count(crossed(way)));
    assert_eq!(resumed + crossed, SIZE);
    assert!(resumed > 0 && staged - resumed < 16 * MIB, "{staged} were staged, {resumed} resumed");
    has_recovered(&next, "resumed", "big");
    assert_eq!(verified(&next, "full"), 1);
    rig.is_done(way, "big", &big());
}

#[test]
fn a_killed_push_goes_on() {
    check_cut(Way::Push, Signal::KILL);
}

#[test]
fn a_killed_pull_goes_on() {
    check_cut(Way::Pull, Signal::KILL);
}

#[test]
fn a_stopped_push_goes_on() {
    check_cut(Way::Push, Signal::TERM);
}

#[test]
fn a_stopped_pull_goes_on() {
    check_cut(Way::Pull, Signal::INT);
}

/// Cuts the connection each time so much is staged; the run puts it right by itself.
fn check_lost_connections(way: Way, size: u64, cuts: &[u64]) {
    let mut rig = Scene::sshd(Options::default());
    let content = noise(size as usize, 2);
    rig.put(way, "big", &content);
    let mut running = rig.start(way, &["--limit", "32MiB/s"]);
    for &bytes in cuts {
        running.wait_until("stage so much", || rig.staged_bytes(way) >= bytes);
        rig.sshd().kill_sessions();
    }
    let round = running.end().expect("it ends by itself").ends("ok", 0);
    let most = size + cuts.len() as u64 * 16 * MIB;
    assert!((size..most).contains(&round.count(crossed(way))), "{:#}", round.job());
    assert_eq!(round.count("bytes_resumed"), 0, "all of it crossed in this run");
    has_recovered(&round, "reconnected", ".");
    has_recovered(&round, "resumed", "big");
    rig.is_done(way, "big", &content);
}

#[test]
fn a_push_puts_a_lost_connection_right() {
    check_lost_connections(Way::Push, SIZE, &[CUT_AT]);
}

#[test]
fn a_pull_puts_a_lost_connection_right() {
    check_lost_connections(Way::Pull, SIZE, &[CUT_AT]);
}

/// What was staged before the last cut is not proved again by then: it must count all the same.
#[test]
fn a_push_gets_on_however_often_the_connection_is_lost() {
    check_lost_connections(Way::Push, 88 * MIB, &[48 * MIB, 64 * MIB, 80 * MIB]);
}

/// What lies in the staging folder is no more what was staged: it is noticed, and the file begun again.
fn check_tampered(way: Way, flags: &[&str], kind: &str, tamper: impl Fn(&Path)) {
    let rig = cut_off(way);
    let staged = rig.staged(way);
    assert_eq!(staged.len(), 1);
    tamper(&staged[0]);
    let next = rig.carry(way, flags).ends("ok", 0);
    assert!(next.count(crossed(way)) >= SIZE, "{:#}", next.job());
    assert_eq!(next.count("bytes_resumed"), 0, "{:#}", next.job());
    if !kind.is_empty() {
        has_recovered(&next, kind, "big");
    }
    rig.is_done(way, "big", &big());
}

fn check_flipped(way: Way) {
    for level in ["full", "sample", "ack"] {
        check_tampered(way, &["--verify", level], "corrupt", |staged| {
            let mut content = fs::read(staged).expect("it is there");
            content[3 << 20] ^= 0x10;
            rewrite(staged, &content);
        });
    }
}

#[test]
fn a_staged_file_with_a_flipped_bit_is_not_pushed_on() {
    check_flipped(Way::Push);
}

#[test]
fn a_staged_file_with_a_flipped_bit_is_not_pulled_on() {
    check_flipped(Way::Pull);
}

#[test]
fn a_truncated_staged_file_is_not_gone_on_with() {
    for way in Way::BOTH {
        check_tampered(way, &[], "restarted", |staged| {
            fs::File::options().write(true).open(staged).and_then(|f| f.set_len(MIB)).expect("it is there");
        });
    }
}

#[test]
fn a_staged_file_that_is_gone_is_no_loss() {
    for way in Way::BOTH {
        check_tampered(way, &[], "", |staged| fs::remove_file(staged).expect("it is there"));
    }
}

#[test]
fn a_link_in_place_of_the_staged_file_is_not_followed() {
    for way in Way::BOTH {
        let outside = tempfile::tempdir().expect("a temporary folder");
        let secret = outside.path().join("secret");
        fs::write(&secret, big()).expect("the file can be written");
        check_tampered(way, &[], "restarted", |staged| {
            fs::remove_file(staged).expect("it is there");
            symlink(&secret, staged).expect("a name that is free");
        });
        assert!(fs::read(&secret).expect("it is there") == big());
    }
}

#[test]
fn a_folder_in_place_of_the_staged_file_does_no_harm() {
    for way in Way::BOTH {
        let rig = cut_off(way);
        let staged = rig.staged(way).remove(0);
        fs::remove_file(&staged).expect("it is there");
        fs::create_dir(&staged).expect("a name that is free");
        let next = rig.carry(way, &[]).ends("ok", 0);
        has_recovered(&next, "restarted", "big");
        assert!(rig.placed(way, "big") == Some(big()));
        does_nothing(rig.carry(way, &[]));
    }
}

#[test]
fn without_the_journal_the_staged_file_is_swept() {
    for way in Way::BOTH {
        let rig = cut_off(way);
        fs::remove_dir_all(rig.file("state")).expect("the state can be removed");
        let next = rig.carry(way, &[]).ends("ok", 0);
        assert_eq!((next.count("bytes_resumed"), next.count(crossed(way))), (0, SIZE));
        assert!(rig.placed(way, "big") == Some(big()));
    }
}

/// The source is another one than the one that was cut off: never a mix of both.
fn check_edited(way: Way, edit: impl Fn(&Path, &[u8])) {
    let rig = cut_off(way);
    let mut edited = big();
    let at = edited.len() - 5;
    edited[at] ^= 1;
    edit(&rig.source(way).join("big"), &edited);
    let edited = fs::read(rig.source(way).join("big")).expect("it is there");
    let next = rig.carry(way, &[]).ends("ok", 0);
    assert_eq!((next.count("bytes_resumed"), next.count(crossed(way))), (0, edited.len() as u64));
    has_recovered(&next, "restarted", "big");
    rig.is_done(way, "big", &edited);
}

#[test]
fn an_edited_source_is_begun_again() {
    for way in Way::BOTH {
        check_edited(way, |path, content| {
            fs::write(path, content).expect("it can be written");
            set_age(path, Duration::from_secs(30));
        });
        check_edited(way, |path, content| {
            fs::write(path, [content, b"more"].concat()).expect("it can be written");
            set_age(path, Duration::from_secs(30));
        });
    }
}

/// Same size, same mtime: here only the ctime tells.
#[test]
fn an_edited_source_with_its_old_mtime_is_begun_again() {
    check_edited(Way::Push, rewrite);
}

/// What somebody put at the target meanwhile goes to the trash, and what was staged counts.
#[test]
fn a_target_that_appeared_meanwhile_is_displaced() {
    for way in Way::BOTH {
        let rig = cut_off(way);
        fs::write(rig.target(way).join("big"), "somebody's").expect("it can be written");
        let next = rig.carry(way, &[]).ends("ok", 0);
        assert_eq!(next.count("displaced"), 1);
        assert_eq!(next.count("bytes_resumed") + next.count(crossed(way)), SIZE);
        assert!(next.count("bytes_resumed") > 0);
        has_recovered(&next, "displaced", "big");
        rig.is_done(way, "big", &big());
        let trash = rig.target(way).join(".highwater/trash");
        let round = fs::read_dir(&trash).expect("it is there").next().expect("a round").expect("an entry");
        assert_eq!(fs::read(round.path().join("big")).expect("it is there"), b"somebody's");
    }
}
