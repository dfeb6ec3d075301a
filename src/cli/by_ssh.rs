//! The command line of `ssh` where it makes the session (`via: ssh`).

use std::path::PathBuf;

use super::account::Flags;
use crate::config::model::{Secret, Server};
use crate::remote::BySsh;
use crate::sshconfig::{Query, Resolved, Source, Strict};

/// What an SFTP session has no use for, as sftp(1) switches it off; `-v` tells what was agreed on.
const ALWAYS: [&str; 9] = [
    "-v",
    "-s",
    "-oForwardX11=no",
    "-oForwardAgent=no",
    "-oPermitLocalCommand=no",
    "-oClearAllForwardings=yes",
    "-oRemoteCommand=none",
    "-oForkAfterAuthentication=no",
    "-oStdinNull=no",
];

/// What `ssh` is told: what was said of the server here wins over its own configuration.
pub fn by_ssh(
    query: &Query,
    server: Option<&Server>,
    said: &Resolved,
    flags: &Flags,
    source: &Source,
    unattended: bool,
) -> BySsh {
    let mut arguments: Vec<String> = ALWAYS.map(String::from).into();
    let mut say = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
    if unattended {
        say(&["-oBatchMode=yes"]);
    }
    match (flags.accept_new(said), unattended) {
        (true, _) => say(&["-oStrictHostKeyChecking=accept-new"]),
        (false, true) => say(&["-oStrictHostKeyChecking=yes"]),
        (false, false) if said.settings.strict != Some(Strict::Yes) => say(&["-oStrictHostKeyChecking=ask"]),
        (false, false) => {}
    }
    let set = &said.settings;
    if set.connect_timeout_secs.is_none() {
        say(&["-oConnectTimeout=15"]);
    }
    if set.alive_interval_secs.is_none_or(|secs| secs == 0) {
        say(&["-oServerAliveInterval=20", "-oServerAliveCountMax=3"]);
    }
    match source {
        Source::Usual => {}
        Source::File(path) => say(&["-F", &shown(path)]),
        Source::Nothing => say(&["-F", "none"]),
    }
    let keys = keys(server, flags);
    for key in &keys {
        say(&["-i", &shown(key)]);
    }
    if !keys.is_empty() {
        say(&["-oIdentitiesOnly=yes"]);
    }
    if server.is_some_and(|server| !server.auth.agent) {
        say(&["-oIdentityAgent=none"]);
    }
    if let Some(port) = query.port {
        say(&["-p", &port.to_string()]);
    }
    if let Some(user) = &query.user {
        say(&["-l", user]);
    }
    say(&["--", &query.host, "sftp"]);
    BySsh { arguments, unattended }
}

/// Key files that were named; the config check takes no others for such a server.
fn keys(server: Option<&Server>, flags: &Flags) -> Vec<PathBuf> {
    if !flags.identity.is_empty() {
        return flags.identity.clone();
    }
    let configured = server.iter().flat_map(|server| &server.auth.keys);
    let file = |key: &Secret| match key {
        Secret::File(path) => Some(path.clone()),
        _ => None,
    };
    configured.filter_map(file).collect()
}

/// As an argument. A path that is not text cannot be one here, and ssh says that it is not there.
fn shown(path: &std::path::Path) -> String {
    path.as_os_str()
        .to_owned()
        .into_string()
        .unwrap_or_else(|path| crate::path::escape(path.as_encoded_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sshconfig::Settings;

    fn settings(set: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::default();
        set(&mut settings);
        settings
    }

    fn arguments(flags: &Flags, settings: Settings, unattended: bool) -> String {
        let query = Query { host: "box".into(), user: Some("me".into()), port: Some(2022), jumps: None };
        let said = Resolved { settings, ..Resolved::default() };
        by_ssh(&query, None, &said, flags, &Source::Nothing, unattended).arguments.join(" ")
    }

    #[test]
    fn host_keys_are_accepted_only_if_somebody_says_so() {
        let check = |flags: Flags, strict: Option<Strict>, unattended, expected: Option<&str>| {
            let line = arguments(&flags, settings(|settings| settings.strict = strict), unattended);
            let found =
                line.split_once("-oStrictHostKeyChecking=").map(|(_, rest)| rest.split(' ').next().unwrap());
            assert_eq!(found, expected, "{line}");
        };
        let accepting = Flags { accept_new_host_key: true, ..Flags::default() };
        let one_round = Flags { is_one_round: true, ..Flags::default() };
        check(Flags::default(), Some(Strict::No), true, Some("yes"));
        check(Flags::default(), Some(Strict::No), false, Some("ask"));
        check(Flags::default(), Some(Strict::Yes), false, None);
        check(one_round.clone(), Some(Strict::No), true, Some("accept-new"));
        check(one_round, None, true, Some("yes"));
        check(accepting, Some(Strict::Yes), true, Some("accept-new"));
    }

    #[test]
    fn what_was_said_here_wins() {
        let flags = Flags { identity: vec!["/k".into()], ..Flags::default() };
        let line = arguments(&flags, Settings::default(), true);
        assert!(line.contains(" -oBatchMode=yes ") && line.contains(" -oConnectTimeout=15 "), "{line}");
        let end = "-F none -i /k -oIdentitiesOnly=yes -p 2022 -l me -- box sftp";
        assert!(line.ends_with(end), "{line}");
        let said = settings(|settings| {
            (settings.connect_timeout_secs, settings.alive_interval_secs) = (Some(3), Some(9));
        });
        let line = arguments(&Flags::default(), said, false);
        assert!(!line.contains("Timeout") && !line.contains("Alive") && !line.contains("Batch"), "{line}");
    }
}
