//! What cannot be done, and how the program says so: what, where, why, what to try, and the exit code.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Stdio;
use std::time::Duration;

use highwater::server::misbehave::{Deed, Fault, Misbehave, Op, Rule};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

use crate::support::rig::{Ran, Rig, Way, files_in, read, write};
use crate::support::sshd::{Options, generate_key};

/// What a person is told: the code and result, and these parts, in a paragraph of at most three lines that
/// begins with what could not be done. The same stands in the document and, without `--json`, in the text.
#[track_caller]
fn tells(rig: &Rig, way: Way, result: &str, code: i32, parts: &[&str]) {
    let ran = rig.carry(way, &[]).ends(result, code).says(parts);
    let message = ran.message().to_owned();
    assert!(message.starts_with("cannot "), "{message}");
    assert!((2..=6).contains(&message.lines().count()), "no hint, or a lecture: {message}");
    assert!(message.len() < 1_000 && !message.contains(['\x1b', '\r']), "{message}");
    let text = Ran::of(&mut rig.command(way, &[]));
    assert_eq!(text.code, code, "{text:?}");
    for part in parts {
        let all = format!("{}{}", text.stdout, text.stderr);
        assert!(all.contains(part), "{part:?} is not in: {all}");
    }
}

/// The same for both ways.
#[track_caller]
fn tells_both(rig: &Rig, result: &str, code: i32, parts: &[&str]) {
    write(&rig.near(), &[("a", "one")]);
    for way in Way::BOTH {
        tells(rig, way, result, code, parts);
    }
}

#[test]
fn a_wrong_key() {
    let rig = Rig::openssh();
    generate_key(&rig.file("key"), "ed25519", "");
    let address = format!("@127.0.0.1:{}", rig.port());
    tells_both(&rig, "failed", 3, &["cannot log in to", &address, "key: refused", "authorized_keys"]);
}

#[test]
fn a_wrong_password() {
    let yes = vec!["PasswordAuthentication yes".to_owned()];
    let rig = Rig::with_sshd(Options { config: yes, ..Options::default() }.ordinary_user());
    rig.configure(Way::Push, "delete: true");
    let config = fs::read_to_string(rig.file("config.yml")).unwrap();
    let key = format!("{{key: \"{}\"}}", rig.file("key").display());
    assert!(config.contains(&key), "{config}");
    fs::write(rig.file("config.yml"), config.replace(&key, "{password: \"cmd:echo wrong-horse\"}")).unwrap();
    let ran = rig.run().ends("failed", 3).says(&["cannot log in to highwater-test@127.0.0.1", "password"]);
    assert!(!ran.stdout.contains("wrong-horse\"") && !ran.stderr.contains("wrong-horse\""), "{ran:?}");
    assert_eq!(ran.message().lines().count(), 2, "{}", ran.message());
}

#[test]
fn a_host_key_that_changed_or_is_unknown() {
    let mut rig = Rig::openssh();
    let fingerprint = rig.sshd().host_key_fingerprint();
    let known = rig.file("home/.ssh/known_hosts");
    let line = fs::read_to_string(&known).unwrap();
    fs::write(&known, "").unwrap();
    tells_both(&rig, "failed", 3, &[&fingerprint, "highwater server trust", "--accept-new-host-key"]);
    generate_key(&rig.file("other"), "ed25519", "");
    let other = fs::read_to_string(rig.file("other.pub")).unwrap();
    let host = line.split(' ').next().unwrap();
    fs::write(&known, format!("{host} {other}")).unwrap();
    tells_both(&rig, "halted", 4, &[&fingerprint, "known_hosts"]);
    assert_eq!(rig.sshd().logins(), 0);
    fs::write(&known, line).unwrap();
    rig.carry(Way::Push, &[]).ends("ok", 0);
}

#[test]
fn a_port_that_is_closed() {
    let mut rig = Rig::openssh();
    rig.sshd().stop();
    let address = format!("127.0.0.1:{}", rig.port());
    tells_both(&rig, "failed", 3, &["cannot reach", &address, "refused", "Check the port"]);
}

/// A rig whose server is something else: whoever connects hears this and is left.
fn impostor(greeting: &'static [u8]) -> Rig {
    let mut rig = Rig::openssh();
    let port = rig.port();
    rig.sshd().stop();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(greeting)); // who is gone hears nothing
        }
    });
    rig
}

#[test]
fn a_server_that_is_no_ssh_server() {
    let check = |greeting, parts: &[&str]| tells_both(&impostor(greeting), "failed", 3, parts);
    check(b"220 mail.example.org ESMTP\r\n", &["127.0.0.1", "SSH server"]);
    check(b"HTTP/1.1 400 Bad Request\r\nServer: \x1b[31mred\r\n\r\n", &["127.0.0.1", "SSH server"]);
    check(b"", &["127.0.0.1", "Try later"]);
}

