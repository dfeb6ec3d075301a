//! Certificates, one-time codes, and several methods in turn.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use highwater::config::model::Secret;
use highwater::error::{Kind, Result};
use highwater::remote::connect::{Connection, Endpoint, HostTrust, KeyFile, Login, connect, connect_stream};
use highwater::secret::{Prompt, Revealed};
use russh::MethodKind;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::server::{Auth, Handler, Response};
use tempfile::TempDir;

use crate::support::account::Password;
use crate::support::agent::Agent;
use crate::support::pam::Pam;
use crate::support::sshd::{Options, Sshd, generate_key};

/// A source that gives this very text.
fn secret(text: &str) -> Secret {
    Secret::Command(vec!["printf".into(), "%s".into(), text.into()])
}

async fn log_in(sshd: &Sshd, login: &Login) -> Result<Connection> {
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: sshd.port(), user: sshd.user().into() };
    let trust = HostTrust { known_hosts: vec![sshd.known_hosts_path()], ..HostTrust::default() };
    connect(&endpoint, login, &trust).await
}

fn assert_refused(outcome: Result<Connection>, part: &str) {
    let error = outcome.expect_err("must be refused");
    assert_eq!(error.kind(), Kind::Login, "{error}");
    let text = format!("{error} ({})", error.hint_text().unwrap_or("no hint"));
    assert!(text.contains(part), "{part:?} in {text}");
}

/// An authority that signs the keys of users.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        generate_key(&folder.path().join("ca"), "ed25519", "");
        Self(folder)
    }

    /// A server that lets in whomever this authority has signed.
    fn server(&self) -> Sshd {
        let line = format!("TrustedUserCAKeys {}", self.0.path().join("ca.pub").display());
        Sshd::start(Options { config: vec![line], ..Options::default() })
    }

    /// A new key and, beside it, its certificate made with these flags of ssh-keygen.
    fn certify(&self, folder: &Path, kind: &str, flags: &[&str]) -> PathBuf {
        let key = folder.join("certified");
        generate_key(&key, kind, "");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-I", "test", "-s"]).arg(self.0.path().join("ca")).args(flags);
        assert!(command.arg(key.with_extension("pub")).status().expect("ssh-keygen").success());
        key
    }
}

fn with_key(path: &Path) -> Login {
    Login { keys: vec![KeyFile::new(path)], ..Login::default() }
}

#[tokio::test]
async fn a_certificate_beside_the_key_opens_the_door() {
    let authority = Authority::new();
    let sshd = authority.server();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = authority.certify(&sshd.file("."), kind, &["-n", sshd.user()]);
        let connection = log_in(&sshd, &with_key(&key)).await.unwrap();
        let expected = format!("certificate {}-cert.pub", key.display());
        assert_eq!(connection.server().login, expected);
        let moved = sshd.file("elsewhere.pub");
        std::fs::rename(sshd.file("certified-cert.pub"), &moved).unwrap();
        assert_refused(log_in(&sshd, &with_key(&key)).await, "certified: refused");
        let named = Login { certificates: vec![sshd.file("none"), moved], ..with_key(&key) };
        assert!(log_in(&sshd, &named).await.unwrap().server().login.ends_with("elsewhere.pub"));
    }
    assert!(sshd.log().contains("RSA-CERT"), "{}", sshd.log());
}

#[tokio::test]
async fn a_certificate_that_is_refused_says_why_as_far_as_it_knows() {
    let authority = Authority::new();
    let sshd = authority.server();
    let check = async |flags: &[&str], part: &str| {
        let key = authority.certify(&sshd.file("."), "ed25519", flags);
        assert_refused(log_in(&sshd, &with_key(&key)).await, part);
    };
    check(&["-n", "somebody"], "certified-cert.pub: refused (it is for somebody); key").await;
    let old = ["-n", sshd.user(), "-V", "20200101000000:20210101000000"];
    check(&old, "-cert.pub: refused (it is valid until 2021").await;
    let other = Authority::new();
    let key = other.certify(&sshd.file("."), "ed25519", &["-n", sshd.user()]);
    assert_refused(log_in(&sshd, &with_key(&key)).await, "-cert.pub: refused; key");
}

