//! Push of a real tree: what arrives, what a second round does, what is told.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;

use crate::support::account;
use crate::support::pair::{Flavour, Pair};
use crate::support::sample::{everything, names};
use crate::support::sshd::Options;
use crate::support::tree_of::{Times, TreeOf, assert_same, at, look, noise, set_mode, set_mtime};

fn everything_arrives(flavour: Flavour) {
    let pair = Pair::new(flavour);
    let tree = everything();
    tree.make(&pair.near());
    let round = pair.push(&[]).ok();
    assert_same(&pair.near(), &pair.far(), Times::Seconds);
    let round = round.counts(&[("files_sent", tree.files()), ("bytes_sent", tree.bytes())]);
    let round =
        round.counts(&[("bytes_verified", tree.bytes()), ("bytes_received", 0), ("bytes_resumed", 0)]);
    let round = round.counts(&[("displaced", 0), ("deleted", 0), ("renamed", 0), ("foreign", 0)]);
    assert_eq!((round.verified("full"), round.verified("ack")), (tree.files(), 0));
    pair.is_pushed(&[]);
    pair.push(&[]).ok().nothing().counts(&[("unchanged", tree.carried())]);
}

#[test]
fn everything_arrives_at_sshd() {
    everything_arrives(Flavour::Internal);
}

#[test]
fn everything_arrives_at_sftp_server() {
    everything_arrives(Flavour::External);
}

#[test]
fn everything_arrives_at_our_own_server() {
    everything_arrives(Flavour::Served);
}

#[test]
fn everything_arrives_at_an_ordinary_account() {
    let pair = Pair::with_sshd(crate::support::program::Program::new(), Options::default().ordinary_user());
    everything().make(&pair.near());
    pair.push(&[]).ok().counts(&[("files_sent", everything().files())]);
    pair.is_pushed(&[]);
    // Folders that nobody may write in are opened for a change, and closed again.
    fs::write(pair.near().join("modes/d555/new"), "new").unwrap();
    fs::write(pair.near().join("modes/d500/in"), "other").unwrap();
    fs::remove_file(pair.near().join("modes/d555/in")).unwrap();
    pair.push(&["--delete"]).ok().counts(&[("files_sent", 2), ("deleted", 1)]);
    pair.is_pushed(&["--delete"]);
}

#[test]
fn every_change_of_kind_follows() {
    for (flavour, delete) in [(Flavour::Internal, true), (Flavour::Internal, false), (Flavour::Served, true)]
    {
        every_change_of_kind(flavour, delete);
    }
}

