//! Telling people, against receivers that are real but for being ours.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater::backoff::Backoff;
use highwater::clock::{Random, SeededRandom, SystemRandom};
use highwater::config::model::{Config, Event, Hooks, Link, Secret, Smtp, Target, Tls, Way};
use highwater::config::{Env, load};
use highwater::entry::Time;
use highwater::error::{Kind, Problem};
use highwater::outcome::{Counts, Ending, Mode, Outcome};
use highwater::path::RelPath;
use highwater::tell::{Notice, Round, Teller, Tries, deliver, hooks};

use crate::support::receiver::{DEADLINE, Identity, Line, MailServer, OK, Web};

/// A secret that must not show.
const CANARY: &str = "hunter2-canary";

fn write(folder: &Path, name: &str, text: &str, mode: u32) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `highwater notify test x` with a config of these lines: exit code and all it printed, which holds no secret.
fn notify(folder: &Path, config: &str, more: &[&str], certificate: Option<&Path>) -> (i32, String) {
    let config = write(folder, "config.yml", &format!("version: 1\n{config}\n"), 0o600);
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("highwater"));
    command.args(["-vv", "--config", &config, "notify", "test", "x"]).args(more);
    command.env("HOME", folder).env("NO_PROXY", "*").env_remove("SSL_CERT_DIR");
    command.env("SSL_CERT_FILE", certificate.unwrap_or(Path::new("/dev/null")));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(!text.contains(CANARY), "{text}");
    (status.code().unwrap(), text)
}

#[test]
fn a_webhook_is_posted_the_facts_and_the_header_fields_that_it_wants() {
    let folder = tempfile::tempdir().unwrap();
    let web = Web::answering(&[OK], None);
    let token = write(folder.path(), "token", &format!("Bearer {CANARY}\n"), 0o600);
    let url = web.url(&format!("/{CANARY}?a=b"));
    let config = format!("notify: {{x: {{webhook: '{url}', headers: {{Authorization: 'file:{token}'}}}}}}");
    let (code, printed) = notify(folder.path(), &config, &["--event", "halt", "--json"], None);
    assert_eq!(code, 0, "{printed}");
    let printed: serde_json::Value =
        serde_json::from_str(&printed[..=printed.find("\n}").unwrap() + 1]).unwrap();
    assert_eq!((&printed["target"], &printed["by"]), (&"x".into(), &"webhook".into()));
    let request = web.next();
    assert_eq!(request.line, format!("POST /{CANARY}?a=b HTTP/1.1"));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {CANARY}").as_str()));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert!(request.header("user-agent").unwrap().starts_with("highwater/"));
    let json = request.json();
    assert_eq!((&json["event"], &json["test"]), (&"halt".into(), &true.into()));
    assert_eq!(json["round"]["result"], "halted");
}

#[test]
fn an_encrypted_webhook_is_posted_to_only_if_somebody_vouches_for_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new();
    let web = Web::answering(&[OK], Some(&identity));
    let config = format!("notify: {{x: {{webhook: 'https://localhost:{}/{CANARY}'}}}}", web.port);
    let (code, printed) = notify(folder.path(), &config, &[], None);
    assert_eq!(code, 3, "{printed}");
    assert!(printed.contains(&format!("cannot post to https://localhost:{}/…: ", web.port)), "{printed}");
    assert!(printed.to_lowercase().contains("certificate"), "{printed}");
    let (code, printed) = notify(folder.path(), &config, &[], Some(&identity.certificate));
    assert_eq!((code, printed.contains("told x by webhook: failure")), (0, true), "{printed}");
    assert_eq!(web.next().json()["event"], "failure");
    assert!(web.is_quiet());
}

