//! Bytes that change on the way: never placed, sent again, reported.

use highwater::server::misbehave::{Deed, Fault, Op, Rule};

use crate::support::rig::{Ran, Way};
use crate::support::scene::{Scene, crossed, noise, verified};

const SMALL: usize = 5_000;
const LARGE: usize = 3 << 20;

#[track_caller]
fn only_corrupt(list: Vec<(String, String)>) {
    assert!(!list.is_empty());
    assert!(list.iter().all(|(kind, path)| kind == "corrupt" && path == "file"), "{list:?}");
}

/// A rig with one file to carry, and its content.
fn with_file(way: Way, size: usize) -> (Scene, Vec<u8>) {
    let rig = Scene::own();
    let content = noise(size, 3);
    rig.put(way, "file", b"an older version");
    rig.carry(way, &[]).ends("ok", 0);
    rig.put(way, "file", &content);
    (rig, content)
}

fn check_once(way: Way, size: usize, rule: Rule) {
    let (rig, content) = with_file(way, size);
    rig.script().add(rule.clone().once());
    let round = rig.carry(way, &[]).ends("ok", 0);
    assert_eq!(rig.script().deeds(Deed::Flipped), 1, "{rule:?}");
    only_corrupt(round.list("recovered"));
    assert_eq!(verified(&round, "full"), 1);
    assert!(round.count(crossed(way)) > size as u64, "some of it crossed again");
    rig.is_done(way, "file", &content);
}

/// Struck while a push writes a staged file or reads it back.
fn in_staging(op: Op) -> Rule {
    Rule::on(op, Fault::Flip).below("/far/.highwater/stage")
}

/// Struck while a pull reads the file.
fn in_source() -> Rule {
    Rule::on(Op::Read, Fault::Flip).below("/far/file")
}

#[test]
fn a_bit_flipped_in_a_write_is_noticed() {
    for size in [SMALL, LARGE] {
        check_once(Way::Push, size, in_staging(Op::Write));
    }
}

#[test]
fn a_bit_flipped_in_a_later_write_is_noticed() {
    check_once(Way::Push, LARGE, in_staging(Op::Write).from_nth(17));
}

#[test]
fn a_bit_flipped_while_reading_back_is_noticed() {
    for size in [SMALL, LARGE] {
        check_once(Way::Push, size, in_staging(Op::Read));
    }
}

#[test]
fn a_bit_flipped_in_the_first_read_of_a_pull_is_noticed() {
    for size in [SMALL, LARGE] {
        check_once(Way::Pull, size, in_source());
    }
}

#[test]
fn a_bit_flipped_in_the_second_read_of_a_pull_is_noticed() {
    check_once(Way::Pull, SMALL, in_source().from_nth(2));
    let reads_of_one_pass = (LARGE / (128 << 10)) as u64;
    check_once(Way::Pull, LARGE, in_source().from_nth(reads_of_one_pass + 3));
}

fn check_always(way: Way, size: usize, rule: Rule) {
    let (rig, content) = with_file(way, size);
    rig.script().add(rule);
    let round: Ran = rig.carry(way, &[]).ends("problems", 1);
    assert_eq!(round.list("problems"), [("corrupt".to_owned(), "file".to_owned())]);
    assert_eq!((round.count("files_sent"), round.count("files_received")), (0, 0));
    assert_eq!(rig.placed(way, "file").as_deref(), Some(&b"an older version"[..]), "what stood there stays");
    rig.script().clear();
    rig.carry(way, &[]).ends("ok", 0);
    rig.is_done(way, "file", &content);
}

#[test]
fn a_server_that_always_flips_gets_nothing_placed() {
    for size in [SMALL, LARGE] {
        check_always(Way::Push, size, in_staging(Op::Write));
        check_always(Way::Pull, size, in_source());
    }
}

/// At level `ack` nothing is read back: a bit that flips behind SSH's own check goes unnoticed, and the
/// level that is recorded says so.
#[test]
fn at_level_ack_a_flipped_write_is_not_noticed_and_the_level_says_so() {
    for size in [SMALL, LARGE] {
        let (rig, content) = with_file(Way::Push, size);
        rig.script().add(in_staging(Op::Write).once());
        let round = rig.carry(Way::Push, &["--verify", "ack"]).ends("ok", 0);
        assert_eq!(
            (verified(&round, "ack"), verified(&round, "full"), round.list("recovered").len()),
            (1, 0, 0)
        );
        let placed = rig.placed(Way::Push, "file").expect("it is placed");
        let flipped: u32 = placed.iter().zip(&content).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((placed.len(), flipped), (size, 1));
    }
}
