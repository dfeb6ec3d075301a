//! How single values are written: numbers, words, quantities, references to secrets.

use std::num::NonZeroU16;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::model::{Event, Fingerprint, Missed, Tls, Via};
use super::node::Node;
use super::read::{Read, Reader};
use crate::calendar::Span;
use crate::filter::Rule;
use crate::hash::Level;
use crate::outcome::Mode;
use crate::path::{RemoteRoot, escape};
use crate::units::{ByteSize, Percent, Rate, parse_duration};

/// A single value.
pub(super) trait Leaf: Sized {
    /// What was expected, for messages: "a duration such as 30d".
    const EXPECTED: &'static str;

    /// Reads the text, or says what is wrong with it.
    fn parse(text: &str) -> Result<Self, String>;

    /// How it is written.
    fn schema() -> Schema;
}

impl<T: Leaf> Read for T {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, T::EXPECTED)?;
        T::parse(text).map_err(|why| reader.mistake(node.at, why)).ok()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        <T as Leaf>::schema()
    }
}

/// The text for a message.
pub(super) fn shown(text: &str) -> String {
    format!("\"{}\"", escape(text.as_bytes()))
}

/// One of a few words.
fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = words.iter().find(|(word, _)| *word == text);
    known.map(|&(_, value)| value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let last = words.last().copied().unwrap_or_default();
        let others = words.len().saturating_sub(1);
        format!("expected {} or {last}, found {}", words[..others].join(", "), shown(text))
    })
}

/// A text of any form.
pub(super) fn text_schema(example: &str) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "examples": [example]})
}

/// A quantity may be 0 without a unit.
fn quantity_schema(example: &str) -> Schema {
    json_schema!({"anyOf": [{"type": "string"}, {"const": 0}], "examples": [example]})
}

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version;

impl Leaf for Version {
    const EXPECTED: &'static str = "1";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "1" => Ok(Self),
            _ => Err(format!("this program reads version 1, found {}", shown(text))),
        }
    }

    fn schema() -> Schema {
        json_schema!({"const": 1})
    }
}

impl Leaf for String {
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("this is empty".into());
        }
        if text.contains('\0') {
            return Err("this contains a NUL character".into());
        }
        Ok(text.into())
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

/// A file of ssh_config, or none.
#[derive(Debug, Clone)]
pub(super) enum SshConfig {
    /// None.
    Nothing,
    /// This one.
    File(LocalPath),
}

impl Leaf for SshConfig {
    const EXPECTED: &'static str = "the path of a file, or none";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(Self::Nothing) } else { LocalPath::parse(text).map(Self::File) }
    }

    fn schema() -> Schema {
        text_schema("~/.ssh/config.backup")
    }
}

const VIAS: [(&str, Via); 2] = [("direct", Via::Direct), ("ssh", Via::Ssh)];

impl Leaf for Via {
    const EXPECTED: &'static str = "direct or ssh";

    fn parse(text: &str) -> Result<Self, String> {
        word(text, &VIAS)
    }

    fn schema() -> Schema {
        json_schema!({"enum": ["direct", "ssh"]})
    }
}

const FLAGS: [(&str, bool); 6] =
    [("yes", true), ("no", false), ("true", true), ("false", false), ("on", true), ("off", false)];

impl Leaf for bool {
    const EXPECTED: &'static str = "yes or no";

    fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let known = FLAGS.iter().find(|(word, _)| *word == lower);
        known.map(|&(_, flag)| flag).ok_or_else(|| format!("expected yes or no, found {}", shown(text)))
    }

    fn schema() -> Schema {
        json_schema!({"enum": [true, false, "yes", "no", "on", "off"]})
    }
}

impl Leaf for u64 {
    const EXPECTED: &'static str = "a whole number";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected a whole number such as 1000, found {}", shown(text)))
    }

    fn schema() -> Schema {
        json_schema!({"type": "integer", "minimum": 0})
    }
}