fn every_change_of_kind(flavour: Flavour, delete: bool) {
    let flags: &[&str] = if delete { &["--delete"] } else { &[] };
    let pair = Pair::new(flavour);
    let near = pair.near();
    TreeOf::new()
        .file("file-to-folder", "1")
        .file("file-to-link", "2")
        .link("link-to-file", "nowhere")
        .link("link-to-folder", "nowhere")
        .link("link-to-link", "nowhere")
        .dir("empty-to-file")
        .dir("empty-to-link")
        .dir("full-to-file")
        .file("full-to-file/a", "a")
        .dir("full-to-file/b")
        .file("full-to-file/b/c", "c")
        .dir("full-to-link")
        .file("full-to-link/a", "a")
        .make(&near);
    pair.push(flags).ok();
    pair.is_pushed(flags);
    for old in ["file-to-folder", "file-to-link", "link-to-file", "link-to-folder", "link-to-link"] {
        fs::remove_file(near.join(old)).unwrap();
    }
    for old in ["empty-to-file", "empty-to-link", "full-to-file", "full-to-link"] {
        fs::remove_dir_all(near.join(old)).unwrap();
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
        .link("empty-to-link", "elsewhere")
        .file("full-to-file", "now a file")
        .link("full-to-link", "elsewhere")
        .make(&near);
    let round = pair.push(flags);
    if delete {
        round.ok().counts(&[("displaced", 0)]);
        pair.is_pushed(flags);
        return;
    }
    // Without deletes a folder with content keeps its place.
    let in_the_way = |path: &str| ("folder-in-the-way".to_owned(), path.to_owned());
    let expected = [in_the_way("full-to-file"), in_the_way("full-to-link")];
    assert_eq!(round.ends("problems", 1).problems(), expected);
    let again = pair.push(flags).ends("problems", 1).nothing();
    assert_eq!(again.problems(), expected);
    assert_eq!(fs::read(pair.far().join("full-to-file/b/c")).unwrap(), b"c");
    assert_eq!(fs::read(pair.far().join("empty-to-file")).unwrap(), b"now a file");
}

#[test]
fn only_what_changed_is_sent() {
    let pair = Pair::new(Flavour::Internal);
    let near = pair.near();
    let tree = TreeOf::new()
        .file("touched", noise(5_000, 1))
        .mtime(1_000_000_000, 7)
        .file("touched-large", noise(300_000, 2))
        .mtime(1_000_000_000, 7)
        .file("chmodded", "c")
        .mode(0o600)
        .file("restored", "before")
        .mtime(1_000_000_000, 7)
        .file("grown", "g")
        .file("shrunk", noise(200_000, 3))
        .file("same", "same")
        .dir("folder")
        .mtime(1_000_000_000, 0)
        .mode(0o755)
        .link("link", "a");
    tree.make(&near);
    pair.push(&[]).ok();
    pair.is_pushed(&[]);

    let check = |change: &dyn Fn(), files: u64, bytes: u64| {
        change();
        pair.push(&[]).ok().counts(&[("files_sent", files), ("bytes_sent", bytes), ("displaced", 0)]);
        pair.is_pushed(&[]);
    };
    check(&|| set_mtime(&near.join("touched"), 1_000_000_001, 0), 0, 0);
    check(&|| set_mtime(&near.join("touched-large"), 1_100_000_000, 1), 0, 0);
    check(&|| set_mtime(&near.join("touched"), 1_000_000_001, 1), 0, 0);
    check(&|| set_mode(&near.join("chmodded"), 0o755), 0, 0);
    check(&|| set_mtime(&near.join("folder"), 1_200_000_000, 5), 0, 0);
    check(&|| set_mode(&near.join("folder"), 0o711), 0, 0);
    // Same size and same mtime: the ctime gives it away.
    let restore = || {
        fs::write(near.join("restored"), "behind").unwrap();
        set_mtime(&near.join("restored"), 1_000_000_000, 7);
    };
    check(&restore, 1, 6);
    check(&|| fs::write(near.join("grown"), "grown").unwrap(), 1, 5);
    check(&|| fs::write(near.join("shrunk"), "s").unwrap(), 1, 1);
    check(&|| fs::write(near.join("same"), "same").unwrap(), 0, 0);
    check(&|| fs::write(near.join("same"), "").unwrap(), 1, 0);
    let relink = || {
        fs::remove_file(near.join("link")).unwrap();
        std::os::unix::fs::symlink("b", near.join("link")).unwrap();
    };
    check(&relink, 0, 0);
    check(&|| TreeOf::new().dir("new").dir("new/er").file("new/er/file", "12345").make(&near), 1, 5);
}

#[test]
fn what_is_renamed_at_the_source_is_renamed_or_sent_and_never_lost() {
    let pair = Pair::new(Flavour::Internal);
    let near = pair.near();
    TreeOf::new().dir("old").file("old/a", "a").file("b", noise(200_000, 1)).file("c", "c").make(&near);
    pair.push(&["--delete"]).ok();
    fs::rename(near.join("old"), near.join("new")).unwrap();
    fs::rename(near.join("b"), near.join("old")).unwrap();
    fs::rename(near.join("c"), near.join("b")).unwrap();
    pair.push(&["--delete"]).ok().counts(&[("displaced", 0)]);
    pair.is_pushed(&["--delete"]);
    // Without deletes the old names stay.
    fs::rename(near.join("b"), near.join("d")).unwrap();
    pair.push(&[]).ok().counts(&[("deleted", 0)]);
    assert_eq!(fs::read(pair.far().join("b")).unwrap(), b"c");
    assert_eq!(fs::read(pair.far().join("d")).unwrap(), b"c");
    let connections = pair.connections();
    pair.push(&[]).ok().nothing();
    assert_eq!(pair.connections(), connections);
}

#[test]
fn special_files_are_reported_and_the_rest_goes_on() {
    let pair = Pair::new(Flavour::Internal);
    let near = pair.near();
    TreeOf::new().fifo("pipe").dir("d").fifo(b"d/\xff").file("d/file", "f").make(&near);
    let _socket = std::os::unix::net::UnixListener::bind(near.join("socket")).unwrap();
    let expected = ["d/\\xff", "pipe", "socket"].map(|path| ("special-file".to_owned(), path.to_owned()));
    let round = pair.push(&[]).ends("problems", 1).counts(&[("files_sent", 1)]);
    assert_eq!(round.problems(), expected);
    let odd = round.job["problems"].as_array().unwrap().iter().find(|p| p["path"] == "d/\\xff").unwrap();
    assert_eq!(odd["path_base64"], "ZC//");
    let connections = pair.connections();
    let again = pair.push(&[]).ends("problems", 1).nothing();
    assert_eq!(again.problems(), expected, "they are told again");
    assert_eq!(pair.connections(), connections, "they are no reason to connect");
    assert!(!pair.far().join("pipe").exists());
    assert_eq!(fs::read(pair.far().join("d/file")).unwrap(), b"f");
}

#[test]
fn a_file_that_becomes_special_leaves_the_target_as_it_is() {
    let pair = Pair::new(Flavour::Internal);
    let near = pair.near();
    TreeOf::new().file("a", "a").make(&near);
    pair.push(&["--delete"]).ok();
    fs::remove_file(near.join("a")).unwrap();
    TreeOf::new().fifo("a").make(&near);
    let round = pair.push(&["--delete"]).ends("problems", 1).nothing();
    assert_eq!(round.problems(), [("special-file".to_owned(), "a".to_owned())]);
    assert_eq!(fs::read(pair.far().join("a")).unwrap(), b"a");
}

#[test]
fn what_may_not_be_read_is_a_problem_and_the_rest_goes_on() {
    let pair = Pair::of_ordinary_user(Options::default());
    let near = pair.near();
    let tree = TreeOf::new()
        .file("open", "open")
        .file("closed", "closed")
        .mode(0)
        .dir("shut")
        .mode(0)
        .file("shut/in", "in")
        .dir("listed")
        .mode(0o444)
        .file("listed/in", "in")
        .dir("unlisted")
        .mode(0o311)
        .file("unlisted/in", "in");
    tree.make(&near);
    crate::support::tree_of::give_to(&near, account::numbers(account::ORDINARY));
    let round = pair.push(&["--delete"]).ends("problems", 1).counts(&[("files_sent", 1), ("deleted", 0)]);
    let paths: Vec<String> = round.problems().into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, ["closed", "listed", "shut", "unlisted"], "{:#}", round.job);
    assert!(round.problems().iter().all(|(kind, _)| kind == "permission-denied"), "{:#}", round.job);
    assert_eq!(fs::read(pair.far().join("open")).unwrap(), b"open");
    pair.push(&["--delete"]).ends("problems", 1).nothing();
    for (path, mode) in [("closed", 0o644), ("shut", 0o755), ("listed", 0o755), ("unlisted", 0o755)] {
        set_mode(&near.join(path), mode);
    }
    pair.push(&["--delete"]).ok().counts(&[("files_sent", 4)]);
    pair.is_pushed(&["--delete"]);
    // What was readable once and is not any more is not gone.
    set_mode(&near.join("shut"), 0);
    set_mode(&near.join("closed"), 0);
    pair.push(&["--delete"]).ends("problems", 1).nothing();
    assert_eq!(fs::read(pair.far().join("shut/in")).unwrap(), b"in");
}

