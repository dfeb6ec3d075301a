//! Logging in: what is tried, in which order, and how each try was refused.
//!
//! Key files that were named are the only keys offered: servers count refused keys and close the door
//! after a few. Without named ones ssh-agent comes first, then the usual files. A certificate comes before
//! the key it is for. A password comes after the keys, by `password` or by `keyboard-interactive`,
//! whichever the server takes; where there are one-time codes, `keyboard-interactive` comes first.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::client::AgentClient;
use russh::{MethodKind, MethodSet};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::algorithms::Suite;
use super::candidate::{Candidate, candidates};
use super::client::Client;
use super::key_file::KeyFile;
use super::user_certificate::why_refused;
use crate::clock::{Clock, SystemClock};
use crate::config::model::Secret;
use crate::path::escape;
use crate::secret::Prompt;

/// How long the server may take to answer one try.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// How to log in.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// Keys that were named: only these are offered, in this order.
    pub keys: Vec<KeyFile>,
    /// Files of certificates for these or the agent's keys, beside those that lie next to the keys.
    pub certificates: Vec<PathBuf>,
    /// Files tried when no key is named; those missing are passed over.
    pub default_keys: Vec<PathBuf>,
    /// The socket of ssh-agent, `$SSH_AUTH_SOCK`.
    pub agent: Option<PathBuf>,
    /// Whether the agent's keys are offered after the named ones too, as ssh does unless IdentitiesOnly is said.
    pub offers_agent_too: bool,
    /// The algorithms to sign with, as `PubkeyAcceptedAlgorithms` of ssh_config has them.
    pub accepted_algorithms: Option<String>,
    /// Where the password is.
    pub password: Option<Secret>,
    /// Where a one-time code is to be had, anew for each login.
    pub code: Option<Secret>,
    /// A person to ask for passphrases and passwords; none in unattended use.
    pub prompt: Option<Arc<dyn Prompt>>,
}

impl Login {
    /// What ssh would try: the agent behind `agent`, then the usual files in `ssh_folder` (`~/.ssh`).
    pub fn usual(ssh_folder: &Path, agent: Option<PathBuf>) -> Self {
        let default_keys = ["id_ed25519", "id_ecdsa", "id_rsa"].map(|name| ssh_folder.join(name));
        Self { default_keys: default_keys.into(), agent, ..Self::default() }
    }
}

/// Why nothing let us in.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What was tried and what came of it, for people.
    pub(super) tried: Vec<String>,
    /// What the server would take, if it said so.
    pub(super) accepted: Option<String>,
    /// Whether the session itself came to an end, and how if that is known.
    pub(super) lost: Option<String>,
}

/// Logs in and returns what let us in, for people.
pub(super) async fn log_in(
    handle: &mut Handle<Client>,
    user: &str,
    login: &Login,
    suite: &Suite,
) -> Result<String, Refusal> {
    let mut attempts = Attempts::new(handle, user, login, suite);
    let outcome = attempts.run().await;
    outcome.map_err(|lost| Refusal {
        tried: attempts.tried,
        accepted: attempts.accepted.map(|methods| names(&methods)),
        lost,
    })
}

fn names(methods: &MethodSet) -> String {
    let names: Vec<String> = methods.iter().map(String::from).collect();
    names.join(", ")
}

/// Why a try came to nothing before the server could refuse it.
pub(super) enum Stop {
    /// This one is of no use; why, for people.
    Unusable(String),
    /// Nothing worth telling.
    PassOver,
    /// The session is over.
    Lost(String),
}

impl From<russh::Error> for Stop {
    fn from(error: russh::Error) -> Self {
        Stop::Lost(escape(error.to_string().as_bytes()))
    }
}

/// One login under way. The keys are offered in `identity`, passwords and codes in `dialogue`.
pub(super) struct Attempts<'a> {
    pub(super) handle: &'a mut Handle<Client>,
    pub(super) user: &'a str,
    pub(super) login: &'a Login,
    pub(super) suite: &'a Suite,
    pub(super) candidates: VecDeque<Candidate>,
    pub(super) agent: Option<AgentClient<UnixStream>>,
    /// Fingerprints of the keys offered so far.
    pub(super) offered: HashSet<String>,
    /// What the server takes, once it has said so.
    accepted: Option<MethodSet>,
    /// Methods that brought us on a step, for people.
    passed: Vec<String>,
    /// Questions of the server that nobody could answer.
    pub(super) unanswered: Vec<String>,
    pub(super) tried: Vec<String>,
}

