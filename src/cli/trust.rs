//! `highwater server trust`: look at a host key, and pin it.

use serde::Serialize;

use super::account::{self, Flags, Surroundings};
use super::args::Trust;
use super::{Context, config, ends, journals};
use crate::error::{Error, Kind, Result};
use crate::journal::Pin;
use crate::remote::connect::{HostKeyRecord, fetch_host_key};
use crate::remote::host_key;
use crate::remote::route::{Target, Way};

/// Shows the key that the server has, and pins it if a flag or a person says so.
pub async fn run(context: &Context, args: &Trust) -> Result<u8> {
    let wanted = args.fingerprint.as_deref().map(wanted).transpose()?;
    let state = journals::state_dir(context)?;
    let mut target = target(context, args)?;
    journals::add_pins(&state, &mut target).await?;
    let endpoint = target.endpoint.clone();
    let pinned = journals::pins(&state, &endpoint).await?;
    let fetching = fetch_host_key(&endpoint, &target.route, &target.trust.suite);
    let shown = context.unless_stopped(fetching).await?;
    let place = format!("{}:{}", endpoint.host, endpoint.port);
    let key = format!("{} {}", shown.key_type, shown.fingerprint);
    let known = pinned.iter().any(|pin| pin.fingerprint == shown.fingerprint);
    let old = if known { Vec::new() } else { pinned };
    match decide(args.accept_new_host_key, wanted.as_deref(), &shown, &old, known) {
        Decision::Keep => {}
        Decision::Pin => {
            journals::pin(&state, &endpoint, &shown, !old.is_empty(), "highwater server trust").await?
        }
        Decision::Refuse(why) => return Err(refusal(why, &place, &key, &old)),
        Decision::Ask => match ask(context, question(&place, &key, &old)).await? {
            true => {
                journals::pin(&state, &endpoint, &shown, !old.is_empty(), "highwater server trust").await?
            }
            false => return Err(refusal(Why::NobodyAgreed, &place, &key, &old)),
        },
    }
    let document = Document {
        version: 1,
        host: &endpoint.host,
        port: endpoint.port,
        key_type: &shown.key_type,
        fingerprint: &shown.fingerprint,
        public_key: &shown.public_key,
        was_pinned: known,
        replaced: old.iter().map(|pin| pin.fingerprint.as_str()).collect(),
    };
    let word = if known { "was pinned already" } else { "is pinned now" };
    context.show.either(&document, || format!("the host key of {place}, {key}, {word}"))?;
    Ok(0)
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    host: &'a str,
    port: u16,
    key_type: &'a str,
    fingerprint: &'a str,
    public_key: &'a str,
    was_pinned: bool,
    replaced: Vec<&'a str>,
}

/// What follows from the flags and the keys.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Keep,
    Pin,
    Ask,
    Refuse(Why),
}

/// Why a key is not pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    NotTheOneNamed,
    Changed,
    NobodyAgreed,
}

fn decide(
    accept_new: bool,
    wanted: Option<&str>,
    shown: &HostKeyRecord,
    old: &[Pin],
    known: bool,
) -> Decision {
    match wanted {
        Some(wanted) if wanted != shown.fingerprint => Decision::Refuse(Why::NotTheOneNamed),
        _ if known => Decision::Keep,
        Some(_) => Decision::Pin,
        None if !accept_new => Decision::Ask,
        None if old.is_empty() => Decision::Pin,
        None => Decision::Refuse(Why::Changed),
    }
}

fn wanted(text: &str) -> Result<String> {
    let error = |why| Error::new(Kind::Usage, "take the fingerprint", "").detail(why);
    if !text.starts_with("SHA256:") {
        return Err(error("a fingerprint begins with SHA256:".into()));
    }
    host_key::Pin::parse(text).map_err(error)?;
    Ok(text.trim_end_matches('=').into())
}

/// Where the server is and how it is reached: only to hops on the way somebody logs in before it is trusted.
fn target(context: &Context, args: &Trust) -> Result<Target> {
    let config = config::load(context)?.config;
    let flags = Flags { port: args.port, ssh_config: args.ssh_config.clone(), ..Flags::default() };
    let far = ends::parse_host(&args.server)?;
    let target = account::of_end(&config, &far, &flags, &Surroundings::of_process())?.target;
    match &target.route.way {
        Way::BySsh(_) => Err(Error::new(Kind::Usage, "pin the host key of", &target.endpoint)
            .detail("ssh makes the session with this server (via: ssh), and trusts by its own known_hosts")
            .hint("Log in once by hand, and compare the fingerprint that ssh shows.")),
        _ => Ok(target),
    }
}