#[test]
fn a_file_is_pushed_under_any_name() {
    for flavour in Flavour::ALL {
        let pair = Pair::new(flavour);
        let near = pair.near();
        TreeOf::new().file("a.txt", "one").mode(0o640).mtime(1_000, 5).file("other", "other").make(&near);
        let push = |target: &[u8]| pair.carry("push", near.join("a.txt").into(), pair.url(target), &[]);
        let there = at(&pair.server.data(), b"dir/sub/b\xff.txt");
        push(b"dir/sub/b\xff.txt").ok().counts(&[("files_sent", 1), ("bytes_sent", 3), ("foreign", 0)]);
        assert_eq!(fs::read(&there).unwrap(), b"one");
        push(b"dir/sub/b\xff.txt").ok().nothing();
        fs::write(near.join("a.txt"), "two!").unwrap();
        push(b"dir/sub/b\xff.txt").ok().counts(&[("files_sent", 1), ("bytes_sent", 4), ("displaced", 0)]);
        assert_eq!(fs::read(&there).unwrap(), b"two!");
        push(b"dir/sub/b\xff.txt").ok().nothing();
        // The same file to another name beside it is another pair of ends.
        push(b"dir/sub/a.txt").ok().counts(&[("files_sent", 1)]);
        push(b"dir/sub/b\xff.txt").ok().nothing();
        let names = look(&at(&pair.server.data(), "dir/sub"), Times::Seconds);
        assert_eq!(names.len(), 2, "{names:?}");
    }
}

