//! `run` and `plan`: rounds of jobs that a config describes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::pair::{Flavour, Pair};
use crate::support::program::{Ran, Round};
use crate::support::tree_of::{Times, TreeOf, assert_same, look};

/// A time long ago: what is that old is not waited for.
const OLD: i64 = 1_500_000_000;

/// A pair and a config with jobs between folders of both sides.
struct Jobs {
    pair: Pair,
    config: PathBuf,
}

impl Jobs {
    /// Jobs as YAML, one per line: `NEAR` and `FAR` stand for the folders that jobs carry between. The
    /// server `gone` listens to nobody.
    fn new(jobs: &[&str]) -> Self {
        let pair = Pair::new(Flavour::Internal);
        let config = pair.program.home().join("config.yml");
        let (user, port) = pair.server.login();
        let key = pair.server.key();
        let mut text = format!(
            "version: 1\nservers:\n  here: {{host: 127.0.0.1, port: {port}, user: {user}, auth: {{key: {}}}}}\n  \
             gone: {{host: 127.0.0.1, port: 1, user: {user}, auth: {{key: {}}}}}\njobs:\n",
            key.display(),
            key.display()
        );
        let far = format!("here:{}", pair.server.data().display());
        for job in jobs {
            text += &format!("  {job}\n")
                .replace("NEAR", &near(&pair).display().to_string())
                .replace("FAR", &far);
        }
        fs::write(&config, text).unwrap();
        Self { pair, config }
    }

    fn near(&self, path: &str) -> PathBuf {
        near(&self.pair).join(path)
    }

    fn far(&self, path: &str) -> PathBuf {
        self.pair.server.data().join(path)
    }

    fn run(&self, jobs: &[&str]) -> Vec<Round> {
        self.pair.program.rounds([&["--config", self.config(), "run"], jobs].concat())
    }

    fn text(&self, args: &[&str]) -> Ran {
        self.pair.program.run([&["--config", self.config()], args].concat())
    }

    fn config(&self) -> &str {
        self.config.to_str().unwrap()
    }
}

fn near(pair: &Pair) -> PathBuf {
    pair.near()
}

/// Name, result and files carried of each.
fn summary(rounds: &[Round]) -> Vec<(String, String, u64)> {
    let text = |round: &Round, key: &str| round.job[key].as_str().unwrap().to_owned();
    let files = |round: &Round| round.count("files_sent") + round.count("files_received");
    rounds.iter().map(|round| (text(round, "job"), text(round, "result"), files(round))).collect()
}

fn expect(rounds: &[Round], expected: &[(&str, &str, u64)], code: i32) {
    let expected: Vec<_> = expected.iter().map(|&(job, result, n)| (job.into(), result.into(), n)).collect();
    assert_eq!(summary(rounds), expected, "{:#?}", rounds.iter().map(|r| &r.job).collect::<Vec<_>>());
    assert_eq!(rounds[0].code, code);
}

fn fill(root: &Path) {
    TreeOf::new().dir("d").file("d/a", "aa").mtime(OLD, 0).file("b", "b").mtime(OLD, 0).make(root);
}

const PUSH: &str = "out: {mode: push, local: NEAR/out, remote: 'FAR/out', delete: true}";
const PULL: &str = "back: {mode: pull, local: NEAR/in, remote: 'FAR/out', delete: true}";
const UNREACHED: &str = "gone: {mode: push, local: NEAR/out, remote: 'gone:/x'}";
const MISSING: &str = "missing: {mode: pull, local: NEAR/never, remote: 'FAR/nowhere'}";

#[test]
fn every_job_has_its_round_and_the_next_one_does_nothing() {
    let jobs = Jobs::new(&[PUSH, PULL]);
    fill(&jobs.near("out"));
    expect(&jobs.run(&[]), &[("out", "ok", 2), ("back", "ok", 2)], 0);
    assert_same(&jobs.near("out"), &jobs.near("in"), Times::Seconds);
    let again = jobs.run(&[]);
    expect(&again, &[("out", "ok", 0), ("back", "ok", 0)], 0);
    again.into_iter().for_each(|round| drop(round.nothing()));
    fs::remove_file(jobs.near("out/b")).unwrap();
    let rounds = jobs.run(&[]);
    assert!(rounds.iter().all(|round| round.count("deleted") == 1));
    assert_same(&jobs.near("out"), &jobs.near("in"), Times::Seconds);
    // A push of a job that changes nothing does not connect either.
    let before = jobs.pair.connections();
    expect(&jobs.run(&["out"]), &[("out", "ok", 0)], 0);
    assert_eq!(jobs.pair.connections(), before);
}

