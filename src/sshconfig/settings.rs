//! What the lines that apply to a host add up to: the first value of a keyword wins.

use super::jump::{self, Jump};
use super::keyword::Setting;
use super::time;

/// OpenSSH's bound on identities, and ours on everything that adds up (readconf.h, SSH_MAX_IDENTITY_FILES).
const MOST_FILES: usize = 100;

/// The values as they are written, before tokens are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `AddressFamily`
    pub address_family: Option<Family>,
    /// `BindAddress`
    pub bind_address: Option<String>,
    /// `CertificateFile`, all of them.
    pub certificate_files: Vec<String>,
    /// `Ciphers`, with its `+`, `-` or `^`.
    pub ciphers: Option<String>,
    /// `ConnectTimeout` in seconds.
    pub connect_timeout_secs: Option<u32>,
    /// `GlobalKnownHostsFile`
    pub global_known_hosts: Vec<String>,
    /// `HostKeyAlgorithms`, with its `+`, `-` or `^`.
    pub host_key_algorithms: Option<String>,
    /// `HostKeyAlias`
    pub host_key_alias: Option<String>,
    /// `HostName`
    pub host_name: Option<String>,
    /// `IdentitiesOnly`
    pub identities_only: Option<bool>,
    /// `IdentityAgent`
    pub identity_agent: Option<String>,
    /// `IdentityFile`, all of them.
    pub identity_files: Vec<String>,
    /// `KexAlgorithms`, with its `+`, `-` or `^`.
    pub kex_algorithms: Option<String>,
    /// `MACs`, with its `+`, `-` or `^`.
    pub macs: Option<String>,
    /// `Port`
    pub port: Option<u16>,
    /// `ProxyCommand`
    pub proxy_command: Option<String>,
    /// `ProxyJump`, the first hop first; empty for `none`.
    pub proxy_jump: Option<Vec<Jump>>,
    /// `PubkeyAcceptedAlgorithms`, with its `+`, `-` or `^`.
    pub pubkey_algorithms: Option<String>,
    /// `ServerAliveCountMax`
    pub alive_count_max: Option<u32>,
    /// `ServerAliveInterval` in seconds; 0 is off.
    pub alive_interval_secs: Option<u32>,
    /// `StrictHostKeyChecking`
    pub strict: Option<Strict>,
    /// `Tag`
    pub tag: Option<String>,
    /// `User`
    pub user: Option<String>,
    /// `UserKnownHostsFile`
    pub user_known_hosts: Vec<String>,
    /// Files of identities that were named before, and whether in a file of the user.
    pub(super) named: Vec<(Setting, bool, String)>,
}

/// Which addresses are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// Any.
    #[default]
    Any,
    /// IPv4 only.
    Inet,
    /// IPv6 only.
    Inet6,
}

/// What becomes of host keys that are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strict {
    /// Refused.
    Yes,
    /// A person is asked.
    Ask,
    /// Accepted at first contact.
    AcceptNew,
    /// Accepted.
    No,
}

/// A value that stands in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    /// All that follows the keyword.
    pub rest: &'a str,
    /// The same as arguments.
    pub arguments: &'a [String],
    /// Whether the file is one of the user's, not of the system.
    pub is_users: bool,
    /// Whether the block applies; otherwise the value is only checked.
    pub applies: bool,
}

