//! What we make of ssh_config, against what the installed OpenSSH makes of it: `ssh -G`.
//!
//! Known differences, and why: names of algorithms that `ssh` does not know are an error there and passed over here,
//! because what it knows is not what we know; arguments of keywords that we do not act upon are not checked here
//! (`Tunnel nonsense`); ports by the name of a service, `Match exec` and canonical names are not looked into. What
//! `ssh -G` prints of IdentityFile, CertificateFile and ProxyCommand still has its tokens, so that those are
//! compared as they are written.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use highwater::error::Result;
use highwater::sshconfig::files::Disk;
use highwater::sshconfig::names::assemble;
use highwater::sshconfig::{Around, Family, Jump, Query, Resolved, Source, Strict, resolve};
use tempfile::TempDir;

/// What `ssh -G` printed: the values of each keyword, in order.
type Printed = BTreeMap<String, Vec<String>>;

/// A configuration and what is asked of it.
struct Case {
    text: String,
    host: &'static str,
    user: Option<&'static str>,
    port: Option<u16>,
}

impl Case {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), host: "box", user: None, port: None }
    }
}

/// The keywords that we act upon, but for those of which `ssh -G` prints nothing by themselves.
const COMPARED: [&str; 23] = [
    "addressfamily",
    "bindaddress",
    "certificatefile",
    "ciphers",
    "connecttimeout",
    "globalknownhostsfile",
    "hostkeyalgorithms",
    "hostkeyalias",
    "hostname",
    "identitiesonly",
    "identityagent",
    "identityfile",
    "kexalgorithms",
    "macs",
    "port",
    "proxycommand",
    "proxyjump",
    "pubkeyacceptedalgorithms",
    "serveralivecountmax",
    "serveraliveinterval",
    "stricthostkeychecking",
    "user",
    "userknownhostsfile",
];

/// OpenSSH on this machine.
struct Ssh {
    folder: TempDir,
    /// What it prints where nothing is configured.
    usual: Printed,
    /// All algorithms of each kind.
    all: BTreeMap<&'static str, Vec<String>>,
    home: String,
    machine: String,
}

