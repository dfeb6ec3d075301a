//! Offering keys and certificates: our own from files, and those of ssh-agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::client::AuthResult;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{AgentAuthError, Signer};
use tokio::time::timeout;

use super::auth::{ANSWER_DEADLINE, Attempts, Stop, aside, is_plain_refusal, patient};
use super::candidate::Candidate;
use super::key_file::{KeyFile, Opened};
use super::user_certificate::{AgentKey, OwnKey, UserCertificate, beside};
use super::wishes::is_accepted;
use crate::path::escape;

/// How long ssh-agent may take: it may wait for a person to touch a device.
const AGENT_DEADLINE: Duration = Duration::from_secs(60);

/// More keys than this of an agent are not offered.
const MAX_AGENT_KEYS: usize = 32;

const LOCKED: &str = "is encrypted, and no passphrase was given (name one in the configuration, \
                      or load the key into ssh-agent)";

const ELSEWHERE: &str = "has only its public half here, and ssh-agent does not hold the other";

impl Attempts<'_> {
    /// Opens a key, and puts it and its certificates in front of the other candidates.
    pub(super) async fn key_file(&mut self, file: &KeyFile) -> Result<AuthResult, Stop> {
        let is_default = self.login.keys.is_empty();
        if is_default && file.is_missing() {
            return Err(Stop::PassOver);
        }
        let (wanted, prompt) = (file.clone(), self.login.prompt.clone());
        match aside(move || wanted.open(prompt.as_deref())).await?.map_err(Stop::Unusable)? {
            Opened::Ready(key) => {
                let key = Arc::new(*key);
                let own = Candidate::Own { key: Arc::clone(&key), name: file.to_string() };
                let certificates = self.certificates(key.public_key(), beside(file));
                self.candidates.push_front(own);
                self.put_first(Some(&key), certificates);
                Err(Stop::PassOver)
            }
            Opened::Locked(public) => self.held(public, file, LOCKED).await,
            Opened::Public(public) => self.held(Some(public), file, ELSEWHERE).await,
        }
    }

    /// A key that we cannot use ourselves: ssh-agent may hold it. Otherwise says `why` it is of no use.
    async fn held(
        &mut self,
        public: Option<PublicKey>,
        file: &KeyFile,
        why: &str,
    ) -> Result<AuthResult, Stop> {
        let identities = self.identities().await.unwrap_or_default(); // without an agent it stays locked
        let is_wanted = |i: &AgentIdentity| {
            public.as_ref().is_some_and(|key| i.public_key().key_data() == key.key_data())
        };
        let held: Vec<AgentIdentity> = identities.into_iter().filter(is_wanted).collect();
        let Some(public) = public.filter(|_| !held.is_empty()) else {
            return Err(Stop::Unusable(why.into()));
        };
        let certificates = self.certificates(&public, beside(file));
        for identity in held.into_iter().rev() {
            self.candidates.push_front(Candidate::Identity(Box::new(identity)));
        }
        self.put_first(None, certificates);
        Err(Stop::PassOver)
    }

    /// The certificates for a key among those that were named, and the one beside its file. What is wrong
    /// with others is told.
    fn certificates(&mut self, key: &PublicKey, beside: Option<PathBuf>) -> Vec<UserCertificate> {
        let mut found: Vec<UserCertificate> = Vec::new();
        for path in self.login.certificates.iter().chain(&beside) {
            match UserCertificate::read(path) {
                Ok(certificate) if !certificate.is_for(key) => {}
                Ok(certificate) if found.iter().any(|c| c.certificate == certificate.certificate) => {}
                Ok(certificate) => found.push(certificate),
                Err(why) if self.tried.contains(&why) => {}
                Err(why) => self.tried.push(why),
            }
        }
        found
    }

    /// Puts certificates in front of the other candidates. Without a key of ours ssh-agent signs.
    fn put_first(&mut self, key: Option<&Arc<PrivateKey>>, certificates: Vec<UserCertificate>) {
        for certificate in certificates.into_iter().rev() {
            let certificate = Box::new(certificate);
            self.candidates.push_front(Candidate::Certified { key: key.cloned(), certificate });
        }
    }

    /// Offers a key of ours.
    pub(super) async fn key(&mut self, key: &Arc<PrivateKey>) -> Result<AuthResult, Stop> {
        if !self.offered.insert(fingerprint(key.public_key())) {
            return Err(Stop::PassOver);
        }
        let mut last = Err(Stop::PassOver);
        for hash in self.hashes(key.public_key()).await? {
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            last = patient(self.handle.authenticate_publickey(self.user, key)).await;
            if !is_plain_refusal(&last) {
                break;
            }
        }
        last
    }

    /// How to sign with a key, as far as ssh_config accepts it.
    async fn hashes(&self, key: &PublicKey) -> Result<Vec<Option<HashAlg>>, Stop> {
        let setting = self.login.accepted_algorithms.as_deref();
        let mut hashes = self.usual_hashes(key).await?;
        hashes.retain(|hash| is_accepted(setting, key, *hash));
        if hashes.is_empty() {
            return Err(Stop::Unusable(
                "is of a kind that PubkeyAcceptedAlgorithms in ssh_config leaves out".into(),
            ));
        }
        Ok(hashes)
    }

    /// How to sign with a key. RSA keys sign with SHA-2, the best kind the server names; a server that
    /// names nothing is offered both. With SHA-1 they sign for legacy servers only.
    async fn usual_hashes(&self, key: &PublicKey) -> Result<Vec<Option<HashAlg>>, Stop> {
        if !key.algorithm().is_rsa() {
            return Ok(vec![None]);
        }
        match patient(self.handle.best_supported_rsa_hash()).await? {
            Some(Some(hash)) => Ok(vec![Some(hash)]),
            Some(None) if self.suite.legacy => Ok(vec![None]),
            Some(None) => Err(Stop::Unusable(
                "cannot be used: the server takes RSA keys with SHA-1 only (make an ed25519 key, or say \
                 legacy: true of the server)"
                    .into(),
            )),
            None if self.suite.legacy => Ok(vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256), None]),
            None => Ok(vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)]),
        }
    }

    /// Puts the agent's keys, and the certificates for them, in front of the other candidates.
    pub(super) async fn list_agent(&mut self) -> Result<AuthResult, Stop> {
        let identities = self.identities().await?;
        if identities.is_empty() {
            return Err(Stop::Unusable("holds no keys (ssh-add loads one)".into()));
        }
        for identity in identities.into_iter().take(MAX_AGENT_KEYS).rev() {
            let certificates = match &identity {
                AgentIdentity::PublicKey { key, .. } => self.certificates(key, None),
                AgentIdentity::Certificate { .. } => Vec::new(),
            };
            self.candidates.push_front(Candidate::Identity(Box::new(identity)));
            self.put_first(None, certificates);
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

    /// Offers what the agent holds: a key, or a certificate with its key.
    pub(super) async fn identity(&mut self, identity: &AgentIdentity) -> Result<AuthResult, Stop> {
        let key = identity.public_key();
        if matches!(identity, AgentIdentity::PublicKey { .. }) && !self.offered.insert(fingerprint(&key)) {
            return Err(Stop::PassOver);
        }
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
        signed(async {
            match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    handle.authenticate_publickey_with(user, key.clone(), hash, agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    handle.authenticate_certificate_with(user, certificate.clone(), hash, agent).await
                }
            }
        })
        .await
    }

    /// Offers a certificate, signing with our key or else with the agent's.
    pub(super) async fn certificate(
        &mut self,
        key: Option<&Arc<PrivateKey>>,
        certificate: &UserCertificate,
    ) -> Result<AuthResult, Stop> {
        let certificate = &certificate.certificate;
        let public = PublicKey::new(certificate.public_key().clone(), "");
        let mut last = Err(Stop::PassOver);
        for hash in self.hashes(&public).await? {
            last = match key {
                Some(key) => self.certify(certificate, hash, OwnKey(Arc::clone(key))).await,
                None => match self.agent.take() {
                    Some(mut agent) => {
                        let answer = self.certify(certificate, hash, AgentKey(&mut agent)).await;
                        self.agent = Some(agent);
                        answer
                    }
                    None => Err(Stop::PassOver),
                },
            };
            if !is_plain_refusal(&last) {
                break;
            }
        }
        last
    }

    async fn certify<S>(
        &mut self,
        certificate: &Certificate,
        hash: Option<HashAlg>,
        mut signer: S,
    ) -> Result<AuthResult, Stop>
    where
        S: Signer<Error = AgentAuthError>,
    {
        let user = self.user;
        signed(self.handle.authenticate_certificate_with(user, certificate.clone(), hash, &mut signer)).await
    }
}

/// What came of an offer for which somebody else may have signed.
async fn signed(
    answer: impl Future<Output = Result<AuthResult, AgentAuthError>>,
) -> Result<AuthResult, Stop> {
    let answer = timeout(ANSWER_DEADLINE + AGENT_DEADLINE, answer).await;
    let answer = answer.map_err(|_| Stop::Lost("no answer in time".into()))?;
    answer.map_err(|e| match e {
        AgentAuthError::Send(_) => Stop::Lost("the server hung up".into()),
        e => Stop::Unusable(format!("was not used to sign: {}", escape(e.to_string().as_bytes()))),
    })
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// What the agent answers, in time.
async fn timely<T>(answer: impl Future<Output = T>) -> Result<T, Stop> {
    timeout(AGENT_DEADLINE, answer).await.map_err(|_| Stop::Unusable("does not answer".into()))
}