#[test]
fn mail_goes_by_every_kind_of_line() {
    let identity = Identity::new();
    let check = |line: Line, tls: &str, login: bool| {
        let folder = tempfile::tempdir().unwrap();
        let server = MailServer::start(line, &identity);
        let password = write(folder.path(), "password", CANARY, 0o600);
        let login = if login { format!(", user: hw, password: 'file:{password}'") } else { String::new() };
        let config = format!(
            "smtp: {{host: localhost, port: {}, tls: {tls}, from: 'Backup <hw@example.org>'{login}}}\n\
             notify: {{x: {{email: [ops@example.org, night@example.org]}}}}",
            server.port
        );
        let (code, printed) =
            notify(folder.path(), &config, &["--event", "late"], Some(&identity.certificate));
        assert_eq!(code, 0, "{line:?}: {printed}");
        let mails = [server.next(), server.next()];
        assert!(
            mails[0].to[0].contains("<ops@example.org>") && mails[1].to[0].contains("<night@example.org>")
        );
        for mail in mails {
            assert_eq!(mail.is_encrypted, line != Line::Clear);
            assert!(mail.from.contains("<hw@example.org>"), "{mail:?}");
            assert_eq!(mail.login.is_empty(), login.is_empty(), "{mail:?}");
            for expected in [
                "From: Backup <hw@example.org>\n",
                "To: ops@example.org, night@example.org\n",
                "Subject: [highwater] test: test on ",
                "Auto-Submitted: auto-generated\n",
                "Message-ID: <",
                "Date: ",
                "no success for",
            ] {
                assert!(mail.data.contains(expected), "{expected} in {}", mail.data);
            }
        }
    };
    check(Line::Clear, "none", false);
    check(Line::Clear, "none", true);
    check(Line::StartTls, "starttls", true);
    check(Line::Tls, "tls", true);
}

#[test]
fn mail_never_goes_in_the_clear_where_it_should_not() {
    let identity = Identity::new();
    let check = |line: Line, certificate: Option<&Path>| {
        let folder = tempfile::tempdir().unwrap();
        let server = MailServer::start(line, &identity);
        let config = format!(
            "smtp: {{host: localhost, port: {}, from: hw@example.org}}\nnotify: {{x: {{email: ops@example.org}}}}",
            server.port
        );
        let (code, printed) = notify(folder.path(), &config, &[], certificate);
        assert!(code != 0 && printed.contains("cannot send mail by localhost:"), "{printed}");
    };
    check(Line::Clear, Some(&identity.certificate)); // offers no STARTTLS
    check(Line::StartTls, None); // nobody vouches for it
}

#[test]
fn a_name_that_is_not_there_and_a_config_that_is_wrong_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let check = |config: &str, more: &[&str], expected: &str| {
        let (code, printed) = notify(folder.path(), config, more, None);
        assert_eq!(code, 2, "{printed}");
        assert!(printed.contains(expected), "{printed}");
    };
    check("", &[], "cannot find the notify target \"x\": the config has none");
    check("notify: {y: {command: ['true']}}", &[], "the config has: y");
    check("notify: {x: {}}", &[], "needs one of command, webhook, email and healthchecks");
    check("notify: {x: {command: ['true']}}", &["--event", "doom"], "doom");
}

const SOON: Duration = Duration::from_millis(300);
const TRIES: Tries = Tries {
    count: 3,
    backoff: Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(2) },
};

fn target(way: Way) -> Target {
    Target { name: "x".into(), way, on: Vec::new(), repeat: None, timeout: DEADLINE, hidden: Vec::new() }
}

fn webhook(web: &Web, path: &str) -> Target {
    target(Way::Webhook { url: Link::Url(web.url(path)), headers: Vec::new() })
}

fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(String::from).into()
}

async fn tell(target: &Target, smtp: Option<&Smtp>, event: Event) -> Result<(), (Kind, String)> {
    let notice = Notice::test(event, Time::from_secs(1_790_000_000));
    let told = deliver(target, smtp, &notice, TRIES, &SeededRandom::new(1)).await;
    told.map_err(|error| (error.kind(), format!("{error}: {}", error.reason())))
}