fn question(place: &str, key: &str, old: &[Pin]) -> String {
    let before: Vec<String> = old.iter().map(|pin| format!("{} {}", pin.key_type, pin.fingerprint)).collect();
    let before = match before.is_empty() {
        true => String::new(),
        false => format!(" Pinned before: {}. Somebody may be listening in.", before.join(", ")),
    };
    format!("{place} shows the host key {key}.{before} Is this what the server's operator says? Pin it?")
}

async fn ask(context: &Context, question: String) -> Result<bool> {
    let show = context.show;
    let asked = tokio::task::spawn_blocking(move || show.ask(&question));
    let answer = async { asked.await.map_err(|e| Error::new(Kind::Internal, "ask", "").because(e)) };
    context.unless_stopped(answer).await
}

fn refusal(why: Why, place: &str, key: &str, old: &[Pin]) -> Error {
    let kind = match (why, old.is_empty()) {
        (Why::NobodyAgreed, true) => Kind::HostKeyUnknown,
        _ => Kind::HostKeyChanged,
    };
    let detail = match why {
        Why::NotTheOneNamed => format!("it shows {key}, which is not the one that was named"),
        Why::Changed => format!("it shows {key}, and another one was pinned before"),
        Why::NobodyAgreed => format!("it shows {key}, and nobody said that it is the right one"),
    };
    Error::new(kind, "pin the host key of", place).detail(detail).hint(
        "Ask the server's operator for its fingerprint, then say: --fingerprint SHA256:… of the right key.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Time;

    const RIGHT: &str = "SHA256:T7SvZ2cslqpPj6nKzitCBHHlpVF3r3MvLwmFL0fk0IE";

    fn old() -> Pin {
        let (key_type, fingerprint) = ("ssh-ed25519".into(), "SHA256:old".into());
        Pin {
            host: "h".into(),
            port: 22,
            key_type,
            key: "AAAA".into(),
            fingerprint,
            added: Time::from_secs(0),
        }
    }

    #[test]
    fn a_key_is_pinned_only_if_somebody_says_so() {
        let shown = HostKeyRecord {
            key_type: "ssh-ed25519".into(),
            public_key: "ssh-ed25519 AAAA".into(),
            fingerprint: RIGHT.into(),
        };
        let check = |accept_new, wanted, old: &[Pin], known, expected| {
            assert_eq!(decide(accept_new, wanted, &shown, old, known), expected);
        };
        check(false, None, &[], false, Decision::Ask);
        check(false, None, &[old()], false, Decision::Ask);
        check(false, None, &[], true, Decision::Keep);
        check(true, None, &[], false, Decision::Pin);
        check(true, None, &[old()], false, Decision::Refuse(Why::Changed));
        check(false, Some(RIGHT), &[], false, Decision::Pin);
        check(false, Some(RIGHT), &[old()], false, Decision::Pin);
        check(false, Some(RIGHT), &[], true, Decision::Keep);
        check(false, Some("SHA256:other"), &[], false, Decision::Refuse(Why::NotTheOneNamed));
        check(false, Some("SHA256:other"), &[], true, Decision::Refuse(Why::NotTheOneNamed));
    }

    #[test]
    fn a_key_that_changed_is_not_merely_unknown() {
        let check = |why, old: &[Pin], expected| assert_eq!(refusal(why, "h:22", "k", old).kind(), expected);
        check(Why::NobodyAgreed, &[], Kind::HostKeyUnknown);
        check(Why::NobodyAgreed, &[old()], Kind::HostKeyChanged);
        check(Why::Changed, &[old()], Kind::HostKeyChanged);
        check(Why::NotTheOneNamed, &[], Kind::HostKeyChanged);
        assert!(question("h:22", "k", &[old()]).contains("ssh-ed25519 SHA256:old"));
    }

    #[test]
    fn fingerprints_are_taken_with_and_without_padding() {
        assert_eq!(wanted(RIGHT).unwrap(), RIGHT);
        assert_eq!(wanted(&format!("{RIGHT}=")).unwrap(), RIGHT);
        for bad in ["", "SHA256:abc", "MD5:00:11", "ssh-ed25519 AAAA"] {
            assert_eq!(wanted(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }
}