impl<'a> Attempts<'a> {
    fn new(handle: &'a mut Handle<Client>, user: &'a str, login: &'a Login, suite: &'a Suite) -> Self {
        Self {
            handle,
            user,
            login,
            suite,
            candidates: candidates(login),
            agent: None,
            offered: HashSet::new(),
            accepted: None,
            passed: Vec::new(),
            unanswered: Vec::new(),
            tried: Vec::new(),
        }
    }

    /// Tries one after the other. The error says how the session ended, if it did. (The library reports
    /// the end of a session as a refusal that leaves no method.)
    async fn run(&mut self) -> Result<String, Option<String>> {
        while let Some(candidate) = self.next() {
            let name = candidate.to_string();
            match self.attempt(&candidate).await {
                Ok(AuthResult::Success) => {
                    self.passed.push(name);
                    return Ok(self.passed.join(", then "));
                }
                Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                    if remaining_methods.is_empty() && self.handle.is_closed() {
                        self.tried.push(format!("{name}: no answer"));
                        return Err(Some("the server hung up".into()));
                    }
                    let taken = remaining_methods.contains(&candidate.method());
                    self.note_refusal(&candidate, name, partial_success, taken);
                    self.accepted = Some(remaining_methods);
                }
                Err(Stop::Unusable(reason)) => self.tried.push(format!("{name} {reason}")),
                Err(Stop::PassOver) => {}
                Err(Stop::Lost(reason)) => return Err(Some(reason)),
            }
        }
        Err(None)
    }

    /// The first candidate whose method the server takes. The others stay: a server that wants several
    /// methods names the next one after the first succeeded.
    fn next(&mut self) -> Option<Candidate> {
        let accepted = self.accepted.as_deref();
        let usable = |c: &Candidate| accepted.is_none_or(|methods| methods.contains(&c.method()));
        let index = self.candidates.iter().position(usable)?;
        self.candidates.remove(index)
    }

    /// `taken`: the server takes this method, so that it was the key or the password that it refused.
    fn note_refusal(&mut self, candidate: &Candidate, name: String, partial: bool, taken: bool) {
        let outcome = match (partial, taken) {
            (true, _) => "accepted, but the server asks for more",
            (false, true) => "refused",
            (false, false) => "not taken by this server",
        };
        match candidate {
            Candidate::Nothing => return,
            Candidate::Password { tries } if taken && !partial => self.after_password(*tries),
            _ => {}
        }
        let questions = self.unanswered.drain(..).map(|question| format!(" (it asked: {question})"));
        let mut told = format!("{name}: {outcome}{}", questions.collect::<String>());
        if partial {
            self.passed.push(name);
        } else if let Some(certificate) = candidate.certificate() {
            let why = why_refused(certificate, self.user, SystemClock.now());
            told.extend(why.map(|why| format!(" ({why})")));
        }
        self.tried.push(told);
    }

    /// A person may try again; the same password once more would only count as one more failure.
    fn after_password(&mut self, tries: usize) {
        if self.login.password.is_some() {
            let useless = |c: &Candidate| matches!(c, Candidate::Interactive) && self.login.code.is_none();
            self.candidates.retain(|c| !useless(c));
        } else if tries > 1 {
            self.candidates.push_front(Candidate::Password { tries: tries - 1 });
        }
    }

    async fn attempt(&mut self, candidate: &Candidate) -> Result<AuthResult, Stop> {
        match candidate {
            Candidate::Key(file) => self.key_file(file).await,
            Candidate::Own { key, .. } => self.key(key).await,
            Candidate::Certified { key, certificate } => self.certificate(key.as_ref(), certificate).await,
            Candidate::Agent => self.list_agent().await,
            Candidate::Identity(identity) => self.identity(identity).await,
            Candidate::Password { .. } => self.password().await,
            Candidate::Interactive => self.interactive().await,
            Candidate::Nothing => patient(self.handle.authenticate_none(self.user)).await,
        }
    }
}

/// Refused, with the session still there to try the same key signed otherwise.
pub(super) fn is_plain_refusal(answer: &Result<AuthResult, Stop>) -> bool {
    matches!(answer, Ok(AuthResult::Failure { remaining_methods, partial_success: false })
        if remaining_methods.contains(&MethodKind::PublicKey))
}

/// What the server answers, or the end of the session when it does not.
pub(super) async fn patient<T>(answer: impl Future<Output = Result<T, russh::Error>>) -> Result<T, Stop> {
    match timeout(ANSWER_DEADLINE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Stop::Lost(format!("no answer within {} s", ANSWER_DEADLINE.as_secs()))),
    }
}

/// Does something that may block, without holding up the connection.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Stop::Lost(e.to_string()))
}
