//! Whole configurations, held in memory.

use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;

use super::files::Found;
use super::*;

/// Files by path, all of them ours and closed to others unless a mode is given.
#[derive(Default)]
struct Held(BTreeMap<PathBuf, Found>);

impl Files for Held {
    fn read(&self, path: &Path) -> io::Result<Option<Found>> {
        match self.0.get(path) {
            Some(found) if found.mode == 0 => Err(io::ErrorKind::PermissionDenied.into()),
            found => Ok(found.cloned()),
        }
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let means = |path: &&PathBuf| path.to_str().is_some_and(|path| pattern::fits(path, pattern));
        Ok(self.0.keys().filter(means).cloned().collect())
    }
}

const OWN: &str = "/home/ann/.ssh/config";

fn held(files: &[(&str, &str)]) -> Held {
    let found = |text: &str| Found { bytes: text.into(), uid: 1000, mode: 0o100_644 };
    Held(files.iter().map(|(path, text)| (path.into(), found(text))).collect())
}

fn ask(files: &Held, query: &Query, source: &Source) -> Result<Resolved> {
    let around = Around {
        home: Some("/home/ann".into()),
        user: "ann".into(),
        uid: 1000,
        machine: "here".into(),
        variable: &|name| (name == "RUN").then(|| "/run".into()),
        home_of: &|_| None,
        files,
    };
    resolve(query, source, &around)
}

fn of_host(host: &str) -> Query {
    Query { host: host.into(), ..Query::default() }
}

/// What one file of the user says of `box`.
fn says(text: &str) -> Result<Resolved> {
    ask(&held(&[(OWN, text)]), &of_host("box"), &Source::Usual)
}

#[test]
fn the_first_value_wins_across_blocks_and_files() {
    let files = held(&[
        (OWN, "User me\nHost box\n Port 2022\n User other\nHost *\n Port 23\n"),
        (SYSTEM_FILE, "Host *\n User system\n HostKeyAlias Alias\n"),
    ]);
    let found = ask(&files, &of_host("box"), &Source::Usual).unwrap();
    assert_eq!((found.user().unwrap().as_str(), found.port()), ("me", Some(2022)));
    assert_eq!(found.host_key_alias.as_deref(), Some("alias"));
    let query = Query { user: Some("flag".into()), port: Some(1), ..of_host("box") };
    let found = ask(&files, &query, &Source::Usual).unwrap();
    assert_eq!((found.user().unwrap().as_str(), found.port()), ("flag", Some(1)));
    assert_eq!(ask(&files, &of_host("box"), &Source::Nothing).unwrap().user(), None);
    let missing = ask(&files, &of_host("box"), &Source::File("/none".into())).unwrap_err();
    assert_eq!((missing.kind(), missing.reason().as_str()), (Kind::Usage, "there is no such file"));
}

#[test]
fn a_host_name_is_taken_in_lower_case_and_then_read_for_again() {
    let check = |text: &str, host: &str, user: Option<&str>| {
        let found = says(text).unwrap();
        assert_eq!((found.host.as_str(), found.user().map(String::as_str)), (host, user), "{text}");
    };
    check("HostName Backup.Example.org", "backup.example.org", None);
    check("HostName %h.example.org\nMatch host *.example.org\nUser web1", "box.example.org", Some("web1"));
    check("HostName a\nMatch final host a\nUser web1", "a", Some("web1"));
    check("HostName a\nMatch originalhost a\nUser web1", "a", None);
    check("HostName a\nMatch final\nHostName b\nHost a\nUser web1", "a", Some("web1"));
    check("HostName fe80::1%%eth0", "fe80::1%eth0", None);
}

#[test]
fn included_files_stand_where_they_are_named() {
    let files = held(&[
        (OWN, "Host box\n Include conf.d/*\nUser me\nInclude ~/more /abs none\n"),
        ("/home/ann/.ssh/conf.d/1", "Port 2022\nHost other\nUser wrong\n"),
        ("/home/ann/.ssh/conf.d/2", "HostName two\n"),
        ("/home/ann/more", "IdentityFile ~/.ssh/%n\n"),
        ("/abs", "IdentityFile /k\n"),
    ]);
    let found = ask(&files, &of_host("box"), &Source::Usual).unwrap();
    assert_eq!((found.host.as_str(), found.port()), ("two", Some(2022)));
    assert_eq!(found.user().unwrap(), "me");
    assert_eq!(found.identity_files, [PathBuf::from("/home/ann/.ssh/box"), "/k".into()]);
    let other = ask(&files, &of_host("other"), &Source::Usual).unwrap();
    assert_eq!((other.host.as_str(), other.port(), other.user()), ("other", None, None));
}

#[test]
fn files_that_include_each_other_come_to_an_end() {
    let check = |text: &str| {
        let wrong = ask(
            &held(&[("/home/ann/.ssh/a", text)]),
            &of_host("box"),
            &Source::File("/home/ann/.ssh/a".into()),
        );
        assert_eq!(wrong.unwrap_err().reason(), "too many files include each other");
    };
    check("Include a\n");
    check("Include a a a a\n");
}

