//! Configurations as people write them, right and wrong, through the door that commands use.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use highwater::config::model::{Event, Fingerprint, Link, Missed, Secret, Tls, Via, Way, When};
use highwater::config::{ConfigErrors, Env, Loaded, load, schema};
use highwater::hash::Level;
use highwater::outcome::Mode;
use highwater::path::RelPath;
use highwater::sshconfig::Source;

fn env(home: &Path) -> Env {
    Env { home: Some(home.into()), config_home: None, system_file: home.join("etc/config.yml") }
}

fn load_text(text: &str) -> Result<Loaded, ConfigErrors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    load(Some(&path), &env(Path::new("/home/ana")))
}

/// Each mistake as `line key: message; hint`.
fn mistakes(text: &str) -> Vec<String> {
    let errors = load_text(text).expect_err("there should be mistakes");
    let shown = errors.mistakes.iter().map(|m| {
        let hint = m.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{} {}: {}{hint}", m.line, m.key, m.message)
    });
    shown.collect()
}

const SERVER: &str = "version: 1\nservers: {s: {host: h}}\n";

/// A job below a good server: its lines begin at 4.
fn job(lines: &str) -> String {
    let lines = lines.replace('\n', "\n ");
    format!("{SERVER}jobs: {{j: {{mode: push, local: /l, remote: 's:/r',\n {lines}}}}}\n")
}

fn check_job(lines: &str, expected: &[&str]) {
    assert_eq!(mistakes(&job(lines)), expected, "{lines}");
}

#[test]
fn the_configuration_of_the_design_means_what_it_says() {
    let loaded = load(Some(Path::new("examples/nightly-backup.yml")), &env(Path::new("/home/ana"))).unwrap();
    let server = loaded.config.server("offsite").unwrap();
    assert_eq!((server.host.as_str(), server.user.as_deref()), ("backup.example.org", Some("web1")));
    assert_eq!(server.auth.keys, [Secret::File("/etc/highwater/id_ed25519".into())]);
    assert!(!server.auth.agent);
    let fingerprint = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDiP1DcF7wYA3HZuUs";
    assert_eq!(server.host_keys, [Fingerprint::parse(fingerprint).unwrap()]);
    let job = loaded.config.job("nightly").unwrap();
    assert_eq!((job.mode, job.server.as_str(), job.delete), (Mode::Push, "offsite", true));
    assert_eq!(job.remote.as_bytes(), b"/backups/web1");
    let schedule = job.schedule.as_ref().unwrap();
    let cron = When::Cron { fields: "15 2 * * *".into(), zone: Some("Europe/Berlin".into()) };
    assert_eq!((&schedule.when, schedule.missed), (&cron, Missed::Run));
    assert!(job.filter.excludes(&RelPath::parse(*b"a.tmp").unwrap(), false));
    let slots: Vec<String> = job.bandwidth.slots.iter().map(|s| format!("{} {}", s.span, s.rate)).collect();
    assert_eq!(slots, ["mon,tue,wed,thu,fri 08:00-18:00 2MiB/s"]);
    assert_eq!(job.bandwidth.otherwise.to_string(), "unlimited");
    assert_eq!(job.hooks.before, [["/usr/local/bin/dump-database", "--all"]]);
    assert_eq!(job.no_success_for, Some(Duration::from_secs(26 * 3_600)));
}

#[test]
fn all_ways_to_log_in_are_read() {
    let text = "version: 1\nservers:\n  s: {host: h, legacy: yes, auth: {key: /k, certificate: [~/c.pub, /d.pub], \
                code: 'cmd:oathtool --totp', password: 'credential:pw'}}\n  t: {host: h}\n";
    let config = load_text(text).unwrap().config;
    let server = config.server("s").unwrap();
    assert_eq!(server.auth.certificates, ["/home/ana/c.pub", "/d.pub"].map(std::path::PathBuf::from));
    assert_eq!(server.auth.code, Some(Secret::Command(vec!["oathtool".into(), "--totp".into()])));
    assert_eq!(server.auth.password, Some(Secret::Credential("pw".into())));
    assert_eq!((server.legacy, config.server("t").unwrap().legacy), (true, false));
}

