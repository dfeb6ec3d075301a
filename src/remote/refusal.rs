//! How a handshake or a login that came to nothing reads to people.

use std::sync::Mutex;
use std::time::Duration;

use super::auth::Refusal;
use super::client::{Notes, look};
use super::connect::Endpoint;
use super::wire::Grip;
use crate::error::{Error, Kind};
use crate::path::escape;

/// The error for a server that takes the connection and says nothing.
pub(super) fn silent(endpoint: &Endpoint, deadline: Duration) -> Error {
    Error::new(Kind::Unreachable, "talk to", endpoint)
        .detail(format!("connected, but no SSH handshake within {} s", deadline.as_secs()))
        .hint("Check that this is the port of the SSH server, and whether it is overloaded.")
}

/// Why the session ended, as far as the server or the library said.
pub(super) fn end_of(notes: &Mutex<Notes>) -> Option<String> {
    let notes = look(notes);
    let said = notes.farewell.as_ref().map(|words| format!("the server says: {words}"));
    said.or_else(|| notes.failure.clone())
}

/// The error for a handshake that came to nothing.
pub(super) fn broken_off(
    endpoint: &Endpoint,
    error: russh::Error,
    notes: &Mutex<Notes>,
    wire: &Grip,
) -> Error {
    if let Some(refusal) = look(notes).refusal.take() {
        return refusal;
    }
    let said = wire.first_words();
    let unreachable = Error::new(Kind::Unreachable, "talk to", endpoint);
    let protocol = Error::new(Kind::Protocol, "speak SSH with", endpoint);
    match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let theirs: String = escape(theirs.join(", ").as_bytes()).chars().take(400).collect();
            protocol
                .detail(format!("no {} in common; the server offers {theirs}", algorithm_word(&kind)))
                .hint(
                    "The server needs newer software, or has everything modern switched off. Where that \
                     cannot be had, say in its entry of the config: legacy: true",
                )
        }
        russh::Error::Version => protocol
            .detail(format!("it answers, but not as an SSH server does: {said:?}"))
            .hint("Check the port."),
        russh::Error::WrongServerSig => protocol
            .detail("its signature does not fit its host key")
            .hint("Somebody may be listening in: try from another network."),
        _ if !said.is_empty() => unreachable
            .detail(format!("the server hangs up, saying: {said}"))
            .hint("Check that this is the port of the SSH server; if it is, try later."),
        error => {
            let why = end_of(notes).unwrap_or_else(|| "the server hangs up during the handshake".into());
            unreachable.detail(why).because(error).hint("Try later; if it goes on, ask its operator.")
        }
    }
}

fn algorithm_word(kind: &russh::AlgorithmKind) -> &'static str {
    match kind {
        russh::AlgorithmKind::Kex => "way to exchange keys",
        russh::AlgorithmKind::Key => "type of host key",
        russh::AlgorithmKind::Cipher => "cipher",
        russh::AlgorithmKind::Compression => "compression",
        russh::AlgorithmKind::Mac => "integrity check",
    }
}

/// The error for a login that came to nothing.
pub(super) fn refused(endpoint: &Endpoint, refusal: &Refusal, notes: &Mutex<Notes>) -> Error {
    let mut parts = refusal.tried.clone();
    if let Some(accepted) = &refusal.accepted {
        parts.push(format!("the server accepts {accepted}"));
    }
    let farewell = look(notes).farewell.is_some();
    if refusal.lost.is_some() || farewell {
        parts.extend(end_of(notes).or_else(|| refusal.lost.clone()));
    }
    // A server that hangs up after refusals has had enough of them; one that is just gone may come back.
    let given_up = refusal.lost.is_some() && !farewell;
    let kind = if given_up { Kind::Unreachable } else { Kind::Login };
    let hint = if given_up { "Try later." } else { login_hint(refusal, farewell) };
    Error::new(kind, "log in to", endpoint).detail(parts.join("; ")).hint(hint)
}

/// `had_enough`: the server hung up with a word after what it refused.
fn login_hint(refusal: &Refusal, had_enough: bool) -> &'static str {
    let tried = |part: &str| refusal.tried.iter().any(|tried| tried.contains(part));
    if had_enough && tried("key ") {
        "The server counts refused keys: name the right one first (-i KEY, or auth: {key: …} in the config)."
    } else if tried("(it asked: ") {
        "Log in from a terminal, or say where a one-time code is to be had: auth: {code: …} in the config."
    } else if refusal.tried.is_empty() {
        "Name a key (-i KEY, or auth: {key: …} in the config), load one into ssh-agent, or say where the password is."
    } else if refusal.tried.iter().any(|t| t.contains("key ") && t.ends_with(": refused")) {
        "Check the user name, and that the public key is in authorized_keys of that account."
    } else {
        "Check the user name and what was given to log in with."
    }
}