#[tokio::test]
async fn a_command_gets_the_facts_in_its_environment_and_on_its_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = format!("cat > {0}; echo $HIGHWATER_EVENT:$HIGHWATER_TEST >> {0}", out.to_str().unwrap());
    tell(&target(Way::Command(sh(&script))), None, Event::Problems).await.unwrap();
    let text = fs::read_to_string(out).unwrap();
    let (json, rest) = text.split_once('\n').unwrap();
    assert_eq!(rest, "problems:1\n");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["round"]["problems"][0]["path"], "example.txt");
}

#[tokio::test]
async fn a_ping_says_by_its_path_how_it_went_and_by_its_body_why() {
    let web = Web::answering(&[OK], None);
    let ping = target(Way::Healthchecks(Link::Url(web.url("/ping/1"))));
    for (event, path) in [
        (Event::Start, "/ping/1/start"),
        (Event::Success, "/ping/1"),
        (Event::Recovered, "/ping/1"),
        (Event::Problems, "/ping/1/fail"),
        (Event::Held, "/ping/1/fail"),
        (Event::Failure, "/ping/1/fail"),
        (Event::Halt, "/ping/1/fail"),
        (Event::Late, "/ping/1/fail"),
    ] {
        tell(&ping, None, event).await.unwrap();
        let request = web.next();
        assert_eq!(request.line, format!("POST {path} HTTP/1.1"));
        assert!(request.body.starts_with("test: test on "), "{}", request.body);
    }
}

#[tokio::test]
async fn what_may_be_better_later_is_tried_again_and_nothing_else() {
    let check = async |answers: &[&str], requests: usize, expected: Result<(), &str>| {
        let web = Web::answering(answers, None);
        let told = tell(&webhook(&web, "/"), None, Event::Failure).await.map_err(|(_, why)| why);
        match expected {
            Ok(()) => assert_eq!(told, Ok(())),
            Err(part) => assert!(told.as_ref().is_err_and(|why| why.contains(part)), "{told:?}"),
        }
        (0..requests).for_each(|_| drop(web.next()));
        assert!(web.is_quiet(), "{answers:?}");
    };
    let busy = "503 Later\r\n\r\nbusy\x1b[2J";
    check(&[OK], 1, Ok(())).await;
    check(&[busy, "429 Slow\r\n\r\n", OK], 3, Ok(())).await;
    check(&[busy], 3, Err("the server answered 503: busy\\x1b[2J")).await;
    check(&["403 No\r\n\r\nno"], 1, Err("the server answered 403: no")).await;
    check(&["404 None\r\n\r\n"], 1, Err("the server answered 404")).await;
    check(&["302 There\r\nlocation: http://127.0.0.1:1/\r\n\r\n"], 1, Err("the server answered 302")).await;
}

#[tokio::test]
async fn a_server_that_says_a_secret_back_does_not_get_it_into_the_log() {
    let echo = format!("400 Bad\r\n\r\nno token {CANARY} at /{CANARY}");
    let web = Web::answering(&[&echo], None);
    let folder = tempfile::tempdir().unwrap();
    let token = Secret::File(write(folder.path(), "t", CANARY, 0o600).into());
    let url = Link::Url(web.url(&format!("/{CANARY}")));
    let target = target(Way::Webhook { url, headers: vec![("X-Token".into(), token)] });
    let (_, why) = tell(&target, None, Event::Failure).await.unwrap_err();
    assert!(why.contains("no token … at /…") && !why.contains(CANARY), "{why}");
    assert!(!format!("{target:?}").contains(CANARY));
}

