//! What a server is like, for people and as the JSON document of `highwater server probe`.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::document::bytes_fields;
use super::driven::{Driven, driven};
use super::{number, one_line, summary};
use crate::error::Error;
use crate::path::{RemoteRoot, escape};
use crate::remote::abilities::{Can, Known, LinkOrder};
use crate::remote::connect::{Algorithms, Endpoint, ServerFacts};
use crate::remote::host_key::Place;
use crate::remote::probe::{Look, Seen, Trial};
use crate::remote::{Announced, VERSION};
use crate::units::ByteSize;

/// Where values begin.
const COLUMN: usize = 22;

/// Everything that was found out.
#[derive(Debug)]
pub struct Probe {
    /// Where, and who logged in.
    pub endpoint: Endpoint,
    /// What became known while connecting.
    pub facts: ServerFacts,
    /// What it announced.
    pub announced: Announced,
    /// The folder as it was asked for.
    pub folder: RemoteRoot,
    /// What was seen of the folder.
    pub look: Look,
    /// What was tried out there, if anything.
    pub trial: Option<Trial>,
    /// What earlier connections had learned.
    pub remembered: Known,
    /// What is known now.
    pub known: Known,
    /// What of ssh_config is not acted upon, and what that means. Escaped.
    pub notes: Vec<String>,
    /// What went wrong besides.
    pub problems: Vec<Error>,
}

impl Probe {
    /// What went wrong, in the order in which it did.
    pub fn problems(&self) -> impl Iterator<Item = &Error> {
        let trial = self.trial.iter().flat_map(|trial| &trial.problems);
        self.look.problems.iter().chain(trial).chain(&self.problems)
    }

    fn extensions(&self) -> Vec<Extension> {
        let text = |text: &str| escape(&crate::path::from_wire(text));
        let of = |(name, data): (&String, &String)| Extension { name: text(name), data: text(data) };
        let mut extensions: Vec<Extension> = self.announced.extensions.iter().map(of).collect();
        extensions.sort_by(|a, b| a.name.cmp(&b.name));
        extensions
    }

    fn abilities(&self) -> Vec<Ability> {
        let shown = self.trial.as_ref().map(|trial| trial.shown).unwrap_or_default();
        let (known, before) = (self.known, self.remembered);
        let row = |key, label, get: fn(&Known) -> &'static str, extension: &str| {
            let value = get(&known);
            let source = match value {
                "unknown" => Source::Nothing,
                _ if get(&shown) == value => Source::Tried,
                _ if key == "keeps_order" => Source::Ident,
                _ if matches!(key, "keeps_links" | "keeps_names") && self.trial.is_none() => Source::Ident,
                "yes" if self.announced.has(extension) => Source::Announced,
                _ if get(&before) == value => Source::Remembered,
                _ => Source::Tried, // noticed in passing
            };
            Ability { key, label, value, source }
        };
        vec![
            row("posix_rename", "rename over a file", |k| word(k.posix_rename), "posix-rename@openssh.com"),
            row("keeps_mtime", "keep times", |k| word(k.keeps_mtime), ""),
            row("fsync", "fsync of files", |k| word(k.fsync), "fsync@openssh.com"),
            row("fsync_dir", "fsync of folders", |k| word(k.fsync_dir), ""),
            row("lsetstat", "times of links", |k| word(k.lsetstat), "lsetstat@openssh.com"),
            row("statvfs", "free space", |k| word(k.statvfs), "statvfs@openssh.com"),
            row("link_order", "symbolic links", |k| order_word(k.link_order), ""),
            row("keeps_links", "keep links as links", |k| word(k.keeps_links), ""),
            row("keeps_names", "keep names as bytes", |k| word(k.keeps_names), ""),
            row("write_at", "write in any order", |k| word(k.write_at), ""),
            row("two_handles", "two handles", |k| word(k.two_handles), ""),
            row("keeps_order", "keep requests in order", |k| word(k.keeps_order), ""),
        ]
    }
}