#[test]
fn a_file_is_not_pushed_onto_a_folder() {
    let pair = Pair::new(Flavour::Internal);
    TreeOf::new().file("a.txt", "one").make(&pair.near());
    TreeOf::new().file("in", "in").make(&pair.far());
    let ran =
        pair.program.run(pair.args("push", pair.near().join("a.txt").into(), pair.url("far"), &["--json"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("the source is a file") && ran.stderr.contains("DST/NAME"), "{}", ran.stderr);
    assert_eq!(fs::read(pair.far().join("in")).unwrap(), b"in");
    assert!(!pair.far().join(".highwater").exists());
}

#[test]
fn what_is_excluded_is_neither_sent_nor_deleted() {
    let pair = Pair::new(Flavour::Internal);
    let near = pair.near();
    TreeOf::new()
        .file("keep", "k")
        .file("a.tmp", "t")
        .dir("cache")
        .file("cache/x", "x")
        .dir("sub")
        .dir("sub/cache")
        .file("sub/cache/y", "y")
        .file("sub/b.tmp", "t")
        .make(&near);
    let flags = ["--delete", "--exclude", "*.tmp", "--exclude=/cache/"];
    pair.push(&flags).ok().counts(&[("files_sent", 2)]);
    assert!(pair.far().join("sub/cache/y").exists() && !pair.far().join("cache").exists());
    assert!(!pair.far().join("a.tmp").exists() && !pair.far().join("sub/b.tmp").exists());
    pair.push(&flags).ok().nothing();
    // What was carried before it was excluded stays, there and here.
    pair.push(&["--delete"]).ok().counts(&[("files_sent", 3)]);
    fs::remove_file(near.join("a.tmp")).unwrap();
    pair.push(&flags).ok().nothing();
    assert!(pair.far().join("a.tmp").exists());
    pair.push(&["--delete"]).ok().counts(&[("deleted", 1)]);
    pair.is_pushed(&["--delete"]);
}

#[test]
fn a_dry_run_lists_and_changes_nothing() {
    let pair = Pair::new(Flavour::Internal);
    let near = pair.near();
    TreeOf::new().dir("d").file("d/a", "aa").file("b", "b").link("l", "b").make(&near);
    let dry = |more: &[&str]| {
        let flags = [&["--dry-run"], more].concat();
        let ran = pair.program.run(pair.args("push", near.clone().into(), pair.url("far"), &flags));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    let text = dry(&[]);
    for line in ["copy", "mkdir", "link", "would carry 2 files (3 B) and delete 0; nothing was changed"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!pair.far().exists(), "not even the root was made");
    pair.push(&[]).ok();
    assert_eq!(dry(&[]).trim(), "nothing to do");
    fs::remove_file(near.join("b")).unwrap();
    fs::write(near.join("d/a"), "changed").unwrap();
    let before = look(&pair.far(), Times::Nanos);
    let document: serde_json::Value = serde_json::from_str(&dry(&["--json", "--delete"])).unwrap();
    assert_eq!(
        (&document["files"], &document["bytes"], &document["deletes"]),
        (&1.into(), &7.into(), &1.into())
    );
    let steps = document["steps"].as_array().unwrap();
    let step = |path: &str| steps.iter().find(|s| s["path"] == path).map(|s| s["step"].as_str().unwrap());
    assert_eq!((step("d/a"), step("b")), (Some("copy"), Some("delete")), "{document:#}");
    assert_eq!(look(&pair.far(), Times::Nanos), before);
    pair.push(&["--delete"]).ok().counts(&[("files_sent", 1), ("deleted", 1)]);
    pair.is_pushed(&["--delete"]);
}

#[test]
fn the_level_of_proof_is_told_and_costs_what_it_says() {
    const LARGE: usize = 4 << 20;
    for level in ["full", "sample", "ack"] {
        let pair = Pair::new(Flavour::Internal);
        TreeOf::new().file("large", noise(LARGE, 1)).file("small", "small").make(&pair.near());
        for durable in ["yes", "no"] {
            let round = pair.push(&["--verify", level, "--durable", durable]).ok();
            let is_first = durable == "yes";
            assert_eq!(round.verified(level), if is_first { 2 } else { 0 }, "{:#}", round.job);
            let read = round.count("bytes_verified");
            let all = LARGE as u64 + 5;
            let plausible = match level {
                "full" => read == if is_first { all } else { 0 },
                "ack" => read == 0,
                _ => read < all / 2,
            };
            assert!(plausible, "{level}, durable {durable}: {read} bytes read to verify");
        }
        assert_same(&pair.near(), &pair.far(), Times::Seconds);
    }
}

#[test]
fn durable_or_not_the_same_arrives() {
    for flavour in Flavour::ALL {
        let pair = Pair::new(flavour);
        names().make(&pair.near());
        pair.push(&["--durable", "no"]).ok().counts(&[("files_sent", names().files())]);
        pair.is_pushed(&["--durable", "no"]);
        // Durable now: what is not yet known to be on the disk is made so, once, and nothing is sent.
        pair.push(&["--durable", "yes"]).ok().nothing();
        pair.is_pushed(&["--durable", "yes"]);
    }
}

#[test]
fn what_is_told_to_a_person() {
    let pair = Pair::new(Flavour::Internal);
    TreeOf::new().file("a", "12345").make(&pair.near());
    let ran = |flags: &[&str]| {
        let ran = pair.program.run(pair.args("push", pair.near().into(), pair.url("far"), flags));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        (ran.stdout, ran.stderr)
    };
    let (stdout, stderr) = ran(&[]);
    assert!(stdout.contains("sent 1 file (5 B)") && stdout.contains("verified: 1 full"), "{stdout}");
    assert_eq!(stderr, "");
    let (stdout, _) = ran(&[]);
    assert!(stdout.contains("no file to carry") && stdout.contains("unchanged"), "{stdout}");
    fs::write(pair.near().join("a"), "other").unwrap();
    assert_eq!(ran(&["--quiet"]), (String::new(), String::new()));
    fs::write(pair.near().join("a"), "third").unwrap();
    let (stdout, stderr) = ran(&["-v"]);
    assert!(stdout.contains("sent 1 file"), "{stdout}");
    let told: Vec<&str> = stderr.lines().collect();
    assert!(told[0].contains("connected to"), "{stderr}");
    assert!(told[1].ends_with("placed a: 5 bytes, proved full"), "{stderr}");
    TreeOf::new().fifo("pipe").make(&pair.near());
    let ran = pair.program.run(pair.args("push", pair.near().into(), pair.url("far"), &["--quiet"]));
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("pipe: carry: a special file"), "{}", ran.stdout);
}