#[tokio::test]
async fn the_agent_signs_for_certificates_it_holds_and_for_those_it_does_not() {
    let authority = Authority::new();
    let mut sshd = authority.server();
    let agent = Agent::start(&sshd.file("."));
    let key = authority.certify(&sshd.file("."), "ed25519", &["-n", sshd.user()]);
    let usual = Login::usual(&sshd.file("none"), Some(agent.socket.clone()));
    agent.add(&mut sshd, &key);
    let by = log_in(&sshd, &usual).await.unwrap().server().login.clone();
    assert_eq!(by, "ssh-agent's ssh-ed25519 certificate test");
    drop(agent);
    std::fs::remove_file(sshd.file("agent")).unwrap();
    let agent = Agent::start(&sshd.file("."));
    let certificate = sshd.file("elsewhere.pub");
    std::fs::rename(sshd.file("certified-cert.pub"), &certificate).unwrap();
    agent.add(&mut sshd, &key);
    assert_refused(log_in(&sshd, &usual).await, "ssh-agent's ssh-ed25519 key test: refused");
    let named = Login { certificates: vec![certificate], ..usual };
    let by = log_in(&sshd, &named).await.unwrap().server().login.clone();
    assert!(by.ends_with("elsewhere.pub, signed by ssh-agent"), "{by}");
}

#[tokio::test]
async fn a_public_key_names_the_one_in_the_agent() {
    let mut sshd = Sshd::start(Options::default());
    let key = sshd.client_key_path();
    let public = with_key(&key.with_extension("pub"));
    assert_refused(log_in(&sshd, &public).await, "client_key.pub has only its public half here");
    let agent = Agent::start(&sshd.file("."));
    agent.add(&mut sshd, &key);
    log_in(&sshd, &Login { agent: Some(agent.socket.clone()), ..public }).await.unwrap();
}

/// A server that wants a key and then a code, by PAM.
fn wants_key_and_code(code: &str, folder: &Path) -> Sshd {
    let config = [
        "UsePAM yes",
        "KbdInteractiveAuthentication yes",
        "AuthenticationMethods publickey,keyboard-interactive",
    ];
    let pam = Some(Pam::that_takes(code, folder));
    let options = Options { config: config.map(String::from).into(), pam, ..Options::default() };
    Sshd::start(options.ordinary_user())
}

#[tokio::test]
async fn a_key_and_a_code_open_the_door_together() {
    let folder = tempfile::tempdir().unwrap();
    let sshd = wants_key_and_code("246810", folder.path());
    let key = with_key(&sshd.client_key_path());
    let with = |code: &str| Login { code: Some(secret(code)), ..key.clone() };
    let by = log_in(&sshd, &with("246810")).await.unwrap().server().login.clone();
    assert_eq!(by, format!("key {}, then keyboard-interactive", sshd.client_key_path().display()));
    let needed = "client_key: accepted, but the server asks for more; keyboard-interactive: refused";
    assert_refused(log_in(&sshd, &with("1")).await, needed);
    assert_refused(log_in(&sshd, &key).await, "the server accepts keyboard-interactive");
    let gone = Login { code: Some(Secret::Command(vec!["false".into()])), ..key.clone() };
    assert_refused(log_in(&sshd, &gone).await, "cannot be had from cmd:false: the command ended with exit");
}

/// A person who answers in this order, and what they were asked.
#[derive(Debug, Default)]
struct Person {
    answers: Mutex<VecDeque<&'static str>>,
    asked: Mutex<Vec<String>>,
}

impl Prompt for Person {
    fn ask(&self, question: &str) -> Option<Revealed> {
        self.asked.lock().expect("nobody panics").push(question.into());
        self.answers.lock().expect("nobody panics").pop_front().map(Revealed::new)
    }
}