impl Leaf for NonZeroU16 {
    const EXPECTED: &'static str = "a port";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected a port from 1 to 65535, found {}", shown(text)))
    }

    fn schema() -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": 65535})
    }
}

impl Leaf for Duration {
    const EXPECTED: &'static str = "a duration such as 30d or 10m";

    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text).map_err(|error| error.to_string())
    }

    fn schema() -> Schema {
        quantity_schema("1h30m")
    }
}

impl Leaf for ByteSize {
    const EXPECTED: &'static str = "a size such as 10MiB";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: crate::units::BadQuantity| error.to_string())
    }

    fn schema() -> Schema {
        quantity_schema("10MiB")
    }
}

impl Leaf for Percent {
    const EXPECTED: &'static str = "a share such as 10%";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: crate::units::BadQuantity| error.to_string())
    }

    fn schema() -> Schema {
        quantity_schema("10%")
    }
}

impl Leaf for Rate {
    const EXPECTED: &'static str = "a rate such as 2MiB/s";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: crate::units::BadQuantity| error.to_string())
    }

    fn schema() -> Schema {
        quantity_schema("2MiB/s")
    }
}

impl Leaf for Mode {
    const EXPECTED: &'static str = "push or pull";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "sync" | "backup" | "pickup" | "dropoff" => {
                Err(format!("mode {text} is not in this version; there are push and pull"))
            }
            _ => word(text, &[("push", Mode::Push), ("pull", Mode::Pull)]),
        }
    }

    fn schema() -> Schema {
        json_schema!({"enum": ["push", "pull"]})
    }
}

impl Leaf for Level {
    const EXPECTED: &'static str = "full, sample or ack";

    fn parse(text: &str) -> Result<Self, String> {
        word(text, &[("full", Level::Full), ("sample", Level::Sample), ("ack", Level::Ack)])
    }

    fn schema() -> Schema {
        json_schema!({"enum": ["full", "sample", "ack"]})
    }
}

impl Leaf for Missed {
    const EXPECTED: &'static str = "run or skip";

    fn parse(text: &str) -> Result<Self, String> {
        word(text, &[("run", Missed::Run), ("skip", Missed::Skip)])
    }

    fn schema() -> Schema {
        json_schema!({"enum": ["run", "skip"]})
    }
}

impl Leaf for Fingerprint {
    const EXPECTED: &'static str = "a fingerprint that begins with SHA256:";

    fn parse(text: &str) -> Result<Self, String> {
        Fingerprint::parse(text)
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^SHA256:[A-Za-z0-9+/]{43}=?$"})
    }
}

impl Leaf for Rule {
    const EXPECTED: &'static str = "a rule such as \"- *.tmp\"";

    fn parse(text: &str) -> Result<Self, String> {
        Rule::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^(-|\\+|exclude|include)[ _]", "examples": ["- *.tmp"]})
    }
}

/// Five fields of cron.
#[derive(Debug, Clone)]
pub(super) struct Cron(pub String);

impl Leaf for Cron {
    const EXPECTED: &'static str = "five fields of cron such as \"15 2 * * *\"";

    fn parse(text: &str) -> Result<Self, String> {
        crate::calendar::Cron::parse(text).map_err(|why| {
            format!("{} is not a time for cron: {why}; for example \"15 2 * * *\"", shown(text))
        })?;
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        text_schema("15 2 * * *")
    }
}

impl Leaf for Span {
    const EXPECTED: &'static str = "a time of the week such as \"22:00-06:00\"";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            format!(
                "{} is not a time of the week; write \"22:00-06:00\", \"mon-fri 22:00-06:00\" or \"sat,sun\"",
                shown(text)
            )
        })
    }

    fn schema() -> Schema {
        text_schema("mon-fri 22:00-06:00")
    }
}

/// A time zone that this system knows.
#[derive(Debug, Clone)]
pub(super) struct Zone(pub String);

impl Leaf for Zone {
    const EXPECTED: &'static str = "a time zone such as Europe/Berlin";

