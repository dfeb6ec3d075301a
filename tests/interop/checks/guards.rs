//! Deletes, the trash, and what holds a round back.

use std::fs;

use super::Check;
use crate::bench::{Bench, LONG_AGO, trash, write};
use crate::support::tree_of::{TreeOf, set_mode};

/// The checks.
pub const LIST: [Check; 13] = [
    Check::own("deletes are followed into the trash", deletes),
    Check::own("without --delete nothing is deleted", no_deletes),
    Check::own("deletes of a folder take all that is in it", deleted_folder),
    Check::own("many deletes are held until they are accepted", held),
    Check::own("what somebody else wrote over ours goes to the trash", displaced),
    Check::own("what is not ours is left alone", foreign),
    Check::own("the same content is adopted", adopted),
    Check::own("deletes at the far side are followed by a pull", pulled_deletes),
    Check::own("a far root that is lost halts a push", lost_root),
    Check::own("a far root that is emptied halts a pull", emptied_root),
    Check::own("a pull writes nothing at the far side", pull_writes_nothing),
    Check::own("a pull of a folder that is not there is refused", missing_source),
    Check::own("a folder that cannot be listed deletes nothing", unlisted),
];

fn thirty() -> TreeOf {
    (0..30).fold(TreeOf::new(), |tree, n| tree.file(format!("file {n}"), format!("content {n}")))
}

fn deletes(bench: &Bench<'_>) {
    bench.put_near(&thirty());
    bench.push(&["--delete"]).ok();
    fs::remove_file(bench.near().join("file 7")).unwrap();
    bench.push(&["--delete"]).ok().counts(&[("deleted", 1), ("files_sent", 0)]);
    assert_eq!(trash(&bench.far()), [("file 7".to_owned(), b"content 7".to_vec())]);
    bench.is_same();
}

fn no_deletes(bench: &Bench<'_>) {
    bench.put_near(&thirty());
    bench.push(&[]).ok();
    fs::remove_file(bench.near().join("file 7")).unwrap();
    bench.push(&[]).ok().counts(&[("deleted", 0)]);
    assert_eq!(bench.read_far("file 7"), b"content 7");
}

fn deleted_folder(bench: &Bench<'_>) {
    bench.put_near(&thirty().dir("d").dir("d/e").file("d/e/f", "f").link("d/l", "e").dir("d/nothing"));
    bench.push(&["--delete"]).ok();
    fs::remove_dir_all(bench.near().join("d")).unwrap();
    bench.push(&["--delete"]).ok();
    assert!(!bench.far().join("d").exists());
    assert!(trash(&bench.far()).contains(&("d/e/f".to_owned(), b"f".to_vec())));
    bench.is_same();
}

fn held(bench: &Bench<'_>) {
    bench.put_near(&thirty());
    bench.push(&["--delete"]).ok();
    for n in 0..25 {
        fs::remove_file(bench.near().join(format!("file {n}"))).unwrap();
    }
    bench.write_near("new", "goes on");
    bench.push(&["--delete"]).ends("held", 4).counts(&[("deleted", 0), ("held", 25)]);
    assert_eq!(bench.read_far("new"), b"goes on");
    assert_eq!(bench.read_far("file 0"), b"content 0");
    bench.push(&["--delete", "--accept-deletes"]).ok().counts(&[("deleted", 25)]);
    bench.is_same();
}

fn displaced(bench: &Bench<'_>) {
    bench.write_near("file", "ours");
    bench.push(&[]).ok();
    write(&bench.far().join("file"), b"theirs, of another length", LONG_AGO + 100);
    bench.give(&bench.far());
    write(&bench.near().join("file"), b"ours again", LONG_AGO + 200);
    bench.push(&[]).ok().counts(&[("displaced", 1), ("files_sent", 1)]);
    assert_eq!(bench.read_far("file"), b"ours again");
    assert_eq!(trash(&bench.far()), [("file".to_owned(), b"theirs, of another length".to_vec())]);
}

fn foreign(bench: &Bench<'_>) {
    bench.write_far("theirs", "theirs");
    bench.write_near("ours", "ours");
    bench.push(&["--delete"]).ok().counts(&[("foreign", 1), ("deleted", 0)]);
    assert_eq!(bench.read_far("theirs"), b"theirs");
}

fn adopted(bench: &Bench<'_>) {
    bench.write_far("file", "the same");
    bench.write_near("file", "the same");
    bench.push(&[]).ok().counts(&[("files_sent", 0), ("bytes_sent", 0), ("displaced", 0)]);
    bench.push(&[]).ok().nothing();
}

fn pulled_deletes(bench: &Bench<'_>) {
    bench.put_far(&thirty());
    bench.pull(&["--delete"]).ok();
    fs::remove_file(bench.far().join("file 7")).unwrap();
    bench.pull(&["--delete"]).ok().counts(&[("deleted", 1)]);
    assert!(!bench.near().join("file 7").exists());
    assert_eq!(trash(&bench.near()), [("file 7".to_owned(), b"content 7".to_vec())]);
}

fn lost_root(bench: &Bench<'_>) {
    bench.put_near(&thirty());
    bench.push(&["--delete"]).ok();
    fs::rename(bench.far(), bench.far().with_extension("away")).unwrap();
    bench.write_near("new", "new");
    let round = bench.push(&["--delete"]);
    assert_eq!((round.code, round.job["result"].as_str()), (4, Some("halted")), "{:#}", round.job);
    assert!(!bench.far().exists(), "the root was made anew");
}

fn emptied_root(bench: &Bench<'_>) {
    bench.put_far(&thirty());
    bench.pull(&["--delete"]).ok();
    fs::remove_dir_all(bench.far()).unwrap();
    bench.put_far(&TreeOf::new());
    let round = bench.pull(&["--delete"]);
    assert_eq!((round.code, round.count("deleted")), (4, 0), "{:#}", round.job);
    assert_eq!(bench.read_near("file 7"), b"content 7");
}

fn pull_writes_nothing(bench: &Bench<'_>) {
    bench.put_far(&thirty());
    let before = crate::support::tree_of::names(&bench.far());
    bench.pull(&[]).ok();
    assert_eq!(crate::support::tree_of::names(&bench.far()), before);
}

fn missing_source(bench: &Bench<'_>) {
    let round = bench.pull(&[]);
    assert_eq!(round.code, 3, "{:#}", round.job);
}

fn unlisted(bench: &Bench<'_>) {
    bench.put_far(&thirty().dir("locked").file("locked/a", "a").file("locked/b", "b"));
    bench.pull(&["--delete"]).ok();
    for mode in [0o000, 0o444] {
        set_mode(&bench.far().join("locked"), mode);
        let round = bench.pull(&["--delete"]);
        assert_eq!(round.count("deleted"), 0, "mode {mode:o}: {:#}", round.job);
        assert_eq!(bench.read_near("locked/a"), b"a");
    }
    set_mode(&bench.far().join("locked"), 0o755);
    bench.pull(&["--delete"]).ok();
}
