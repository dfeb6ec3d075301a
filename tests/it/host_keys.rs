//! Host keys against a real sshd: whom we talk to, whom not, and how keys change.

use std::fs;
use std::path::Path;
use std::process::Command;

use highwater::error::{Kind, Result};
use highwater::remote::connect::{Connection, Endpoint, HostTrust, KeyFile, Login, Suite, connect};
use highwater::remote::host_key::Place;

use crate::support::agent::Agent;
use crate::support::program::Program;
use crate::support::sshd::{Options, Sshd, generate_key};

const STRANGER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const OTHER_TYPE: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=";

fn endpoint(sshd: &Sshd) -> Endpoint {
    Endpoint { host: "127.0.0.1".into(), port: sshd.port(), user: sshd.user().into() }
}

async fn log_in(sshd: &Sshd, trust: &HostTrust) -> Result<Connection> {
    let login = Login { keys: vec![KeyFile::new(sshd.client_key_path())], ..Login::default() };
    connect(&endpoint(sshd), &login, trust).await
}

/// A known_hosts file of this text, and nothing else to trust.
fn knowing(sshd: &Sshd, text: &str) -> HostTrust {
    let path = sshd.file("known_hosts_of_the_test");
    fs::write(&path, text).expect("the file can be written");
    HostTrust { known_hosts: vec![path], ..HostTrust::default() }
}

/// Whether the login went as expected: where the key is recorded, or which error, with what in it.
fn assert_outcome(outcome: Result<Connection>, expected: std::result::Result<&str, (Kind, &[&str])>) {
    match (outcome, expected) {
        (Ok(connection), Ok(place)) => {
            let shown = match &connection.server().trusted {
                None => "new",
                Some(Place::Config) => "config",
                Some(Place::Journal) => "journal",
                Some(Place::KnownHosts(_)) => "known_hosts",
                Some(Place::Authority(_)) => "authority",
                Some(Place::Ssh) => "ssh",
            };
            assert_eq!(shown, place);
        }
        (Err(error), Err((kind, parts))) => {
            let text = format!("{error} ({})", error.hint_text().unwrap_or("no hint"));
            assert_eq!(error.kind(), kind, "{text}");
            for part in parts {
                assert!(text.contains(part), "{part:?} in {text}");
            }
        }
        (outcome, expected) => panic!("{outcome:?}, not {expected:?}"),
    }
}

/// Stops the server, changes its configuration, and starts it again.
fn reconfigure(sshd: &mut Sshd, change: impl FnOnce(&Sshd, String) -> String) {
    sshd.stop();
    let file = sshd.file("sshd_config");
    let config = fs::read_to_string(&file).expect("a config");
    fs::write(&file, change(sshd, config)).expect("the config can be written");
    sshd.start_again();
}