/// Rounds of questions; each has whether its answer is shown, and the right answer.
type Rounds = &'static [&'static [(&'static str, bool, &'static str)]];

/// A server that asks in rounds.
struct Examiner {
    rounds: Rounds,
    round: usize,
}

impl Examiner {
    fn ask(&self) -> Auth {
        let prompts: Vec<_> =
            self.rounds[self.round].iter().map(|(text, echo, _)| ((*text).into(), *echo)).collect();
        let instructions = "Two of\nthree.".into();
        Auth::Partial { name: "".into(), instructions, prompts: prompts.into() }
    }
}

impl Handler for Examiner {
    type Error = russh::Error;

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(response) = response else { return Ok(self.ask()) };
        let given: Vec<_> = response.collect();
        let right = self.rounds[self.round].iter().map(|(_, _, answer)| answer.as_bytes());
        if !right.eq(given.iter().map(|answer| answer.as_ref())) {
            return Ok(Auth::reject());
        }
        self.round += 1;
        Ok(if self.round == self.rounds.len() { Auth::Accept } else { self.ask() })
    }
}

async fn examine(rounds: Rounds, login: &Login) -> Result<Connection> {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let trust =
        HostTrust { pinned: vec![key.public_key().to_openssh().expect("a key")], ..HostTrust::default() };
    let mut config = russh::server::Config { keys: vec![key], ..russh::server::Config::default() };
    config.auth_rejection_time = std::time::Duration::ZERO;
    config.methods = (&[MethodKind::KeyboardInteractive][..]).into();
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(russh::server::run_stream(Arc::new(config), far, Examiner { rounds, round: 0 }));
    let endpoint = Endpoint { host: "example.org".into(), port: 22, user: "web1".into() };
    connect_stream(near, &endpoint, login, &trust).await
}

#[tokio::test]
async fn several_rounds_and_several_questions_are_answered() {
    let password_then_code: Rounds =
        &[&[("Password: ", false, "pw")], &[], &[("Verification code: ", true, "123456")]];
    let together: Rounds = &[&[("Code: ", false, "123456"), ("Password: ", false, "pw")]];
    let unknown: Rounds = &[&[("Password: ", false, "pw"), ("Colour: ", true, "blue")]];
    let login = Login { password: Some(secret("pw")), code: Some(secret("123456")), ..Login::default() };
    for rounds in [password_then_code, together] {
        assert_eq!(examine(rounds, &login).await.unwrap().server().login, "keyboard-interactive");
    }
    assert_refused(examine(unknown, &login).await, "keyboard-interactive: refused (it asked: Colour:)");
    assert_refused(examine(together, &Login { code: None, ..login.clone() }).await, "auth: {code: …}");
    let person = Arc::new(Person { answers: Mutex::new(["blue"].into()), ..Person::default() });
    let prompt: Arc<dyn Prompt> = person.clone();
    examine(unknown, &Login { prompt: Some(prompt), ..login }).await.unwrap();
    assert_eq!(*person.asked.lock().unwrap(), ["Two of\nthree.\nColour: "]);
}

#[tokio::test]
async fn a_server_that_never_stops_asking_is_left() {
    let endless: Rounds = &[&[] as &[(&str, bool, &str)]; 50];
    let login = Login { code: Some(secret("1")), ..Login::default() };
    let error = examine(endless, &login).await.expect_err("nobody has so much to ask");
    assert!(error.to_string().contains("goes on asking"), "{error}");
}

#[tokio::test]
async fn a_key_and_then_a_password_are_told_as_what_let_us_in() {
    let config = ["PasswordAuthentication yes", "AuthenticationMethods publickey,password"];
    let options = Options { config: config.map(String::from).into(), ..Options::default() };
    let sshd = Sshd::start(options.ordinary_user());
    let password = Password::set();
    let login = Login { password: Some(secret(password.as_str())), ..with_key(&sshd.client_key_path()) };
    let by = log_in(&sshd, &login).await.unwrap().server().login.clone();
    assert!(by.ends_with("client_key, then password"), "{by}");
}
