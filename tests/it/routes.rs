//! Ways to a server that ssh_config describes: aliases, hops, commands; and `ssh` itself. Real servers on loopback.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::account;
use crate::support::keysign::Keysign;
use crate::support::program::{Program, Ran, Round};
use crate::support::sshd::{Options, Sshd, generate_key};

/// The program with a file of ssh_config, and a near folder with one file.
struct Here {
    program: Program,
    near: TempDir,
}

impl Here {
    /// `text` is its `~/.ssh/config`.
    fn with(text: &str) -> Self {
        let program = Program::new();
        let near = tempfile::tempdir().expect("a temporary folder");
        fs::write(near.path().join("file"), "content").expect("a file");
        fs::write(program.home().join(".ssh/config"), text).expect("a file of ssh_config");
        Self { program, near }
    }

    fn config(&self) -> PathBuf {
        self.program.home().join(".ssh/config")
    }

    fn trust(&self, servers: &[&Sshd]) {
        servers.iter().for_each(|sshd| self.program.trust(&sshd.known_hosts_line()));
    }

    /// One push to a folder of this server by the alias `box`.
    fn push(&self, to: &Sshd, flags: &[&str]) -> Round {
        let far = format!("box:{}", to.data().join("far").display());
        let near = self.near.path().to_str().expect("text").to_owned();
        let args =
            ["push".to_owned(), near, far].into_iter().chain(flags.iter().map(|flag| (*flag).to_owned()));
        self.program.rounds(args).remove(0)
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.program.run(args)
    }
}

/// A block of ssh_config for a server. `more` are further lines.
fn block(alias: &str, sshd: &Sshd, more: &str) -> String {
    format!(
        "Host {alias}\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n IdentitiesOnly yes\n {more}\n",
        sshd.port(),
        sshd.user(),
        sshd.client_key_path().display()
    )
}

#[track_caller]
fn arrived(to: &Sshd) {
    assert_eq!(fs::read_to_string(to.data().join("far/file")).ok().as_deref(), Some("content"));
}

