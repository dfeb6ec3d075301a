//! Lines that are cut, programs that are killed, keys that are exchanged anew.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;

use super::Check;
use crate::bench::{Bench, staged};
use crate::relay::{Deed, Fault, Relay, Way};
use crate::support::program::Round;
use crate::support::tree_of::noise;

/// Large enough for a cut in its middle.
const LARGE: usize = 12 << 20;

/// Where it is cut: what was acknowledged by then is more than what goes unrecorded.
const MIDDLE: u64 = 8 << 20;

/// So slow that little is under way, on a busy machine too.
const SLOWLY: [&str; 2] = ["--limit", "8MiB/s"];

/// The checks.
pub const LIST: [Check; 7] = [
    Check::own("a push that is cut off goes on by itself", cut_push),
    Check::own("a pull that is cut off goes on by itself", cut_pull),
    Check::own("a push that was killed goes on where it was", killed_push),
    Check::own("a pull that was killed goes on where it was", killed_pull),
    Check::own("a staged file that was damaged is not gone on with", damaged_prefix),
    Check::own("a cut among many small files loses none", cut_among_many),
    Check::own("keys are exchanged anew in the middle of it", rekeyed),
];

fn relay(bench: &Bench<'_>) -> Relay {
    Relay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, bench.peer.port))).unwrap()
}

/// The program knows the relay as the server.
fn trust(bench: &Bench<'_>, relay: &Relay) {
    let key = bench.peer.known_hosts.split_once(' ').unwrap().1;
    bench.program.trust(&format!("[127.0.0.1]:{} {key}", relay.port()));
}

fn cut(way: Way, deed: Deed, at: u64) -> [Option<Fault>; 1] {
    [Some(Fault { deed, way, at })]
}

#[track_caller]
fn is_recovered(round: Round, crossed: &str) {
    let round = round.ok();
    let recovered = round.recovered();
    assert!(!recovered.is_empty(), "nothing was put right: {:#}", round.job);
    assert!(round.count(crossed) < LARGE as u64 * 3 / 2, "sent again from the start: {:#}", round.job);
}

fn cut_push(bench: &Bench<'_>) {
    let (content, relay) = (noise(LARGE, 1), relay(bench));
    trust(bench, &relay);
    bench.write_near("large", &content);
    relay.expect(cut(Way::Up, Deed::Reset, MIDDLE));
    is_recovered(bench.push_by(relay.port(), &SLOWLY), "bytes_sent");
    assert!(bench.read_far("large") == content, "the content differs");
    bench.nothing_is_staged();
    bench.push_by(relay.port(), &[]).ok().nothing();
}

fn cut_pull(bench: &Bench<'_>) {
    let (content, relay) = (noise(LARGE, 2), relay(bench));
    trust(bench, &relay);
    bench.write_far("large", &content);
    relay.expect(cut(Way::Down, Deed::Close, MIDDLE));
    is_recovered(bench.pull_by(relay.port(), &SLOWLY), "bytes_received");
    assert!(bench.read_near("large") == content, "the content differs");
    bench.nothing_is_staged();
}

/// Has a round stand still in the middle, and kills it there.
fn kill_in_the_middle(bench: &Bench<'_>, relay: &Relay, way: Way) {
    relay.expect(cut(way, Deed::BlackHole, MIDDLE));
    let args = match way {
        Way::Up => bench.push_args(relay.port(), &SLOWLY),
        Way::Down => bench.pull_args(relay.port(), &SLOWLY),
    };
    let mut running = bench.start(args);
    running.wait_until("stand still", || relay.struck().0 > 0);
    running.kill();
}

#[track_caller]
fn is_resumed(round: Round, crossed: &str) {
    let round = round.ok();
    let (sent, resumed) = (round.count(crossed), round.count("bytes_resumed"));
    assert!(resumed > 0, "nothing was kept: {:#}", round.job);
    assert_eq!(sent + resumed, LARGE as u64, "{:#}", round.job);
}

fn killed_push(bench: &Bench<'_>) {
    let (content, relay) = (noise(LARGE, 3), relay(bench));
    trust(bench, &relay);
    bench.write_near("large", &content);
    kill_in_the_middle(bench, &relay, Way::Up);
    assert!(!bench.far().join("large").exists(), "half of it has its name");
    is_resumed(bench.push_by(relay.port(), &[]), "bytes_sent");
    assert!(bench.read_far("large") == content, "the content differs");
    bench.nothing_is_staged();
}

fn killed_pull(bench: &Bench<'_>) {
    let (content, relay) = (noise(LARGE, 4), relay(bench));
    trust(bench, &relay);
    bench.write_far("large", &content);
    kill_in_the_middle(bench, &relay, Way::Down);
    assert!(!bench.near().join("large").exists(), "half of it has its name");
    is_resumed(bench.pull_by(relay.port(), &[]), "bytes_received");
    assert!(bench.read_near("large") == content, "the content differs");
    bench.nothing_is_staged();
}

fn damaged_prefix(bench: &Bench<'_>) {
    let (content, relay) = (noise(LARGE, 5), relay(bench));
    trust(bench, &relay);
    bench.write_near("large", &content);
    kill_in_the_middle(bench, &relay, Way::Up);
    let staged = staged(&bench.far());
    let [one] = &staged[..] else { panic!("one staged file was expected: {staged:?}") };
    let file = fs::File::options().read(true).write(true).open(one).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1_000_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1_000_000).unwrap();
    let first = bench.push_by(relay.port(), &[]);
    bench.push_by(relay.port(), &[]).ok();
    assert!(bench.read_far("large") == content, "the damage was placed");
    assert!(first.problems().len() + first.recovered().len() > 0, "the damage was not told: {first:?}");
    assert!(crate::bench::staged(&bench.far()).is_empty(), "it stays staged: {first:?}");
}

fn cut_among_many(bench: &Bench<'_>) {
    let relay = relay(bench);
    trust(bench, &relay);
    for n in 0..150 {
        bench.write_near(&format!("file {n}"), noise(3_000 + n, n as u64));
    }
    relay.expect([Some(Fault { deed: Deed::Reset, way: Way::Up, at: 300_000 })]);
    bench.push_by(relay.port(), &[]).ok();
    assert_eq!(relay.struck().0, 1, "nothing was cut");
    bench.is_same();
    bench.push_by(relay.port(), &[]).ok().nothing();
}

fn rekeyed(bench: &Bench<'_>) {
    let before = bench.peer.rekeys();
    bench.write_near("large", noise(2 * LARGE, 6));
    bench.push(&[]).ok().counts(&[("files_sent", 1)]);
    let exchanged = bench.peer.rekeys() - before;
    assert!(exchanged >= 2, "keys were exchanged {exchanged} times");
    bench.is_same();
}
