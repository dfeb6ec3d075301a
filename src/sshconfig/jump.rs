//! Hops on the way to a host, as `ProxyJump` writes them: `[user@]host[:port]` or `ssh://…`, with commas.

use std::fmt;

/// Hosts in one `ProxyJump`.
const MOST_JUMPS: usize = 16;

/// A host on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// Who logs in there; `None`: what ssh_config says of that host.
    pub user: Option<String>,
    /// A name, an address without brackets, or an alias.
    pub host: String,
    /// `None`: what ssh_config says of that host.
    pub port: Option<u16>,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        let is_address =
            self.host.contains(':') || self.host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match is_address {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The hops, the first one first; none for `none`. Otherwise says what is wrong.
pub(super) fn parse(text: &str) -> Result<Vec<Jump>, String> {
    let text = text.split('#').next().unwrap_or_default().trim_end();
    if text.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    let wrong = |hop: &str| format!("ProxyJump has no [user@]host[:port] in \"{hop}\"");
    let hops: Vec<&str> = text.split(',').collect();
    if hops.len() > MOST_JUMPS {
        return Err(format!("ProxyJump has more than {MOST_JUMPS} hosts"));
    }
    hops.into_iter().map(|hop| one(hop).ok_or_else(|| wrong(hop))).collect()
}

fn one(hop: &str) -> Option<Jump> {
    let (hop, is_url) = match hop.strip_prefix("ssh://") {
        Some(rest) => (rest.strip_suffix('/').unwrap_or(rest), true),
        None => (hop, false),
    };
    let (user, place) = match hop.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, hop),
    };
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.filter(|port| !port.is_empty());
    let port =
        port.map(|port| port.parse().ok().filter(|&port: &u16| port > 0).ok_or(())).transpose().ok()?;
    let decoded = |text: &str| if is_url { percent_decoded(text) } else { Some(text.to_owned()) };
    let user = user.map(|user| decoded(user).filter(|user| is_plain(user)).ok_or(())).transpose().ok()?;
    Some(Jump { user, host: decoded(host).filter(|host| is_plain(host))?, port })
}

/// Whether it can be a user or a host, and no option.
fn is_plain(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "'`\"$\\;&<>|(){}/".contains(c);
    !name.is_empty() && !name.starts_with('-') && !name.contains(odd)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            decoded.push(c);
            continue;
        }
        let code = chars.next()?.to_digit(16)? * 16 + chars.next()?.to_digit(16)?;
        // Users and hosts are ASCII where it matters; what is none, nobody could type either.
        decoded.push(char::from_u32(code).filter(char::is_ascii)?);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_read_in_order() {
        let check = |text: &str, expected: &str| {
            let hops: Vec<String> = parse(text).unwrap().iter().map(Jump::to_string).collect();
            assert_eq!(hops.join(","), expected, "{text}");
        };
        check("none", "");
        check("box", "box");
        check("me@box:2022,ann@example.org@other # why", "me@box:2022,ann@example.org@other");
        check("[::1]:22", "[::1]:22");
        check("127.0.0.1", "[127.0.0.1]");
        check("ssh://me%2b@box:2022/", "me+@box:2022");
        check("%h.jump", "%h.jump");
    }

    #[test]
    fn what_is_no_hop_is_refused() {
        for wrong in
            ["", ",", "box,", "@box", "box:0", "box:x", "[::1", "[::1]x", "-oProxyCommand=x", "a b", "a;b"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&"a,".repeat(16)).is_err() && parse("ssh://box/path").is_err());
    }
}