/// One thing a server may be able to do.
struct Ability {
    key: &'static str,
    label: &'static str,
    value: &'static str,
    source: Source,
}

/// How it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Tried,
    Announced,
    Ident,
    Remembered,
    Nothing,
}

impl Source {
    fn describe(self) -> &'static str {
        match self {
            Source::Tried => "tried now",
            Source::Announced => "announced",
            Source::Ident => "by what it calls itself",
            Source::Remembered => "known from before",
            Source::Nothing => "not tried",
        }
    }
}

fn word(can: Can) -> &'static str {
    match can {
        Can::Unknown => "unknown",
        Can::Yes => "yes",
        Can::No => "no",
    }
}

fn order_word(order: LinkOrder) -> &'static str {
    match order {
        LinkOrder::Unknown => "unknown",
        LinkOrder::Openssh => "openssh",
        LinkOrder::Draft => "draft",
        LinkOrder::None => "none",
    }
}

/// For people: a line each, values below each other.
pub fn text(probe: &Probe) -> String {
    let facts = &probe.facts;
    let mut text = format!("{}\n", probe.endpoint);
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "  {label:COLUMN$} {}", one_line(value)); // a String takes everything
    };
    line("server", &facts.ident);
    line("host key", &host_key(probe));
    line("let in by", &facts.login);
    if let Some(algorithms) = &facts.algorithms {
        line("algorithms", &algorithm_words(algorithms));
    }
    line("round trip", &milliseconds(probe.look.round_trip));
    line("clock", &clock(probe.trial.as_ref()));
    line("SFTP", &format!("version {VERSION}; {}", limits(&probe.announced)));
    for (index, extension) in probe.extensions().iter().enumerate() {
        let label = if index == 0 { "extensions" } else { "" };
        line(label, &format!("{} {}", extension.name, extension.data));
    }
    line("folder", &folder(probe));
    for Ability { label, value, source, .. } in probe.abilities() {
        line(label, &format!("{value:8} {}", source.describe()));
    }
    for (index, Driven { label, how, .. }) in driven(&probe.known).into_iter().enumerate() {
        let label = if index == 0 { format!("rounds: {label}") } else { format!("        {label}") };
        line(&label, how);
    }
    for note in &probe.notes {
        line("note", note);
    }
    let problems: Vec<String> = probe.problems().map(summary::what).collect();
    if !problems.is_empty() {
        let _ = write!(text, "  problems ({}):\n    {}", problems.len(), problems.join("\n    "));
    }
    text.trim_end().into()
}

fn host_key(probe: &Probe) -> String {
    let key = &probe.facts.host_key;
    let why = match &probe.facts.trusted {
        Some(Place::Config) => "as the config says".into(),
        Some(Place::Journal) => "pinned before".into(),
        Some(Place::KnownHosts(line)) => format!("known from {line}"),
        Some(Place::Authority(line)) => format!("certified by the authority in {line}"),
        Some(Place::Ssh) => "accepted by ssh".into(),
        None => "new, accepted and pinned now".into(),
    };
    format!("{} {}, {why}", key.key_type, key.fingerprint)
}