#[test]
fn what_is_not_said_has_the_defaults_of_the_design() {
    let loaded = load_text(&job("")).unwrap();
    let job = loaded.config.job("j").unwrap();
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    assert_eq!((job.trash, job.audit, job.retry_for), (days(30), days(1), Duration::from_secs(600)));
    assert_eq!((job.verify, job.durable, job.delete), (Level::Full, true, false));
    assert_eq!(job.max_delete, highwater::config::model::MaxDelete::default());
    assert!(job.schedule.is_none() && job.watch.is_none() && job.filter.is_empty());
    assert!(loaded.config.servers[0].auth.agent);
    assert_eq!(loaded.notes, []);
}

#[test]
fn the_examples_load() {
    let mut names = Vec::new();
    for entry in fs::read_dir("examples").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            let loaded = load(Some(&path), &env(Path::new("/home/ana")));
            let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
            assert!(!loaded.config.jobs.is_empty(), "{}", path.display());
            names.push(path.file_stem().unwrap().to_str().unwrap().to_string());
        }
    }
    names.sort();
    assert_eq!(names, ["laptop-folder", "nightly-backup", "report-exchange"]);
}

/// Every key of the examples is in the schema: an editor that uses it marks nothing.
#[test]
fn the_schema_knows_every_key_of_the_examples() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    for name in ["laptop-folder", "nightly-backup", "report-exchange"] {
        let text = fs::read_to_string(format!("examples/{name}.yml")).unwrap();
        let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        accepts(&schema, &schema, &value, name);
    }
}

/// As much of JSON Schema as ours uses for maps: references, alternatives, properties.
fn accepts(root: &serde_json::Value, schema: &serde_json::Value, value: &serde_json::Value, at: &str) {
    let mut schema = schema;
    if let Some(choices) = schema["anyOf"].as_array() {
        let is_fit = |choice: &&serde_json::Value| choice["type"] == "object" || choice.get("$ref").is_some();
        let Some(fit) = choices.iter().find(is_fit) else { return };
        schema = fit;
    }
    if let Some(name) = schema["$ref"].as_str() {
        schema = root.pointer(name.trim_start_matches('#')).unwrap();
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        let named = schema["patternProperties"].as_object().and_then(|patterns| patterns.values().next());
        let any = Some(&schema["additionalProperties"]).filter(|s| s.is_object());
        let inner = schema["properties"].get(key).or(named).or(any);
        accepts(root, inner.unwrap_or_else(|| panic!("the schema does not know {at}")), value, &at);
    }
}

#[test]
fn six_mistakes_are_named_at_once() {
    let text = "version: 1\n\
                servers:\n\
                \x20 offsite: {host: backup.example.org, auth: {password: hunter2}}\n\
                jobs:\n\
                \x20 nightly:\n\
                \x20   mode: sync\n\
                \x20   local: /srv/data\n\
                \x20   remote: ofsite:/backups\n\
                \x20   trahs: 30d\n\
                \x20   audit: 24 hors\n\
                \x20   delete: maybe\n";
    let found = mistakes(text);
    assert_eq!(
        found,
        [
            "3 servers.offsite.auth.password: secrets are not written into the configuration; say where it is to \
             be had: env:NAME, file:PATH, cmd:COMMAND or credential:NAME",
            "6 jobs.nightly.mode: mode sync is not in this version; there are push and pull",
            "8 jobs.nightly.remote: there is no server \"ofsite\"; did you mean \"offsite\"?",
            "9 jobs.nightly.trahs: this key is not known here; did you mean \"trash\"?",
            "10 jobs.nightly.audit: \"24 hors\" is not a duration: there is no unit of time \"hors\"; for example \
             30d, 1h30m, 10m or 250ms",
            "11 jobs.nightly.delete: expected yes or no, found \"maybe\"",
        ]
    );
    assert!(!found.join("\n").contains("hunter2"));
    let shown = load_text(text).unwrap_err().to_string();
    let first = shown.lines().next().unwrap();
    assert!(first.contains("config.yml:3:56: servers.offsite.auth.password: "), "{first}");
}

#[test]
fn what_is_missing_is_named_with_what_to_write() {
    assert_eq!(mistakes(""), ["0 version: this key is missing; write \"version: 1\""]);
    assert_eq!(mistakes("version: 2\n"), ["1 version: this program reads version 1, found \"2\""]);
    assert_eq!(mistakes("[]\n"), ["1 : expected a map of keys, found a list"]);
    assert_eq!(
        mistakes("version: 1\nservers: {s: {}}\njobs: {j: {local: ~}}\n"),
        [
            "2 servers.s.host: this key is missing; write \"host: backup.example.org\"",
            "3 jobs.j.mode: this key is missing; write \"mode: push\"",
            "3 jobs.j.local: this key is missing; write \"local: /srv/data\"",
            "3 jobs.j.remote: this key is missing; write \"remote: SERVER:/backups\"",
        ]
    );
}

