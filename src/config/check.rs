//! From what was read to a valid configuration, gathering every mistake.
//!
//! First each file is read by itself, which finds unknown keys and bad values at the keys where they stand.
//! Then each job is read again with `defaults` under it; that reading is silent, since all it meets was
//! judged before. What is left to judge is what only the whole shows: what is missing, what does not fit
//! together, what is referred to and does not exist.

mod telling;

use std::collections::HashSet;

use super::env::Env;
use super::layers;
use super::leaf::SshConfig;
use super::mistake::{Mistakes, Note};
use super::model::{
    Auth, Config, Hooks, Job, LogFile, MaxDelete, Only, OnlyIf, Schedule, Secret, Server, Via, Watch, When,
};
use super::nearest::nearest;
use super::node::{At, Key, Node, Source, Value};
use super::overlap;
use super::raw::{
    RawAuth, RawConfig, RawHooks, RawJob, RawLog, RawMaxDelete, RawOnlyIf, RawSchedule, RawServer, RawSmtp,
    RawTarget, RawWatch,
};
use super::read::{OneOrMany, Read, Reader, Spot};
use crate::filter::Filter;
use crate::path::LocalRoot;
use crate::sshconfig::Source as SshFiles;
use crate::units::Percent;

/// What came of checking.
#[derive(Debug)]
pub(super) struct Checked {
    /// The configuration; of use only when there were no mistakes.
    pub config: Config,
    /// The tree that is in force.
    pub effective: Node,
    /// Where the pieces stand that come from `defaults`.
    pub from_defaults: HashSet<At>,
    /// What is worth knowing.
    pub notes: Vec<Note>,
}

/// Checks each file by itself. Only the first must say its version.
pub(super) fn each_alone(roots: &[Node], mistakes: &mut Mistakes) {
    for root in roots {
        let empty = Node { at: root.at, value: Value::Map(Vec::new()) };
        let root = if root.value == Value::Null { &empty } else { root };
        let raw = RawConfig::read(root, &mut Reader::new("", mistakes));
        let says_version = raw.is_none_or(|raw| raw.version.is_some()) || root.get("version").is_some();
        if root.at.source == Source::File(0) && !says_version {
            mistakes.add(root.at, "version", "this key is missing", Some("write \"version: 1\"".into()));
        }
    }
}

/// Checks what the files say together.
pub(super) fn together(roots: &[Node], env: &Env, mistakes: &mut Mistakes) -> Checked {
    let mut check = Check { env, mistakes, notes: Vec::new(), hidden: Vec::new() };
    check.once("defaults", roots);
    let defaults = roots.iter().find_map(|root| root.get("defaults"));
    let servers = check.named("servers", roots, |_, own| layers::server(own));
    let jobs = check.named("jobs", roots, |_, own| layers::job(defaults, own));
    let targets = check.named("notify", roots, |_, own| layers::target(own));
    let smtp = check.single("smtp", roots, layers::smtp);
    let log = check.single("log", roots, layers::log);

    let mut config = Config {
        servers: servers.iter().filter_map(|(key, node)| check.server(key, node)).collect(),
        notify: targets.iter().filter_map(|(key, node)| check.target(key, node, smtp.is_some())).collect(),
        smtp: smtp.as_ref().and_then(|(key, node)| check.smtp(key, node)),
        log: log.as_ref().and_then(|(key, node)| check.log(key, node)),
        jobs: Vec::new(),
    };
    let names = Names { servers: names(&servers), targets: names(&targets) };
    let found = jobs.iter().filter_map(|(key, node)| Some((check.job(key, node, &names)?, key, node)));
    let found: Vec<(Job, &Key, &Node)> = found.collect();
    check.overlaps(&found);
    config.jobs = found.into_iter().map(|(job, _, _)| job).collect();
    config.jobs.iter_mut().for_each(|job| job.hooks.hidden.clone_from(&check.hidden));
    config.notify.iter_mut().for_each(|target| target.hidden.clone_from(&check.hidden));
    let mut from_defaults = HashSet::new();
    defaults.iter().for_each(|node| collect_places(node, &mut from_defaults));
    let notes = check.notes;
    Checked { config, effective: effective(servers, jobs, targets, [smtp, log]), from_defaults, notes }
}

