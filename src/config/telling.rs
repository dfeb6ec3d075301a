//! Who is told of what, and how: the part of the valid configuration that concerns people.

use std::fmt;
use std::time::Duration;

use super::model::Secret;
use crate::outcome::Ending;
use crate::path::escape;

/// Something that people may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A round begins.
    Start,
    /// A round ended well, as before.
    Success,
    /// A round ended well, after something else was told.
    Recovered,
    /// A round was done, but not for everything.
    Problems,
    /// Deletes or displacements wait for a person.
    Held,
    /// A round could not be begun or finished.
    Failure,
    /// A job stopped until a person says go on.
    Halt,
    /// A job had no success for too long.
    Late,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Start,
        Self::Success,
        Self::Recovered,
        Self::Problems,
        Self::Held,
        Self::Failure,
        Self::Halt,
        Self::Late,
    ];

    /// The event as configuration, messages and programs call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Success => "success",
            Self::Recovered => "recovered",
            Self::Problems => "problems",
            Self::Held => "held",
            Self::Failure => "failure",
            Self::Halt => "halt",
            Self::Late => "late",
        }
    }

    /// What the end of a round is, seen by itself.
    pub fn of_ending(ending: Ending) -> Self {
        match ending {
            Ending::Ok => Self::Success,
            Ending::Problems => Self::Problems,
            Ending::Held => Self::Held,
            Ending::Failed => Self::Failure,
            Ending::Halted => Self::Halt,
        }
    }

    /// Whether it is the end of a round that did not end well.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Problems | Self::Held | Self::Failure | Self::Halt)
    }
}

/// Somebody to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What jobs call it.
    pub name: String,
    /// How they are told.
    pub way: Way,
    /// Of what; empty: as [`Way::usual`] has it.
    pub on: Vec<Event>,
    /// How often the same thing is told again; `None`: once.
    pub repeat: Option<Duration>,
    /// How long one try may take. Not zero.
    pub timeout: Duration,
    /// Environment variables that hold secrets of the configuration: a program is not handed these.
    pub hidden: Vec<String>,
}

impl Target {
    /// Whether this is something that the target is told of. Whoever wants failures wants halts, which are
    /// worse.
    pub fn wants(&self, event: Event) -> bool {
        let on = if self.on.is_empty() { self.way.usual() } else { &self.on };
        on.contains(&event) || event == Event::Halt && on.contains(&Event::Failure)
    }
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A program and its arguments, no shell.
    Command(Vec<String>),
    /// A URL that is posted to.
    Webhook {
        /// The URL.
        url: Link,
        /// Header fields besides our own: their names and what stands in them.
        headers: Vec<(String, Secret)>,
    },
    /// Mail addresses, through [`Config::smtp`](super::model::Config::smtp), which is there.
    Email(Vec<String>),
    /// A URL that is pinged, as healthchecks.io and others have it: `/start` and `/fail` are added.
    Healthchecks(Link),
}

impl Way {
    /// What such a target is told of, unless the configuration says. A person is told when something needs
    /// them and when it does not any more; what watches over the job must hear of every round.
    pub fn usual(&self) -> &'static [Event] {
        use Event::{Failure, Halt, Held, Late, Problems, Recovered, Start, Success};
        match self {
            Self::Healthchecks(_) => &[Start, Success, Recovered, Problems, Held, Failure, Halt],
            _ => &[Recovered, Held, Failure, Halt, Late],
        }
    }

    /// The key of the configuration that says so.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Webhook { .. } => "webhook",
            Self::Email(_) => "email",
            Self::Healthchecks(_) => "healthchecks",
        }
    }
}

/// A URL, or where it is to be had. It may carry a token, so only its host is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Link {
    /// The URL itself: http or https.
    Url(String),
    /// Where it is to be had.
    Secret(Secret),
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(&host_only(url)),
            Self::Secret(secret) => secret.fmt(f),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({self})")
    }
}

/// What of a URL may be shown: scheme and host, escaped. A text that is no URL comes back escaped.
pub fn host_only(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return escape(url.as_bytes()) };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    escape(format!("{scheme}://{host}/…").as_bytes())
}

/// The mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub tls: Tls,
    /// Whom to log in as and where the password is to be had; `None`: no login.
    pub login: Option<(String, Secret)>,
    /// The sender's address.
    pub from: String,
}

/// How a connection to a mail server is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// It begins in the clear and no mail is sent before it is encrypted. Port 587.
    StartTls,
    /// It is encrypted from the start. Port 465.
    Tls,
    /// It is not. Port 25.
    None,
}

impl Tls {
    /// The usual port.
    pub fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_the_host_is_shown() {
        let check = |url: &str, expected: &str| {
            let link = Link::Url(url.into());
            assert_eq!(link.to_string(), expected);
            assert!(!format!("{link:?}").contains("hunter2"));
        };
        check("https://u:hunter2@hc.example:8443/hunter2?x", "https://hc.example:8443/…");
        check("http://hc.example?hunter2", "http://hc.example/…");
        check("http://hc.example\\hunter2", "http://hc.example/…");
        assert_eq!(Link::Secret(Secret::Env("URL".into())).to_string(), "env:URL");
    }

    #[test]
    fn who_wants_failures_wants_halts() {
        let target = |on: &[Event], way| Target {
            name: "ops".into(),
            way,
            on: on.into(),
            repeat: None,
            timeout: Duration::from_secs(30),
            hidden: Vec::new(),
        };
        let check = |target: Target, expected: &str| {
            let wanted = Event::ALL.into_iter().filter(|event| target.wants(*event));
            assert_eq!(wanted.map(Event::as_str).collect::<Vec<_>>().join(" "), expected);
        };
        let mail = || Way::Email(vec!["a@b".into()]);
        check(target(&[], mail()), "recovered held failure halt late");
        check(target(&[Event::Failure], mail()), "failure halt");
        check(target(&[Event::Halt, Event::Late], mail()), "halt late");
        let ping = || Way::Healthchecks(Link::Url("http://h/".into()));
        check(target(&[], ping()), "start success recovered problems held failure halt");
        check(target(&[Event::Success], ping()), "success");
    }
}