    fn parse(text: &str) -> Result<Self, String> {
        match jiff::tz::TimeZone::get(text) {
            Ok(_) => Ok(Self(text.into())),
            Err(_) => Err(format!(
                "this system knows no time zone {}; for example Europe/Berlin or UTC",
                shown(text)
            )),
        }
    }

    fn schema() -> Schema {
        text_schema("Europe/Berlin")
    }
}

/// A host name, an address, or an alias.
#[derive(Debug, Clone)]
pub(super) struct Host(pub String);

impl Leaf for Host {
    const EXPECTED: &'static str = "a host name";

    fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        let why = match bare {
            "" => "it is empty",
            _ if bare.contains("://") => "it is a URL; give the host alone",
            _ if bare.contains('@') => "it contains \"@\"; the user has a key of its own, \"user\"",
            _ if bare.matches(':').count() == 1 => {
                "it contains \":\"; the port has a key of its own, \"port\""
            }
            _ if bare.starts_with('-') => "it begins with \"-\"",
            _ if bare.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') => {
                "it contains a character that no host name has"
            }
            _ => return Ok(Self(bare.into())),
        };
        Err(format!("{} is not a host: {why}", shown(text)))
    }

    fn schema() -> Schema {
        text_schema("backup.example.org")
    }
}

/// A folder of this machine: absolute, or below a home folder.
#[derive(Debug, Clone)]
pub(super) struct LocalPath(pub String);

impl Leaf for LocalPath {
    const EXPECTED: &'static str = "a path such as /srv/data";

    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("this contains a NUL character".into());
        }
        if !text.starts_with('/') && text != "~" && !text.starts_with("~/") {
            return Err(format!("{} is not an absolute path; it begins with \"/\" or \"~/\"", shown(text)));
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^(/|~(/|$))", "examples": ["/srv/data", "~/Documents"]})
    }
}

/// A folder on a server, as `server:path`.
#[derive(Debug, Clone)]
pub(super) struct FarFolder {
    /// The server's name.
    pub server: String,
    /// The folder; relative ones are from the login folder.
    pub root: RemoteRoot,
}

impl Leaf for FarFolder {
    const EXPECTED: &'static str = "a folder on a server such as offsite:/backups";

    fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err(
                "a URL is not taken here; name the server under \"servers\" and write \"name:path\"".into()
            );
        }
        let (server, path) = text
            .split_once(':')
            .filter(|(server, _)| !server.is_empty())
            .ok_or_else(|| format!("{} does not name a server; write \"server:path\"", shown(text)))?;
        let root = RemoteRoot::new(path.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self { server: server.into(), root })
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[^:]+:", "examples": ["offsite:/backups/web1"]})
    }
}

impl Leaf for Event {
    const EXPECTED: &'static str = "an event such as failure";

    fn parse(text: &str) -> Result<Self, String> {
        word(text, &Self::ALL.map(|event| (event.as_str(), event)))
    }

    fn schema() -> Schema {
        json_schema!({"enum": Self::ALL.map(Self::as_str)})
    }
}

impl Leaf for Tls {
    const EXPECTED: &'static str = "starttls, tls or none";

    fn parse(text: &str) -> Result<Self, String> {
        word(text, &[("starttls", Self::StartTls), ("tls", Self::Tls), ("none", Self::None)])
    }

    fn schema() -> Schema {
        json_schema!({"enum": ["starttls", "tls", "none"]})
    }
}

/// A mail address, as `ops@example.org` or `Night shift <ops@example.org>`. Whether it is one to the letter is
/// judged by who builds the mail; here only what nobody can mean is refused.
#[derive(Debug, Clone)]
pub(super) struct MailAddress(pub String);

impl Leaf for MailAddress {
    const EXPECTED: &'static str = "a mail address";

    fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_suffix('>').and_then(|t| t.rsplit_once('<')).map_or(text, |(_, bare)| bare);
        let is_part = |part: &str| !part.is_empty() && !part.contains(|c: char| " <>@,;".contains(c));
        let parts = bare.rsplit_once('@').is_some_and(|(user, host)| is_part(user) && is_part(host));
        if !parts || text.chars().any(char::is_control) {
            return Err(format!("{} is not a mail address", shown(text)));
        }
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        text_schema("ops@example.org")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::config) fn refused<T: Leaf>(text: &str, why: &str) {
        let error = T::parse(text).err().unwrap();
        assert!(error.contains(why), "{text}: {error}");
    }

    #[test]
    fn words_and_numbers() {
        assert_eq!(["yes", "True", "on"].map(bool::parse), [Ok(true), Ok(true), Ok(true)]);
        assert_eq!(["no", "FALSE", "off"].map(bool::parse), [Ok(false), Ok(false), Ok(false)]);
        refused::<bool>("1", "yes or no");
        refused::<u64>("-1", "whole number");
        refused::<u64>("10%", "whole number");
        refused::<NonZeroU16>("0", "1 to 65535");
        refused::<NonZeroU16>("65536", "1 to 65535");
        refused::<Version>("2", "reads version 1");
        refused::<Level>("auto", "expected full, sample or ack, found \"auto\"");
        for mode in ["sync", "backup", "pickup", "dropoff"] {
            refused::<Mode>(mode, "not in this version");
        }
        refused::<Mode>("mirror", "expected push or pull");
        assert_eq!(Event::parse("halt"), Ok(Event::Halt));
        refused::<Event>("error", "failure, halt or late, found \"error\"");
        refused::<Tls>("ssl", "expected starttls, tls or none");
    }

    #[test]
    fn mail_addresses() {
        for good in ["a@b", "Night shift <ops@example.org>", "<a@b>"] {
            assert!(MailAddress::parse(good).is_ok(), "{good}");
        }
        for bad in ["ops", "@b", "a@", "a b@c", "a@b, c@d", "X <a@b", "a@b\nBcc: c@d", ""] {
            refused::<MailAddress>(bad, "is not a mail address");
        }
    }

    #[test]
    fn cron_and_time_zones() {
        for good in ["15 2 * * *", "*/5 8-18 * * mon-fri", "0 0 1 jan *", "@daily"] {
            assert!(Cron::parse(good).is_ok(), "{good}");
        }
        refused::<Cron>("15 2 * *", "five fields, found 4");
        refused::<Cron>("0 15 2 * * *", "five fields, found 6");
        refused::<Cron>("61 2 * * *", "not a time for cron");
        refused::<Cron>("nightly", "five fields, found 1");
        refused::<Cron>("0 0 30 2 *", "no such day ever comes");
        refused::<Span>("22-6", "\"22-6\" is not a time of the week; write");
        assert!(Zone::parse("Europe/Berlin").is_ok() && Zone::parse("UTC").is_ok());
        refused::<Zone>("Europe/Atlantis", "knows no time zone");
    }

    #[test]
    fn hosts_and_folders() {
        for good in ["backup.example.org", "10.0.0.1", "::1", "[fe80::1%eth0]", "my-alias"] {
            assert!(Host::parse(good).is_ok(), "{good}");
        }
        refused::<Host>("web1@host", "\"user\"");
        refused::<Host>("host:2222", "\"port\"");
        refused::<Host>("sftp://host", "URL");
        refused::<Host>("-oProxyCommand=x", "begins with");
        refused::<Host>("a b", "no host name has");
        refused::<LocalPath>("data", "not an absolute path");
        refused::<LocalPath>("~other/data", "not an absolute path");
        refused::<FarFolder>("/backups", "does not name a server");
        refused::<FarFolder>(":/backups", "does not name a server");
        refused::<FarFolder>("sftp://host/backups", "under \"servers\"");
        let far = FarFolder::parse("offsite:backups/web1/").unwrap();
        assert_eq!((far.server.as_str(), far.root.to_string().as_str()), ("offsite", "backups/web1"));
    }
}