fn names(entries: &[(Key, Node)]) -> Vec<&str> {
    entries.iter().map(|(key, _)| key.text.as_str()).collect()
}

fn collect_places(node: &Node, places: &mut HashSet<At>) {
    places.insert(node.at);
    match &node.value {
        Value::Map(entries) => entries.iter().for_each(|(_, node)| collect_places(node, places)),
        Value::List(items) => items.iter().for_each(|node| collect_places(node, places)),
        Value::Null | Value::Scalar(_) => {}
    }
}

type Entries = Vec<(Key, Node)>;

fn effective(
    servers: Entries,
    jobs: Entries,
    targets: Entries,
    [smtp, log]: [Option<(Key, Node)>; 2],
) -> Node {
    let at = At::whole(Source::BuiltIn);
    let section = |name: &str, entries: Vec<(Key, Node)>, order: &[&str]| {
        let entries = entries.into_iter().map(|(key, node)| (key, node.in_order(order))).collect();
        (Key { text: name.into(), at }, Node { at, value: Value::Map(entries) })
    };
    let mut sections = vec![
        section("servers", servers, RawServer::KEYS),
        section("jobs", jobs, RawJob::KEYS),
        section("notify", targets, RawTarget::KEYS),
    ];
    sections.extend(smtp.map(|(key, node)| (key, node.in_order(RawSmtp::KEYS))));
    sections.extend(log.map(|(key, node)| (key, node.in_order(RawLog::KEYS))));
    Node { at, value: Value::Map(sections) }
}

/// The names that a job may refer to.
struct Names<'a> {
    servers: Vec<&'a str>,
    targets: Vec<&'a str>,
}

struct Check<'a> {
    env: &'a Env,
    mistakes: &'a mut Mistakes,
    notes: Vec<Note>,
    /// Environment variables that hold secrets.
    hidden: Vec<String>,
}

