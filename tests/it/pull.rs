//! Pull of a real tree: what arrives, what a second round does, what is left alone.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::account;
use crate::support::pair::{Flavour, Pair};
use crate::support::program::{Program, Round};
use crate::support::sample::{everything, names};
use crate::support::sshd::Options;
use crate::support::tree_of::{Times, TreeOf, assert_same, at, give_to, look, noise, set_mode, set_mtime};

/// A time long ago: what is that old is not waited for.
const OLD: i64 = 1_500_000_000;

/// Gives every file and link below a root that was made just now a time long ago, so that it counts as settled.
fn age(root: &Path) {
    let recent = now() - 3_600;
    for path in crate::support::tree_of::paths_below(root, &|_| true) {
        let (path, found) = (at(root, &path), fs::symlink_metadata(at(root, &path)).unwrap());
        let mtime = std::os::unix::fs::MetadataExt::mtime(&found);
        if !found.is_dir() && (recent..=recent + 7_200).contains(&mtime) {
            set_mtime(&path, OLD, 0);
        }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

fn everything_arrives(flavour: Flavour) {
    let pair = Pair::new(flavour);
    let tree = everything();
    tree.make(&pair.far());
    age(&pair.far());
    let before = look(&pair.server.data(), Times::Nanos);
    let round = pair.pull(&[]).ok();
    assert_same(&pair.near(), &pair.far(), Times::Seconds);
    let round = round.counts(&[("files_received", tree.files()), ("bytes_received", tree.bytes())]);
    let round = round.counts(&[("bytes_verified", tree.bytes()), ("bytes_sent", 0), ("files_sent", 0)]);
    let round = round.counts(&[("displaced", 0), ("deleted", 0), ("renamed", 0), ("foreign", 0)]);
    assert_eq!((round.verified("full"), round.verified("ack")), (tree.files(), 0));
    pair.is_pulled(&[]);
    pair.pull(&[]).ok().nothing().counts(&[("unchanged", tree.carried())]);
    assert_eq!(look(&pair.server.data(), Times::Nanos), before, "nothing is ever written on the far side");
    assert!(!pair.far().join(".highwater").exists());
}

#[test]
fn everything_arrives_from_sshd() {
    everything_arrives(Flavour::Internal);
}

#[test]
fn everything_arrives_from_sftp_server() {
    everything_arrives(Flavour::External);
}

#[test]
fn everything_arrives_from_our_own_server() {
    everything_arrives(Flavour::Served);
}

#[test]
fn everything_arrives_at_an_ordinary_user() {
    let pair = Pair::of_ordinary_user(Options::default());
    everything().make(&pair.far());
    age(&pair.far());
    give_to(&pair.far(), account::numbers(account::ORDINARY));
    pair.pull(&[]).ok().counts(&[("files_received", everything().files())]);
    pair.is_pulled(&[]);
    // Folders that nobody may write in are opened for a change, and closed again.
    fs::write(pair.far().join("modes/d555/new"), "new").unwrap();
    fs::write(pair.far().join("modes/d500/in"), "other").unwrap();
    fs::remove_file(pair.far().join("modes/d555/in")).unwrap();
    age(&pair.far());
    give_to(&pair.far(), account::numbers(account::ORDINARY));
    pair.pull(&["--delete"]).ok().counts(&[("files_received", 2), ("deleted", 1)]);
    pair.is_pulled(&["--delete"]);
}

#[test]
fn a_tree_comes_back_as_it_was_pushed() {
    for flavour in Flavour::ALL {
        let pair = Pair::new(flavour);
        everything().make(&pair.near());
        age(&pair.near());
        pair.push(&[]).ok();
        let third = pair.near().with_file_name("third");
        let pull = || pair.carry("pull", pair.url("far"), third.clone().into(), &[]);
        pull().ok().counts(&[("files_received", everything().files())]);
        assert_same(&pair.near(), &third, Times::Seconds);
        pull().ok().nothing();
    }
}

#[test]
fn every_change_of_kind_follows() {
    for flavour in [Flavour::Internal, Flavour::Served] {
        every_change_of_kind(flavour);
    }
}

fn every_change_of_kind(flavour: Flavour) {
    let pair = Pair::new(flavour);
    let far = pair.far();
    TreeOf::new()
        .file("file-to-folder", "1")
        .file("file-to-link", "2")
        .link("link-to-file", "nowhere")
        .link("link-to-folder", "nowhere")
        .link("link-to-link", "nowhere")
        .dir("empty-to-file")
        .dir("full-to-file")
        .file("full-to-file/a", "a")
        .dir("full-to-file/b")
        .file("full-to-file/b/c", "c")
        .dir("full-to-link")
        .file("full-to-link/a", "a")
        .dir("elsewhere")
        .file("elsewhere/a", "another a")
        .make(&far);
    age(&far);
    pair.pull(&["--delete"]).ok();
    pair.is_pulled(&["--delete"]);
    for old in ["file-to-folder", "file-to-link", "link-to-file", "link-to-folder", "link-to-link"] {
        fs::remove_file(far.join(old)).unwrap();
    }
    for old in ["empty-to-file", "full-to-file", "full-to-link"] {
        fs::remove_dir_all(far.join(old)).unwrap();
    }
    TreeOf::new()
        .dir("file-to-folder")
        .file("file-to-folder/in", "in")
        .link("file-to-link", "elsewhere")
        .file("link-to-file", "now a file")
        .dir("link-to-folder")
        .file("link-to-folder/in", "in")
        .link("link-to-link", "elsewhere")
        .file("empty-to-file", "now a file")
        .file("full-to-file", "now a file")
        .link("full-to-link", "elsewhere") // through which the server shows an `a`
        .make(&far);
    age(&far);
    set_mtime(&far.join("link-to-link"), OLD + 1, 0); // all that a server tells of a link without reading it
    pair.pull(&["--delete"]).ok().counts(&[("displaced", 0), ("deleted", 3)]);
    pair.is_pulled(&["--delete"]);
}

#[test]
fn only_what_changed_is_received() {
    let pair = Pair::new(Flavour::Internal);
    let far = pair.far();
    TreeOf::new()
        .file("touched", noise(5_000, 1))
        .mtime(OLD, 0)
        .file("touched-large", noise(300_000, 2))
        .mtime(OLD, 0)
        .file("chmodded", "c")
        .mode(0o600)
        .mtime(OLD, 0)
        .file("grown", "g")
        .mtime(OLD, 0)
        .dir("folder")
        .mode(0o755)
        .mtime(OLD, 0)
        .link("link", "a")
        .make(&far);
    pair.pull(&[]).ok();
    pair.is_pulled(&[]);
    let check = |change: &dyn Fn(), files: u64| {
        change();
        pair.pull(&[]).ok().counts(&[("files_received", files), ("displaced", 0)]);
        pair.is_pulled(&[]);
    };
    check(&|| set_mtime(&far.join("touched"), OLD + 1, 0), 0);
    // Only reading a far file tells whether it changed; a large one is placed as it is read.
    check(&|| set_mtime(&far.join("touched-large"), OLD + 1, 0), 1);
    check(&|| set_mode(&far.join("chmodded"), 0o755), 0);
    check(&|| set_mtime(&far.join("folder"), OLD + 2, 0), 0);
    check(&|| set_mode(&far.join("folder"), 0o711), 0);
    let grow = || {
        fs::write(far.join("grown"), "grown").unwrap();
        set_mtime(&far.join("grown"), OLD + 3, 0);
    };
    check(&grow, 1);
    let relink = || {
        fs::remove_file(far.join("link")).unwrap();
        symlink("b", far.join("link")).unwrap();
    };
    check(&relink, 0);
}

#[test]
fn a_link_replaced_within_the_same_second_is_noticed() {
    let pair = Pair::new(Flavour::Internal);
    let link = pair.far().join("link");
    fs::create_dir(pair.far()).unwrap();
    // As far as the server tells, all of them are from the same second, and one that was just now.
    let second = now() + 5;
    for target in ["one", "two", "three"] {
        symlink(target, &link).unwrap();
        set_mtime(&link, second, 0);
        pair.pull(&[]).ok();
        assert_eq!(fs::read_link(pair.near().join("link")).unwrap(), Path::new(target));
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn what_was_written_just_now_is_waited_for() {
    let pair = Pair::new(Flavour::Internal);
    TreeOf::new().file("fresh", "fresh").file("fresh-large", noise(300_000, 1)).make(&pair.far());
    pair.pull(&[]).ok().counts(&[("files_received", 2)]);
    pair.is_pulled(&[]);
}

#[test]
fn what_others_put_there_is_left_alone_and_counted() {
    let pair = Pair::new(Flavour::Internal);
    TreeOf::new()
        .file("ours", "ours")
        .mtime(OLD, 0)
        .dir("d")
        .file("d/ours", "ours")
        .mtime(OLD, 0)
        .make(&pair.far());
    let mine =
        TreeOf::new().file("mine", "mine").dir("d").file("d/mine", "mine").dir("m").file("m/mine", "mine");
    mine.make(&pair.near());
    let stays = || {
        for path in ["mine", "d/mine", "m/mine"] {
            assert_eq!(fs::read(pair.near().join(path)).unwrap(), b"mine", "{path}");
        }
    };
    let foreign =
        pair.pull(&["--delete"]).ok().counts(&[("files_received", 2), ("deleted", 0)]).count("foreign");
    assert!(foreign >= 3, "{foreign}");
    stays();
    pair.pull(&["--delete"]).ok().nothing().counts(&[("foreign", foreign)]);
    stays();
    // A folder of ours with something of theirs in it stays for that.
    fs::remove_dir_all(pair.far().join("d")).unwrap();
    pair.pull(&["--delete"]).ok().counts(&[("deleted", 1)]);
    stays();
    assert!(!pair.near().join("d/ours").exists());
    pair.pull(&["--delete"]).ok().nothing();
    stays();
}

#[test]
fn special_files_are_reported_and_never_opened() {
    for flavour in Flavour::ALL {
        let pair = Pair::new(flavour);
        TreeOf::new()
            .fifo("pipe")
            .dir("d")
            .fifo(b"d/\xff")
            .file("d/file", "f")
            .mtime(OLD, 0)
            .make(&pair.far());
        let expected = ["d/\\xff", "pipe"].map(|path| ("special-file".to_owned(), path.to_owned()));
        let round = pair.pull(&[]).ends("problems", 1).counts(&[("files_received", 1)]);
        assert_eq!(round.problems(), expected);
        assert_eq!(pair.pull(&[]).ends("problems", 1).nothing().problems(), expected);
    }
}

#[test]
fn what_may_not_be_read_is_a_problem_and_the_rest_goes_on() {
    for options in [Options::default(), Options::external("", "")] {
        let pair = Pair::with_sshd(Program::new(), options.ordinary_user());
        let far = pair.far();
        let tree = TreeOf::new()
            .file("open", "open")
            .mtime(OLD, 0)
            .file("closed", "closed")
            .mtime(OLD, 0)
            .dir("shut")
            .file("shut/in", "in")
            .mtime(OLD, 0);
        tree.make(&far);
        give_to(&far, account::numbers(account::ORDINARY));
        pair.pull(&["--delete"]).ok().counts(&[("files_received", 3)]);
        pair.is_pulled(&["--delete"]);
        fs::write(far.join("closed"), "other").unwrap();
        set_mtime(&far.join("closed"), OLD + 1, 0);
        set_mode(&far.join("closed"), 0);
        let check = |mode: u32| {
            set_mode(&far.join("shut"), mode);
            let round = pair.pull(&["--delete"]).ends("problems", 1).nothing();
            let paths: Vec<String> = round.problems().into_iter().map(|(_, path)| path).collect();
            assert!(paths.contains(&"closed".into()), "{mode:o}: {:#}", round.job);
            assert!(paths.iter().any(|path| path.starts_with("shut")), "{mode:o}: {:#}", round.job);
            assert_eq!(fs::read(pair.near().join("shut/in")).unwrap(), b"in", "{mode:o}");
        };
        check(0);
        check(0o311);
        check(0o444);
    }
}

#[test]
fn a_file_is_pulled_under_any_name() {
    for flavour in Flavour::ALL {
        let pair = Pair::new(flavour);
        let there = at(&pair.server.data(), b"dir/b\xff.txt");
        TreeOf::new().dir("dir").make(&pair.server.data());
        let write = |content: &str, secs: i64| {
            fs::write(&there, content).unwrap();
            set_mtime(&there, secs, 0);
        };
        write("one", OLD);
        fs::write(at(&pair.server.data(), "dir/other"), "other").unwrap();
        let here = pair.near().join("new/c.txt");
        let pull = || -> Round { pair.carry("pull", pair.url(b"dir/b\xff.txt"), here.clone().into(), &[]) };
        pull().ok().counts(&[("files_received", 1), ("bytes_received", 3), ("foreign", 0)]);
        assert_eq!(fs::read(&here).unwrap(), b"one");
        pull().ok().nothing();
        write("two!", OLD + 1);
        pull().ok().counts(&[("files_received", 1), ("bytes_received", 4), ("displaced", 0)]);
        assert_eq!(fs::read(&here).unwrap(), b"two!");
        pull().ok().nothing();
        assert_eq!(look(&pair.near().join("new"), Times::Seconds).len(), 1);
        // Changed here: it makes way, and is kept.
        fs::write(&here, "mine").unwrap();
        pull().ok().counts(&[("files_received", 1), ("displaced", 1)]);
        assert_eq!(fs::read(&here).unwrap(), b"two!");
        pull().ok().nothing();
    }
}

#[test]
fn a_file_is_not_pulled_onto_a_folder() {
    let pair = Pair::new(Flavour::Internal);
    TreeOf::new().file("a.txt", "one").make(&pair.far());
    TreeOf::new().file("in", "in").make(&pair.near());
    let args = pair.args("pull", pair.url("far/a.txt"), pair.near().into(), &["--json"]);
    let ran = pair.program.run(args);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("the source is a file") && ran.stderr.contains("DST/NAME"), "{}", ran.stderr);
    assert_eq!(look(&pair.near(), Times::Seconds).len(), 1);
}

#[test]
fn a_missing_source_is_said_and_nothing_is_made() {
    for flavour in Flavour::ALL {
        let pair = Pair::new(flavour);
        let round = pair.pull(&[]).ends("failed", 3);
        let message = round.job["message"].as_str().unwrap();
        assert!(message.contains("there is no such folder"), "{message}");
        assert!(!pair.near().exists());
    }
}

#[test]
fn what_is_excluded_is_neither_received_nor_deleted() {
    let pair = Pair::new(Flavour::Internal);
    TreeOf::new()
        .file("keep", "k")
        .file("a.tmp", "t")
        .dir("cache")
        .file("cache/x", "x")
        .dir("sub")
        .dir("sub/cache")
        .file("sub/cache/y", "y")
        .make(&pair.far());
    age(&pair.far());
    let flags = ["--delete", "--exclude", "*.tmp", "--exclude=/cache/"];
    pair.pull(&flags).ok().counts(&[("files_received", 2)]);
    assert!(!pair.near().join("a.tmp").exists() && !pair.near().join("cache").exists());
    pair.pull(&flags).ok().nothing();
    pair.pull(&["--delete"]).ok().counts(&[("files_received", 2)]);
    fs::remove_file(pair.far().join("a.tmp")).unwrap();
    pair.pull(&flags).ok().nothing();
    assert!(pair.near().join("a.tmp").exists());
    pair.pull(&["--delete"]).ok().counts(&[("deleted", 1)]);
    pair.is_pulled(&["--delete"]);
}

#[test]
fn a_dry_run_lists_and_changes_nothing() {
    let pair = Pair::new(Flavour::Internal);
    TreeOf::new().dir("d").file("d/a", "aa").file("b", "b").link("l", "b").make(&pair.far());
    age(&pair.far());
    let dry = |more: &[&str]| {
        let flags = [&["-n"], more].concat();
        let ran = pair.program.run(pair.args("pull", pair.url("far"), pair.near().into(), &flags));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    let text = dry(&[]);
    for line in ["copy", "mkdir", "link", "would carry 2 files (3 B) and delete 0; nothing was changed"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!pair.near().exists(), "not even the root was made");
    pair.pull(&[]).ok();
    assert_eq!(dry(&[]).trim(), "nothing to do");
    fs::remove_file(pair.far().join("b")).unwrap();
    let before = look(&pair.near(), Times::Nanos);
    let document: serde_json::Value = serde_json::from_str(&dry(&["--json", "--delete"])).unwrap();
    assert_eq!((&document["mode"], &document["deletes"]), (&"pull".into(), &1.into()), "{document:#}");
    assert_eq!(look(&pair.near(), Times::Nanos), before);
    pair.pull(&["--delete"]).ok().counts(&[("deleted", 1)]);
    pair.is_pulled(&["--delete"]);
}

#[test]
fn the_level_of_proof_is_told_and_costs_what_it_says() {
    const LARGE: usize = 4 << 20;
    for level in ["full", "sample", "ack"] {
        let pair = Pair::new(Flavour::Internal);
        let tree = TreeOf::new().file("large", noise(LARGE, 1)).mtime(OLD, 0);
        tree.file("small", "small").mtime(OLD, 0).make(&pair.far());
        let round = pair.pull(&["--verify", level, "--durable", "no"]).ok();
        assert_eq!(round.verified(level), 2, "{:#}", round.job);
        let (read, all) = (round.count("bytes_verified"), LARGE as u64 + 5);
        let plausible = match level {
            "full" => read == all,
            "ack" => read == 0,
            _ => read < all / 2,
        };
        assert!(plausible, "{level}: {read} bytes read to verify");
        let again = pair.pull(&["--verify", level]).ok().nothing();
        assert_eq!((again.verified(level), again.count("bytes_verified")), (0, 0));
        assert_same(&pair.near(), &pair.far(), Times::Seconds);
    }
}

#[test]
fn names_survive_a_pull_that_is_not_durable() {
    let pair = Pair::new(Flavour::Served);
    names().make(&pair.far());
    age(&pair.far());
    pair.pull(&["--durable", "no"]).ok().counts(&[("files_received", names().files())]);
    pair.is_pulled(&["--durable", "no"]);
    pair.is_pulled(&["--durable", "yes"]);
}
