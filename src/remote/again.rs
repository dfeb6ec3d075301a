//! One more connection to a server that is logged in to already: over the same hop, to the same host key, and only
//! where it takes nobody's help.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::auth::Login;
use super::connect::{Connection, Over};
use super::host_key::Known;
use super::route::Manner;
use crate::config::model::Secret;
use crate::error::{Error, Kind, Result};
use crate::secret::{Prompt, Revealed};

/// What the first login leaves for others.
pub(super) struct Again {
    login: Login,
    known: Known,
    manner: Manner,
    /// Whether the first one took a person, who is not asked for the same twice.
    took_a_person: Arc<AtomicBool>,
}

/// Notes that somebody was asked.
#[derive(Debug)]
struct Noted {
    prompt: Arc<dyn Prompt>,
    was_asked: Arc<AtomicBool>,
}

impl Prompt for Noted {
    fn ask(&self, question: &str) -> Option<Revealed> {
        self.was_asked.store(true, Ordering::Relaxed);
        self.prompt.ask(question)
    }
}

impl Again {
    /// The login to use now, and what it leaves.
    pub(super) fn after(login: &Login, known: &Known, manner: &Manner) -> (Login, Self) {
        let was_asked = Arc::new(AtomicBool::new(false));
        let noted = |prompt| Arc::new(Noted { prompt, was_asked: was_asked.clone() }) as Arc<dyn Prompt>;
        let now = Login { prompt: login.prompt.clone().map(noted), ..login.clone() };
        let later = Login { prompt: None, ..login.clone() };
        let again =
            Self { login: later, known: known.clone(), manner: manner.clone(), took_a_person: was_asked };
        (now, again)
    }

    /// Whether it takes nobody, as far as can be told: a one-time code is good for one login, and a command may ask
    /// somebody, or a device.
    fn needs_nobody(&self) -> bool {
        let keys = self.login.keys.iter().flat_map(|key| [Some(&key.source), key.passphrase.as_ref()]);
        let mut secrets = keys.chain([self.login.password.as_ref()]).flatten();
        self.login.code.is_none()
            && !self.took_a_person.load(Ordering::Relaxed)
            && !secrets.any(|secret| matches!(secret, Secret::Command(_)))
    }
}

impl Connection {
    /// Connects and logs in to the same server once more. `None`: that would take a person or a one-time code, this
    /// one came from here itself, or `ssh` makes the session.
    ///
    /// Errors: those of [`connect_to`](super::connect::connect_to); `HostKeyChanged` and `Protocol` where another server
    /// answers than the first time.
    pub(super) async fn another(&self) -> Result<Option<Connection>> {
        let Some(session) = self.session() else { return Ok(None) };
        // Security keys want to be touched (their types are sk-ssh-ed25519@openssh.com and the like).
        let is_touched = self.facts.login.contains(" sk-");
        let is_attended = is_touched || session.line.is_attended();
        let Some(again) = session.again.as_ref().filter(|again| again.needs_nobody() && !is_attended) else {
            return Ok(None);
        };
        let Again { login, known, manner, .. } = again;
        let (endpoint, known) = (self.endpoint(), known.only(&self.facts.host_key));
        let over = Over { endpoint, line: &session.line, manner };
        let met = over.meet(&known, false, known.offer()).await?;
        let other = met.log_in(endpoint, login, &known, session.line.clone(), None).await?;
        if other.facts.ident != self.facts.ident {
            return Err(Error::new(Kind::Protocol, "connect once more to", endpoint)
                .detail(format!("it is {} now, and was {}", other.facts.ident, self.facts.ident)));
        }
        Ok(Some(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Somebody;

    impl Prompt for Somebody {
        fn ask(&self, _: &str) -> Option<Revealed> {
            Some(Revealed::new("by heart"))
        }
    }

    #[test]
    fn nobody_is_asked_twice_and_no_code_used_twice() {
        let after = |login: &Login| Again::after(login, &Known::default(), &Manner::default());
        let with_somebody = Login { prompt: Some(Arc::new(Somebody)), ..Login::default() };
        let (now, again) = after(&with_somebody);
        assert!(again.needs_nobody(), "a person who is there was not asked");
        assert!(again.login.prompt.is_none());
        assert!(now.prompt.unwrap().ask("Password: ").is_some());
        assert!(!again.needs_nobody());
        let with_code = Login { code: Some(Secret::Env("CODE".into())), ..Login::default() };
        assert!(!after(&with_code).1.needs_nobody());
        let from = |password| Login { password: Some(password), ..Login::default() };
        assert!(after(&from(Secret::Env("PASSWORD".into()))).1.needs_nobody());
        assert!(!after(&from(Secret::Command(vec!["pass".into()]))).1.needs_nobody());
    }
}