#[track_caller]
fn fails(round: Round, kind_of_exit: i32, parts: &[&str]) {
    let message = round.job["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(round.code, kind_of_exit, "{:#}", round.job);
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn an_alias_names_host_port_user_and_key() {
    let sshd = Sshd::start(Options::default().ordinary_user());
    let here = Here::with(&block("box", &sshd, ""));
    here.trust(&[&sshd]);
    here.push(&sshd, &[]).ok().counts(&[("files_sent", 1)]);
    arrived(&sshd);
    here.push(&sshd, &[]).ok().nothing();
    fails(here.push(&sshd, &["-F", "none"]), 3, &["cannot be resolved"]);
    let other = here.program.home().join("other");
    fs::rename(here.config(), &other).unwrap();
    fails(here.push(&sshd, &[]), 3, &["cannot be resolved"]);
    here.push(&sshd, &["-F", other.to_str().unwrap()]).ok().nothing();
    fs::write(&other, "Prot 22\n").unwrap();
    let ran = here.run(&["push", ".", "box:x", "-F", other.to_str().unwrap()]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("other, line 1: there is no keyword \"prot\""), "{}", ran.stderr);
}

#[test]
fn a_chain_of_two_hops_leads_to_a_third_server() {
    let [one, two, three] = [(); 3].map(|()| Sshd::start(Options::default()));
    let chain =
        [block("one", &one, ""), block("two", &two, "ProxyJump one"), block("box", &three, "ProxyJump two")];
    let list = [block("one", &one, ""), block("two", &two, ""), block("box", &three, "ProxyJump one,two")];
    let mut logins = 0;
    for text in [chain.concat(), list.concat()] {
        let here = Here::with(&text);
        here.trust(&[&one, &two, &three]);
        here.push(&three, &[]).ok();
        arrived(&three);
        fs::remove_dir_all(three.data().join("far")).unwrap();
        logins += 1;
        let seen = [&one, &two, &three].map(Sshd::logins);
        assert_eq!(seen, [logins; 3]);
    }
    // Who connects to the third is the second, not this machine's program: it has as many connections.
    assert_eq!(three.connections(), two.logins());
}

#[test]
fn every_hop_has_its_own_host_key_and_login() {
    let [hop, far] = [(); 2].map(|()| Sshd::start(Options::default()));
    let text = [block("hop", &hop, ""), block("box", &far, "ProxyJump hop")].concat();
    let here = Here::with(&text);
    here.trust(&[&far]);
    let place = format!("127.0.0.1:{}", hop.port());
    fails(
        here.push(&far, &[]),
        3,
        &["nothing is known of this host", "highwater server trust hop;", &hop.host_key_fingerprint()],
    );
    assert_eq!((hop.logins(), far.connections()), (0, 0));
    here.push(&far, &["--accept-new-host-key"]).ok();
    here.push(&far, &[]).ok();
    let config = here.config();
    fs::write(&config, text.replace(hop.client_key_path().to_str().unwrap(), "/none")).unwrap();
    fs::write(here.near.path().join("file"), "changed").unwrap();
    fails(here.push(&far, &[]), 3, &["key /none", "the server accepts publickey"]);
    fs::write(&config, text.replace("Host hop", "Host hop\n StrictHostKeyChecking accept-new")).unwrap();
    let other = Here::with(&fs::read_to_string(&config).unwrap());
    other.trust(&[&far]);
    other.push(&far, &[]).ok();
    hop.new_host_keys();
    let mut hop = hop;
    hop.stop();
    hop.start_again();
    fs::write(other.near.path().join("file"), "changed again").unwrap();
    fails(other.push(&far, &["--accept-new-host-key"]), 4, &["as pinned before", "listening in"]);
    let ran = other.run(&["server", "trust", "--accept-new-host-key", "hop"]);
    assert_eq!(ran.code, 4, "{place}: {}", ran.stderr);
}

#[test]
fn a_hop_that_forwards_nothing_says_so() {
    let config = vec!["AllowTcpForwarding no".into()];
    let hop = Sshd::start(Options { config, ..Options::default() });
    let far = Sshd::start(Options::default());
    let here = Here::with(&[block("hop", &hop, ""), block("box", &far, "ProxyJump hop")].concat());
    here.trust(&[&hop, &far]);
    fails(here.push(&far, &[]), 3, &["by way of", "it refused: AdministrativelyProhibited"]);
}

#[test]
fn a_lost_hop_is_connected_to_again() {
    let [hop, far] = [(); 2].map(|()| Sshd::start(Options::default()));
    let here = Here::with(&[block("hop", &hop, ""), block("box", &far, "ProxyJump hop")].concat());
    here.trust(&[&hop, &far]);
    fs::write(here.near.path().join("large"), vec![7; 12 << 20]).unwrap();
    let mut child = here.program.command(["push", "--limit", "3MiB/s", "--json"]);
    child.arg(here.near.path()).arg(format!("box:{}", far.data().join("far").display()));
    let child =
        child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let stage = far.data().join("far/.highwater/stage");
    let mut hop = hop;
    hop.wait_until("carry", |_| bytes_below(&stage) > 1 << 20);
    hop.kill_sessions();
    let output = child.wait_with_output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &document["jobs"][0]["result"]),
        (Some(0), &"ok".into()),
        "{document:#}"
    );
    assert!(!document["jobs"][0]["recovered"].as_array().unwrap().is_empty(), "{document:#}");
    assert_eq!(hop.logins(), 2);
    assert_eq!(fs::read(far.data().join("far/large")).unwrap(), vec![7; 12 << 20]);
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |path: PathBuf| match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => bytes_below(&path),
        Ok(meta) => meta.len(),
        Err(_) => 0, // gone by now
    };
    entries.map(|entry| bytes(entry.path())).sum()
}

/// A ProxyCommand that goes through a server by `ssh -W`.
fn through(hop: &Sshd) -> String {
    let known = hop.known_hosts_path();
    format!(
        "ProxyCommand ssh -F none -oUserKnownHostsFile=\"{}\" -oBatchMode=yes -oIdentityAgent=none -i {} -p {} \
         -W \"[%h]:%p\" {}@127.0.0.1",
        known.display(),
        hop.client_key_path().display(),
        hop.port(),
        hop.user()
    )
}