fn keygen(args: &[&str], file: &Path) {
    let output = Command::new("ssh-keygen").arg("-q").args(args).arg(file).output().expect("ssh-keygen");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn host_keys_decide_before_anybody_logs_in() {
    let sshd = Sshd::start(Options { host_keys: vec!["ed25519", "rsa"], ..Options::default() });
    let (ed25519, rsa) = (sshd.host_key_text("ed25519"), sshd.host_key_text("rsa"));
    let line = |text: &str| format!("[127.0.0.1]:{} {text}\n", sshd.port());
    let check = async |lines: &str, accept_new, expected| {
        let trust = HostTrust { accept_new, ..knowing(&sshd, lines) };
        assert_outcome(log_in(&sshd, &trust).await, expected);
    };
    let shown = sshd.host_key_fingerprint();
    let command = format!("highwater server trust -p {} 127.0.0.1", sshd.port());
    let changed =
        Err((Kind::HostKeyChanged, &[&*shown, "known_hosts_of_the_test, line 1", "listening in"][..]));
    let unknown = Err((Kind::HostKeyUnknown, &[&*shown, &*command][..]));
    let revoked = Err((Kind::HostKeyChanged, &["marked as revoked in"][..]));
    // First contact: only by a person's word.
    check("", false, unknown).await;
    check("", true, Ok("new")).await;
    // Known, by either key.
    check(&line(&ed25519), false, Ok("known_hosts")).await;
    check(&line(&rsa), false, Ok("known_hosts")).await;
    // Changed, or of another type: never accepted as new.
    check(&line(STRANGER), false, changed).await;
    check(&line(STRANGER), true, changed).await;
    check(&line(OTHER_TYPE), true, changed).await;
    // Revoked, though known.
    check(&(line(&ed25519) + &format!("@revoked * {ed25519}\n")), true, revoked).await;
    // Wildcards and negation.
    let port = sshd.port();
    check(&format!("[127.0.0.*]:{port} {ed25519}\n"), false, Ok("known_hosts")).await;
    check(&format!("[127.0.0.*]:{port},![127.0.0.1]:{port} {ed25519}\n"), false, unknown).await;
    // The port: another one's key says nothing, the host's own may confirm but not contradict.
    check(&format!("[127.0.0.1]:{} {STRANGER}\n", port - 1), false, unknown).await;
    check(&format!("127.0.0.1 {ed25519}\n"), false, Ok("known_hosts")).await;
    check(&format!("127.0.0.1 {STRANGER}\n"), false, unknown).await;
    assert_eq!(sshd.logins(), 5);
}

#[tokio::test]
async fn hashed_names_are_known() {
    let sshd = Sshd::start(Options::default());
    let check = async |key: &str, expected| {
        let trust = knowing(&sshd, &format!("[127.0.0.1]:{} {key}\n", sshd.port()));
        keygen(&["-H", "-f"], &trust.known_hosts[0]);
        let text = fs::read_to_string(&trust.known_hosts[0]).unwrap();
        assert!(text.starts_with("|1|"), "{text}");
        assert_outcome(log_in(&sshd, &trust).await, expected);
    };
    check(&sshd.host_key_text("ed25519"), Ok("known_hosts")).await;
    check(STRANGER, Err((Kind::HostKeyChanged, &["listening in"]))).await;
}

#[tokio::test]
async fn pins_decide_before_known_hosts() {
    let sshd = Sshd::start(Options::default());
    let check = async |pinned: &[&str], journal: &[&str], known: &str, expected| {
        let texts = |pins: &[&str]| pins.iter().map(ToString::to_string).collect();
        let lines = format!("[127.0.0.1]:{} {known}\n", sshd.port());
        let trust = HostTrust {
            pinned: texts(pinned),
            journal_pins: texts(journal),
            accept_new: true,
            ..knowing(&sshd, &lines)
        };
        assert_outcome(log_in(&sshd, &trust).await, expected);
    };
    let (ours, fingerprint) = (sshd.host_key_text("ed25519"), sshd.host_key_fingerprint());
    check(&[&fingerprint], &[STRANGER], STRANGER, Ok("config")).await;
    check(&[], &[&ours], STRANGER, Ok("journal")).await;
    check(&[STRANGER], &[], &ours, Err((Kind::HostKeyChanged, &["change host_key in the config"]))).await;
    check(&[], &[STRANGER], &ours, Err((Kind::HostKeyChanged, &["as pinned before"]))).await;
}

#[tokio::test]
async fn a_known_hosts_file_that_cannot_be_read_lets_nobody_in() {
    let sshd = Sshd::start(Options::default());
    let check = async |trust: &HostTrust, part: &str| {
        let trust = HostTrust { accept_new: true, ..trust.clone() };
        assert_outcome(log_in(&sshd, &trust).await, Err((Kind::HostKeyUnknown, &[part])));
    };
    let folder = HostTrust { known_hosts: vec![sshd.data()], ..HostTrust::default() };
    check(&folder, "cannot read the known host keys in").await;
    check(&knowing(&sshd, &format!("[127.0.0.1]:{} ssh-ed25519 !\n", sshd.port())), "line 1").await;
    let nobody = HostTrust { known_hosts: vec![sshd.file("none")], ..HostTrust::default() };
    assert_outcome(log_in(&sshd, &nobody).await, Err((Kind::HostKeyUnknown, &["nothing is known"])));
    assert_eq!(sshd.logins(), 0);
}

/// Signs the host key and has the server show the certificate. `flags` are ssh-keygen's.
fn certify(sshd: &mut Sshd, authority: &Path, flags: &[&str]) {
    let key = sshd.file("host_key_ed25519.pub");
    let authority = authority.to_str().expect("a path in ASCII");
    keygen(&[&["-h", "-s", authority, "-I", "test"], flags].concat(), &key);
    reconfigure(sshd, |sshd, config| {
        let line = format!("HostCertificate {}\n", sshd.file("host_key_ed25519-cert.pub").display());
        if config.contains(&line) { config } else { line + &config }
    });
}

#[tokio::test]
async fn an_authority_vouches_for_a_host() {
    let mut sshd = Sshd::start(Options::default());
    let authority = sshd.file("ca");
    generate_key(&authority, "ecdsa", "");
    let key = fs::read_to_string(authority.with_extension("pub")).unwrap();
    let known = format!("@cert-authority [127.0.0.1]:{} {key}", sshd.port());
    let bare = Err((Kind::HostKeyUnknown, &["without a certificate, though"][..]));
    let trust = HostTrust { accept_new: true, ..knowing(&sshd, &known) };
    assert_outcome(log_in(&sshd, &trust).await, bare);
    certify(&mut sshd, &authority, &["-n", "example.org,127.0.0.1"]);
    let check = async |sshd: &Sshd, lines: &str, expected| {
        assert_outcome(log_in(sshd, &knowing(sshd, lines)).await, expected);
    };
    check(&sshd, &known, Ok("authority")).await;
    check(&sshd, &format!("@cert-authority * {key}"), Ok("authority")).await;
    check(&sshd, &format!("{known}@revoked * {key}"), Err((Kind::HostKeyChanged, &["revoked in"]))).await;
    let ours = sshd.host_key_text("ed25519");
    let revoked = format!("{known}@revoked * {ours}\n");
    check(&sshd, &revoked, Err((Kind::HostKeyChanged, &["revoked in"]))).await;
    let other = format!("@cert-authority * {STRANGER}\n");
    check(&sshd, &other, Err((Kind::HostKeyChanged, &["does not make it this host", "not known"]))).await;
    check(&sshd, &format!("{other}[127.0.0.1]:{} {ours}\n", sshd.port()), Ok("known_hosts")).await;
    certify(&mut sshd, &authority, &["-n", "example.org"]);
    check(&sshd, &known, Err((Kind::HostKeyChanged, &["it is for example.org"]))).await;
    let aliased = HostTrust {
        alias: Some("Example.org".into()),
        ..knowing(&sshd, &format!("@cert-authority example.org {key}"))
    };
    assert_outcome(log_in(&sshd, &aliased).await, Ok("authority"));
    certify(&mut sshd, &authority, &["-n", "127.0.0.1", "-V", "20200101:20210101"]);
    check(&sshd, &known, Err((Kind::HostKeyUnknown, &["it is valid until 2021"]))).await;
}

/// Adds a host key to those of the server, or takes one away.
fn change_host_keys(sshd: &mut Sshd, add: Option<&str>, remove: Option<&str>) {
    reconfigure(sshd, |sshd, config| {
        let path = |kind: &str| sshd.file(&format!("host_key_{kind}"));
        let mut lines: Vec<String> = config.lines().map(String::from).collect();
        if let Some(kind) = add {
            generate_key(&path(kind), kind, "");
            lines.insert(0, format!("HostKey {}", path(kind).display()));
        }
        if let Some(kind) = remove {
            lines.retain(|line| *line != format!("HostKey {}", path(kind).display()));
        }
        lines.join("\n") + "\n"
    });
}

#[test]
fn a_server_that_proves_its_new_key_may_change_to_it() {
    let mut sshd = Sshd::start(Options::default());
    let program = Program::new();
    let push = |sshd: &Sshd| {
        let source = program.home().join("source");
        fs::create_dir_all(&source).unwrap();
        let target = format!("sftp://{}@127.0.0.1:{}{}", sshd.user(), sshd.port(), sshd.data().display());
        let key = sshd.client_key_path();
        let args = ["push", "-v", "-i", key.to_str().unwrap(), source.to_str().unwrap(), &target];
        fs::write(source.join("file"), rand_text()).unwrap();
        program.run(args)
    };
    let port = sshd.port().to_string();
    let fingerprint = sshd.host_key_fingerprint();
    let trusted = program.run(["server", "trust", "-p", &port, "127.0.0.1", "--fingerprint", &fingerprint]);
    assert_eq!(trusted.code, 0, "{trusted:?}");
    // The new key beside the old one: told, proven, learned.
    change_host_keys(&mut sshd, Some("ecdsa"), None);
    let ran = push(&sshd);
    assert_eq!(ran.code, 0, "{ran:?}");
    // The new key alone is known now, and the old one forgotten.
    change_host_keys(&mut sshd, None, Some("ed25519"));
    let ran = push(&sshd);
    assert_eq!(ran.code, 0, "{ran:?}");
    change_host_keys(&mut sshd, Some("ed25519"), Some("ecdsa"));
    let ran = push(&sshd);
    assert_eq!((ran.code, ran.stdout.contains("listening in")), (4, true), "{ran:?}");
}

/// A text that no file had before.
fn rand_text() -> String {
    format!("{:016x}", getrandom::u64().expect("random numbers"))
}

#[tokio::test]
async fn a_server_that_does_not_prove_its_keys_teaches_nothing() {
    let mut sshd = Sshd::start(Options::default());
    let agent = Agent::start(&sshd.file("."));
    let held = sshd.file("held");
    generate_key(&held, "ecdsa", "");
    agent.add(&mut sshd, &held);
    // It tells of a key whose private half is in an agent, which is gone when the proof is asked for.
    reconfigure(&mut sshd, |_, config| {
        let (socket, key) = (agent.socket.display(), held.with_extension("pub"));
        format!("HostKeyAgent {socket}\n{config}HostKey {}\n", key.display())
    });
    let trust = knowing(&sshd, &sshd.known_hosts_line());
    let connection = log_in(&sshd, &trust).await.unwrap();
    let _channel = connection.open_sftp().await.unwrap();
    let keys = connection.new_host_keys(&trust).await.unwrap().unwrap();
    let types: Vec<&str> = keys.iter().map(|key| key.key_type.as_str()).collect();
    assert_eq!(types, ["ssh-ed25519", "ecdsa-sha2-nistp256"]);
    let connection = log_in(&sshd, &trust).await.unwrap();
    let _channel = connection.open_sftp().await.unwrap();
    drop(agent);
    assert!(connection.new_host_keys(&trust).await.is_err());
}

#[tokio::test]
async fn old_signatures_are_for_legacy_servers_only() {
    let config = vec!["HostKeyAlgorithms ssh-rsa".into(), "PubkeyAcceptedAlgorithms +ssh-rsa".into()];
    let sshd = Sshd::start(Options { host_keys: vec!["rsa"], config, ..Options::default() });
    let trust = knowing(&sshd, &sshd.known_hosts_line());
    let refused = Err((Kind::Protocol, &["no type of host key in common", "legacy: true"][..]));
    assert_outcome(log_in(&sshd, &trust).await, refused);
    let legacy = HostTrust { suite: Suite { legacy: true }, ..trust };
    assert_outcome(log_in(&sshd, &legacy).await, Ok("known_hosts"));
}