#[tokio::test]
async fn nobody_waits_longer_than_told_for_a_receiver_that_hangs() {
    let web = Web::answering(&[""], None);
    let dead = MailServer::start(Line::Dead, &Identity::new());
    let smtp =
        Smtp { host: "127.0.0.1".into(), port: dead.port, tls: Tls::None, login: None, from: "a@b".into() };
    let ways = [
        webhook(&web, "/").way,
        Way::Healthchecks(Link::Url(web.url("/"))),
        Way::Email(vec!["c@d".into()]),
        Way::Command(sh("exec sleep 1000")),
    ];
    for way in ways {
        let target = Target { timeout: SOON, ..target(way) };
        let begun = Instant::now();
        let (kind, why) = tell(&target, Some(&smtp), Event::Failure).await.unwrap_err();
        assert_eq!(kind, Kind::TimedOut, "{why}");
        assert!(!why.starts_with("cannot tell x:"), "only the last bound of all ended this: {why}");
        assert!(begun.elapsed() < DEADLINE, "{why}");
    }
}

#[tokio::test]
async fn one_recipient_who_is_not_there_keeps_no_other_from_hearing() {
    let server = MailServer::start(Line::Clear, &Identity::new());
    let port = server.port;
    let smtp = Smtp { host: "127.0.0.1".into(), port, tls: Tls::None, login: None, from: "a@b".into() };
    let to = ["nobody@example.org", "ops@example.org"].map(String::from);
    let told = tell(&target(Way::Email(to.into())), Some(&smtp), Event::Failure).await;
    let (kind, why) = told.unwrap_err();
    assert_eq!(kind, Kind::Unsupported);
    assert!(why.contains("for nobody@example.org: ") && why.contains("550"), "{why}");
    assert!(server.next().to[0].contains("ops@example.org"));
}

fn at(hour: i64) -> Time {
    Time::from_secs(1_790_000_000 + hour * 3_600)
}

fn outcome(ending: Ending) -> Outcome {
    Outcome {
        job: "nightly".into(),
        mode: Mode::Push,
        ending,
        counts: Counts::default(),
        problems: vec![Problem::new(RelPath::root(), "list", "failed", "it failed")],
        recovered: Vec::new(),
        elapsed: Duration::from_secs(5),
        message: Some("cannot connect to a@b:22: refused".into()),
        exit_code: 3,
    }
}

fn config(folder: &Path, notify: &str) -> Config {
    let text = format!(
        "version: 1\nservers: {{s: {{host: h}}}}\n\
         jobs: {{nightly: {{mode: push, local: /l, remote: 's:/r', notify: [x, y], alarm: {{no_success_for: 26h}}}}}}\n\
         notify: {{{notify}}}\n"
    );
    let path = write(folder, "config.yml", &text, 0o600);
    let env = Env { home: None, config_home: None, system_file: folder.join("none") };
    load(Some(Path::new(&path)), &env).unwrap().config
}

