//! What changes after a first round, and single files.

use std::fs;

use super::Check;
use crate::bench::{Bench, LONG_AGO, trash, write};
use crate::support::tree_of::{TreeOf, set_mode, set_mtime};

/// The checks.
pub const LIST: [Check; 13] = [
    Check::own("an edited file is renamed over the old one", edited_file),
    Check::own("an edited file comes back by a pull", edited_far_file),
    Check::own("a longer file becomes a shorter one", shorter_file),
    Check::own("a change of mode alone sends no content", mode_alone),
    Check::own("a change of time alone sends nothing twice", time_alone),
    Check::own("files, folders and links take each other's places", kinds),
    Check::own("a link gets another target", other_target),
    Check::own("one file is pushed as a file", one_file_pushed),
    Check::own("one file is pulled as a file", one_file_pulled),
    Check::own("what is left out by a filter stays away", left_out),
    Check::own("a dry run writes nothing", dry_run),
    Check::own("a first push makes the root and its parents", parents),
    Check::own("verify: full, sample and ack are kept apart", levels),
];

fn edited_file(bench: &Bench<'_>) {
    bench.write_near("file", "the old one");
    bench.push(&[]).ok();
    write(&bench.near().join("file"), b"the new one", LONG_AGO + 5);
    bench.push(&[]).ok().counts(&[("files_sent", 1), ("displaced", 0)]);
    assert_eq!(bench.read_far("file"), b"the new one");
    bench.nothing_is_staged();
    bench.push(&[]).ok().nothing();
}

fn edited_far_file(bench: &Bench<'_>) {
    bench.write_far("file", "the old one");
    bench.pull(&[]).ok();
    write(&bench.far().join("file"), b"the new one", LONG_AGO + 5);
    bench.give(&bench.far());
    bench.pull(&[]).ok().counts(&[("files_received", 1)]);
    assert_eq!(bench.read_near("file"), b"the new one");
    bench.pull(&[]).ok().nothing();
}

fn shorter_file(bench: &Bench<'_>) {
    bench.write_near("file", vec![1; 300_000]);
    bench.push(&[]).ok();
    write(&bench.near().join("file"), b"short", LONG_AGO + 5);
    bench.push(&[]).ok();
    assert_eq!(bench.read_far("file"), b"short");
}

fn mode_alone(bench: &Bench<'_>) {
    bench.write_near("file", "content");
    bench.push(&[]).ok();
    set_mode(&bench.near().join("file"), 0o750);
    bench.push(&[]).ok().counts(&[("bytes_sent", 0)]);
    bench.is_same();
}

fn time_alone(bench: &Bench<'_>) {
    bench.write_near("file", "content");
    bench.push(&[]).ok();
    set_mtime(&bench.near().join("file"), LONG_AGO + 77, 0);
    bench.push(&[]).ok().counts(&[("displaced", 0)]);
    bench.push(&[]).ok().nothing();
    bench.is_same();
}

fn kinds(bench: &Bench<'_>) {
    let before = TreeOf::new().file("a", "a").dir("b").file("b/in", "in").link("c", "a").file("d", "d");
    bench.put_near(&before);
    bench.push(&["--delete"]).ok();
    for path in ["a", "c", "d"] {
        fs::remove_file(bench.near().join(path)).unwrap();
    }
    fs::remove_dir_all(bench.near().join("b")).unwrap();
    bench.put_near(&TreeOf::new().dir("a").file("a/in", "in a").file("b", "b").dir("c").link("d", "b"));
    bench.push(&["--delete"]).ok();
    bench.is_same();
    bench.push(&["--delete"]).ok().nothing();
}

fn other_target(bench: &Bench<'_>) {
    bench.put_near(&TreeOf::new().link("link", "one").file("one", "1").file("two", "2"));
    bench.push(&[]).ok();
    fs::remove_file(bench.near().join("link")).unwrap();
    bench.put_near(&TreeOf::new().link("link", "two"));
    bench.push(&[]).ok();
    bench.is_same();
}

fn one_file_pushed(bench: &Bench<'_>) {
    bench.write_near("report.csv", "1,2");
    bench.write_near("other", "not this");
    bench.of_file("push", "report.csv").ok();
    assert_eq!(bench.read_far("report.csv"), b"1,2");
    assert!(!bench.far().join("other").exists());
}

fn one_file_pulled(bench: &Bench<'_>) {
    bench.write_far("report.csv", "1,2");
    bench.write_far("other", "not this");
    fs::create_dir_all(bench.near()).unwrap();
    bench.of_file("pull", "report.csv").ok();
    assert_eq!(bench.read_near("report.csv"), b"1,2");
    assert!(!bench.near().join("other").exists());
}

fn left_out(bench: &Bench<'_>) {
    bench.put_near(&TreeOf::new().file("keep", "k").file("x.tmp", "t").dir("cache").file("cache/big", "b"));
    bench.push(&["--exclude", "*.tmp", "--exclude", "/cache/"]).ok().counts(&[("files_sent", 1)]);
    assert!(bench.far().join("keep").exists() && !bench.far().join("x.tmp").exists());
    assert!(!bench.far().join("cache").exists());
}

fn dry_run(bench: &Bench<'_>) {
    bench.write_near("file", "content");
    let args = bench.push_args(bench.peer.port, &["--dry-run", "--json"]);
    let ran = bench.program.run(args);
    assert!(ran.code == 0 && ran.stdout.contains("\"copy\""), "{ran:?}");
    assert!(!bench.far().exists(), "a dry run made something");
}

fn parents(bench: &Bench<'_>) {
    assert!(!bench.far().exists());
    bench.write_near("a/b/c/file", "content");
    bench.push(&[]).ok();
    bench.is_same();
    assert!(bench.far().join(".highwater/root.json").exists());
}

fn levels(bench: &Bench<'_>) {
    for level in ["full", "sample", "ack"] {
        write(&bench.near().join(level), &vec![7; 500_000], LONG_AGO);
        let round = bench.push(&["--verify", level, "--durable", "no"]).ok();
        assert_eq!((round.verified(level), round.count("files_sent")), (1, 1), "{level}: {:#}", round.job);
    }
    bench.push(&[]).ok().nothing();
    assert!(trash(&bench.far()).is_empty());
}