#[test]
fn one_job_that_fails_does_not_keep_the_others() {
    let jobs = Jobs::new(&[UNREACHED, MISSING, PUSH, PULL]);
    fill(&jobs.near("out"));
    let rounds = jobs.run(&[]);
    let expected = [("gone", "failed", 0), ("missing", "failed", 0), ("out", "ok", 2), ("back", "ok", 2)];
    expect(&rounds, &expected, 3);
    assert!(rounds[0].job["message"].as_str().unwrap().contains("127.0.0.1:1"), "{:#}", rounds[0].job);
    assert!(rounds[1].job["message"].as_str().unwrap().contains("no such folder"), "{:#}", rounds[1].job);
    expect(&jobs.run(&["out"]), &[("out", "ok", 0)], 0);
}

#[test]
fn the_gravest_job_gives_the_exit_code() {
    let jobs = Jobs::new(&[PUSH, PULL, UNREACHED]);
    fill(&jobs.near("out"));
    TreeOf::new().fifo("pipe").make(&jobs.near("out"));
    expect(&jobs.run(&["out", "back"]), &[("out", "problems", 2), ("back", "ok", 2)], 1);
    expect(&jobs.run(&["gone", "out"]), &[("gone", "failed", 0), ("out", "problems", 0)], 3);
    fs::rename(jobs.near("out"), jobs.near("elsewhere")).unwrap();
    let rounds = jobs.run(&["gone", "out", "back"]);
    expect(&rounds, &[("gone", "failed", 0), ("out", "halted", 0), ("back", "ok", 0)], 4);
    assert_same(&jobs.far("out"), &jobs.near("in"), Times::Seconds);
}

#[test]
fn jobs_run_in_the_order_in_which_they_are_named_each_once() {
    let jobs = Jobs::new(&[PUSH, PULL]);
    fill(&jobs.near("out"));
    jobs.run(&["out"]);
    expect(&jobs.run(&["back", "out", "back"]), &[("back", "ok", 2), ("out", "ok", 0)], 0);
}