#[test]
fn a_host_that_never_answers() {
    // A queue that is full: the kernel drops what else comes, as a firewall does.
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&listener, 0).unwrap();
    let address: std::net::SocketAddr = getsockname(&listener).unwrap().try_into().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queue.push(stream);
    }
    let rig = Rig::openssh();
    let url = format!("sftp://{}@{address}/nowhere", rig.user());
    let mut command = rig.program(["push".into(), rig.near().into_os_string(), url.into()]);
    let ran = Ran::of(command.arg("--json").arg("-i").arg(rig.file("key"))).ends("failed", 3);
    ran.says(&["cannot reach", &address.to_string(), "15"]);
}

#[test]
fn a_server_without_sftp() {
    let check = |setup: &str, parts: &[&str]| {
        tells_both(&Rig::with_sshd(Options::external("", setup)), "failed", 3, parts);
    };
    check("exit 1", &["SFTP"]);
    check("echo 'This account is currently not available.'; exit 1", &["SFTP"]);
    check("printf '\\033[31mWelcome'", &["SFTP"]);
}

#[test]
fn a_source_that_is_not_there() {
    let rig = Rig::openssh();
    fs::remove_dir(rig.far()).unwrap();
    let far = rig.far().display().to_string();
    tells(&rig, Way::Pull, "failed", 3, &["cannot read", &far, "there is no such folder"]);
    assert!(!rig.far().exists());
    fs::remove_dir(rig.near()).unwrap();
    let near = rig.near().display().to_string();
    let ran = rig.carry(Way::Push, &[]);
    assert!(ran.code != 0 && ran.message().contains(&near), "{ran:?}");
    assert!(!rig.far().exists() && !rig.near().exists());
}

#[test]
fn a_far_folder_that_may_not_be_read_or_written() {
    let rig = Rig::of_ordinary_user();
    write(&rig.near(), &[("a", "one")]);
    write(&rig.far(), &[("b", "two")]);
    chown(rig.far(), Some(0), Some(0)).unwrap();
    fs::set_permissions(rig.far(), fs::Permissions::from_mode(0o700)).unwrap();
    for way in Way::BOTH {
        let ran = rig.carry(way, &[]);
        assert!([1, 3].contains(&ran.code), "{ran:?}");
        let told = format!("{:#}", ran.job());
        assert!(
            told.contains("ermission denied") && told.contains(&rig.far().display().to_string()),
            "{told}"
        );
    }
    fs::set_permissions(rig.far(), fs::Permissions::from_mode(0o755)).unwrap();
    rig.carry(Way::Pull, &[]).ends("ok", 0);
    let ran = rig.carry(Way::Push, &[]);
    assert!([1, 3].contains(&ran.code), "{ran:?}");
    assert!(format!("{:#}", ran.job()).contains("ermission denied"), "{:#}", ran.job());
    assert_eq!(files_in(&rig.far()), 1);
}

#[test]
fn a_far_disk_that_is_full() {
    let script = Misbehave::script([Rule::on(Op::Write, Fault::NoSpaceAfter(100_000))]);
    let rig = Rig::ours(script.clone());
    let big = "x".repeat(60_000);
    write(&rig.near(), &[("a", &big), ("b", &big), ("c", &big)]);
    let ran = rig.carry(Way::Push, &[]).ends("problems", 1);
    assert!(script.deeds(Deed::NoSpace) > 0);
    let problems = ran.list("problems");
    assert!(!problems.is_empty() && problems.iter().all(|(kind, _)| kind == "no-space"), "{problems:?}");
    for name in ["a", "b", "c"] {
        let there = read(&rig.far().join(name));
        assert!(there.is_none() || there.as_deref() == Some(&big), "{name} is torn");
    }
    script.clear();
    rig.carry(Way::Push, &[]).ends("ok", 0);
    assert_eq!(files_in(&rig.far()), 3);
}

#[test]
fn a_pair_or_a_state_folder_that_another_one_works_with() {
    let script = Misbehave::script([Rule::on(Op::Init, Fault::Stall(Duration::from_secs(600)))]);
    let rig = Rig::ours(script.clone());
    write(&rig.near(), &[("a", "one")]);
    rig.configure(Way::Push, "delete: true");
    let wait =
        |times| tokio::runtime::Runtime::new().unwrap().block_on(script.wait_for(Deed::Stalled, times));
    let mut first = rig.command(Way::Push, &[]).stdout(Stdio::null()).spawn().unwrap();
    wait(1);
    let ran = rig.carry(Way::Push, &[]);
    let holder = format!("{}", first.id());
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    assert!(ran.stderr.contains(&holder) && ran.stderr.contains("push"), "{} by {holder}", ran.stderr);
    // Another pair is free, and so is the journal of the config's jobs.
    let mut config = rig.program(["--config".into(), rig.file("config.yml").into_os_string()]);
    let mut second = config.args(["run", "j"]).stdout(Stdio::null()).spawn().unwrap();
    wait(2);
    let ran = rig.run();
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    assert!(ran.stderr.contains(&format!("{}", second.id())) && ran.stderr.contains("run"), "{}", ran.stderr);
    script.clear();
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    rig.carry(Way::Push, &[]).ends("ok", 0);
}