fn algorithm_words(algorithms: &Algorithms) -> String {
    let Algorithms { key_exchange, strict, host_key, cipher, mac: (out, back) } = algorithms;
    let mac = if out == back { out.clone() } else { format!("{out} out, {back} back") };
    let strict = if *strict { "strict" } else { "not strict" };
    format!("{key_exchange} ({strict}), {host_key}, {cipher}, mac {mac}")
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn clock(trial: Option<&Trial>) -> String {
    match (trial, trial.and_then(|trial| trial.clock_skew_secs)) {
        (None, _) => "not known without writing (--write)".into(),
        (_, None) => "not known".into(),
        (_, Some(0)) => "as ours, within a second".into(),
        (_, Some(secs @ 1..)) => format!("{} s ahead of ours", number(secs.unsigned_abs())),
        (_, Some(secs)) => format!("{} s behind ours", number(secs.unsigned_abs())),
    }
}

fn limits(announced: &Announced) -> String {
    let size = |bytes: Option<u64>, what: &str| bytes.map(|n| format!("{} per {what}", ByteSize(n).human()));
    let handles = announced.handles.map(|n| format!("{} open files", number(n)));
    let stated = [size(announced.read_bytes, "read"), size(announced.write_bytes, "write"), handles];
    let stated: Vec<String> = stated.into_iter().flatten().collect();
    if stated.is_empty() { "no limits stated".into() } else { stated.join(", ") }
}

fn folder(probe: &Probe) -> String {
    let look = &probe.look;
    let name = look.real_path.as_ref().map_or_else(|| probe.folder.to_string(), |path| escape(path));
    let free = match look.free_bytes {
        Some(bytes) => format!("{} free", ByteSize(bytes).human()),
        None => "free space not told".into(),
    };
    match look.seen {
        Seen::Unknown => format!("{name}, not to be looked at"),
        Seen::Nothing => format!("{name}, not there yet"),
        Seen::Is(kind) => format!("{name}, a {}, {free}", kind.describe()),
    }
}

/// For programs. Fields are added, never renamed or removed, while `version` is 1.
pub fn document(probe: &Probe) -> impl Serialize {
    let (facts, look) = (&probe.facts, &probe.look);
    let ability = |a: Ability| (a.key, AbilityFields { value: a.value, source: a.source });
    Document {
        version: 1,
        host: probe.endpoint.host.clone(),
        port: probe.endpoint.port,
        user: probe.endpoint.user.clone(),
        ident: facts.ident.clone(),
        banner: facts.banner.clone(),
        host_key: HostKeyFields::of(probe),
        login: facts.login.clone(),
        algorithms: facts.algorithms.as_ref().map(AlgorithmFields::of),
        round_trip_seconds: look.round_trip.as_micros() as f64 / 1e6,
        clock_skew_seconds: probe.trial.as_ref().and_then(|trial| trial.clock_skew_secs),
        sftp: SftpFields {
            version: VERSION,
            read_bytes: probe.announced.read_bytes,
            write_bytes: probe.announced.write_bytes,
            open_files: probe.announced.handles,
            extensions: probe.extensions(),
        },
        folder: FolderFields::of(probe),
        wrote: probe.trial.is_some(),
        abilities: probe.abilities().into_iter().map(ability).collect(),
        driven: driven(&probe.known).into_iter().map(|row| (row.key, row.how)).collect(),
        notes: probe.notes.clone(),
        problems: probe.problems().map(ProblemFields::of).collect(),
    }
}

#[derive(Serialize)]
struct Document {
    version: u32,
    host: String,
    port: u16,
    user: String,
    ident: String,
    banner: String,
    host_key: HostKeyFields,
    login: String,
    algorithms: Option<AlgorithmFields>,
    round_trip_seconds: f64,
    clock_skew_seconds: Option<i64>,
    sftp: SftpFields,
    folder: FolderFields,
    wrote: bool,
    abilities: std::collections::BTreeMap<&'static str, AbilityFields>,
    driven: std::collections::BTreeMap<&'static str, &'static str>,
    notes: Vec<String>,
    problems: Vec<ProblemFields>,
}

#[derive(Serialize)]
struct HostKeyFields {
    key_type: String,
    fingerprint: String,
    public_key: String,
    known_from: &'static str,
    known_hosts: Option<String>,
}

impl HostKeyFields {
    fn of(probe: &Probe) -> Self {
        let key = probe.facts.host_key.clone();
        let (known_from, known_hosts) = match &probe.facts.trusted {
            Some(Place::Config) => ("config", None),
            Some(Place::Journal) => ("journal", None),
            Some(Place::KnownHosts(line)) => ("known_hosts", Some(line.clone())),
            Some(Place::Authority(line)) => ("authority", Some(line.clone())),
            Some(Place::Ssh) => ("ssh", None),
            None => ("accepted", None),
        };
        let (key_type, fingerprint, public_key) = (key.key_type, key.fingerprint, key.public_key);
        Self { key_type, fingerprint, public_key, known_from, known_hosts }
    }
}

#[derive(Serialize)]
struct AlgorithmFields {
    key_exchange: String,
    strict_key_exchange: bool,
    host_key: String,
    cipher: String,
    mac_out: String,
    mac_back: String,
}

impl AlgorithmFields {
    fn of(algorithms: &Algorithms) -> Self {
        let Algorithms { key_exchange, strict, host_key, cipher, mac: (mac_out, mac_back) } =
            algorithms.clone();
        Self { key_exchange, strict_key_exchange: strict, host_key, cipher, mac_out, mac_back }
    }
}

#[derive(Serialize)]
struct SftpFields {
    version: u32,
    read_bytes: Option<u64>,
    write_bytes: Option<u64>,
    open_files: Option<u64>,
    extensions: Vec<Extension>,
}

/// An announced extension; both texts escaped.
#[derive(Serialize)]
struct Extension {
    name: String,
    data: String,
}

#[derive(Serialize)]
struct FolderFields {
    asked: String,
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    kind: Option<&'static str>,
    free_bytes: Option<u64>,
}

impl FolderFields {
    fn of(probe: &Probe) -> Self {
        let (path, path_base64) = probe.look.real_path.as_deref().map(bytes_fields).unzip();
        Self {
            asked: probe.folder.to_string(),
            path,
            path_base64: path_base64.flatten(),
            kind: match probe.look.seen {
                Seen::Unknown => None,
                Seen::Nothing => Some("nothing"),
                Seen::Is(kind) => Some(kind.describe()),
            },
            free_bytes: probe.look.free_bytes,
        }
    }
}

#[derive(Serialize)]
struct AbilityFields {
    value: &'static str,
    source: Source,
}

#[derive(Serialize)]
struct ProblemFields {
    operation: String,
    subject: String,
    kind: &'static str,
    message: String,
}

impl ProblemFields {
    fn of(error: &Error) -> Self {
        let (operation, subject) = (error.operation().to_owned(), error.subject().to_owned());
        Self { operation, subject, kind: error.kind().as_str(), message: error.reason() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::entry::Kind as EntryKind;
    use crate::error::Kind;
    use crate::remote::connect::HostKeyRecord;

    /// A server that was tried out, with what a hostile one might say.
    fn probe() -> Probe {
        let extensions = [("posix-rename@openssh.com", "1"), ("evil\u{1b}[2J\u{ff}", "")];
        let extensions = extensions.map(|(name, data)| (name.to_owned(), data.to_owned())).into();
        let announced = Announced {
            extensions,
            read_bytes: Some(261_120),
            write_bytes: Some(261_120),
            handles: Some(1019),
        };
        let shown = Known { posix_rename: Can::Yes, keeps_mtime: Can::No, ..Known::default() };
        let remembered = Known { fsync: Can::Yes, link_order: LinkOrder::Draft, ..Known::default() };
        let known = Known { keeps_order: Can::Yes, ..shown.or(remembered) };
        let trial = Trial { shown, clock_skew_secs: Some(-3600), problems: Vec::new() };
        Probe {
            endpoint: Endpoint { host: "h".into(), port: 22, user: "me".into() },
            facts: facts(),
            announced,
            folder: RemoteRoot::new(b"data").unwrap(),
            look: Look {
                real_path: Some(b"/srv/data\xff".to_vec()),
                seen: Seen::Is(EntryKind::Dir),
                free_bytes: Some(3 << 30),
                round_trip: Duration::from_micros(12_340),
                problems: vec![Error::new(Kind::Permission, "look at", "x").detail("no")],
            },
            trial: Some(trial),
            remembered,
            known,
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn facts() -> ServerFacts {
        let [key_type, public_key, fingerprint] =
            ["ssh-ed25519", "ssh-ed25519 AA", "SHA256:a"].map(String::from);
        let [key_exchange, cipher] = ["kex", "aes"].map(String::from);
        ServerFacts {
            ident: "SSH-2.0-OpenSSH_9.2".into(),
            banner: String::new(),
            host_key: HostKeyRecord { key_type, public_key, fingerprint },
            trusted: Some(Place::KnownHosts("/k:3".into())),
            algorithms: Some(Algorithms {
                key_exchange,
                strict: true,
                host_key: "ssh-ed25519".into(),
                cipher,
                mac: ("none".into(), "none".into()),
            }),
            login: "key /k".into(),
        }
    }

    #[test]
    fn people_read_a_line_each() {
        let expected = [
            "me@h:22",
            "  server                 SSH-2.0-OpenSSH_9.2",
            "  host key               ssh-ed25519 SHA256:a, known from /k:3",
            "  let in by              key /k",
            "  algorithms             kex (strict), ssh-ed25519, aes, mac none",
            "  round trip             12.3 ms",
            "  clock                  3,600 s behind ours",
            "  SFTP                   version 3; 255.0 KiB per read, 255.0 KiB per write, 1,019 open files",
            "  extensions             evil\\x1b[2J\\xff ",
            "                         posix-rename@openssh.com 1",
            "  folder                 /srv/data\\xff, a folder, 3.0 GiB free",
            "  rename over a file     yes      tried now",
            "  keep times             no       tried now",
            "  fsync of files         yes      known from before",
            "  fsync of folders       unknown  not tried",
            "  times of links         unknown  not tried",
            "  free space             unknown  not tried",
            "  symbolic links         draft    known from before",
            "  keep links as links    unknown  not tried",
            "  keep names as bytes    unknown  not tried",
            "  write in any order     unknown  not tried",
            "  two handles            unknown  not tried",
            "  keep requests in order yes      by what it calls itself",
            "  rounds: requests       sent on without waiting; a rename only after every answer was OK",
            "          replacing      the new one is renamed over the old one, in one step",
            "          durability     files are synced before they get their names, and their folders after",
            "          large files    written over several channels at once, if the first one proves that it works",
            "          times          the server keeps its own, which are recorded instead",
            "          links          carried as links",
            "          room           not told: a full disk shows when a write fails",
            "  problems (1):",
            "    cannot look at x: no",
        ];
        assert_eq!(text(&probe()).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_was_not_seen_is_said() {
        let mut probe = probe();
        probe.trial = None;
        probe.facts.trusted = None;
        probe.announced = Announced::default();
        probe.look = Look { seen: Seen::Nothing, ..Look::default() };
        let text = text(&probe);
        for expected in [
            "SHA256:a, new, accepted and pinned now\n",
            "version 3; no limits stated\n",
            "folder                 data, not there yet\n",
            "clock                  not known without writing (--write)\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn programs_read_fields() {
        let document = serde_json::to_value(document(&probe())).unwrap();
        let check = |pointer: &str, expected: Value| {
            assert_eq!(document.pointer(pointer), Some(&expected), "{pointer}");
        };
        check("/version", json!(1));
        check("/host_key/known_hosts", json!("/k:3"));
        check("/round_trip_seconds", json!(0.01234));
        check("/clock_skew_seconds", json!(-3600));
        check("/sftp/extensions/1", json!({"name": "posix-rename@openssh.com", "data": "1"}));
        check("/folder/path", json!("/srv/data\\xff"));
        check("/folder/path_base64", json!("L3Nydi9kYXRh/w=="));
        check("/folder/kind", json!("folder"));
        check("/wrote", json!(true));
        check("/abilities/posix_rename", json!({"value": "yes", "source": "tried"}));
        check("/abilities/fsync", json!({"value": "yes", "source": "remembered"}));
        check("/abilities/two_handles", json!({"value": "unknown", "source": "nothing"}));
        check("/problems/0/kind", json!("permission-denied"));
    }
}