impl Ssh {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir_all(folder.path().join("conf.d")).expect("a folder");
        let kinds = [("ciphers", "cipher"), ("macs", "mac"), ("kexalgorithms", "kex")];
        let keys = [
            ("hostkeyalgorithms", "HostKeyAlgorithms"),
            ("pubkeyacceptedalgorithms", "PubkeyAcceptedAlgorithms"),
        ];
        let all =
            kinds.into_iter().chain(keys).map(|(keyword, query)| (keyword, lines_of("ssh", &["-Q", query])));
        let passwd = lines_of("getent", &["passwd", &lines_of("id", &["-u"])[0]]);
        let home = passwd[0].split(':').nth(5).expect("a home folder").to_owned();
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_owned();
        let all = all.collect();
        let mut ssh = Self { folder, usual: Printed::new(), all, home, machine };
        ssh.usual = ssh.ask(&Case::new("")).expect("an empty configuration");
        ssh
    }

    fn file(&self, case: &Case) -> PathBuf {
        // Each case has its own file: several are asked at once.
        let name = blake3::hash(case.text.as_bytes()).to_hex();
        let path = self.folder.path().join(&name.as_str()[..16]);
        fs::write(&path, case.text.replace("@DIR@", self.folder.path().to_str().expect("text")))
            .expect("a file");
        path
    }

    fn ask(&self, case: &Case) -> Option<Printed> {
        let mut command = Command::new("ssh");
        command.arg("-G").arg("-F").arg(self.file(case)).env("HW_VALUE", "value");
        command.args(case.user.iter().flat_map(|user| ["-l", user]));
        command.args(case.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
        let output =
            command.arg(case.host).output().expect("ssh is not installed: apt-get install openssh-client");
        let text = String::from_utf8(output.stdout).expect("text");
        let mut printed = Printed::new();
        for line in text.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            printed.entry(keyword.to_owned()).or_default().push(value.to_owned());
        }
        output.status.success().then_some(printed)
    }

    fn ours(&self, case: &Case) -> Result<Printed> {
        let around = Around {
            home: Some(self.home.clone()),
            user: lines_of("id", &["-un"])[0].clone(),
            uid: rustix::process::getuid().as_raw(),
            machine: self.machine.clone(),
            variable: &|name| (name == "HW_VALUE").then(|| "value".into()),
            home_of: &|_| None,
            files: &Disk,
        };
        let query = Query {
            host: case.host.into(),
            user: case.user.map(str::to_owned),
            port: case.port,
            jumps: None,
        };
        let found = resolve(&query, &Source::File(self.file(case)), &around)?;
        Ok(self.printed(&found, &around.user))
    }

    /// What `ssh -G` would print of this.
    fn printed(&self, found: &Resolved, local_user: &str) -> Printed {
        let s = &found.settings;
        let usual = |keyword: &str| self.usual.get(keyword).cloned().unwrap_or_default();
        let one = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
        let or_usual =
            |keyword: &str, value: Option<String>| value.map_or_else(|| usual(keyword), |v| vec![v]);
        let number = |keyword: &str, value: Option<u32>| or_usual(keyword, value.map(|v| v.to_string()));
        let files =
            |keyword: &str, files: &[String]| if files.is_empty() { usual(keyword) } else { files.to_vec() };
        let hosts = |keyword: &str, files: &Option<Vec<PathBuf>>| {
            let joined = |files: &Vec<PathBuf>| {
                files.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>().join(" ")
            };
            match files {
                None => usual(keyword),
                Some(files) if files.is_empty() => vec!["none".into()],
                Some(files) => vec![joined(files)],
            }
        };
        let agent = s.identity_agent.as_ref().map(|raw| match &found.agent {
            Some(highwater::sshconfig::Agent::Socket(path)) => path.to_str().unwrap().to_owned(),
            _ => raw.clone(),
        });
        let names = |keyword: &'static str, setting: &Option<String>| {
            let usual = usual(keyword).join(",");
            let usual: Vec<&str> = usual.split(',').collect();
            let all: Vec<&str> = self.all[keyword].iter().map(String::as_str).collect();
            // Of host keys `ssh -G` prints the setting as it stands.
            match (keyword, setting) {
                ("hostkeyalgorithms", Some(setting)) if !setting.starts_with(['+', '-', '^']) => {
                    vec![setting.clone()]
                }
                _ => vec![assemble(setting.as_deref(), &usual, &all).join(",")],
            }
        };
        let jump = s.proxy_jump.as_ref().filter(|jumps| !jumps.is_empty());
        let command = s.proxy_command.clone().filter(|c| !c.eq_ignore_ascii_case("none") && jump.is_none());
        let strict = s.strict.map(|strict| match strict {
            Strict::Yes => "true",
            Strict::Ask => "ask",
            Strict::AcceptNew => "accept-new",
            Strict::No => "false",
        });
        let family = s.address_family.map(|family| match family {
            Family::Any => "any",
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
        });
        let only = s.identities_only.map(|only| if only { "yes" } else { "no" });
        let values = [
            ("addressfamily", or_usual("addressfamily", family.map(str::to_owned))),
            ("bindaddress", one(s.bind_address.clone())),
            ("certificatefile", s.certificate_files.clone()),
            ("ciphers", names("ciphers", &s.ciphers)),
            ("connecttimeout", number("connecttimeout", s.connect_timeout_secs)),
            ("globalknownhostsfile", hosts("globalknownhostsfile", &found.global_known_hosts)),
            ("hostkeyalgorithms", names("hostkeyalgorithms", &s.host_key_algorithms)),
            ("hostkeyalias", one(found.host_key_alias.clone())),
            ("hostname", vec![found.host.clone()]),
            ("identitiesonly", or_usual("identitiesonly", only.map(str::to_owned))),
            ("identityagent", one(agent)),
            ("identityfile", files("identityfile", &s.identity_files)),
            ("kexalgorithms", names("kexalgorithms", &s.kex_algorithms)),
            ("macs", names("macs", &s.macs)),
            ("port", number("port", found.port().map(u32::from))),
            ("proxycommand", one(command)),
            (
                "proxyjump",
                one(jump.map(|jumps| jumps.iter().map(Jump::to_string).collect::<Vec<_>>().join(","))),
            ),
            ("pubkeyacceptedalgorithms", names("pubkeyacceptedalgorithms", &s.pubkey_algorithms)),
            ("serveralivecountmax", number("serveralivecountmax", s.alive_count_max)),
            ("serveraliveinterval", number("serveraliveinterval", s.alive_interval_secs)),
            ("stricthostkeychecking", or_usual("stricthostkeychecking", strict.map(str::to_owned))),
            ("user", vec![found.user().cloned().unwrap_or(local_user.into())]),
            ("userknownhostsfile", hosts("userknownhostsfile", &found.user_known_hosts)),
        ];
        let there = values.into_iter().filter(|(_, values)| !values.is_empty());
        there.map(|(keyword, values)| (keyword.to_owned(), values)).collect()
    }

    /// In what the two differ, with the configuration; `None`: in nothing.
    fn told(&self, case: &Case) -> Option<String> {
        let differences = self.differences(case);
        (!differences.is_empty()).then(|| format!("{differences}in:\n{}", case.text))
    }

    /// In what the two differ; empty if in nothing.
    fn differences(&self, case: &Case) -> String {
        let mut told = String::new();
        match (self.ask(case), self.ours(case)) {
            (None, Err(_)) => {}
            (None, Ok(_)) => told.push_str("ssh refuses it, we do not\n"),
            (Some(_), Err(error)) => writeln!(told, "we refuse it: {}", error.reason()).unwrap(),
            (Some(theirs), Ok(ours)) => {
                for keyword in COMPARED {
                    let (theirs, ours) = (theirs.get(keyword), ours.get(keyword));
                    if theirs != ours {
                        writeln!(told, "{keyword}: ssh has {theirs:?}, we have {ours:?}").unwrap();
                    }
                }
            }
        }
        told
    }
}

