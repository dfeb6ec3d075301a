//! How many channels and connections a round takes, at a server that counts both.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::time::Duration;

use highwater::server::Limits;
use highwater::server::misbehave::{Fault, Misbehave, Op, Rule};

use crate::support::rig::{Rig, Way};
use crate::support::tree_of::noise;

/// More than the windows of a channel or two hold.
const LARGE_BYTES: usize = 16 << 20;

/// A server behind a long line, or as near as can be.
fn server(limits: Limits, is_far_away: bool) -> (Rig, Misbehave) {
    let wait = |op| Rule::on(op, Fault::Stall(Duration::from_millis(15)));
    let waits = [Op::Stat, Op::Read, Op::Write].map(wait).into_iter().filter(|_| is_far_away);
    let script = Misbehave::script(waits);
    let limits = Limits { rejection_time: Duration::ZERO, ..limits };
    (Rig::ours_within(limits, script.clone()), script)
}

/// The channels that one large file takes there and back, apart from the one by which a pull first looks what it is
/// to pull.
fn carried(limits: Limits, is_far_away: bool) -> [u64; 2] {
    let (rig, script) = server(limits, is_far_away);
    let content = noise(LARGE_BYTES, 5);
    let mut opened = 0;
    [Way::Push, Way::Pull].map(|way| {
        fs::write(rig.source(way).join("large"), &content).unwrap();
        fs::remove_file(rig.target(way).join("large")).ok();
        rig.carry(way, &["--verify", "ack"]).ends("ok", 0);
        assert_eq!(fs::read(rig.target(way).join("large")).unwrap(), content);
        let before = std::mem::replace(&mut opened, script.requests(Op::Init));
        opened - before - u64::from(way == Way::Pull)
    })
}

/// So many channels on one connection.
fn of(sessions: usize) -> Limits {
    Limits { sessions, ..Limits::default() }
}

#[test]
fn over_a_long_line_connections_are_added_where_channels_are_refused() {
    // How many come before the file has gone over is chance: at least one more than one connection has.
    for (sessions, most) in [(1, 4), (3, 8)] {
        for channels in carried(of(sessions), true) {
            assert!((sessions as u64 + 1..=most).contains(&channels), "{channels} of {sessions} each");
        }
    }
    assert_eq!(carried(of(16), true), [8, 8], "all on one connection");
}

#[test]
fn over_a_short_line_a_connection_of_one_channel_is_enough() {
    assert_eq!(carried(of(1), false), [1, 1]);
}

#[test]
fn where_further_connections_are_refused_the_first_does_it_all() {
    let one = Limits { connections: 1, ..of(1) };
    assert_eq!(carried(one, true), [1, 1]);
}
