//! Connecting, host keys and logins, against a real sshd.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use highwater::config::model::Secret;
use highwater::error::{Error, Kind, Result};
use highwater::remote::connect::{
    Connection, Endpoint, HostTrust, KeyFile, Login, SftpChannel, Suite, connect, connect_stream,
    fetch_host_key,
};
use highwater::remote::route::Route;
use highwater::secret::{Prompt, Revealed};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::{Preferred, cipher, kex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::account::Password;
use crate::support::agent::Agent;
use crate::support::sshd::{Options, Sshd, generate_key};

fn endpoint(sshd: &Sshd) -> Endpoint {
    Endpoint { host: "127.0.0.1".into(), port: sshd.port(), user: sshd.user().into() }
}

fn with_key(path: impl Into<PathBuf>) -> Login {
    Login { keys: vec![KeyFile::new(path)], ..Login::default() }
}

fn with_password(source: Secret) -> Login {
    Login { password: Some(source), ..Login::default() }
}

/// A source that gives this very text.
fn secret(text: &str) -> Secret {
    Secret::Command(vec!["printf".into(), "%s".into(), text.into()])
}

fn knows(sshd: &Sshd) -> HostTrust {
    HostTrust { known_hosts: vec![sshd.known_hosts_path()], ..HostTrust::default() }
}

async fn log_in(sshd: &Sshd, login: &Login) -> Result<Connection> {
    connect(&endpoint(sshd), login, &knows(sshd)).await
}

/// SSH_FXP_INIT for version 3, and what a server must answer first.
async fn greet(channel: &mut SftpChannel) {
    channel.write_all(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).await.expect("the channel takes a packet");
    channel.flush().await.expect("the channel sends it");
    let length = channel.read_u32().await.expect("an answer");
    let mut packet = vec![0; length as usize];
    channel.read_exact(&mut packet).await.expect("all of the answer");
    assert_eq!(packet[..5], [2, 0, 0, 0, 3]);
}

fn assert_error(outcome: Result<Connection>, kind: Kind, parts: &[&str]) {
    let error = outcome.expect_err("must be refused");
    let text = whole(&error);
    assert_eq!(error.kind(), kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

fn whole(error: &Error) -> String {
    format!("{error}: {} ({})", error.reason(), error.hint_text().unwrap_or("no hint"))
}

#[tokio::test]
async fn a_key_opens_the_door_and_sftp_answers_on_every_channel() {
    for options in [Options::default(), Options::external("", ""), Options::default().ordinary_user()] {
        let sshd = Sshd::start(options);
        let connection = log_in(&sshd, &with_key(sshd.client_key_path())).await.unwrap();
        let facts = connection.server();
        assert!(facts.ident.starts_with("SSH-2.0-OpenSSH_"), "{}", facts.ident);
        assert_eq!(facts.host_key.fingerprint, sshd.host_key_fingerprint());
        assert_eq!(facts.login, format!("key {}", sshd.client_key_path().display()));
        assert_eq!(connection.accepted_new_key(), None);
        let mut channels = Vec::new();
        for _ in 0..4 {
            channels.push(connection.open_sftp().await.unwrap());
        }
        for channel in &mut channels {
            greet(channel).await;
        }
        connection.close().await;
        assert_eq!(channels[0].read(&mut [0]).await.unwrap(), 0);
        assert_eq!((sshd.connections(), sshd.logins()), (1, 1));
    }
}

#[tokio::test]
async fn modern_algorithms_are_agreed_on() {
    let sshd = Sshd::start(Options::default());
    let connection = log_in(&sshd, &with_key(sshd.client_key_path())).await.unwrap();
    let agreed = connection.server().algorithms.clone().unwrap();
    assert!(agreed.key_exchange.contains("25519"), "{agreed:?}");
    assert_eq!(agreed.host_key, "ssh-ed25519");
    assert!(["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"].contains(&agreed.cipher.as_str()));
}

#[tokio::test]
async fn keys_of_every_type_are_taken() {
    let sshd = Sshd::start(Options::default());
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let path = sshd.file(&format!("another_{kind}"));
        generate_key(&path, kind, "");
        sshd.authorize(&path.with_extension("pub"));
        log_in(&sshd, &with_key(&path)).await.unwrap();
    }
    assert_eq!(sshd.logins(), 3);
    assert!(sshd.log().contains("RSA SHA256:"));
}

#[tokio::test]
async fn an_encrypted_key_needs_its_passphrase() {
    let sshd = Sshd::start(Options::default());
    let path = sshd.file("locked");
    generate_key(&path, "ed25519", &std::env::var("PATH").unwrap());
    sshd.authorize(&path.with_extension("pub"));
    let key = |passphrase| Login {
        keys: vec![KeyFile { source: Secret::File(path.clone()), passphrase }],
        ..Login::default()
    };
    log_in(&sshd, &key(Some(Secret::Env("PATH".into())))).await.unwrap();
    let parts =
        ["log in to", "locked is encrypted, and no passphrase was given", "the server accepts publickey"];
    assert_error(log_in(&sshd, &key(None)).await, Kind::Login, &parts);
    let wrong = key(Some(secret("wrong")));
    assert_error(log_in(&sshd, &wrong).await, Kind::Login, &["printf %s wrong does not open it"]);
}

#[tokio::test]
async fn keys_that_the_server_does_not_know_are_refused_by_name() {
    let sshd = Sshd::start(Options::default());
    let path = sshd.file("stranger");
    generate_key(&path, "ed25519", "");
    let mut login = with_key(&path);
    let parts = ["stranger: refused", "the server accepts publickey", "authorized_keys"];
    assert_error(log_in(&sshd, &login).await, Kind::Login, &parts);
    login.keys.push(KeyFile::new(sshd.client_key_path()));
    log_in(&sshd, &login).await.unwrap();
}

#[tokio::test]
async fn without_credentials_the_error_says_what_would_be_accepted() {
    let sshd = Sshd::start(Options::default());
    let nothing = Login::usual(&sshd.file("no-such-folder"), None);
    assert_error(
        log_in(&sshd, &nothing).await,
        Kind::Login,
        &["the server accepts publickey", "Name a key (-i"],
    );
    let no_agent = Login::usual(&sshd.file("no-such-folder"), Some(sshd.file("no-such-socket")));
    assert_error(log_in(&sshd, &no_agent).await, Kind::Login, &["ssh-agent cannot be asked", "No such file"]);
}

#[tokio::test]
async fn the_agent_is_asked_before_the_usual_files() {
    let mut sshd = Sshd::start(Options::default());
    let agent = Agent::start(&sshd.file("."));
    let stranger = sshd.file("stranger");
    generate_key(&stranger, "ecdsa", "");
    agent.add(&mut sshd, &stranger);
    let ssh_folder = sshd.file("ssh");
    std::fs::create_dir(&ssh_folder).unwrap();
    std::fs::copy(&stranger, ssh_folder.join("id_ecdsa")).unwrap();
    let login = Login::usual(&ssh_folder, Some(agent.socket.clone()));
    let outcome = log_in(&sshd, &login).await;
    assert_error(outcome, Kind::Login, &["ssh-agent's ecdsa-sha2-nistp256 key test: refused; the server"]);
    let known = sshd.client_key_path();
    agent.add(&mut sshd, &known);
    let connection = log_in(&sshd, &login).await.unwrap();
    assert_eq!(connection.server().login, "ssh-agent's ssh-ed25519 key test");
}

#[tokio::test]
async fn an_rsa_key_in_the_agent_signs_with_sha2() {
    let mut sshd = Sshd::start(Options::default());
    let agent = Agent::start(&sshd.file("."));
    let path = sshd.file("rsa");
    generate_key(&path, "rsa", "");
    sshd.authorize(&path.with_extension("pub"));
    agent.add(&mut sshd, &path);
    log_in(&sshd, &Login::usual(&sshd.file("none"), Some(agent.socket.clone()))).await.unwrap();
}

#[tokio::test]
async fn a_named_key_that_is_locked_may_lie_open_in_the_agent() {
    let mut sshd = Sshd::start(Options::default());
    let agent = Agent::start(&sshd.file("."));
    let (open, locked) = (sshd.file("open"), sshd.file("locked"));
    generate_key(&open, "ed25519", "");
    std::fs::copy(&open, &locked).unwrap();
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-p", "-P", "", "-N", "secret", "-f"]).arg(&locked).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    agent.add(&mut sshd, &open);
    sshd.authorize(&open.with_extension("pub"));
    let login = Login { agent: Some(agent.socket.clone()), ..with_key(&locked) };
    log_in(&sshd, &login).await.unwrap();
}

fn takes_passwords() -> Options {
    let config = vec!["PasswordAuthentication yes".into()];
    Options { config, ..Options::default().ordinary_user() }
}

#[tokio::test]
async fn a_password_opens_the_door_and_a_wrong_one_does_not() {
    let sshd = Sshd::start(takes_passwords());
    let password = Password::set();
    let connection = log_in(&sshd, &with_password(secret(password.as_str()))).await.unwrap();
    assert_eq!(connection.server().login, "password");
    let wrong = log_in(&sshd, &with_password(secret("wrong"))).await;
    assert_error(wrong, Kind::Login, &["password: refused", "the server accepts publickey, password"]);
    let missing = log_in(&sshd, &with_password(Secret::File("/no/such/file".into()))).await;
    assert_error(missing, Kind::Login, &["password cannot be had", "file:/no/such/file", "No such file"]);
}

#[tokio::test]
async fn keyboard_interactive_takes_the_password_too() {
    let config = vec!["UsePAM yes".into(), "KbdInteractiveAuthentication yes".into()];
    let sshd = Sshd::start(Options { config, ..Options::default().ordinary_user() });
    let password = Password::set();
    let connection = log_in(&sshd, &with_password(secret(password.as_str()))).await.unwrap();
    assert_eq!(connection.server().login, "keyboard-interactive");
    let wrong = log_in(&sshd, &with_password(secret("wrong"))).await;
    assert_error(wrong, Kind::Login, &["keyboard-interactive: refused"]);
}

#[tokio::test]
async fn a_server_that_wants_key_and_password_gets_both() {
    let mut options = takes_passwords();
    options.config.push("AuthenticationMethods publickey,password".into());
    let sshd = Sshd::start(options);
    let password = Password::set();
    let mut login = with_key(sshd.client_key_path());
    let parts = ["client_key: accepted, but the server asks for more", "the server accepts password"];
    assert_error(log_in(&sshd, &login).await, Kind::Login, &parts);
    login.password = Some(secret(password.as_str()));
    log_in(&sshd, &login).await.unwrap();
}

/// Somebody who always gives the same answer.
#[derive(Debug)]
struct Parrot(String);

impl Prompt for Parrot {
    fn ask(&self, question: &str) -> Option<Revealed> {
        assert!(question.starts_with("Password of highwater-test"), "{question}");
        Some(Revealed::new(self.0.as_str()))
    }
}

#[tokio::test]
async fn a_person_is_asked_for_the_password_three_times() {
    let sshd = Sshd::start(takes_passwords());
    let password = Password::set();
    let person = |answer: &str| {
        let prompt: Arc<dyn Prompt> = Arc::new(Parrot(answer.into()));
        Login { prompt: Some(prompt), ..Login::default() }
    };
    log_in(&sshd, &person(password.as_str())).await.unwrap();
    let expected = ["password: refused; password: refused; password: refused; the server accepts"];
    assert_error(log_in(&sshd, &person("wrong")).await, Kind::Login, &expected);
}

#[tokio::test]
async fn a_server_that_has_had_enough_is_quoted() {
    let config = vec!["MaxAuthTries 1".into()];
    let sshd = Sshd::start(Options { config, ..Options::default() });
    let mut login = Login::default();
    for name in ["one", "two", "three"] {
        generate_key(&sshd.file(name), "ed25519", "");
        login.keys.push(KeyFile::new(sshd.file(name)));
    }
    let parts = ["one: no answer", "the server says: Too many authentication failures", "name the right one"];
    assert_error(log_in(&sshd, &login).await, Kind::Login, &parts);
}

#[tokio::test]
async fn pins_are_fingerprints_or_keys_of_any_type() {
    let sshd = Sshd::start(Options { host_keys: vec!["rsa", "ed25519", "ecdsa"], ..Options::default() });
    let login = with_key(sshd.client_key_path());
    let pin = async |text: String| {
        let trust = HostTrust { pinned: vec![text], ..HostTrust::default() };
        connect(&endpoint(&sshd), &login, &trust).await
    };
    pin(sshd.host_key_fingerprint()).await.unwrap();
    pin(sshd.host_key_text("ecdsa")).await.unwrap();
    let wrong = "SHA256:".to_string() + &"A".repeat(43);
    assert_error(pin(wrong).await, Kind::HostKeyChanged, &["change host_key in the configuration"]);
    assert_error(pin("nonsense".into()).await, Kind::Usage, &["nonsense"]);
}

#[tokio::test]
async fn a_key_accepted_at_first_contact_can_be_pinned() {
    let mut sshd = Sshd::start(Options::default());
    let login = with_key(sshd.client_key_path());
    let trust = HostTrust { accept_new: true, ..HostTrust::default() };
    let connection = connect(&endpoint(&sshd), &login, &trust).await.unwrap();
    let record = connection.accepted_new_key().unwrap().clone();
    assert_eq!(record.public_key, sshd.host_key_text("ed25519"));
    assert_eq!(record, fetch_host_key(&endpoint(&sshd), &Route::default(), &Suite::default()).await.unwrap());
    let pinned = HostTrust { journal_pins: vec![record.public_key], ..trust };
    let again = connect(&endpoint(&sshd), &login, &pinned).await.unwrap();
    assert_eq!(again.accepted_new_key(), None);
    sshd.stop();
    sshd.new_host_keys();
    sshd.start_again();
    let outcome = connect(&endpoint(&sshd), &login, &pinned).await;
    assert_error(outcome, Kind::HostKeyChanged, &["as pinned before", "highwater server trust -p"]);
}

#[tokio::test]
async fn looking_at_a_host_key_does_not_log_in() {
    let sshd = Sshd::start(Options::default());
    let record = fetch_host_key(&endpoint(&sshd), &Route::default(), &Suite::default()).await.unwrap();
    assert_eq!(record.fingerprint, sshd.host_key_fingerprint());
    assert_eq!((sshd.connections(), sshd.logins()), (1, 0));
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable() {
    let mut sshd = Sshd::start(Options::default());
    let login = with_key(sshd.client_key_path());
    sshd.stop();
    assert_error(log_in(&sshd, &login).await, Kind::Unreachable, &["refused", "Check the port"]);
    assert_eq!(
        fetch_host_key(&endpoint(&sshd), &Route::default(), &Suite::default()).await.unwrap_err().kind(),
        Kind::Unreachable
    );
}

#[tokio::test]
async fn what_is_no_ssh_server_is_quoted() {
    let check = async |answer: &'static [u8], kind: Kind, parts: &[&str]| {
        let (near, mut far) = tokio::io::duplex(4096);
        let serving = tokio::spawn(async move {
            far.write_all(answer).await.unwrap();
            far.shutdown().await.unwrap();
            far.read_to_end(&mut Vec::new()).await.unwrap();
        });
        let endpoint = Endpoint { host: "example.org".into(), port: 80, user: "web1".into() };
        let outcome = connect_stream(near, &endpoint, &Login::default(), &HostTrust::default()).await;
        assert_error(outcome, kind, parts);
        serving.await.unwrap();
    };
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    check(http, Kind::Unreachable, &["hangs up, saying: HTTP/1.1 400 Bad Request"]).await;
    check(b"Exceeded MaxStartups\r\n", Kind::Unreachable, &["saying: Exceeded MaxStartups"]).await;
    check(b"", Kind::Unreachable, &["web1@example.org:80", "hangs up during the handshake"]).await;
    check(b"SSH-2.0-x\r\n", Kind::Unreachable, &["hangs up during the handshake"]).await;
    check(&[b'\x1b'; 3000], Kind::Protocol, &["not as an SSH server does", "Check the port"]).await;
}

#[tokio::test]
async fn old_algorithms_are_refused_by_name() {
    let config = vec!["Ciphers aes256-cbc".into()];
    let sshd = Sshd::start(Options { config, ..Options::default() });
    let outcome = log_in(&sshd, &with_key(sshd.client_key_path())).await;
    assert_error(outcome, Kind::Protocol, &["no cipher in common", "aes256-cbc"]);
}

/// A server of another make, which lets nobody in.
struct Other;

impl russh::server::Handler for Other {
    type Error = russh::Error;
}

#[tokio::test]
async fn a_session_whose_beginning_could_be_cut_off_is_not_begun() {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let pin = key.public_key().to_openssh().unwrap();
    let check = async |cipher, strict: bool, legacy: bool, (kind, part): (Kind, &str)| {
        let mut exchanges = vec![kex::CURVE25519];
        exchanges.extend(strict.then_some(kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER));
        let preferred =
            Preferred { kex: exchanges.into(), cipher: vec![cipher].into(), ..Preferred::DEFAULT };
        let keys = vec![key.clone()];
        let config = russh::server::Config { keys, preferred, ..russh::server::Config::default() };
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(russh::server::run_stream(Arc::new(config), far, Other));
        let endpoint = Endpoint { host: "example.org".into(), port: 22, user: "web1".into() };
        let suite = Suite { legacy };
        let trust = HostTrust { pinned: vec![pin.clone()], suite, ..HostTrust::default() };
        assert_error(connect_stream(near, &endpoint, &Login::default(), &trust).await, kind, &[part]);
    };
    let (begun, not) =
        ((Kind::Login, "log in to"), (Kind::Protocol, "neither strict key exchange nor AES-GCM"));
    check(cipher::CHACHA20_POLY1305, true, false, begun).await;
    check(cipher::CHACHA20_POLY1305, false, false, not).await;
    check(cipher::CHACHA20_POLY1305, false, true, begun).await;
    check(cipher::AES_256_CTR, true, false, begun).await;
    check(cipher::AES_256_CTR, false, false, not).await;
    check(cipher::AES_256_GCM, false, false, begun).await;
}

#[tokio::test]
async fn a_banner_is_kept_and_made_harmless() {
    let mut sshd = Sshd::start(Options { config: vec!["Banner /dev/null".into()], ..Options::default() });
    sshd.stop();
    let banner = sshd.file("banner");
    std::fs::write(&banner, "Authorised use only.\nBe \u{1b}[2Jgood.\n").unwrap();
    let config = std::fs::read_to_string(sshd.file("sshd_config")).unwrap();
    let config = config.replace("Banner /dev/null", &format!("Banner {}", banner.display()));
    std::fs::write(sshd.file("sshd_config"), config).unwrap();
    sshd.start_again();
    let connection = log_in(&sshd, &with_key(sshd.client_key_path())).await.unwrap();
    assert_eq!(connection.server().banner, "Authorised use only.\nBe \\x1b[2Jgood.");
}

#[tokio::test]
async fn refused_channels_leave_the_connection_in_use() {
    let config = vec!["MaxSessions 2".into()];
    let sshd = Sshd::start(Options { config, ..Options::default() });
    let connection = log_in(&sshd, &with_key(sshd.client_key_path())).await.unwrap();
    let mut first = connection.open_sftp().await.unwrap();
    let _second = connection.open_sftp().await.unwrap();
    let refused = connection.open_sftp().await.err().unwrap();
    assert_eq!(refused.kind(), Kind::Failed);
    assert!(whole(&refused).contains("MaxSessions"), "{}", whole(&refused));
    greet(&mut first).await;
    assert!(!connection.is_lost());
}

#[tokio::test]
async fn an_account_without_sftp_is_told() {
    let config = vec!["Subsystem another /bin/true".into()];
    let sshd = Sshd::start(Options { config, ..Options::default() });
    let config = std::fs::read_to_string(sshd.file("sshd_config")).unwrap();
    std::fs::write(sshd.file("sshd_config"), config.replace("Subsystem sftp internal-sftp", "")).unwrap();
    let mut sshd = sshd;
    sshd.stop();
    sshd.start_again();
    let connection = log_in(&sshd, &with_key(sshd.client_key_path())).await.unwrap();
    let refused = connection.open_sftp().await.err().unwrap();
    assert_eq!(refused.kind(), Kind::Unsupported, "{}", whole(&refused));
}

#[tokio::test]
async fn a_cut_is_noticed_on_channels_and_connection() {
    let sshd = Sshd::start(Options::default());
    let connection = log_in(&sshd, &with_key(sshd.client_key_path())).await.unwrap();
    let mut channel = connection.open_sftp().await.unwrap();
    greet(&mut channel).await;
    let received = connection.received_bytes();
    assert!(received > 0);
    sshd.kill_sessions();
    assert_eq!(channel.read(&mut [0]).await.unwrap(), 0);
    let lost = connection.open_sftp().await.err().unwrap();
    assert_eq!(lost.kind(), Kind::Disconnected, "{}", whole(&lost));
    assert!(connection.is_lost());
}

#[tokio::test]
async fn cutting_ends_a_channel_at_once() {
    let sshd = Sshd::start(Options::default());
    let connection = log_in(&sshd, &with_key(sshd.client_key_path())).await.unwrap();
    let mut channel = connection.open_sftp().await.unwrap();
    greet(&mut channel).await;
    connection.cut();
    assert_eq!(channel.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(connection.lost().kind(), Kind::Disconnected);
    assert!(whole(&connection.lost()).contains("given up"), "{}", whole(&connection.lost()));
}