#[test]
fn a_proxy_command_carries_the_session_and_is_gone_afterwards() {
    let [hop, far] = [(); 2].map(|()| Sshd::start(Options::default()));
    let here = Here::with(&block("box", &far, &through(&hop)));
    here.trust(&[&far]);
    here.push(&far, &[]).ok();
    arrived(&far);
    assert_eq!((hop.logins(), far.logins()), (1, 1));
    assert_eq!(processes_with(hop.client_key_path().to_str().unwrap()), 0);
    fs::write(here.config(), block("box", &far, "ProxyCommand echo out of order >&2; exit 1")).unwrap();
    fs::write(here.near.path().join("file"), "changed").unwrap();
    fails(here.push(&far, &[]), 3, &["the ProxyCommand says: out of order"]);
    fs::write(here.config(), block("box", &far, "ProxyCommand no-such-program-here %h")).unwrap();
    fails(here.push(&far, &[]), 3, &["the ProxyCommand says: ", "no-such-program-here", "not found"]);
}

/// How many processes have this in their arguments, those left that nobody waits for not among them.
fn processes_with(argument: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|&b| b == 0).any(|word| word == argument.as_bytes())).count()
}

/// A block for `ssh` itself, which looks for nothing in our `$HOME`.
fn for_ssh(sshd: &Sshd, more: &str) -> String {
    let known = format!(
        "UserKnownHostsFile {}\n GlobalKnownHostsFile none\n IdentityAgent none",
        sshd.known_hosts_path().display()
    );
    block("box", sshd, &format!("{known}\n {more}"))
}