#[test]
fn files_that_others_may_change_are_refused() {
    let check = |uid, mode, expected: Option<&str>| {
        let mut files = held(&[(OWN, "User me")]);
        files.0.values_mut().for_each(|found| (found.uid, found.mode) = (uid, mode));
        let wrong = ask(&files, &of_host("box"), &Source::Usual).err().map(|e| e.reason());
        assert_eq!(wrong.as_deref(), expected, "{uid} {mode:o}");
        let named = ask(&files, &of_host("box"), &Source::File(OWN.into()));
        assert_eq!(named.is_ok(), mode != 0, "a file that was named is not looked at so closely");
    };
    check(1000, 0o100_644, None);
    check(0, 0o100_644, None);
    check(1001, 0o100_600, Some("others may change it"));
    check(1000, 0o100_664, Some("others may change it"));
    check(1000, 0, Some("permission denied"));
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let wrong = says("Prot 22\nHost other\n Port x\nMatch host\nUser a b\nInclude \"\"\nUser \"a\nPort 0\n")
        .unwrap_err();
    assert_eq!(wrong.kind(), Kind::Usage);
    let reason = wrong.reason();
    let expected = [
        "config, line 1: there is no keyword \"prot\"",
        "line 3: port: expected a port",
        "line 4: the condition \"host\" has no value",
        "line 5: user: there is more on the line",
        "line 6: the name of a file is empty; and 2 more",
    ];
    for part in expected {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(says("IgnoreUnknown Pr*,x\nProt 22\n").is_ok());
    assert!(says("Host other\nIgnoreUnknown Pr*\nHost *\nProt 22\n").is_err());
    assert!(says("RevokedHostKeys none\n").is_ok() && says("RevokedHostKeys /x\n").is_err());
    assert!(says("User \u{fffd}\n").is_ok());
    let bytes = Found { bytes: b"# \xff\nUser \xff\n".to_vec(), uid: 0, mode: 0o644 };
    let files = Held(BTreeMap::from([(OWN.into(), bytes)]));
    let wrong = ask(&files, &of_host("box"), &Source::Usual).unwrap_err().reason();
    assert!(wrong.contains("line 2: this is not UTF-8") && !wrong.contains("line 1"), "{wrong}");
}

#[test]
fn what_is_not_heeded_is_told_once() {
    let check = |text: &str, expected: &[&str]| {
        let notes = says(text).unwrap().notes;
        assert_eq!(notes.len(), expected.len(), "{notes:?}");
        for (note, expected) in notes.iter().zip(expected) {
            assert!(note.to_string().contains(expected), "{note}");
        }
    };
    check(
        "PasswordAuthentication no\nPasswordAuthentication no\n",
        &["line 1: \"passwordauthentication no\""],
    );
    check("PasswordAuthentication yes\nPasswordAuthentication no\nForwardAgent yes\n", &[]);
    check("Host other\nCompression yes\n", &[]);
    check("Match exec true\nUser x\nMatch final\nPort 1\n", &["line 1: \"Match exec\""]);
    check("GSSAPIAuthentication yes\n", &["via: ssh"]);
    let files = held(&[(SYSTEM_FILE, "GSSAPIAuthentication yes\n")]);
    assert_eq!(ask(&files, &of_host("box"), &Source::Usual).unwrap().notes, []);
}

#[test]
fn the_way_is_a_list_of_hops_a_command_or_direct() {
    let check = |text: &str, expected: Proxy| assert_eq!(says(text).unwrap().proxy, expected, "{text}");
    let hop = |host: &str| Jump { user: None, host: host.into(), port: None };
    check("ProxyJump a,%h.jump\n", Proxy::Jumps(vec![hop("a"), hop("box.jump")]));
    check("ProxyJump none\nProxyCommand nc %h %p\n", Proxy::Command("nc box 22".into()));
    check("ProxyJump none\nProxyJump a\n", Proxy::Direct);
    check(
        "ProxyCommand nc -x \"%h\" %p # %r\nPort 5\nUser u\n",
        Proxy::Command("nc -x \"box\" 5 # u".into()),
    );
    check("ProxyCommand none\nProxyJump a\n", Proxy::Direct);
    let files = held(&[(OWN, "ProxyCommand x\n")]);
    let query = Query { jumps: Some(vec![hop("b")]), ..of_host("box") };
    assert_eq!(ask(&files, &query, &Source::Usual).unwrap().proxy, Proxy::Jumps(vec![hop("b")]));
    let query = Query { jumps: Some(Vec::new()), ..of_host("box") };
    assert_eq!(ask(&files, &query, &Source::Usual).unwrap().proxy, Proxy::Direct);
    assert!(says("ProxyCommand nc %d\n").is_err());
}

#[test]
fn agents_and_known_hosts_are_named_in_several_ways() {
    let agent = |text: &str| says(&format!("IdentityAgent {text}\n")).unwrap().agent.unwrap();
    assert_eq!(agent("none"), Agent::Nobody);
    assert_eq!(agent("SSH_AUTH_SOCK"), Agent::Variable("SSH_AUTH_SOCK".into()));
    assert_eq!(agent("$OTHER"), Agent::Variable("OTHER".into()));
    assert_eq!(agent("${RUN}/%u"), Agent::Socket("/run/ann".into()));
    let found = says("UserKnownHostsFile ~/a /b\nGlobalKnownHostsFile none\n").unwrap();
    assert_eq!(found.user_known_hosts, Some(vec!["/home/ann/a".into(), "/b".into()]));
    assert_eq!(found.global_known_hosts, Some(Vec::new()));
    assert_eq!(says("").unwrap().user_known_hosts, None);
}

proptest! {
    /// Whatever stands in a file: it is read or refused.
    #[test]
    fn no_text_is_too_much(text in "(?s).{0,120}", value in "[%$~{}\\[\\]@:,!*?#'\"\\\\ =a-z0-9é]{0,40}") {
        let _ = says(&text);
        for keyword in ["Host", "Match", "Include", "HostName", "ProxyJump", "ProxyCommand", "IdentityFile", "Port"] {
            let _ = says(&format!("{keyword} {value}\nHost {text}\n"));
        }
        let _ = names::assemble(Some(&value), &["a", "b"], &["a", "b", "c"]);
    }
}