fn lines_of(program: &str, args: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn ssh_config_is_read_as_openssh_reads_it() {
    let ssh = Ssh::new();
    fs::write(ssh.folder.path().join("conf.d/a.conf"), "Host box\nPort 2022\nHost other\nUser other\n")
        .unwrap();
    fs::write(ssh.folder.path().join("conf.d/b.conf"), "User included\nMatch host box\nHostKeyAlias b\n")
        .unwrap();
    fs::write(ssh.folder.path().join("conf.d/bad"), "Port x\n").unwrap();
    let mut cases: Vec<Case> = BY_HAND.into_iter().map(Case::new).collect();
    cases.extend(of_other_hosts());
    cases.extend((0..80).map(generated));
    assert!(cases.len() >= 140, "{}", cases.len());
    let failures: Vec<String> = thread::scope(|scope| {
        let ssh = &ssh;
        let of_part = |part: &[Case]| part.iter().filter_map(|case| ssh.told(case)).collect::<Vec<String>>();
        let parts = cases.chunks(cases.len().div_ceil(4));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || of_part(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread ends")).collect()
    });
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n---\n"));
}

/// What people write, and what they get wrong.
const BY_HAND: [&str; 90] = [
    "",
    "# nothing but this",
    "Host box\n  HostName backup.example.org\n  Port 2022\n  User web1\n  IdentityFile ~/.ssh/backup\n",
    "User first\nHost *\nUser second\n",
    "Host other\nUser no\nHost b?x\nUser yes\n",
    "Host * !box\nUser no\n",
    "Host !other *\nUser yes\n",
    "Host \"box\" other\nUser yes\n",
    "Host Box\nUser no\n",
    "Host a b box\nUser yes\nHost\nUser no\n",
    "host=box\nuser=web1\nport = 2022\nhostname =x.example\n",
    "\"User\" web1\n",
    "User \"a b\"\n",
    "User 'a b'\n",
    "User a\\ b\n",
    "User \"a\\\"b\"\n",
    "User \"open\n",
    "User a b\n",
    "User a # comment\n",
    "User a#b\n",
    "User\n",
    "User \"\"\n",
    "\tUser web1 \t\r\n\n  \nPort 23 \x0c\r\n",
    "Port 0\n",
    "Port 65536\n",
    "Port -1\n",
    "Port 22x\n",
    "Nonsense yes\n",
    "IgnoreUnknown Non*,Use*\nNonsense yes\nUseKeychain yes\nPort 5\n",
    "Host other\nIgnoreUnknown Nonsense\nHost *\nNonsense yes\n",
    "Host other\nNonsense yes\n",
    "HostName %h.example.org\n",
    "HostName %%h.%h\n",
    "HostName %n.example.org\n",
    "HostName 127.0.0.1\nPort 1\n",
    "HostName ::1\n",
    "HostName UPPER.Example.ORG\n",
    "Match all\nUser web1\n",
    "Match host box\nUser web1\n",
    "Match host=box user=me\nPort 5\n",
    "User me\nMatch host BOX user me\nPort 5\n",
    "Match user nobody\nPort 5\n",
    "Match !user nobody\nPort 5\n",
    "Match originalhost b*,!box\nPort 5\n",
    "HostName x.example\nMatch host *.example\nUser web1\nMatch originalhost box\nPort 5\n",
    "Match localuser *\nPort 5\n",
    "Match localuser nobody\nPort 5\n",
    "Match final host *.example\nUser web1\nHost box\nHostName x.example\n",
    "Match canonical\nUser web1\n",
    "Match !final\nUser web1\n",
    "Match final all\nUser web1\n",
    "Match all host box\nUser web1\n",
    "Match\nUser web1\n",
    "Match host\nUser web1\n",
    "Match nonsense x\nUser web1\n",
    "Match host \"box\" # comment\nUser web1\n",
    "Match final\nHost x.example\nUser web1\nHost box\nHostName x.example\n",
    "Host other\nMatch host box\nUser web1\nHost other\nUser no\n",
    "Include @DIR@/conf.d/a.conf\nUser me\n",
    "Include @DIR@/conf.d/*.conf\n",
    "Host other\nInclude @DIR@/conf.d/*.conf\nHost *\nPort 7\n",
    "Include @DIR@/conf.d/none @DIR@/none/*\nPort 7\n",
    "Include @DIR@/conf.d/bad\n",
    "Host other\nInclude @DIR@/conf.d/bad\n",
    "Include @DIR@/conf.d\nPort 7\n",
    "IdentityFile a\nIdentityFile b\nIdentityFile a\nHost box\nIdentityFile c-%h-%u\nIdentitiesOnly yes\n",
    "IdentityFile none\nIdentityFile ~/k\n",
    "IdentityAgent none\nCertificateFile ~/.ssh/c\nCertificateFile d\n",
    "IdentityAgent ~/agent-%u-%i-%r-%p-%n-%h-%%\n",
    "IdentityAgent SSH_AUTH_SOCK\n",
    "IdentityAgent ${HW_VALUE}/%L\n",
    "IdentityAgent $HW_VALUE\n",
    "UserKnownHostsFile ~/a %d/b /%l-%L-%k-%n\nHostKeyAlias UPPER\n",
    "UserKnownHostsFile none\nGlobalKnownHostsFile a ~/b\n",
    "UserKnownHostsFile none a\n",
    "HostName h.example\nPort 9\nUser u\nUserKnownHostsFile /%C\n",
    "StrictHostKeyChecking off\n",
    "StrictHostKeyChecking Accept-New\nStrictHostKeyChecking yes\n",
    "StrictHostKeyChecking maybe\n",
    "ProxyJump a\n",
    "ProxyJump me@a:2022,[::1]:5,ssh://you@b:7\nProxyCommand nc %h %p\n",
    "ProxyCommand nc \"%h\" %p # no comment\nProxyJump a\n",
    "ProxyJump none\nProxyCommand nc\nHost *\nProxyJump b\n",
    "ProxyCommand none\nProxyJump a\n",
    "ProxyJump a,\n",
    "ConnectTimeout none\nConnectTimeout 1m30\nServerAliveInterval 1h\nServerAliveCountMax 9\n",
    "ConnectTimeout 5x\n",
    "AddressFamily INET6\nBindAddress 127.0.0.1\nIdentitiesOnly maybe\n",
    "Ciphers +3des-cbc\nMACs -*sha1*,umac-64@openssh.com\nKexAlgorithms ^ecdh-sha2-nistp256\n",
    "HostKeyAlgorithms -ssh-rsa*\nPubkeyAcceptedAlgorithms +ssh-rsa,ssh-ed*\nCiphers aes256-ctr,aes128-ctr\n",
];

fn of_other_hosts() -> Vec<Case> {
    let text =
        "Host 10.*\nUser net\nHost *.example.org\nUser example\nMatch user typed\nPort 99\nHost *\nPort 98\n";
    let ask = |host, user, port| Case { text: text.into(), host, user, port };
    vec![
        ask("10.0.0.1", None, None),
        ask("a.example.org", None, None),
        ask("A.EXAMPLE.org", None, None),
        ask("box", Some("typed"), None),
        ask("a.example.org", Some("typed"), Some(5)),
        ask("::1", None, Some(5)),
    ]
}

/// Blocks in an order that a seed decides, with values that mostly are right.
fn generated(seed: u64) -> Case {
    let mut lots = Lots(blake3::hash(&seed.to_le_bytes()).as_bytes().to_vec(), 0, seed);
    let mut text = String::new();
    for _ in 0..lots.below(14) + 2 {
        let indent = lots.one(&["", "  ", "\t"]);
        let between = lots.one(&[" ", "\t", "=", " = ", "  "]);
        let (keyword, values) = KEYWORDS[lots.below(KEYWORDS.len())];
        let keyword = if lots.below(3) == 0 { keyword.to_uppercase() } else { keyword.to_owned() };
        writeln!(text, "{indent}{keyword}{between}{}", lots.one(values)).unwrap();
    }
    let user = (lots.below(4) == 0).then_some("ann");
    let port = (lots.below(4) == 0).then_some(77);
    Case { text, host: lots.one(&["box", "a.example.org", "Box2"]), user, port }
}

/// Random numbers from a seed.
struct Lots(Vec<u8>, usize, u64);

impl Lots {
    fn below(&mut self, bound: usize) -> usize {
        if self.1 + 2 > self.0.len() {
            self.2 += 1_000_003;
            (self.0, self.1) = (blake3::hash(&self.2.to_le_bytes()).as_bytes().to_vec(), 0);
        }
        let drawn = usize::from(self.0[self.1]) * 256 + usize::from(self.0[self.1 + 1]);
        self.1 += 2;
        drawn % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

const KEYWORDS: [(&str, &[&str]); 30] = [
    ("Host", &["*", "box", "b*", "!box *", "other", "*.example.org box", "B*"]),
    ("Host", &["*", "box", "?ox", "* !a.*", "none", "\"box\" 'a.example.org'"]),
    ("Match", &["all", "host box", "user ann", "!user ann", "originalhost *ox*", "host *.example.org"]),
    (
        "Match",
        &["final", "canonical", "!final host *", "localuser root,!root", "host a.* user *", "final all"],
    ),
    ("Include", &["@DIR@/conf.d/*.conf", "@DIR@/conf.d/a.conf", "@DIR@/none"]),
    ("HostName", &["x.example", "%h.example.org", "10.0.0.7", "Upper.Example", "\"y.example\""]),
    ("User", &["ann", "\"bob\"", "web1 # comment", "'q r'"]),
    ("Port", &["22", "2022", "1", "65535"]),
    ("Port", &["23", "24"]),
    ("IdentityFile", &["~/.ssh/one", "/two/%h/%r", "\"three four\"", "~/.ssh/one"]),
    ("IdentityFile", &["five", "none", "%d/six"]),
    ("CertificateFile", &["~/cert", "/c2"]),
    ("IdentitiesOnly", &["yes", "no", "TRUE", "false"]),
    ("IdentityAgent", &["none", "~/a/%n", "/run/%u/%p", "${HW_VALUE}/s"]),
    ("UserKnownHostsFile", &["~/.kh", "/a /b", "none", "%d/%k/%h", "~/x \"y z\""]),
    ("GlobalKnownHostsFile", &["/etc/kh", "/etc/a ~/b", "none"]),
    ("HostKeyAlias", &["alias", "ALIAS.example"]),
    ("StrictHostKeyChecking", &["yes", "no", "ask", "off", "accept-new"]),
    ("ProxyJump", &["a", "me@a:1,b", "none", "[fe80::1]:22", "10.0.0.1"]),
    ("ProxyCommand", &["nc %h %p", "none", "ssh -W \"[%h]:%p\" j", "x # y"]),
    ("ConnectTimeout", &["5", "1m", "none", "2h3s"]),
    ("ServerAliveInterval", &["0", "30", "1m"]),
    ("ServerAliveCountMax", &["1", "7"]),
    ("Ciphers", &["aes256-ctr", "+3des-cbc,aes192-cbc", "-aes*", "^aes256-gcm@openssh.com"]),
    ("KexAlgorithms", &["curve25519-sha256", "-diffie*,ecdh*", "^diffie-hellman-group14-sha256"]),
    ("MACs", &["hmac-sha2-256", "-hmac-sha1*", "+hmac-md5"]),
    ("HostKeyAlgorithms", &["ssh-ed25519", "ssh-ed25519,rsa-sha2-512"]),
    ("PubkeyAcceptedAlgorithms", &["ssh-ed25519*", "-ecdsa*", "+ssh-rsa", "^rsa-sha2-256"]),
    ("AddressFamily", &["any", "inet", "INET6"]),
    ("BindAddress", &["127.0.0.1", "10.1.1.1"]),
];

#[test]
fn an_included_file_that_others_may_write_is_refused_as_openssh_does() {
    use std::os::unix::fs::PermissionsExt;
    let ssh = Ssh::new();
    let included = ssh.folder.path().join("included");
    fs::write(&included, "Port 7\n").unwrap();
    // Group-writable files Debian's ssh takes where the group is the user's own, which we do not look into.
    let case = Case::new("Include @DIR@/included\n");
    let check = |mode, path: &Path, refused| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!((ssh.ask(&case).is_none(), ssh.ours(&case).is_err()), (refused, refused), "{mode:o}");
    };
    check(0o644, &included, false);
    check(0o646, &included, true);
}