#[test]
fn ssh_itself_makes_the_session() {
    let sshd = Sshd::start(Options::default());
    let here = Here::with(&for_ssh(&sshd, ""));
    let config = here.config();
    let flags = ["--via", "ssh", "-F", config.to_str().unwrap()];
    for number in 0..200 {
        fs::write(here.near.path().join(format!("small-{number}")), vec![number; 3000]).unwrap();
    }
    fs::write(here.near.path().join("large"), vec![7; 20 << 20]).unwrap();
    here.push(&sshd, &flags).ok().counts(&[("files_sent", 202)]);
    arrived(&sshd);
    assert_eq!(fs::read(sshd.data().join("far/large")).unwrap(), vec![7; 20 << 20]);
    assert!(sshd.logins() <= 1 + 4, "{}", sshd.log());
    here.push(&sshd, &flags).ok().nothing();
    assert_eq!(processes_with(config.to_str().unwrap()), 0);
    let ran = here.run(&["server", "probe", "box", "--via", "ssh", "-F", config.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for part in ["SSH-2.0-OpenSSH_", "ssh, by publickey", "accepted by ssh", &sshd.host_key_fingerprint()] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
}

#[test]
fn what_ssh_says_when_it_fails_is_told() {
    let sshd = Sshd::start(Options::default());
    let good = for_ssh(&sshd, "");
    let here = Here::with(&good);
    let config = here.config();
    let flags = ["--via", "ssh", "-F", config.to_str().unwrap()];
    let check = |text: String, code: i32, parts: &[&str]| {
        fs::write(&config, text).unwrap();
        fails(here.push(&sshd, &flags), code, parts);
    };
    let stranger = sshd.file("stranger");
    generate_key(&stranger, "ed25519", "");
    let key = sshd.client_key_path();
    check(
        good.replace(key.to_str().unwrap(), stranger.to_str().unwrap()),
        3,
        &["ssh says:", "Permission denied (publickey)"],
    );
    let port = format!("Port {}", sshd.port());
    check(good.replace(&port, "Port 1"), 3, &["Connection refused"]);
    let known = sshd.known_hosts_path();
    let none = sshd.file("knows-nobody");
    fs::write(&none, "").unwrap();
    let unknown = good.replace(known.to_str().unwrap(), none.to_str().unwrap());
    check(unknown.clone(), 3, &["Host key verification failed"]);
    fs::write(&config, unknown).unwrap();
    let accepting = [&flags[..], &["--accept-new-host-key"]].concat();
    here.push(&sshd, &accepting).ok();
    assert!(fs::read_to_string(&none).unwrap().contains(&sshd.host_key_text("ed25519")));
    fs::write(here.near.path().join("file"), "changed").unwrap();
    let line = format!(
        "[127.0.0.1]:{} {}\n",
        sshd.port(),
        fs::read_to_string(stranger.with_extension("pub")).unwrap()
    );
    fs::write(&none, line).unwrap();
    fails(here.push(&sshd, &accepting), 4, &["has changed", "Host key verification failed"]);
}

#[test]
fn a_job_goes_on_by_ssh_after_its_processes_died() {
    let sshd = Sshd::start(Options::default());
    let here = Here::with("");
    let ssh_config = here.program.home().join("for-ssh");
    fs::write(&ssh_config, for_ssh(&sshd, "")).unwrap();
    fs::write(here.near.path().join("large"), vec![9; 12 << 20]).unwrap();
    let far = sshd.data().join("far");
    let config = here.program.home().join("config.yml");
    let text = format!(
        "version: 1\nservers:\n  s: {{host: box, via: ssh, ssh_config: \"{}\"}}\njobs:\n  j: {{mode: push, local: \"{}\", \
         remote: \"s:{}\", limits: {{bandwidth: 3MiB/s}}}}\n",
        ssh_config.display(),
        here.near.path().display(),
        far.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = here.program.command(["--config", config.to_str().unwrap(), "run", "j", "--json"]);
    let child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut sshd = sshd;
    sshd.wait_until("carry", |_| bytes_below(&far.join(".highwater/stage")) > 1 << 20);
    sshd.kill_sessions();
    let output = child.wait_with_output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{document:#}\n{stderr}");
    assert!(!document["jobs"][0]["recovered"].as_array().unwrap().is_empty(), "{document:#}");
    assert_eq!(fs::read(far.join("large")).unwrap(), vec![9; 12 << 20]);
}

#[test]
fn ssh_logs_in_by_this_machines_host_key() {
    let keysign = Keysign::allowed();
    let config = ["HostbasedAuthentication yes", "HostbasedUsesNameFromPacketOnly yes", "IgnoreRhosts no"];
    let more = ["IgnoreUserKnownHosts no", "PubkeyAuthentication no"];
    let config = config.into_iter().chain(more).map(String::from).collect();
    let sshd = Sshd::start(Options { config, ..Options::default().ordinary_user() });
    let here =
        Here::with(&for_ssh(&sshd, "HostbasedAuthentication yes\n PreferredAuthentications hostbased"));
    let config = here.config();
    here.push(&sshd, &["--via", "ssh", "-F", config.to_str().unwrap()]).ok();
    arrived(&sshd);
    assert!(sshd.log().contains("Accepted hostbased for"), "{}", sshd.log());
    drop(keysign);
}

#[test]
fn what_of_ssh_config_is_not_heeded_is_told_once() {
    let sshd = Sshd::start(Options::default());
    let here = Here::with(&block("box", &sshd, "Compression yes\nMatch exec true\n User nobody"));
    here.trust(&[&sshd]);
    let config = here.program.home().join("config.yml");
    fs::write(&config, "version: 1\nservers: {a: {host: box}, b: {host: box}}\n").unwrap();
    let ran = here.run(&["--config", config.to_str().unwrap(), "config", "check"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.stdout.matches("\"compression yes\" is not heeded: nothing is compressed").count(),
        1,
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stdout.matches("\"Match exec\" is not looked into").count(), 1, "{}", ran.stdout);
    let ran = here.run(&["server", "probe", "box", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["notes"].as_array().unwrap().len(), 2, "{document:#}");
    assert_eq!(document["user"], sshd.user());
    let ran = here.push(&sshd, &[]).ok();
    assert!(!ran.stderr.contains("compression"), "{}", ran.stderr);
    fs::write(here.config(), "Host *\nProt 5\n").unwrap();
    let ran = here.run(&["--config", config.to_str().unwrap(), "config", "check"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("there is no keyword \"prot\""), "{}", ran.stderr);
}

#[test]
fn an_ordinary_users_file_that_others_may_write_is_refused() {
    let program = Program::of_ordinary_user();
    let config = program.home().join(".ssh/config");
    fs::write(&config, "Host box\n HostName 127.0.0.1\n Port 1\n").unwrap();
    let (uid, gid) = account::numbers(account::ORDINARY);
    std::os::unix::fs::chown(&config, Some(uid), Some(gid)).unwrap();
    let check = |mode, code, expected: &str| {
        fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let ran = program.run(["server", "probe", "box"]);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    };
    check(0o600, 3, "the connection was refused");
    check(0o666, 2, "others may change it");
}