impl Check<'_> {
    fn note(&mut self, subject: &str, message: impl Into<String>) {
        self.notes.push(Note { subject: subject.into(), message: message.into() });
    }

    /// A key that only one of the files may have.
    fn once(&mut self, key: &str, roots: &[Node]) {
        let places = roots.iter().filter_map(|root| root.get(key));
        for node in places.skip(1) {
            self.mistakes.add(node.at, key, "another file has this key already", None);
        }
    }

    /// A section that only one of the files may have.
    fn single(&mut self, key: &str, roots: &[Node], in_force: fn(&Node) -> Node) -> Option<(Key, Node)> {
        self.once(key, roots);
        let mut entries = roots.iter().flat_map(Node::entries);
        let found = entries.find(|(at, node)| at.text == key && node.value != Value::Null);
        found.map(|(key, own)| (key.clone(), in_force(own)))
    }

    /// The entries of a section of all files, each name once.
    fn named(
        &mut self,
        section: &str,
        roots: &[Node],
        in_force: impl Fn(&Key, &Node) -> Node,
    ) -> Vec<(Key, Node)> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        for (key, own) in roots.iter().filter_map(|root| root.get(section)).flat_map(Node::entries) {
            match entries.iter().find(|(other, _)| other.text == key.text) {
                None => entries.push((key.clone(), in_force(key, own))),
                Some((other, _)) if other.at.source == key.at.source => {} // reported when the file was read
                Some(_) => {
                    let path = format!("{section}.{}", key.text);
                    self.mistakes.add(key.at, &path, "another file has this name already", None);
                }
            }
        }
        entries
    }

    fn missing(&mut self, key: &Key, path: &str, node: &Node, names: &[(&str, &str)]) {
        for (name, example) in names {
            if node.get(name).is_none() && matches!(node.value, Value::Map(_)) {
                let hint = format!("write \"{name}: {example}\"");
                self.mistakes.add(key.at, &format!("{path}.{name}"), "this key is missing", Some(hint));
            }
        }
    }

    fn server(&mut self, key: &Key, node: &Node) -> Option<Server> {
        let path = format!("servers.{}", key.text);
        self.missing(key, &path, node, &[("host", "backup.example.org")]);
        let raw: RawServer = silently(node, &path)?;
        if raw.via.as_ref().is_some_and(|via| via.value == Via::Ssh) {
            self.by_ssh(&raw);
        }
        let ssh_config = match raw.ssh_config.as_ref().map(|spot| (spot, &spot.value)) {
            None => SshFiles::Usual,
            Some((_, SshConfig::Nothing)) => SshFiles::Nothing,
            Some((spot, SshConfig::File(path))) => SshFiles::File(self.expand(spot, &path.0)?),
        };
        let auth = raw.auth.map(|auth| self.auth(auth.value)).unwrap_or_default();
        Some(Server {
            name: key.text.clone(),
            host: raw.host?.value.0,
            port: value(raw.port),
            user: value(raw.user),
            auth,
            host_keys: many(raw.host_key),
            bandwidth: raw.limits.and_then(|limits| value(limits.value.bandwidth)),
            legacy: value(raw.legacy).unwrap_or_default(),
            ssh_config,
            via: value(raw.via).unwrap_or_default(),
        })
    }

    fn log(&mut self, key: &Key, node: &Node) -> Option<LogFile> {
        self.missing(key, "log", node, &[("file", "/var/log/highwater.log")]);
        let raw: RawLog = silently(node, "log")?;
        let file = raw.file?;
        let path = self.expand(&file, &file.value.0)?;
        let keep = u32::try_from(value(raw.keep)?).unwrap_or(u32::MAX);
        Some(LogFile { path, size: value(raw.size)?.0, keep })
    }

    /// What only we could do, not `ssh` as a program that nobody sits before.
    fn by_ssh(&mut self, raw: &RawServer) {
        let why = "via: ssh has this from ssh's own configuration";
        if let Some(pins) = &raw.host_key {
            let hint = Some("the host key is what ssh finds in known_hosts".into());
            self.mistakes.add(pins.at, &pins.key, why, hint);
        }
        let Some(auth) = raw.auth.as_ref().map(|auth| &auth.value) else { return };
        let secrets = [&auth.passphrase, &auth.password, &auth.code];
        for secret in secrets.into_iter().flatten() {
            let hint = Some("ssh is started so that it asks nobody: load the key into ssh-agent".into());
            self.mistakes.add(secret.at, &secret.key, "via: ssh cannot be given a password", hint);
        }
        for key in auth.key.iter().flat_map(|keys| &keys.value.0) {
            if ["env:", "cmd:", "credential:"].iter().any(|prefix| key.value.0.starts_with(prefix)) {
                self.mistakes.add(key.at, &key.key, "via: ssh takes keys in files only", None);
            }
        }
    }

    fn auth(&mut self, raw: RawAuth) -> Auth {
        let keys = raw.key.map(|keys| keys.value.0).unwrap_or_default();
        let certificates = raw.certificate.map(|paths| paths.value.0).unwrap_or_default();
        Auth {
            certificates: certificates.iter().filter_map(|path| self.expand(path, &path.value.0)).collect(),
            code: raw.code.and_then(|spot| self.secret(&spot, &spot.value.0)),
            keys: keys.into_iter().filter_map(|key| self.secret(&key, &key.value.0)).collect(),
            passphrase: raw.passphrase.and_then(|spot| self.secret(&spot, &spot.value.0)),
            password: raw.password.and_then(|spot| self.secret(&spot, &spot.value.0)),
            agent: value(raw.agent).unwrap_or(true),
        }
    }

    /// A reference to a secret; without a prefix a file.
    fn secret<T>(&mut self, spot: &Spot<T>, text: &str) -> Option<Secret> {
        let words = |text: &str| text.split_whitespace().map(Into::into).collect();
        match text.split_once(':') {
            Some(("env", name)) => {
                self.hidden.push(name.into());
                Some(Secret::Env(name.into()))
            }
            Some(("credential", name)) => Some(Secret::Credential(name.into())),
            Some(("cmd", command)) => Some(Secret::Command(words(command))),
            Some(("file", path)) => self.secret_file(spot, path),
            _ => self.secret_file(spot, text),
        }
    }

    fn secret_file<T>(&mut self, spot: &Spot<T>, path: &str) -> Option<Secret> {
        let path = self.expand(spot, path)?;
        if let Some(message) = super::warn::about_secret_file(&path) {
            self.note(&spot.key, message);
        }
        Some(Secret::File(path))
    }

    fn expand<T>(&mut self, spot: &Spot<T>, path: &str) -> Option<std::path::PathBuf> {
        let expanded = self.env.expand(path);
        if expanded.is_none() {
            let hint = "set $HOME or write the whole path";
            self.mistakes.add(spot.at, &spot.key, "nobody knows where \"~\" is", Some(hint.into()));
        }
        expanded
    }

    fn job(&mut self, key: &Key, node: &Node, names: &Names<'_>) -> Option<Job> {
        let path = format!("jobs.{}", key.text);
        let needed = [("mode", "push"), ("local", "/srv/data"), ("remote", "SERVER:/backups")];
        self.missing(key, &path, node, &needed);
        let raw: RawJob = silently(node, &path)?;
        if let Some(remote) = &raw.remote {
            self.refers(remote.at, &remote.key, "server", &remote.value.server, &names.servers);
        }
        for target in raw.notify.iter().flat_map(|spot| &spot.value.0) {
            self.refers(target.at, &target.key, "notify target", &target.value, &names.targets);
        }
        let schedule = raw.schedule.as_ref().zip(node.get("schedule"));
        let schedule = schedule.map(|(spot, own)| self.schedule(spot, own, raw.watch.is_some()));
        let local = raw.local.as_ref().and_then(|spot| self.local(spot));
        let max_delete = raw.guards.and_then(|guards| guards.value.max_delete)?;
        let job = Job {
            name: key.text.clone(),
            mode: value(raw.mode)?,
            local: local?,
            server: raw.remote.as_ref()?.value.server.clone(),
            remote: value(raw.remote)?.root,
            schedule: schedule.flatten(),
            only: raw.schedule.map(|spot| only(spot.value)).unwrap_or_default(),
            only_if: raw.only_if.map(|spot| only_if(spot.value)).unwrap_or_default(),
            watch: raw.watch.and_then(|spot| watch(&spot.value)),
            filter: Filter::new(raw.filter?.value.into_iter().map(|rule| rule.value).collect()),
            delete: value(raw.delete)?,
            max_delete: self.max_delete(&path, &max_delete.value),
            trash: value(raw.trash).filter(|d| !d.is_zero()),
            audit: value(raw.audit).filter(|d| !d.is_zero()),
            durable: value(raw.durable)?,
            verify: value(raw.verify)?,
            bandwidth: value(value(raw.limits)?.bandwidth)?,
            retry_for: value(raw.retry_for)?,
            settle: value(raw.settle)?,
            hooks: raw.hooks.map(|spot| self.hooks(spot.value)).unwrap_or_default(),
            notify: many(raw.notify),
            no_success_for: raw
                .alarm
                .and_then(|spot| value(spot.value.no_success_for))
                .filter(|d| !d.is_zero()),
        };
        self.note_alarm(&path, &job);
        Some(job)
    }

    /// An alarm that nobody hears is a mistake that shows on the day it is needed.
    fn note_alarm(&mut self, path: &str, job: &Job) {
        if job.no_success_for.is_some() && job.notify.is_empty() {
            self.note(&format!("{path}.alarm"), "nobody is told of it: the job has no \"notify\"");
        }
    }

    fn refers(&mut self, at: At, key: &str, what: &str, name: &str, known: &[&str]) {
        if known.contains(&name) {
            return;
        }
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if known.is_empty() => "none is configured".into(),
            None => format!("there are: {}", known.join(", ")),
        };
        let name = crate::path::escape(name.as_bytes());
        self.mistakes.add(at, key, format!("there is no {what} \"{name}\""), Some(hint));
    }

    fn local(&mut self, spot: &Spot<super::leaf::LocalPath>) -> Option<LocalRoot> {
        let path = self.expand(spot, &spot.value.0)?;
        match LocalRoot::new(path) {
            Ok(root) => Some(root),
            Err(error) => {
                self.mistakes.add(spot.at, &spot.key, error.to_string(), None);
                None
            }
        }
    }

    /// `own` says what was written, be it read or not.
    fn schedule(&mut self, spot: &Spot<RawSchedule>, own: &Node, is_watched: bool) -> Option<Schedule> {
        let raw = &spot.value;
        let says = |key: &str| own.get(key).is_some();
        let mut wrong = |at, key: &str, message: &str| self.mistakes.add(at, key, message, None);
        if let Some(zone) = raw.tz.as_ref().filter(|_| !says("cron") && !says("only")) {
            wrong(zone.at, &zone.key, "a time zone goes with \"cron\" or \"only\"");
        }
        if let Some(every) = raw.every.as_ref().filter(|every| every.value.is_zero()) {
            wrong(every.at, &every.key, "the time between two rounds cannot be 0");
        }
        let when = match (&raw.cron, &raw.every) {
            (Some(cron), None) => {
                let zone = raw.tz.as_ref().map(|zone| zone.value.0.clone());
                When::Cron { fields: cron.value.0.clone(), zone }
            }
            (None, Some(every)) => When::Every(every.value),
            (Some(_), Some(every)) => {
                wrong(every.at, &every.key, "a schedule has either \"cron\" or \"every\"");
                return None;
            }
            (None, None) => {
                if !(says("cron") || says("every") || says("only") && is_watched) {
                    let also = if says("only") { ", or the job a \"watch\"" } else { "" };
                    wrong(spot.at, &spot.key, &format!("a schedule needs \"cron\" or \"every\"{also}"));
                }
                return None;
            }
        };
        let (jitter, missed) = (raw.jitter.as_ref()?.value, raw.missed.as_ref()?.value);
        Some(Schedule { when, jitter, missed })
    }

    fn max_delete(&mut self, path: &str, raw: &RawMaxDelete) -> MaxDelete {
        let count = raw.count.as_ref().map(|spot| spot.value).filter(|&count| count > 0);
        let share = raw.share.as_ref().map(|spot| spot.value).filter(|share: &Percent| !share.is_zero());
        let subject = format!("{path}.guards.max_delete");
        if count.is_none() && share.is_none() {
            self.note(&subject, "both limits are switched off: no number of deletes is held back");
        }
        MaxDelete { count, share }
    }

    fn hooks(&mut self, raw: RawHooks) -> Hooks {
        if let Some(timeout) = raw.timeout.as_ref() {
            self.not_zero(timeout);
        }
        let commands = |spot: Option<Spot<Vec<Spot<super::list::Argv>>>>| {
            value(spot).unwrap_or_default().into_iter().map(|argv| argv.value.0).collect()
        };
        Hooks {
            before: commands(raw.before),
            after_success: commands(raw.after_success),
            after_failure: commands(raw.after_failure),
            timeout: value(raw.timeout).unwrap_or_default(),
            hidden: Vec::new(), // once all secrets are known
        }
    }

    /// Two jobs below one folder would undo each other's work, unless both only read it.
    fn overlaps(&mut self, jobs: &[(Job, &Key, &Node)]) {
        let all: Vec<&Job> = jobs.iter().map(|(job, _, _)| job).collect();
        for (earlier, later) in overlap::local(&all) {
            let (job, key, node) = &jobs[later];
            let at = node.get("local").map_or(key.at, |node| node.at);
            let other = &jobs[earlier].0.name;
            let message = format!("job {other} works in the same folder or one inside the other");
            let hint = "only pushes may share a local folder";
            self.mistakes.add(at, &format!("jobs.{}.local", job.name), message, Some(hint.into()));
        }
        for (earlier, later) in overlap::remote(&all) {
            let message = format!(
                "job {} pushes into the same remote folder: files of the same name displace each other",
                all[earlier].name
            );
            self.note(&format!("jobs.{}.remote", all[later].name), message);
        }
    }
}

/// Reads what was judged before.
fn silently<T: Read>(node: &Node, path: &str) -> Option<T> {
    T::read(node, &mut Reader::new(path, &mut Mistakes::default()))
}

fn value<T>(spot: Option<Spot<T>>) -> Option<T> {
    spot.map(|spot| spot.value)
}

fn many<T>(spot: Option<Spot<OneOrMany<T>>>) -> Vec<T> {
    spot.map(|many| many.value.0.into_iter().map(|one| one.value).collect()).unwrap_or_default()
}

fn only(raw: RawSchedule) -> Only {
    let spans = many(raw.only);
    let zone = raw.tz.filter(|_| !spans.is_empty()).map(|zone| zone.value.0);
    Only { spans, zone }
}

fn only_if(raw: RawOnlyIf) -> OnlyIf {
    OnlyIf { on_ac: value(raw.on_ac), metered: value(raw.metered) }
}

fn watch(raw: &RawWatch) -> Option<Watch> {
    let rescan = raw.rescan.as_ref()?.value;
    Some(Watch { settle: raw.settle.as_ref()?.value, rescan: (!rescan.is_zero()).then_some(rescan) })
}