impl Settings {
    /// Takes a value unless an earlier one holds; otherwise says what is wrong with it.
    pub(super) fn take(&mut self, setting: Setting, given: Given<'_>) -> Result<(), String> {
        use Setting as S;
        match setting {
            S::ProxyCommand => return self.take_command(given),
            S::ProxyJump => return self.take_jump(given),
            S::UserKnownHostsFile => return several(&mut self.user_known_hosts, given),
            S::GlobalKnownHostsFile => return several(&mut self.global_known_hosts, given),
            S::IdentityFile | S::CertificateFile => return self.take_file(setting, given),
            _ => {}
        }
        let (value, applies) = (alone(given.arguments)?, given.applies);
        match setting {
            S::AddressFamily => first(&mut self.address_family, applies, family(value)?),
            S::ConnectTimeout => first(&mut self.connect_timeout_secs, applies, time::seconds(value)?),
            S::ServerAliveInterval => first(&mut self.alive_interval_secs, applies, time::seconds(value)?),
            S::ServerAliveCountMax => first(&mut self.alive_count_max, applies, Some(number(value)?)),
            S::IdentitiesOnly => first(&mut self.identities_only, applies, Some(flag(value)?)),
            S::Port => first(&mut self.port, applies, Some(port(value)?)),
            S::StrictHostKeyChecking => first(&mut self.strict, applies, Some(strict(value)?)),
            _ => {
                if let Some(text) = self.text(setting) {
                    first(text, applies, Some(value.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Where a value is kept as it is.
    fn text(&mut self, setting: Setting) -> Option<&mut Option<String>> {
        Some(match setting {
            Setting::BindAddress => &mut self.bind_address,
            Setting::Ciphers => &mut self.ciphers,
            Setting::HostKeyAlgorithms => &mut self.host_key_algorithms,
            Setting::HostKeyAlias => &mut self.host_key_alias,
            Setting::HostName => &mut self.host_name,
            Setting::IdentityAgent => &mut self.identity_agent,
            Setting::KexAlgorithms => &mut self.kex_algorithms,
            Setting::Macs => &mut self.macs,
            Setting::PubkeyAcceptedAlgorithms => &mut self.pubkey_algorithms,
            Setting::Tag => &mut self.tag,
            Setting::User => &mut self.user,
            _ => return None,
        })
    }

    /// A command is all of the line, with its quotes. Whichever comes first of jump and command counts; no jump
    /// leaves room for a command.
    fn take_command(&mut self, given: Given<'_>) -> Result<(), String> {
        let command = given.rest.trim_start_matches([' ', '\t', '\r', '\n', '=']);
        if self.proxy_jump.as_ref().is_none_or(Vec::is_empty) {
            first(&mut self.proxy_command, given.applies, Some(command.to_owned()));
        }
        Ok(())
    }

    fn take_jump(&mut self, given: Given<'_>) -> Result<(), String> {
        let jumps = jump::parse(given.rest.trim_start_matches([' ', '\t', '\r', '\n', '=']))?;
        if self.proxy_command.is_none() {
            first(&mut self.proxy_jump, given.applies, Some(jumps));
        }
        Ok(())
    }

    fn take_file(&mut self, setting: Setting, given: Given<'_>) -> Result<(), String> {
        let file = alone(given.arguments)?.to_owned();
        let named = (setting, given.is_users, file.clone());
        if !given.applies || self.named.contains(&named) {
            return Ok(());
        }
        let files = match setting {
            Setting::CertificateFile => &mut self.certificate_files,
            _ => &mut self.identity_files,
        };
        if files.len() >= MOST_FILES {
            return Err(format!("there are more than {MOST_FILES} of them"));
        }
        files.push(file);
        self.named.push(named);
        Ok(())
    }
}

fn first<T>(slot: &mut Option<T>, applies: bool, value: Option<T>) {
    if applies && slot.is_none() {
        *slot = value;
    }
}

/// The only argument.
fn alone(arguments: &[String]) -> Result<&str, String> {
    match arguments {
        [value] if !value.is_empty() => Ok(value),
        [] | [_] => Err("the value is missing".into()),
        [_, more, ..] => Err(format!("there is more on the line than one value: \"{more}\"")),
    }
}

/// Several files at once; `none` stands alone.
fn several(files: &mut Vec<String>, given: Given<'_>) -> Result<(), String> {
    let named = given.arguments;
    if named.iter().any(String::is_empty) {
        return Err("the value is missing".into());
    }
    if named.len() > 1 && named.iter().any(|name| name.eq_ignore_ascii_case("none")) {
        return Err("\"none\" stands alone".into());
    }
    if named.len() > MOST_FILES {
        return Err(format!("there are more than {MOST_FILES} of them"));
    }
    if given.applies && files.is_empty() {
        *files = named.to_vec();
    }
    Ok(())
}

fn flag(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(format!("expected yes or no, found \"{value}\"")),
    }
}

fn family(value: &str) -> Result<Option<Family>, String> {
    match value.to_ascii_lowercase().as_str() {
        "any" => Ok(Some(Family::Any)),
        "inet" => Ok(Some(Family::Inet)),
        "inet6" => Ok(Some(Family::Inet6)),
        _ => Err(format!("expected any, inet or inet6, found \"{value}\"")),
    }
}

fn strict(value: &str) -> Result<Strict, String> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(Strict::Yes),
        "ask" => Ok(Strict::Ask),
        "accept-new" => Ok(Strict::AcceptNew),
        "no" | "false" | "off" => Ok(Strict::No),
        _ => Err(format!("expected yes, no, ask or accept-new, found \"{value}\"")),
    }
}

fn number(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("expected a number, found \"{value}\""))
}

fn port(value: &str) -> Result<u16, String> {
    let port = value.parse().ok().filter(|&port: &u16| port > 0);
    port.ok_or_else(|| format!("expected a port from 1 to 65535, found \"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::super::line;
    use super::*;

    fn take(settings: &mut Settings, setting: Setting, text: &str) -> Result<(), String> {
        let line = format!("keyword {text}");
        let line = line::split(&line).unwrap().unwrap();
        let given = Given { rest: line.rest, arguments: &line.arguments, is_users: true, applies: true };
        settings.take(setting, given)
    }

    #[test]
    fn the_first_value_wins_and_files_add_up() {
        let mut settings = Settings::default();
        let given = [
            (Setting::Port, "22"),
            (Setting::Port, "23"),
            (Setting::ConnectTimeout, "none"),
            (Setting::ConnectTimeout, "1m"),
            (Setting::IdentityFile, "a"),
            (Setting::IdentityFile, "b"),
            (Setting::IdentityFile, "a"),
            (Setting::UserKnownHostsFile, "a b"),
            (Setting::UserKnownHostsFile, "c"),
        ];
        for (setting, text) in given {
            take(&mut settings, setting, text).unwrap();
        }
        assert_eq!((settings.port, settings.connect_timeout_secs), (Some(22), Some(60)));
        assert_eq!(settings.identity_files, ["a", "b"]);
        assert_eq!(settings.user_known_hosts, ["a", "b"]);
    }

    #[test]
    fn whichever_comes_first_of_jump_and_command_counts() {
        let check = |given: &[(Setting, &str)], command: Option<&str>, jumps: Option<usize>| {
            let mut settings = Settings::default();
            given.iter().for_each(|(setting, text)| take(&mut settings, *setting, text).unwrap());
            assert_eq!(settings.proxy_command.as_deref(), command, "{given:?}");
            assert_eq!(settings.proxy_jump.map(|jumps| jumps.len()), jumps, "{given:?}");
        };
        let (command, jump) = ((Setting::ProxyCommand, "nc \"%h\" %p"), (Setting::ProxyJump, "a,b"));
        check(&[command, jump], Some("nc \"%h\" %p"), None);
        check(&[jump, command], None, Some(2));
        check(&[(Setting::ProxyJump, "none"), command], Some("nc \"%h\" %p"), Some(0));
        check(&[(Setting::ProxyJump, "none"), jump], None, Some(0));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let check = |setting, text: &str, expected: &str| {
            let wrong = take(&mut Settings::default(), setting, text).unwrap_err();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        };
        check(Setting::Port, "0", "expected a port");
        check(Setting::Port, "22 23", "more on the line");
        check(Setting::User, "\"\"", "missing");
        check(Setting::User, "# nobody", "missing");
        check(Setting::IdentitiesOnly, "perhaps", "yes or no");
        check(Setting::StrictHostKeyChecking, "maybe", "accept-new");
        check(Setting::UserKnownHostsFile, "none a", "stands alone");
        check(Setting::ProxyJump, "a,", "ProxyJump");
    }
}
