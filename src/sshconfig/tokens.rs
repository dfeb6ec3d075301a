//! What `%h`, `${HOME}` and `~` stand for (ssh_config(5), TOKENS and ENVIRONMENT VARIABLES).

use super::Around;

/// What tokens stand for. Those that are `None` are not known where they would be used.
#[derive(Debug, Clone, Default)]
pub(super) struct Tokens {
    /// `%h`: the host that is connected to.
    pub host: String,
    /// `%n`: the host as it was typed.
    pub typed: String,
    /// `%p`
    pub port: u16,
    /// `%r`: who logs in.
    pub user: String,
    /// `%k`: the name in known_hosts.
    pub key_alias: String,
    /// `%j`: the jumps as they are written.
    pub jumps: String,
}

/// Which of them a keyword takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Those of the connection: of `ProxyCommand` and `ProxyJump`.
    OfConnection,
    /// All, `~` and variables: of files and sockets.
    OfPath,
}

impl Tokens {
    /// The text with tokens replaced, or what is wrong with it.
    pub(super) fn expand(&self, text: &str, taken: Taken, around: &Around<'_>) -> Result<String, String> {
        let is_path = taken == Taken::OfPath;
        let text = if is_path { expand_home(text, around)? } else { text.to_owned() };
        let mut expanded = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['%', '$']) {
            expanded.push_str(&rest[..at]);
            let sign = &rest[at..at + 1];
            rest = &rest[at + 1..];
            match (sign, rest.strip_prefix('{')) {
                ("$", Some(braced)) if is_path => {
                    let (name, after) = braced.split_once('}').ok_or("${ is not closed by }")?;
                    let value = (around.variable)(name).ok_or(format!("the variable {name} is not set"))?;
                    expanded.push_str(&value);
                    rest = after;
                }
                ("$", _) => expanded.push('$'),
                _ => {
                    let token = rest.chars().next().ok_or("% stands at the end")?;
                    rest = &rest[token.len_utf8()..];
                    let value = self.value(token, taken, around);
                    expanded.push_str(&value.ok_or(format!("%{token} means nothing here"))?);
                }
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn value(&self, token: char, taken: Taken, around: &Around<'_>) -> Option<String> {
        Some(match (token, taken) {
            ('%', _) => "%".into(),
            ('h', _) => self.host.clone(),
            ('k', _) => self.key_alias.clone(),
            ('n', _) => self.typed.clone(),
            ('p', _) => self.port.to_string(),
            ('r', _) => self.user.clone(),
            (_, Taken::OfConnection) => return None,
            ('C', _) => self.digest(around),
            ('d', _) => around.home.clone()?,
            ('i', _) => around.uid.to_string(),
            ('j', _) => self.jumps.clone(),
            ('L', _) => short(&around.machine).into(),
            ('l', _) => around.machine.clone(),
            ('u', _) => around.user.clone(),
            _ => return None,
        })
    }

    /// `%C`: the SHA-1 of `%l%h%p%r%j`, which tells connections apart and secures nothing.
    fn digest(&self, around: &Around<'_>) -> String {
        use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
        let text = format!("{}{}{}{}{}", around.machine, self.host, self.port, self.user, self.jumps);
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn short(machine: &str) -> &str {
    machine.split('.').next().unwrap_or_default()
}

/// `HostName` takes `%h`, the host as it was typed, and `%%`.
pub(super) fn host_name(text: &str, typed: &str) -> Result<String, String> {
    let mut parts = text.split('%');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        match part.chars().next() {
            Some('h') => {
                expanded.push_str(typed);
                expanded.push_str(&part[1..]);
            }
            None => {
                // Two signs with nothing between them: one sign, and what follows the second is as it is.
                let after = parts.next().ok_or("HostName has a % at its end")?;
                expanded.push('%');
                expanded.push_str(after);
            }
            Some(other) => return Err(format!("%{other} means nothing in HostName")),
        }
    }
    Ok(expanded)
}

/// The path with `~` or `~user` at its beginning replaced.
pub(super) fn expand_home(path: &str, around: &Around<'_>) -> Result<String, String> {
    let Some(rest) = path.strip_prefix('~') else { return Ok(path.into()) };
    let (user, below) = rest.split_once('/').unwrap_or((rest, ""));
    let home = match user {
        "" => around.home.clone().ok_or("nobody knows where the home folder is")?,
        user => (around.home_of)(user).ok_or(format!("there is no user {user}"))?,
    };
    let slash = if home.ends_with('/') { "" } else { "/" };
    Ok(format!("{home}{slash}{}", below.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::super::files::Disk;
    use super::*;

    fn check_with(taken: Taken, text: &str, expected: Result<&str, &str>) {
        let variable = |name: &str| (name == "RUN").then(|| "/run/me".to_owned());
        let home_of = |user: &str| (user == "bob").then(|| "/bob".to_owned());
        let around = Around {
            home: Some("/home/ann".into()),
            user: "ann".into(),
            uid: 1000,
            machine: "here.example.org".into(),
            variable: &variable,
            home_of: &home_of,
            files: &Disk,
        };
        let tokens = Tokens {
            host: "backup.example.org".into(),
            typed: "box".into(),
            port: 2022,
            user: "web1".into(),
            key_alias: "alias".into(),
            jumps: "jump".into(),
        };
        match (tokens.expand(text, taken, &around), expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (outcome, _) => panic!("{text}: {outcome:?}"),
        }
    }

    #[test]
    fn paths_take_all_tokens_variables_and_homes() {
        let check = |text: &str, expected| check_with(Taken::OfPath, text, expected);
        check("~/k-%h-%n-%p-%r-%k-%j", Ok("/home/ann/k-backup.example.org-box-2022-web1-alias-jump"));
        check("%d/%u/%i/%l/%L/100%%", Ok("/home/ann/ann/1000/here.example.org/here/100%"));
        check("~bob//x", Ok("/bob/x"));
        check("~", Ok("/home/ann/"));
        check("${RUN}/agent-$x", Ok("/run/me/agent-$x"));
        check("a~b", Ok("a~b"));
        check("%C", Ok("5517133b50946ed9a02e35e5b04ee033fb2eef27"));
        check("~eve/x", Err("no user eve"));
        check("${NONE}", Err("NONE is not set"));
        check("${RUN", Err("not closed"));
        check("%x", Err("%x means nothing"));
        check("x%", Err("at the end"));
    }

    #[test]
    fn commands_take_the_tokens_of_the_connection() {
        let check = |text: &str, expected| check_with(Taken::OfConnection, text, expected);
        check("nc %h %p ~ ${RUN} %%", Ok("nc backup.example.org 2022 ~ ${RUN} %"));
        check("x %r@%n %k", Ok("x web1@box alias"));
        check("x %d", Err("%d means nothing"));
    }

    #[test]
    fn host_names_take_the_host_as_typed() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(host_name(text, "box").ok().as_deref(), expected, "{text}");
        };
        check("%h.example.org", Some("box.example.org"));
        check("a", Some("a"));
        check("%%h", Some("%h"));
        check("%h%%%h", Some("box%box"));
        check("%n", None);
        check("x%", None);
    }
}
