//! Logging in: what is tried, in which order, and how each try was refused.
//!
//! Key files that were named are the only keys offered: servers count refused keys and close the door
//! after a few. Without named ones ssh-agent comes first, then the usual files. A password comes after
//! the keys, by `password` or by `keyboard-interactive`, whichever the server takes.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Interactive, Prompt as Question};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{MethodKind, MethodSet};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::candidate::{Candidate, candidates};
use super::client::Client;
use super::key_file::{KeyFile, Opened};
use crate::config::model::Secret;
use crate::path::escape;
use crate::secret::{Prompt, Revealed, reveal};

/// How long the server may take to answer one try.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// How long ssh-agent may take: it may wait for a person to touch a device.
const AGENT_DEADLINE: Duration = Duration::from_secs(60);

/// How often a server may ask again in one keyboard-interactive dialogue.
const MAX_ROUNDS: usize = 10;

/// More keys than this of an agent are not offered.
const MAX_AGENT_KEYS: usize = 32;

/// How to log in.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// Keys that were named: only these are offered, in this order.
    pub keys: Vec<KeyFile>,
    /// Files tried when no key is named; those missing are passed over.
    pub default_keys: Vec<PathBuf>,
    /// The socket of ssh-agent, `$SSH_AUTH_SOCK`.
    pub agent: Option<PathBuf>,
    /// Where the password is.
    pub password: Option<Secret>,
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
) -> Result<String, Refusal> {
    let mut attempts = Attempts::new(handle, user, login);
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
enum Stop {
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

struct Attempts<'a> {
    handle: &'a mut Handle<Client>,
    user: &'a str,
    login: &'a Login,
    candidates: VecDeque<Candidate>,
    agent: Option<AgentClient<UnixStream>>,
    /// Fingerprints of the keys offered so far.
    offered: HashSet<String>,
    /// What the server takes, once it has said so.
    accepted: Option<MethodSet>,
    /// Questions of the server that nobody could answer.
    unanswered: Vec<String>,
    tried: Vec<String>,
}

impl<'a> Attempts<'a> {
    fn new(handle: &'a mut Handle<Client>, user: &'a str, login: &'a Login) -> Self {
        Self {
            handle,
            user,
            login,
            candidates: candidates(login),
            agent: None,
            offered: HashSet::new(),
            accepted: None,
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
                Ok(AuthResult::Success) => return Ok(name),
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
        self.tried.push(format!("{name}: {outcome}{}", questions.collect::<String>()));
    }

    /// A person may try again; the same password once more would only count as one more failure.
    fn after_password(&mut self, tries: usize) {
        if self.login.password.is_some() {
            self.candidates.retain(|c| !matches!(c, Candidate::Interactive));
        } else if tries > 1 {
            self.candidates.push_front(Candidate::Password { tries: tries - 1 });
        }
    }

    async fn attempt(&mut self, candidate: &Candidate) -> Result<AuthResult, Stop> {
        match candidate {
            Candidate::Key(file) => self.key_file(file).await,
            Candidate::Agent => self.list_agent().await,
            Candidate::Identity(identity) => self.identity(identity).await,
            Candidate::Password { .. } => self.password().await,
            Candidate::Interactive => self.interactive().await,
            Candidate::Nothing => patient(self.handle.authenticate_none(self.user)).await,
        }
    }

    async fn key_file(&mut self, file: &KeyFile) -> Result<AuthResult, Stop> {
        let is_default = self.login.keys.is_empty();
        if is_default && file.is_missing() {
            return Err(Stop::PassOver);
        }
        let (wanted, prompt) = (file.clone(), self.login.prompt.clone());
        match aside(move || wanted.open(prompt.as_deref())).await?.map_err(Stop::Unusable)? {
            Opened::Ready(key) => self.key(Arc::new(*key)).await,
            Opened::Locked(public) => self.locked(public).await,
        }
    }

    /// A key whose passphrase nobody gave: ssh-agent may hold it open.
    async fn locked(&mut self, public: Option<PublicKey>) -> Result<AuthResult, Stop> {
        let identities = self.identities().await.unwrap_or_default(); // without an agent it stays locked
        let wanted = public.as_ref().map(PublicKey::key_data);
        match identities.into_iter().find(|i| Some(i.public_key().key_data()) == wanted) {
            Some(identity) => self.identity(&identity).await,
            None => Err(Stop::Unusable(
                "is encrypted, and no passphrase was given (name one in the configuration, \
                 or load the key into ssh-agent)"
                    .into(),
            )),
        }
    }

    async fn key(&mut self, key: Arc<PrivateKey>) -> Result<AuthResult, Stop> {
        if !self.offered.insert(fingerprint(key.public_key())) {
            return Err(Stop::PassOver);
        }
        let mut last = Err(Stop::PassOver);
        for hash in self.hashes(key.public_key()).await? {
            let key = PrivateKeyWithHashAlg::new(Arc::clone(&key), hash);
            last = patient(self.handle.authenticate_publickey(self.user, key)).await;
            if !is_plain_refusal(&last) {
                break;
            }
        }
        last
    }

    /// How to sign with a key. RSA keys sign with SHA-2 only, the best kind the server names; a server
    /// that names nothing is offered both.
    async fn hashes(&self, key: &PublicKey) -> Result<Vec<Option<HashAlg>>, Stop> {
        if !key.algorithm().is_rsa() {
            return Ok(vec![None]);
        }
        match patient(self.handle.best_supported_rsa_hash()).await? {
            Some(Some(hash)) => Ok(vec![Some(hash)]),
            Some(None) => Err(Stop::Unusable(
                "cannot be used: the server takes RSA keys with SHA-1 only (make an ed25519 key)".into(),
            )),
            None => Ok(vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)]),
        }
    }

    /// Puts the agent's keys in front of the other candidates.
    async fn list_agent(&mut self) -> Result<AuthResult, Stop> {
        let identities = self.identities().await?;
        if identities.is_empty() {
            return Err(Stop::Unusable("holds no keys (ssh-add loads one)".into()));
        }
        for identity in identities.into_iter().take(MAX_AGENT_KEYS).rev() {
            self.candidates.push_front(Candidate::Identity(Box::new(identity)));
        }
        Err(Stop::PassOver)
    }

    async fn identities(&mut self) -> Result<Vec<AgentIdentity>, Stop> {
        let Some(socket) = &self.login.agent else {
            return Ok(Vec::new());
        };
        let unreachable = |e: russh::keys::Error| Stop::Unusable(format!("cannot be asked: {e}"));
        if self.agent.is_none() {
            let mut agent = timely(AgentClient::connect_uds(socket)).await?.map_err(unreachable)?;
            if let Some(binding) = self.handle.agent_session_binding() {
                // Keys bound to a destination need this; agents that know none refuse it, which is fine.
                let _ = timely(agent.bind_session(binding, false)).await?;
            }
            self.agent = Some(agent);
        }
        let Some(agent) = &mut self.agent else { return Ok(Vec::new()) };
        timely(agent.request_identities()).await?.map_err(unreachable)
    }

    async fn identity(&mut self, identity: &AgentIdentity) -> Result<AuthResult, Stop> {
        let key = identity.public_key();
        self.offered.insert(fingerprint(&key));
        let mut last = Err(Stop::PassOver);
        for hash in self.hashes(&key).await? {
            last = self.sign_with_agent(identity, hash).await;
            if !is_plain_refusal(&last) {
                break;
            }
        }
        last
    }

    async fn sign_with_agent(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
    ) -> Result<AuthResult, Stop> {
        let Some(agent) = &mut self.agent else { return Err(Stop::PassOver) };
        let (handle, user) = (&mut *self.handle, self.user);
        let answer = timeout(ANSWER_DEADLINE + AGENT_DEADLINE, async {
            match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    handle.authenticate_publickey_with(user, key.clone(), hash, agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    handle.authenticate_certificate_with(user, certificate.clone(), hash, agent).await
                }
            }
        });
        let answer = answer.await.map_err(|_| Stop::Lost("no answer in time".into()))?;
        answer.map_err(|e| {
            Stop::Unusable(format!("was not used to sign: {}", escape(e.to_string().as_bytes())))
        })
    }

    async fn password(&mut self) -> Result<AuthResult, Stop> {
        let question = format!("Password of {} at the server: ", escape(self.user.as_bytes()));
        let password = match &self.login.password {
            Some(source) => fetch(source).await?,
            None => self.ask(question).await?.ok_or(Stop::PassOver)?,
        };
        patient(self.handle.authenticate_password(self.user, password.expose())).await
    }

    /// A dialogue: the password answers the first question that hides its answer, a person the others.
    async fn interactive(&mut self) -> Result<AuthResult, Stop> {
        let mut password = match &self.login.password {
            Some(source) => Some(fetch(source).await?),
            None => None,
        };
        let start = self.handle.authenticate_keyboard_interactive_start(self.user, None::<String>);
        let mut answer = patient(start).await?;
        for _ in 0..MAX_ROUNDS {
            let questions = match answer {
                Interactive::Success => return Ok(AuthResult::Success),
                Interactive::Failure { remaining_methods, partial_success } => {
                    return Ok(AuthResult::Failure { remaining_methods, partial_success });
                }
                Interactive::InfoRequest { prompts, .. } => prompts,
            };
            let answers = self.answers(&questions, &mut password).await?;
            answer = patient(self.handle.authenticate_keyboard_interactive_respond(answers)).await?;
        }
        Err(Stop::Lost("the server goes on asking questions".into()))
    }

    async fn answers(
        &mut self,
        questions: &[Question],
        password: &mut Option<Revealed>,
    ) -> Result<Vec<String>, Stop> {
        let mut answers = Vec::new();
        for question in questions {
            let shown: String = escape(question.prompt.trim_end().as_bytes()).chars().take(200).collect();
            let given = match password.take_if(|_| !question.echo) {
                Some(password) => Some(password),
                None => self.ask(format!("{shown} ")).await?,
            };
            if given.is_none() {
                self.unanswered.push(shown);
            }
            // The library waits for as many answers as there were questions; an empty one is refused.
            answers.push(given.map(|secret| secret.expose().to_string()).unwrap_or_default());
        }
        Ok(answers)
    }

    async fn ask(&self, question: String) -> Result<Option<Revealed>, Stop> {
        match self.login.prompt.clone() {
            Some(prompt) => aside(move || prompt.ask(&question)).await,
            None => Ok(None),
        }
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Refused, with the session still there to try the same key signed otherwise.
fn is_plain_refusal(answer: &Result<AuthResult, Stop>) -> bool {
    matches!(answer, Ok(AuthResult::Failure { remaining_methods, partial_success: false })
        if remaining_methods.contains(&MethodKind::PublicKey))
}

async fn fetch(source: &Secret) -> Result<Revealed, Stop> {
    let source = source.clone();
    let shown = source.to_string();
    let revealed = aside(move || reveal(&source)).await?;
    revealed.map_err(|e| Stop::Unusable(format!("cannot be had from {shown}: {}", e.reason())))
}

/// What the server answers, or the end of the session when it does not.
async fn patient<T>(answer: impl Future<Output = Result<T, russh::Error>>) -> Result<T, Stop> {
    match timeout(ANSWER_DEADLINE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Stop::Lost(format!("no answer within {} s", ANSWER_DEADLINE.as_secs()))),
    }
}

/// What the agent answers, in time.
async fn timely<T>(answer: impl Future<Output = T>) -> Result<T, Stop> {
    timeout(AGENT_DEADLINE, answer).await.map_err(|_| Stop::Unusable("does not answer".into()))
}

/// Does something that may block, without holding up the connection.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Stop::Lost(e.to_string()))
}