#[test]
fn a_job_that_is_not_in_the_config_is_a_mistake_and_nothing_runs() {
    let jobs = Jobs::new(&[PUSH]);
    fill(&jobs.near("out"));
    let check = |args: &[&str], expected: &str| {
        let ran = jobs.text(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
    };
    check(&["run", "out", "uot", "--json"], "cannot find the job \"uot\": the config has: out");
    check(&["plan", "uot"], "cannot find the job \"uot\"");
    assert!(!jobs.far("out").exists());
    fs::write(&jobs.config, "version: 1\n").unwrap();
    check(&["run"], "the config has no jobs");
}

#[test]
fn a_document_has_exactly_the_promised_fields() {
    let jobs = Jobs::new(&[PUSH, MISSING]);
    fill(&jobs.near("out"));
    TreeOf::new().fifo(b"\xff").fifo("plain").make(&jobs.near("out"));
    let rounds = jobs.run(&[]);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut promised = vec![
        "job",
        "mode",
        "result",
        "files_sent",
        "files_received",
        "bytes_sent",
        "bytes_received",
        "bytes_verified",
        "bytes_resumed",
        "renamed",
        "deleted",
        "displaced",
        "foreign",
        "unchanged",
        "held",
        "verified",
        "problems",
        "recovered",
        "seconds",
    ];
    promised.sort_unstable();
    assert_eq!(keys(&rounds[0].job), promised);
    promised.push("message");
    promised.sort_unstable();
    assert_eq!(keys(&rounds[1].job), promised);
    assert_eq!(keys(&rounds[0].job["verified"]), ["ack", "full", "sample"]);
    let problems = rounds[0].job["problems"].as_array().unwrap();
    let of = |path: &str| problems.iter().find(|p| p["path"] == path).unwrap();
    assert_eq!(keys(of("plain")), ["kind", "message", "operation", "path"]);
    assert_eq!(of("\\xff")["path_base64"], "/w==");
    assert!(rounds[0].job["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_plan_says_what_a_round_would_do_and_why_and_does_nothing() {
    let jobs = Jobs::new(&[PUSH, PULL]);
    fill(&jobs.near("out"));
    let plan = |job: &str| {
        let ran = jobs.text(&["plan", job]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    let first = plan("out");
    assert!(first.contains("d/a") && first.contains("would carry 2 files (3 B)"), "{first}");
    assert!(!jobs.far("out").exists());
    jobs.run(&[]);
    assert_eq!((plan("out").trim(), plan("back").trim()), ("nothing to do", "nothing to do"));
    fs::write(jobs.near("out/b"), "bbb").unwrap();
    fs::remove_file(jobs.near("out/d/a")).unwrap();
    let (before, connections) = (look(&jobs.far("out"), Times::Nanos), jobs.pair.connections());
    let text = plan("out");
    for expected in ["copy", "delete", "d/a", "gone at the source", "would carry 1 files (3 B) and delete 1"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(look(&jobs.far("out"), Times::Nanos), before);
    assert_eq!(jobs.pair.connections(), connections, "what is known suffices");
    let document: Value = serde_json::from_str(&jobs.text(&["plan", "out", "--json"]).stdout).unwrap();
    assert_eq!(
        (&document["job"], &document["files"], &document["deletes"]),
        (&"out".into(), &1.into(), &1.into())
    );
    let rounds = jobs.run(&[]);
    expect(&rounds, &[("out", "ok", 1), ("back", "ok", 1)], 0);
    assert_eq!(plan("out").trim(), "nothing to do");
}

#[test]
fn an_audit_finds_and_heals_what_drifted_at_the_target() {
    let audited = "out: {mode: push, local: NEAR/out, remote: 'FAR/out', audit: 1s}";
    let jobs =
        Jobs::new(&[audited, "seldom: {mode: push, local: NEAR/seldom, remote: 'FAR/seldom', audit: 0}"]);
    fill(&jobs.near("out"));
    fill(&jobs.near("seldom"));
    expect(&jobs.run(&[]), &[("out", "ok", 2), ("seldom", "ok", 2)], 0);
    for folder in ["out", "seldom"] {
        fs::remove_file(jobs.far(folder).join("b")).unwrap();
        fs::write(jobs.far(folder).join("d/a"), "theirs").unwrap();
        fs::write(jobs.far(folder).join("foreign"), "theirs").unwrap();
    }
    let due = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let healed = loop {
        let round = jobs.run(&["out"]).remove(0).ok();
        if round.count("files_sent") > 0 {
            break round;
        }
        assert!(std::time::Instant::now() < due, "no audit comes");
    };
    let healed = healed.counts(&[("files_sent", 2), ("displaced", 1), ("foreign", 1)]);
    assert_eq!(healed.recovered(), [("displaced".to_owned(), "d/a".to_owned())]);
    assert_eq!(fs::read(jobs.far("out/d/a")).unwrap(), b"aa");
    assert_eq!(fs::read(jobs.far("out/foreign")).unwrap(), b"theirs");
    expect(&jobs.run(&["seldom"]), &[("seldom", "ok", 0)], 0);
    assert!(!jobs.far("seldom/b").exists(), "nobody looked");
}

#[test]
fn a_filter_of_the_config_says_what_is_carried() {
    let filter = "['+ keep.tmp', '- *.tmp', '- /cache/', '+ **']";
    let jobs =
        Jobs::new(&[&format!("out: {{mode: push, local: NEAR/out, remote: 'FAR/out', filter: {filter}}}")]);
    let tree = TreeOf::new().file("keep.tmp", "k").file("a.tmp", "a").dir("cache").file("cache/x", "x");
    tree.dir("d").dir("d/cache").file("d/cache/y", "y").make(&jobs.near("out"));
    expect(&jobs.run(&[]), &[("out", "ok", 2)], 0);
    let carried: Vec<Vec<u8>> = look(&jobs.far("out"), Times::Seconds).into_keys().collect();
    assert_eq!(carried, [&b"d"[..], b"d/cache", b"d/cache/y", b"keep.tmp"]);
}

#[test]
fn what_a_run_tells_a_person() {
    let jobs = Jobs::new(&[PUSH, MISSING]);
    fill(&jobs.near("out"));
    let ran = jobs.text(&["run"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stdout.starts_with("out: sent 2 files (3 B)"), "{}", ran.stdout);
    assert!(ran.stdout.contains("missing: failed after"), "{}", ran.stdout);
    let quiet = jobs.text(&["run", "--quiet"]);
    assert!(quiet.stdout.starts_with("missing: failed after"), "{}", quiet.stdout);
}