#[test]
fn keys_that_are_not_known_or_repeated() {
    check_job(
        "bandwidth: 1MB/s",
        &["4 jobs.j.bandwidth: this key is not known here; did you mean \"limits.bandwidth\"?"],
    );
    check_job(
        "retry-for: 1m",
        &["4 jobs.j.retry-for: this key is not known here; did you mean \"retry_for\"?"],
    );
    check_job(
        "trash: 1d,\naudit: 1d, trash: 2d",
        &["5 jobs.j.trash: this key is given twice, first in line 4"],
    );
    check_job(
        "guards: {max_delete: {counts: 5}}",
        &["4 jobs.j.guards.max_delete.counts: this key is not known here; did you mean \"count\"?"],
    );
    check_job(
        "watch: {zzz: 1s}",
        &["4 jobs.j.watch.zzz: this key is not known here; known here: settle, rescan"],
    );
    let twice = format!("{SERVER}servers: {{t: {{host: h}}}}\n");
    assert_eq!(mistakes(&twice), ["3 servers: this key is given twice, first in line 2"]);
}

#[test]
fn values_of_the_wrong_kind() {
    check_job("trash: [30d]", &["4 jobs.j.trash: expected a duration such as 30d or 10m, found a list"]);
    check_job("guards: 10%", &["4 jobs.j.guards: expected a map of keys, found a single value"]);
    check_job(
        "filter: ['- a', '*.tmp', b]",
        &[
            "4 jobs.j.filter[1]: \"*.tmp\" is not a filter rule: write \"- *.tmp\" to exclude or \"+ *.tmp\" to include",
            "4 jobs.j.filter[2]: \"b\" is not a filter rule: write \"- b\" to exclude or \"+ b\" to include",
        ],
    );
    check_job(
        "hooks: {before: [dump.sh]}",
        &["4 jobs.j.hooks.before[0]: a command is a list of its words; write [pg_dump.sh, --all]"],
    );
    check_job(
        "limits: {bandwidth: {mo-fr: 1MB/s, else: fast}}",
        &[
            "4 jobs.j.limits.bandwidth: \"mo-fr\" is not a time of the week; write \"mon-fri 08:00-18:00\", \
         \"sat,sun\", \"22:00-06:00\" or else",
            "4 jobs.j.limits.bandwidth.else: \"fast\" is not a rate: it does not begin with a number; for example \
         2MiB/s, 50MB/s, 100Mbit/s or unlimited",
        ],
    );
    check_job(
        "notify: [ops]",
        &["4 jobs.j.notify[0]: there is no notify target \"ops\"; none is configured"],
    );
}

#[test]
fn a_server_may_be_left_to_ssh_but_for_what_ssh_cannot_be_given() {
    let servers = |text: &str| format!("version: 1\nservers: {{s: {text}}}\n");
    let loaded = load_text(&servers("{host: box, via: ssh, ssh_config: ~/x, auth: {key: /k}}")).unwrap();
    let server = loaded.config.server("s").unwrap();
    assert_eq!((server.via, &server.ssh_config), (Via::Ssh, &Source::File("/home/ana/x".into())));
    let usual = load_text(&servers("{host: box, ssh_config: none}")).unwrap();
    let server = usual.config.server("s").unwrap();
    assert_eq!((server.via, &server.ssh_config), (Via::Direct, &Source::Nothing));
    let check = |text: &str, expected: &str| {
        let mistakes = mistakes(&servers(text)).join("\n");
        assert!(mistakes.contains(expected), "{mistakes}");
    };
    let pin = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDiP1DcF7wYA3HZuUs";
    check(
        &format!("{{host: h, via: ssh, host_key: \"{pin}\"}}"),
        "servers.s.host_key: via: ssh has this from",
    );
    check(
        "{host: h, via: ssh, auth: {password: env:X}}",
        "auth.password: via: ssh cannot be given a password",
    );
    check("{host: h, via: ssh, auth: {key: env:X}}", "via: ssh takes keys in files only");
    check("{host: h, via: telnet}", "servers.s.via: expected direct or ssh, found \"telnet\"");
    check("{host: h, ssh_config: x}", "servers.s.ssh_config: ");
}

