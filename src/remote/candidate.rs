//! What there is to log in with, in the order in which it is tried.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use russh::MethodKind;
use russh::keys::agent::AgentIdentity;
use russh::keys::{Certificate, PrivateKey};

use super::auth::Login;
use super::key_file::KeyFile;
use super::user_certificate::UserCertificate;
use crate::path::escape;

/// How often a person may mistype a password.
const PASSWORD_TRIES: usize = 3;

/// Something to try.
pub(super) enum Candidate {
    /// A key that is read when its turn comes.
    Key(KeyFile),
    /// A key that was read, and the name of its file.
    Own { key: Arc<PrivateKey>, name: String },
    /// A certificate for a key that was read, or for one of the agent's.
    Certified { key: Option<Arc<PrivateKey>>, certificate: Box<UserCertificate> },
    /// Whatever ssh-agent holds.
    Agent,
    /// One of the agent's keys.
    Identity(Box<AgentIdentity>),
    /// The password, or what a person types, so many times.
    Password { tries: usize },
    /// A dialogue in which the password, or a person, answers.
    Interactive,
    /// Nothing at all, to learn what the server would take.
    Nothing,
}

impl Candidate {
    /// The method it goes by, to be held against those that the server takes.
    pub(super) fn method(&self) -> MethodKind {
        match self {
            Self::Key(_) | Self::Own { .. } | Self::Certified { .. } | Self::Agent | Self::Identity(_) => {
                MethodKind::PublicKey
            }
            Self::Password { .. } => MethodKind::Password,
            Self::Interactive => MethodKind::KeyboardInteractive,
            Self::Nothing => MethodKind::None,
        }
    }

    /// The certificate that is offered, if it is one.
    pub(super) fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Certified { certificate, .. } => Some(&certificate.certificate),
            Self::Identity(identity) => match identity.as_ref() {
                AgentIdentity::Certificate { certificate, .. } => Some(certificate),
                AgentIdentity::PublicKey { .. } => None,
            },
            _ => None,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(file) => write!(f, "key {file}"),
            Self::Own { name, .. } => write!(f, "key {name}"),
            Self::Certified { key, certificate } => {
                let whose = if key.is_some() { "" } else { ", signed by ssh-agent" };
                write!(f, "certificate {}{whose}", certificate.name)
            }
            Self::Agent => f.write_str("ssh-agent"),
            Self::Identity(identity) => {
                let (key, comment) = (identity.public_key(), escape(identity.comment().as_bytes()));
                let what = if self.certificate().is_some() { "certificate" } else { "key" };
                write!(f, "ssh-agent's {} {what} {comment}", key.algorithm().as_str())
            }
            Self::Password { .. } => f.write_str("password"),
            Self::Interactive => f.write_str("keyboard-interactive"),
            Self::Nothing => f.write_str("no credentials"),
        }
    }
}

/// What there is to try, in order.
pub(super) fn candidates(login: &Login) -> VecDeque<Candidate> {
    let mut candidates: VecDeque<_> = login.keys.iter().cloned().map(Candidate::Key).collect();
    if login.keys.is_empty() || login.offers_agent_too {
        candidates.extend(login.agent.is_some().then_some(Candidate::Agent));
    }
    if login.keys.is_empty() {
        candidates.extend(login.default_keys.iter().map(|path| Candidate::Key(KeyFile::new(path))));
    }
    if login.password.is_some() || login.prompt.is_some() {
        candidates.push_back(Candidate::Password { tries: PASSWORD_TRIES });
    }
    if login.code.is_some() {
        // Where codes are asked for, the password alone is not enough, and would count as a failure.
        let after_keys = candidates.iter().position(|c| matches!(c, Candidate::Password { .. }));
        candidates.insert(after_keys.unwrap_or(candidates.len()), Candidate::Interactive);
    } else if login.password.is_some() || login.prompt.is_some() {
        candidates.push_back(Candidate::Interactive);
    }
    candidates.push_back(Candidate::Nothing);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Secret;
    use crate::secret::{Prompt, Revealed};

    #[derive(Debug)]
    struct Nobody;

    impl Prompt for Nobody {
        fn ask(&self, _: &str) -> Option<Revealed> {
            None
        }
    }

    #[test]
    fn keys_come_before_passwords_and_named_ones_stand_alone() {
        let check = |login: &Login, expected: &[&str]| {
            let names: Vec<String> = candidates(login).iter().map(ToString::to_string).collect();
            assert_eq!(names, expected);
        };
        let usual = Login::usual("/h/.ssh".as_ref(), Some("/agent".into()));
        let files = ["key /h/.ssh/id_ed25519", "key /h/.ssh/id_ecdsa", "key /h/.ssh/id_rsa"];
        let passwords = ["password", "keyboard-interactive"];
        let named = Login { keys: vec![KeyFile::new("/k")], ..usual.clone() };
        let password = Login { password: Some(Secret::Env("PW".into())), ..Login::default() };
        let person = Login { prompt: Some(Arc::new(Nobody)), ..named.clone() };
        check(&usual, &["ssh-agent", files[0], files[1], files[2], "no credentials"]);
        check(&named, &["key /k", "no credentials"]);
        check(&password, &[passwords[0], passwords[1], "no credentials"]);
        check(&person, &["key /k", passwords[0], passwords[1], "no credentials"]);
        let code = Login { code: Some(Secret::Env("CODE".into())), ..Login::default() };
        check(&code, &[passwords[1], "no credentials"]);
        let both = Login { password: Some(Secret::Env("PW".into())), ..code };
        check(&both, &[passwords[1], passwords[0], "no credentials"]);
        check(&Login::default(), &["no credentials"]);
    }
}