fn random() -> Arc<dyn Random> {
    Arc::new(SystemRandom)
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_fail_are_told_once_until_all_is_well_and_jobs_that_never_run_are_late() {
    let folder = tempfile::tempdir().unwrap();
    let (person, dog) = (Web::answering(&[OK], None), Web::answering(&[OK], None));
    let notify = format!("x: {{webhook: '{}'}}, y: {{healthchecks: '{}'}}", person.url("/x"), dog.url("/y"));
    let config = config(folder.path(), &notify);
    let teller = Teller::new(&config, None, TRIES, &random());
    teller.look(at(0));
    assert_eq!(teller.next_look(), Some(at(26)));
    let round = |teller: &Teller, ending, hour| {
        teller.started("nightly", at(hour));
        teller.ended(&outcome(ending), at(hour), at(hour));
    };
    round(&teller, Ending::Failed, 1);
    round(&teller, Ending::Failed, 2);
    // A restart in between tells nothing twice.
    let remembered = teller.remember();
    assert!(teller.close(DEADLINE).await);
    let teller = Teller::new(&config, Some(&remembered), TRIES, &random());
    round(&teller, Ending::Failed, 3);
    round(&teller, Ending::Ok, 4);
    round(&teller, Ending::Ok, 5);
    teller.look(at(30));
    teller.look(at(31));
    teller.look(at(32));
    let told = ["failure", "recovered", "late"].map(|event| {
        let json = person.next().json();
        assert_eq!((json["event"].as_str(), json["job"].as_str()), (Some(event), Some("nightly")));
        json
    });
    assert_eq!(told[0]["round"]["message"], "cannot connect to a@b:22: refused");
    assert_eq!(told[1]["since"], told[0]["at"]);
    assert_eq!(told[2]["at"], "2026-09-22T21:13:20Z");
    let pings: Vec<String> = (0..10).map(|_| dog.next().line).collect();
    let paths: Vec<&str> = pings.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    let expected = ["start", "fail", "start", "fail", "start", "fail", "start", "", "start", ""];
    assert_eq!(paths, expected.map(|word| format!("/y/{word}").trim_end_matches('/').to_owned()));
    let tallies = || teller.tallies().into_iter().map(|(name, tally)| (name, tally.told, tally.failed));
    let all = async {
        while tallies().ne([("x".into(), 2, 0), ("y".into(), 6, 0)]) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("the tallies are not what was told");
    assert!(teller.close(DEADLINE).await && person.is_quiet() && dog.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_keeps_nobody_waiting_and_fills_only_its_own_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (hangs, well) = (Web::answering(&[""], None), Web::answering(&[OK], None));
    let notify = format!(
        "x: {{webhook: '{}', on: start}}, y: {{webhook: '{}', on: [start, failure]}}",
        hangs.url("/"),
        well.url("/")
    );
    let teller = Teller::new(&config(folder.path(), &notify), None, TRIES, &random());
    teller.started("nightly", at(0));
    hangs.next(); // taken from the queue, and stuck
    assert_eq!(well.next().json()["event"], "start");
    for _ in 0..70 {
        teller.started("nightly", at(1));
        well.next();
    }
    teller.ended(&outcome(Ending::Failed), at(1), at(2));
    assert_eq!(well.next().json()["event"], "failure");
    let (name, tally) = teller.tallies().swap_remove(0);
    assert_eq!((name.as_str(), tally.told, tally.dropped), ("x", 0, 6));
    assert!(!teller.close(Duration::from_millis(1)).await);
}

#[tokio::test]
async fn hooks_run_in_order_with_the_facts_and_the_first_that_fails_stops_those_before_a_round() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let say = |word: &str| {
        sh(&format!("echo {word} $HIGHWATER_EVENT $HIGHWATER_RESULT >> {}", out.to_str().unwrap()))
    };
    let hooks_ = Hooks {
        before: vec![say("b1"), sh("echo 'disk full' >&2; exit 7"), say("b2")],
        after_success: vec![say("s")],
        after_failure: vec![sh("exit 1"), say("f")],
        timeout: DEADLINE,
        hidden: Vec::new(),
    };
    let error = hooks::before(&hooks_, &Notice::start("nightly", at(0))).await.unwrap_err();
    let expected =
        "cannot run the hook before the round, sh: it ended with exit status: 7, saying: disk full";
    assert_eq!((error.to_string().as_str(), error.kind()), (expected, Kind::Failed));
    let ended = |ending| Notice::ended(Round::new(&outcome(ending), at(0), at(1)));
    assert!(hooks::after(&hooks_, &ended(Ending::Ok)).await.is_empty());
    let failed = hooks::after(&hooks_, &ended(Ending::Problems)).await;
    assert_eq!(failed.len(), 1);
    assert_eq!(
        failed[0].to_string(),
        "cannot run the hook after the round, sh: it ended with exit status: 1"
    );
    assert_eq!(fs::read_to_string(out).unwrap(), "b1 start\ns success ok\nf problems problems\n");
    let hangs = Hooks { before: vec![sh("exec sleep 1000")], timeout: SOON, ..Hooks::default() };
    let error = hooks::before(&hangs, &Notice::start("nightly", at(0))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut);
}