#[test]
fn schedules_that_do_not_fit_together() {
    let cron = "4 jobs.j.schedule.cron: \"often\" is not a time for cron: expected five fields, found 1; for \
                example \"15 2 * * *\"";
    check_job("schedule: {cron: often}", &[cron]);
    check_job("schedule: {}", &["4 jobs.j.schedule: a schedule needs \"cron\" or \"every\""]);
    check_job(
        "schedule: {cron: '@daily', every: 1h}",
        &["4 jobs.j.schedule.every: a schedule has either \"cron\" or \"every\""],
    );
    check_job(
        "schedule: {every: 0, tz: UTC}",
        &[
            "4 jobs.j.schedule.every: the time between two rounds cannot be 0",
            "4 jobs.j.schedule.tz: a time zone goes with \"cron\" or \"only\"",
        ],
    );
    check_job("schedule: {cron: often, tz: UTC}", &[cron]);
    check_job(
        "schedule: {only: '22:00-06:00'}",
        &["4 jobs.j.schedule: a schedule needs \"cron\" or \"every\", or the job a \"watch\""],
    );
    check_job(
        "schedule: {every: 1h, only: [nights, sat]}",
        &["4 jobs.j.schedule.only[0]: \"nights\" is not a time of the week; write \"22:00-06:00\", \
           \"mon-fri 22:00-06:00\" or \"sat,sun\""],
    );
    check_job("only: sat", &["4 jobs.j.only: this key is not known here; did you mean \"schedule.only\"?"]);
}

#[test]
fn rounds_may_be_kept_to_times_of_the_week() {
    let check = |lines: &str, spans: &[&str], zone: Option<&str>, has_moments: bool| {
        let loaded = load_text(&job(lines)).unwrap();
        let job = loaded.config.job("j").unwrap();
        let found: Vec<String> = job.only.spans.iter().map(ToString::to_string).collect();
        assert_eq!(
            (found, job.only.zone.as_deref()),
            (spans.iter().map(ToString::to_string).collect(), zone)
        );
        assert_eq!(job.schedule.is_some(), has_moments, "{lines}");
    };
    let nights = "22:00-06:00";
    check("schedule: {every: 1h}", &[], None, true);
    check(
        "schedule: {every: 1h, only: 22:00-06:00, tz: Europe/Berlin}",
        &[nights],
        Some("Europe/Berlin"),
        true,
    );
    check("schedule: {cron: '@daily', tz: UTC}", &[], None, true);
    check("schedule: {only: ['22:00-06:00', sat]}, watch: {}", &[nights, "sat 00:00-24:00"], None, false);
}

#[test]
fn names_and_targets() {
    let text =
        "version: 1\nservers: {'my server': {host: h}}\nnotify: {a: {}, b: {email: x@y, command: [y]}}\n";
    let name = "a name begins with a letter or digit and has only letters, digits, \"-\", \"_\" and \".\", 64 at most";
    let way = "this needs one of command, webhook, email and healthchecks";
    assert_eq!(
        mistakes(text),
        [format!("2 servers.my server: {name}"), format!("3 notify.a: {way}"), format!("3 notify.b: {way}"),]
    );
}

/// Those who are told, in lines that begin at 2.
fn check_telling(lines: &str, expected: &[&str]) {
    let text = format!("version: 1\n{lines}\n");
    match load_text(&text) {
        Ok(_) => assert!(expected.is_empty(), "{lines}"),
        Err(_) => assert_eq!(mistakes(&text), expected, "{lines}"),
    }
}

