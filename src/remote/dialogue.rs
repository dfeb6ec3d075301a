//! Passwords and one-time codes: the `password` method (RFC 4252 §8), and `keyboard-interactive`
//! (RFC 4256), in which the server asks what it likes, as often as it likes.
//!
//! A question tells by its words, and by whether its answer is shown, whether a code or the password is
//! meant. Each is given once in a dialogue, then a person is asked, if there is one.

use russh::client::{AuthResult, KeyboardInteractiveAuthResponse as Interactive, Prompt as Question};

use super::auth::{Attempts, Stop, aside, patient};
use crate::config::model::Secret;
use crate::path::escape;
use crate::secret::{Revealed, reveal};

/// How often a server may ask again in one keyboard-interactive dialogue.
const MAX_ROUNDS: usize = 10;

/// More questions than this are not answered in one round.
const MAX_QUESTIONS: usize = 20;

/// How much of what a server says besides its questions is shown to a person.
const MAX_INSTRUCTIONS: usize = 1000;

/// Words of questions that ask for a one-time code: "Verification code:", "One-time password (OATH) for …",
/// "Passcode or option (1-3):", "Enter your 2FA token".
const CODE_WORDS: [&str; 12] = [
    "code",
    "passcode",
    "token",
    "tokencode",
    "otp",
    "totp",
    "oath",
    "2fa",
    "mfa",
    "verification",
    "authenticator",
    "factor",
];

/// What is still there to answer with.
#[derive(Debug, Default)]
struct Answers {
    password: Option<Secret>,
    code: Option<Secret>,
}

impl Answers {
    /// Where the answer to a question is to be had; `None`: a person may know.
    fn take(&mut self, question: &Question) -> Option<Secret> {
        let asks_for_code = asks_for_code(&question.prompt);
        if asks_for_code {
            return self.code.take();
        }
        if question.echo {
            return None; // never the password where everybody may read it
        }
        self.password.take().or_else(|| self.code.take())
    }
}

fn asks_for_code(question: &str) -> bool {
    let question = question.to_lowercase();
    let mut words = question.split(|c: char| !c.is_alphanumeric());
    words.any(|word| CODE_WORDS.contains(&word)) || question.contains("one-time")
}

impl Attempts<'_> {
    /// The password as such.
    pub(super) async fn password(&mut self) -> Result<AuthResult, Stop> {
        let question = format!("Password of {} at the server: ", escape(self.user.as_bytes()));
        let password = match &self.login.password {
            Some(source) => fetch(source).await?,
            None => self.ask(question).await?.ok_or(Stop::PassOver)?,
        };
        patient(self.handle.authenticate_password(self.user, password.expose())).await
    }

    /// A dialogue: the password and the code answer where they are asked for, a person the rest.
    pub(super) async fn interactive(&mut self) -> Result<AuthResult, Stop> {
        let mut answers = Answers { password: self.login.password.clone(), code: self.login.code.clone() };
        let start = self.handle.authenticate_keyboard_interactive_start(self.user, None::<String>);
        let mut answer = patient(start).await?;
        for _ in 0..MAX_ROUNDS {
            let given = match answer {
                Interactive::Success => return Ok(AuthResult::Success),
                Interactive::Failure { remaining_methods, partial_success } => {
                    return Ok(AuthResult::Failure { remaining_methods, partial_success });
                }
                Interactive::InfoRequest { prompts, .. } if prompts.len() > MAX_QUESTIONS => break,
                Interactive::InfoRequest { instructions, prompts, .. } => {
                    self.answers(&instructions, &prompts, &mut answers).await?
                }
            };
            answer = patient(self.handle.authenticate_keyboard_interactive_respond(given)).await?;
        }
        Err(Stop::Lost("the server goes on asking questions".into()))
    }

    async fn answers(
        &mut self,
        instructions: &str,
        questions: &[Question],
        answers: &mut Answers,
    ) -> Result<Vec<String>, Stop> {
        let mut given = Vec::new();
        let mut preface = shown_instructions(instructions);
        for question in questions {
            let shown: String = escape(question.prompt.trim_end().as_bytes()).chars().take(200).collect();
            let answer = match answers.take(question) {
                Some(source) => match fetch(&source).await {
                    Err(Stop::Unusable(why)) => {
                        self.tried.push(format!("what the server asks for (\"{shown}\") {why}"));
                        None
                    }
                    fetched => Some(fetched?),
                },
                None => self.ask(format!("{}{shown} ", std::mem::take(&mut preface))).await?,
            };
            if answer.is_none() {
                self.unanswered.push(shown);
            }
            // The library waits for as many answers as there were questions; an empty one is refused.
            given.push(answer.map(|secret| secret.expose().to_string()).unwrap_or_default());
        }
        Ok(given)
    }

    async fn ask(&self, question: String) -> Result<Option<Revealed>, Stop> {
        match self.login.prompt.clone() {
            Some(prompt) => aside(move || prompt.ask(&question)).await,
            None => Ok(None),
        }
    }
}

/// What a person reads before the first question, each line harmless.
fn shown_instructions(text: &str) -> String {
    let text: String = text.trim_end().chars().take(MAX_INSTRUCTIONS).collect();
    text.lines().map(|line| escape(line.as_bytes()) + "\n").collect()
}

async fn fetch(source: &Secret) -> Result<Revealed, Stop> {
    let source = source.clone();
    let shown = source.to_string();
    let revealed = aside(move || reveal(&source)).await?;
    revealed.map_err(|e| Stop::Unusable(format!("cannot be had from {shown}: {}", e.reason())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_tell_what_they_are_about() {
        let check = |prompt: &str, echo: bool, expected: &str| {
            let mut answers = Answers {
                password: Some(Secret::Env("PASSWORD".into())),
                code: Some(Secret::Env("CODE".into())),
            };
            let question = Question { prompt: prompt.into(), echo };
            let taken = answers.take(&question).map(|secret| secret.to_string());
            assert_eq!(taken.as_deref().unwrap_or("person"), expected, "{prompt}");
        };
        check("Password: ", false, "env:PASSWORD");
        check("(web1@host) Password for web1@host:", false, "env:PASSWORD");
        check("Verification code: ", false, "env:CODE");
        check("Verification code: ", true, "env:CODE");
        check("One-time password (OATH) for `web1': ", false, "env:CODE");
        check("Passcode or option (1-3): ", true, "env:CODE");
        check("Enter your TOTP:", false, "env:CODE");
        check("Your favourite colour? ", true, "person");
        check("Password: ", true, "person");
    }

    #[test]
    fn each_answer_is_given_once() {
        let mut answers =
            Answers { password: Some(Secret::Env("P".into())), code: Some(Secret::Env("C".into())) };
        let hidden = Question { prompt: "Answer:".into(), echo: false };
        let mut taken = || answers.take(&hidden).map(|secret| secret.to_string());
        assert_eq!([taken(), taken(), taken()], [Some("env:P".into()), Some("env:C".into()), None]);
        let mut only_password = Answers { password: Some(Secret::Env("P".into())), code: None };
        let code = Question { prompt: "Verification code:".into(), echo: false };
        assert_eq!(only_password.take(&code), None, "a password is no code");
    }

    #[test]
    fn what_a_server_says_is_harmless() {
        assert_eq!(shown_instructions(""), "");
        assert_eq!(shown_instructions("a\u{1b}[2J\nb\n"), "a\\x1b[2J\nb\n");
    }
}