#[test]
fn telling_that_could_not_work_is_found_before_it_is_needed() {
    let smtp = "smtp: {host: mail.example.org, from: Highwater <hw@example.org>, ";
    let mail = "write \"smtp: {host: mail.example.org, from: highwater@example.org}\" beside \"notify\"";
    check_telling(
        "notify: {ops: {email: a@b}}",
        &[&format!("2 notify.ops: mail needs a mail server; {mail}")],
    );
    check_telling(&format!("{smtp}}}\nnotify: {{ops: {{email: a@b}}}}"), &[]);
    check_telling(&format!("{smtp}user: hw, password: 'env:PW'}}"), &[]);
    check_telling(&format!("{smtp}user: hw}}"), &["2 smtp: a login needs both \"user\" and \"password\""]);
    check_telling(
        &format!("{smtp}tls: none, user: hw, password: 'env:PW'}}"),
        &[
            "2 smtp.password: a password is not sent over a connection that is not encrypted; write \"tls: starttls\" \
           or \"tls: tls\"",
        ],
    );
    check_telling("smtp: {host: localhost, from: a@b, tls: none, user: hw, password: 'env:PW'}", &[]);
    check_telling(
        "smtp: {from: hw}",
        &[
            "2 smtp.host: this key is missing; write \"host: mail.example.org\"",
            "2 smtp.from: \"hw\" is not a mail address",
        ],
    );
    check_telling("notify: {ops: {webhook: 'https://h/x', headers: {Authorization: 'env:TOKEN'}}}", &[]);
    check_telling(
        "notify: {ops: {webhook: 'https://h/x', headers: {'X y': 'env:T', Host: 'env:T', X: hunter2}}}",
        &[
            "2 notify.ops.headers: \"X y\" is not the name of a header field",
            "2 notify.ops.headers: the header field Host is ours to set",
            "2 notify.ops.headers.X: secrets are not written into the configuration; say where it is to be had: \
             env:NAME, file:PATH, cmd:COMMAND or credential:NAME",
        ],
    );
    check_telling(
        "notify: {ops: {command: [x], headers: {X: 'env:T'}, timeout: 0, on: failures}}",
        &[
            "2 notify.ops.headers: header fields go with \"webhook\"",
            "2 notify.ops.timeout: no time at all is not enough",
            "2 notify.ops.on: expected start, success, recovered, problems, held, failure, halt or late, found \
             \"failures\"",
        ],
    );
    check_job(
        "hooks: {before: [[x]], timeout: 0}",
        &["4 jobs.j.hooks.timeout: no time at all is not enough"],
    );
}

#[test]
fn who_is_told_of_what_and_how() {
    let text = "version: 1\n\
                smtp: {host: mail.example.org, from: hw@example.org, user: hw, password: 'env:PW'}\n\
                notify:\n\
                \x20 page: {webhook: 'env:URL', headers: {Authorization: 'file:/t'}, on: [halt, late], timeout: 5s}\n\
                \x20 ops: {email: [a@b, c@d], repeat: 6h}\n\
                \x20 dog: {healthchecks: 'https://hc.example/hunter2'}\n";
    let config = load_text(text).unwrap().config;
    let smtp = config.smtp.as_ref().unwrap();
    assert_eq!((smtp.port, smtp.tls), (587, Tls::StartTls));
    assert_eq!(smtp.login, Some(("hw".into(), Secret::Env("PW".into()))));
    let page = config.target("page").unwrap();
    let headers = vec![("Authorization".into(), Secret::File("/t".into()))];
    assert_eq!(page.way, Way::Webhook { url: Link::Secret(Secret::Env("URL".into())), headers });
    assert_eq!((page.on.as_slice(), page.timeout), (&[Event::Halt, Event::Late][..], Duration::from_secs(5)));
    let ops = config.target("ops").unwrap();
    assert_eq!(ops.way, Way::Email(vec!["a@b".into(), "c@d".into()]));
    assert_eq!((ops.repeat, ops.timeout), (Some(Duration::from_secs(21_600)), Duration::from_secs(30)));
    assert!(!format!("{config:?}").contains("hunter2"));
    let hooks = |lines| load_text(&job(lines)).unwrap().config.job("j").unwrap().hooks.clone();
    assert_eq!(hooks("hooks: {before: [[x]]}").timeout, Duration::from_secs(3_600));
    assert!(hooks("delete: no").before.is_empty());
}

#[test]
fn two_jobs_in_one_folder_unless_both_only_read_it() {
    let check = |first: &str, second: &str, refused: bool| {
        let job = |name, mode_and_local| format!("  {name}: {{{mode_and_local}, remote: 's:/{name}'}}\n");
        let text = format!("{SERVER}jobs:\n{}{}", job("a", first), job("b", second));
        match load_text(&text) {
            Ok(_) => assert!(!refused, "{first} {second}"),
            Err(errors) => {
                assert!(refused, "{first} {second}: {errors}");
                let expected = "jobs.b.local: job a works in the same folder or one inside the other; only pushes \
                                may share a local folder";
                assert!(errors.to_string().ends_with(expected) && errors.mistakes[0].line == 5, "{errors}");
            }
        }
    };
    check("mode: push, local: /l/x", "mode: push, local: /l/x", false);
    check("mode: push, local: /l/x", "mode: pull, local: /l/x/", true);
    check("mode: push, local: /l", "mode: pull, local: /l/x", true);
    check("mode: pull, local: /l/x", "mode: push, local: /l", true);
    check("mode: pull, local: /l/x", "mode: pull, local: /l/xy", false);
}

#[test]
fn defaults_lie_under_every_job_and_null_or_0_unset_them() {
    let text = format!(
        "{SERVER}defaults:\n  trash: 7d\n  audit: 1h\n  watch: {{settle: 9s}}\n  schedule: {{every: 15m}}\n\
         jobs:\n\
         \x20 a: {{mode: push, local: /a, remote: 's:a'}}\n\
         \x20 b: {{mode: push, local: /b, remote: 's:b', trash: null, audit: 0, watch: null, schedule: {{cron: '@daily'}}}}\n"
    );
    let loaded = load_text(&text).unwrap();
    let [a, b] = ["a", "b"].map(|name| loaded.config.job(name).unwrap());
    let seconds = |secs| Some(Duration::from_secs(secs));
    assert_eq!((a.trash, a.audit), (seconds(7 * 86_400), seconds(3_600)));
    assert_eq!(a.watch.map(|w| (w.settle, w.rescan)), Some((Duration::from_secs(9), seconds(3_600))));
    assert_eq!((b.trash, b.audit, b.watch), (seconds(30 * 86_400), None, None));
    let fields = When::Cron { fields: "@daily".into(), zone: None };
    assert_eq!(b.schedule.as_ref().map(|s| &s.when), Some(&fields));
}

#[test]
fn a_mistake_in_defaults_is_told_once_and_where_it_stands() {
    let jobs: String =
        (0..3).map(|n| format!("  j{n}: {{mode: push, local: /l, remote: 's:/{n}'}}\n")).collect();
    let text =
        format!("{SERVER}defaults: {{trash: soon, notify: nobody, schedule: {{tz: UTC}}}}\njobs:\n{jobs}");
    let found = mistakes(&text);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].starts_with("3 defaults.trash: \"soon\""), "{found:?}");
    assert!(found[1].contains("there is no notify target \"nobody\""), "{found:?}");
}

#[test]
fn files_are_included_and_positions_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("config.yml", "version: 1\ninclude: conf.d/*.yml\nservers: {s: {host: h}}\n");
    write("conf.d/a.yml", "jobs: {a: {mode: push, local: /a, remote: 's:a'}}\n");
    write("conf.d/b.yml", "jobs: {b: {mode: push, local: /b, remote: 's:b'}}\n");
    let path = folder.path().join("config.yml");
    let loaded = load(Some(&path), &env(folder.path())).unwrap();
    assert!(loaded.config.job("a").is_some() && loaded.config.job("b").is_some());

    write(
        "conf.d/b.yml",
        "\njobs: {a: {mode: push, local: /b, remote: 's:b', x: 1}}\nservers: {s: {host: i}}\n",
    );
    let errors = load(Some(&path), &env(folder.path())).unwrap_err().to_string();
    let errors = errors.replace(&format!("{}/", folder.path().display()), "");
    let lines: Vec<&str> = errors.lines().map(|line| line.split("; ").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "conf.d/b.yml:2:8: jobs.a: another file has this name already",
            "conf.d/b.yml:2:50: jobs.a.x: this key is not known here",
            "conf.d/b.yml:3:11: servers.s: another file has this name already",
        ]
    );

    write("conf.d/b.yml", "jobs: [\n");
    let errors = load(Some(&path), &env(folder.path())).unwrap_err();
    assert_eq!(errors.mistakes.len(), 1, "{errors}");
    assert!(errors.mistakes[0].message.contains("not YAML") && errors.mistakes[0].file.ends_with("b.yml"));
}

#[test]
fn the_first_default_file_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let env = env(home.path());
    let none = load(None, &env).unwrap();
    assert_eq!((none.file(), none.config.jobs.len(), none.looked_in.len()), (None, 0, 2));
    for file in ["etc/config.yml", ".config/highwater/config.yml"] {
        let path = home.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "version: 1\n").unwrap();
        assert_eq!(load(None, &env).unwrap().file(), Some(path.as_path()));
    }
    let missing = load(Some(&home.path().join("nowhere.yml")), &env).unwrap_err().to_string();
    assert!(missing.contains("nowhere.yml: this file cannot be read: No such file"), "{missing}");
}

#[test]
fn an_alarm_that_nobody_hears_is_noted() {
    let check = |lines: &str, no_success_for: Option<u64>, is_noted: bool| {
        let loaded = load_text(&format!("{}notify: {{ops: {{command: [tell]}}}}\n", job(lines))).unwrap();
        let found = loaded.config.job("j").unwrap().no_success_for;
        assert_eq!(found, no_success_for.map(Duration::from_secs), "{lines}");
        let note = "jobs.j.alarm: nobody is told of it: the job has no \"notify\"";
        assert_eq!(
            loaded.notes.iter().any(|found| found.to_string() == note),
            is_noted,
            "{:?}",
            loaded.notes
        );
    };
    check("alarm: {no_success_for: 26h}, notify: ops", Some(93_600), false);
    check("alarm: {no_success_for: 26h}", Some(93_600), true);
    check("alarm: {no_success_for: 0}", None, false);
    check("alarm: {}", None, false);
    check_job(
        "alarm: {no_sucess_for: 26h}",
        &["4 jobs.j.alarm.no_sucess_for: this key is not known here; did you mean \"no_success_for\"?"],
    );
}

#[test]
fn what_is_open_to_others_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    write("open", "hunter2", 0o644);
    write("closed", "hunter2", 0o600);
    let text = "version: 1\nservers:\n  a: {host: h, auth: {password: 'file:~/open'}}\n  b: {host: h, auth: {key: ~/closed}}\n";
    let path = write("config.yml", text, 0o666);
    let notes = load(Some(&path), &env(folder.path())).unwrap().notes;
    let shown: Vec<String> = notes
        .iter()
        .map(|note| note.to_string().replace(&format!("{}/", folder.path().display()), ""))
        .collect();
    assert_eq!(
        shown,
        [
            "config.yml: everybody can change this file; chmod o-w it",
            "servers.a.auth.password: open is open to others and will be refused; chmod 600 it",
        ]
    );
}

#[test]
fn show_tells_what_is_in_force_and_where_it_comes_from() {
    let text = "version: 1\n\
                defaults: {trash: 7d}\n\
                servers: {s: {host: h, auth: {password: 'env:PW'}}}\n\
                jobs:\n\
                \x20 j: {mode: push, local: /l, remote: 's:/r', filter: ['- *.tmp', '+ **'],\n\
                \x20     hooks: {before: [[dump, 'a, b']]}, notify: n}\n\
                smtp: {host: mail.example.org, from: hw@example.org}\n\
                notify: {n: {webhook: 'https://u:hunter2@example.org/hunter2'}}\n";
    let loaded = load_text(text).unwrap();
    let shown = loaded.show();
    let folder = loaded.file().unwrap().parent().unwrap().display().to_string();
    let plain: String = shown
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
        .collect::<String>()
        .replace(&format!("{folder}/"), "");
    for expected in [
        "version: 1\n",
        "host: h # config.yml:3\n",
        "password: env:PW # config.yml:3\n",
        "agent: yes # built in\n",
        "mode: push # config.yml:5\n",
        "trash: 7d # defaults, config.yml:2\n",
        "audit: 24h # built in\n",
        "filter: ['- *.tmp', + **] # config.yml:5\n",
        "count: 1000 # built in\n",
        "before: [[dump, \"a, b\"]] # config.yml:6\n",
        "timeout: 1h # built in\n",
        "host: mail.example.org # config.yml:7\n",
        "tls: starttls # built in\n",
        "webhook: https://example.org/… # config.yml:8\n",
        "timeout: 30s # built in\n",
    ] {
        assert!(plain.contains(expected), "{expected} in\n{plain}");
    }
    let order = ["mode:", "local:", "remote:", "filter:", "trash:", "hooks:"].map(|key| plain.find(key));
    assert!(order.is_sorted() && order[0].is_some(), "{plain}");
    assert!(!shown.contains("hunter2") && !loaded.show_json().to_string().contains("hunter2"));
    let json = loaded.show_json();
    assert_eq!(json["jobs"]["j"]["audit"], serde_json::json!({"value": "24h", "from": "built in"}));

    // What is shown is a configuration itself, and the same one.
    let again = load_text(&shown).unwrap();
    assert_eq!(format!("{:?}", again.config.jobs), format!("{:?}", loaded.config.jobs));
}
