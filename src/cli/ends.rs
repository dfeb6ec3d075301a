//! The two ends of `push SRC DST` and `pull SRC DST`: which is here, which is there, and where exactly.
//!
//! Pure: no file is looked at and no name resolved, so a host may still turn out to be a server of the
//! config or an alias of `~/.ssh/config`. Bytes that are not UTF-8 survive in paths on both sides.

use std::ffi::OsStr;
use std::fmt;
use std::net::Ipv6Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::outcome::Mode;
use crate::path::{RemoteRoot, escape};

const FORMS: &str = "A remote end is written [user@]host:path or sftp://user@host:port/path; \
                     a path with a slash before its first colon is on this machine.";

/// The ends of one round, in the order that its mode asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// The path on this machine, as typed.
    pub near: PathBuf,
    /// The end on the server.
    pub far: Far,
    /// Both as typed, for people: `/srv/data -> web1:backup`. Escaped; holds no secret.
    pub title: String,
}

/// An end on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Far {
    /// Who logs in; `None`: as config, `~/.ssh/config` or the system say.
    pub user: Option<String>,
    /// A host name, an address without brackets, or a name that config or `~/.ssh/config` explain.
    pub host: String,
    /// The port, where a URL gives one.
    pub port: Option<u16>,
    /// The folder or file on the server.
    pub path: RemoteRoot,
    /// How the end was written.
    pub form: Form,
}

/// How a remote end was written. Only the short form may name a server of the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `[user@]host:path`
    Short,
    /// `sftp://…`
    Url,
}

impl fmt::Display for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{}@", escape(user.as_bytes()))?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", escape(self.host.as_bytes()))?,
            false => write!(f, "{}", escape(self.host.as_bytes()))?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Reads the two arguments of `push` or `pull`. Errors with `Usage` unless exactly the right one of
/// them is remote and well formed.
pub fn parse(mode: Mode, source: &OsStr, target: &OsStr) -> Result<Ends> {
    let title = || format!("{} -> {}", escape(source.as_bytes()), escape(target.as_bytes()));
    let swapped = |right: &str, wrong: &str| {
        Error::new(Kind::Usage, mode.as_str(), title())
            .detail(format!("{} takes its source from {wrong}", mode.as_str()))
            .hint(format!("To carry it this way: highwater {right} SRC DST."))
    };
    match (mode, end(source)?, end(target)?) {
        (Mode::Push, End::Near(near), End::Far(far)) | (Mode::Pull, End::Far(far), End::Near(near)) => {
            Ok(Ends { near, far, title: title() })
        }
        (Mode::Push, End::Far(_), End::Near(_)) => Err(swapped("pull", "this machine")),
        (Mode::Pull, End::Near(_), End::Far(_)) => Err(swapped("push", "a server")),
        (_, End::Near(_), End::Near(_)) => Err(Error::new(Kind::Usage, mode.as_str(), title())
            .detail("both ends are on this machine")
            .hint(FORMS)),
        (_, End::Far(_), End::Far(_)) => Err(Error::new(Kind::Usage, mode.as_str(), title())
            .detail("both ends are on a server, and one has to be on this machine")
            .hint(FORMS)),
    }
}

/// Reads a remote end that stands alone: `[user@]host`, `[user@]host:path` or a URL.
pub fn parse_host(text: &str) -> Result<Far> {
    match end(OsStr::new(text))? {
        End::Far(far) => Ok(far),
        End::Near(_) if text.contains('/') => Err(malformed(text.as_bytes(), "it is a path, not a host")),
        End::Near(_) => short(text.as_bytes(), text.as_bytes(), b""),
    }
}

enum End {
    Near(PathBuf),
    Far(Far),
}

fn end(argument: &OsStr) -> Result<End> {
    let bytes = argument.as_bytes();
    if bytes.is_empty() {
        return Err(malformed(bytes, "it is empty"));
    }
    if let Some((scheme, rest)) = split_scheme(bytes) {
        return match scheme.eq_ignore_ascii_case(b"sftp") {
            _ if split_user(authority(rest)).0.is_some_and(|user| user.contains(&b':')) => Err(password()),
            true => url(bytes, rest).map(End::Far),
            false => Err(malformed(bytes, "only sftp:// is spoken here")),
        };
    }
    match first_colon(bytes) {
        Some(colon) => short(bytes, &bytes[..colon], &bytes[colon + 1..]).map(End::Far),
        None => Ok(End::Near(PathBuf::from(argument))),
    }
}

/// `sftp://rest` → (`sftp`, `rest`).
fn split_scheme(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = split_at_byte(bytes, b':')?;
    let is_name = scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    Some((scheme, rest.strip_prefix(b"//")?)).filter(|_| is_name && !scheme.is_empty())
}

/// What stands before the path of a URL.
fn authority(rest: &[u8]) -> &[u8] {
    split_at_byte(rest, b'/').map_or(rest, |(authority, _)| authority)
}

/// The colon that ends the host: the first one outside brackets, unless a slash comes before it.
fn first_colon(bytes: &[u8]) -> Option<usize> {
    let mut bracketed = false;
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => return None,
            b'[' if i == 0 || bytes[i - 1] == b'@' => bracketed = bytes[i..].contains(&b']'),
            b']' => bracketed = false,
            b':' if !bracketed => return Some(i),
            _ => {}
        }
    }
    None
}

/// `[user@]host:path`, with the path from the login folder unless it begins with a slash.
fn short(typed: &[u8], account: &[u8], path: &[u8]) -> Result<Far> {
    if path.starts_with(b":") {
        return Err(malformed(typed, "host:: names a module of an rsync daemon, which is not SFTP"));
    }
    if !account.contains(&b'@') && looks_like_password(path) {
        return Err(password());
    }
    let (user, host) = split_user(account);
    Ok(Far {
        user: user.map(|u| user_name(typed, u.to_vec())).transpose()?,
        host: host_name(typed, host)?,
        port: None,
        path: remote_path(typed, path)?,
        form: Form::Short,
    })
}

/// The rest of `user:password@host:path` after its first colon.
fn looks_like_password(path: &[u8]) -> bool {
    let Some((before, after)) = split_at_byte(path, b'@') else {
        return false;
    };
    !before.contains(&b'/') && first_colon(after).is_some()
}

/// `user@host:port/path` of a URL; the path is absolute, but for `/~/x`.
fn url(typed: &[u8], rest: &[u8]) -> Result<Far> {
    let (authority, path) = rest.split_at(authority(rest).len());
    let (user, place) = split_user(authority);
    let (host, port) = split_port(typed, place)?;
    let path = match path {
        b"/~" => b"~".to_vec(),
        _ if path.starts_with(b"/~/") => [b"~/", &*percent_decode(typed, &path[3..])?].concat(),
        _ => percent_decode(typed, path)?,
    };
    Ok(Far {
        user: user.map(|u| user_name(typed, percent_decode(typed, u)?)).transpose()?,
        host: host_name(typed, &percent_decode(typed, host)?)?,
        port,
        path: remote_path(typed, &path)?,
        form: Form::Url,
    })
}

/// Splits at the last `@`: users may contain one (`me@example.org@host`), hosts may not.
fn split_user(account: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match account.iter().rposition(|&b| b == b'@') {
        Some(at) => (Some(&account[..at]), &account[at + 1..]),
        None => (None, account),
    }
}

fn split_port<'a>(typed: &[u8], place: &'a [u8]) -> Result<(&'a [u8], Option<u16>)> {
    let bracket = place.iter().rposition(|&b| b == b']').unwrap_or(0);
    let Some(colon) = place[bracket..].iter().position(|&b| b == b':') else {
        return Ok((place, None));
    };
    let (host, port) = (&place[..bracket + colon], &place[bracket + colon + 1..]);
    let number = std::str::from_utf8(port).ok().and_then(|p| p.parse().ok()).filter(|&p: &u16| p > 0);
    match number {
        _ if port.is_empty() => Ok((host, None)),
        None => Err(malformed(typed, "the port is not a number from 1 to 65535")),
        port => Ok((host, port)),
    }
}

/// A user that cannot be taken for an option or hold what a terminal acts upon.
fn user_name(typed: &[u8], user: Vec<u8>) -> Result<String> {
    match String::from_utf8(user) {
        Ok(user) if user.is_empty() => Err(malformed(typed, "the user before the @ is missing")),
        Ok(user) if is_harmless(&user) => Ok(user),
        _ => Err(malformed(typed, "the user is not a name")),
    }
}

fn host_name(typed: &[u8], host: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(host).map_err(|_| malformed(typed, "the host is not a name"))?;
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(|| malformed(typed, "the bracket is not closed"))?;
        let (address, _zone) = inner.split_once('%').unwrap_or((inner, ""));
        return match address.parse::<Ipv6Addr>() {
            Ok(_) if is_harmless(inner) => Ok(inner.into()),
            _ => Err(malformed(typed, "what stands in brackets is not an IPv6 address")),
        };
    }
    let is_name = is_harmless(text) && !text.contains(['/', '[', ']', ':', '@']);
    match text {
        "" => Err(malformed(typed, "the host is missing")),
        _ if is_name => Ok(text.into()),
        _ => Err(malformed(typed, "the host is not a name")),
    }
}

fn is_harmless(name: &str) -> bool {
    !name.starts_with('-') && !name.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// `~/x` is below the login folder however many slashes follow the `~`.
fn remote_path(typed: &[u8], path: &[u8]) -> Result<RemoteRoot> {
    let below_login = path.strip_prefix(b"~/").map(|rest| {
        let start = rest.iter().position(|&b| b != b'/').unwrap_or(rest.len());
        [b"~/", &rest[start..]].concat()
    });
    RemoteRoot::new(below_login.as_deref().unwrap_or(path)).map_err(|bad| malformed(typed, &bad.to_string()))
}

fn percent_decode(typed: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let bad = || malformed(typed, "% is not followed by two hexadecimal digits; % itself is written %25");
    let digit = |b: Option<&u8>| b.and_then(|&b| char::from(b).to_digit(16)).ok_or_else(bad);
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8, // below 256
            _ => byte,
        });
    }
    Ok(decoded)
}

fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&b| b == byte)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn malformed(typed: &[u8], why: &str) -> Error {
    let subject = format!("\"{}\"", escape(typed));
    Error::new(Kind::Usage, "understand the end", subject).detail(why).hint(FORMS)
}

/// Says nothing of what was typed: it may be in a log already, and need not come into another.
fn password() -> Error {
    Error::new(Kind::Usage, "take a password from the command line", "")
        .detail("other users of this machine can see it there")
        .hint("Log in with a key (-i KEY) or ssh-agent, or name the server in the config with auth: {password: file:…}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull(source: &[u8]) -> Result<Far> {
        parse(Mode::Pull, OsStr::from_bytes(source), OsStr::new("here")).map(|ends| ends.far)
    }

    #[test]
    fn remote_ends_as_people_write_them() {
        let check = |typed: &str, user: &str, host: &str, port: Option<u16>, path: &str| {
            let far = pull(typed.as_bytes()).unwrap_or_else(|e| panic!("{typed}: {}", e.reason()));
            let user = Some(user.to_owned()).filter(|u| !u.is_empty());
            let path = RemoteRoot::new(path.as_bytes()).unwrap();
            assert_eq!(
                (far.user, far.host.as_str(), far.port, far.path),
                (user, host, port, path),
                "{typed}"
            );
        };
        check("host:", "", "host", None, "");
        check("host:dir/x", "", "host", None, "dir/x");
        check("host:/dir/x", "", "host", None, "/dir/x");
        check("host:~/dir", "", "host", None, "dir");
        check("host:~//dir", "", "host", None, "dir");
        check("host:a%41:b@c", "", "host", None, "a%41:b@c");
        check("me@host:dir", "me", "host", None, "dir");
        check("me@corp.example@host:dir", "me@corp.example", "host", None, "dir");
        check("[::1]:dir", "", "::1", None, "dir");
        check("me@[fe80::1%eth0]:/dir", "me", "fe80::1%eth0", None, "/dir");
        check("sftp://host/dir/x", "", "host", None, "/dir/x");
        check("SFTP://host:2022/dir/", "", "host", Some(2022), "/dir");
        check("sftp://host:/dir", "", "host", None, "/dir");
        check("sftp://me@host:22", "me", "host", Some(22), "");
        check("sftp://host/", "", "host", None, "/");
        check("sftp://host/~/x%20y", "", "host", None, "x y");
        check("sftp://host/~//etc", "", "host", None, "etc");
        check("sftp://host/~/%2Fetc", "", "host", None, "etc");
        check("sftp://host/~", "", "host", None, "");
        check("sftp://host/%7E/x", "", "host", None, "/~/x");
        check("sftp://me%40corp@[::1]:22/a%3Ab?c#d", "me@corp", "::1", Some(22), "/a:b?c#d");
    }

    #[test]
    fn bytes_that_are_not_text_survive() {
        let check = |typed: &[u8]| assert_eq!(pull(typed).unwrap().path.as_bytes(), b"/a\xff");
        check(b"host:/a\xff");
        check(b"sftp://host/a%FF");
        check(b"sftp://host/a\xff");
        let near = OsStr::from_bytes(b"a\xff");
        let ends = parse(Mode::Push, near, OsStr::new("h:")).unwrap();
        assert_eq!(ends.near.as_os_str(), near);
        assert_eq!(ends.title, "a\\xff -> h:");
    }

    #[test]
    fn a_slash_before_the_first_colon_means_here() {
        let check = |typed: &str, is_near: bool| {
            let near = matches!(end(OsStr::new(typed)), Ok(End::Near(_)));
            assert_eq!(near, is_near, "{typed}");
        };
        check("dir", true);
        check("./host:dir", true);
        check("/srv/a:b", true);
        check("[x]", true);
        check("./sftp://host", true);
        check("host:dir", false);
        check("[::1]:dir", false);
    }

    #[test]
    fn exactly_one_end_is_remote_and_it_is_the_right_one() {
        let check = |mode, source: &str, target: &str, expected: &str| {
            let error = parse(mode, OsStr::new(source), OsStr::new(target)).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            let text = format!("{error}. {}", error.hint_text().unwrap());
            assert!(text.contains(expected), "{text}");
        };
        check(Mode::Push, "a", "b", "both ends are on this machine");
        check(Mode::Pull, "a", "b", "both ends are on this machine");
        check(Mode::Pull, "h:a", "h:b", "both ends are on a server");
        check(Mode::Push, "h:a", "b", "highwater pull SRC DST");
        check(Mode::Pull, "a", "h:b", "highwater push SRC DST");
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_reason() {
        let check = |typed: &[u8], expected: &str| {
            let error = pull(typed).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.reason().contains(expected), "{}: {}", escape(typed), error.reason());
        };
        check(b"", "empty");
        check(b":dir", "the host is missing");
        check(b"me@:dir", "the host is missing");
        check(b"@host:dir", "the user before the @ is missing");
        check(b"host::module", "rsync daemon");
        check(b"-oProxyCommand=x:dir", "the host is not a name");
        check(b"-l@host:dir", "the user is not a name");
        check(b"ho\x1bst:dir", "the host is not a name");
        check(b"ho st:dir", "the host is not a name");
        check(b"\xff:dir", "the host is not a name");
        check(b"[host]:dir", "not an IPv6 address");
        check(b"ftp://host/dir", "only sftp://");
        check(b"sftp:///dir", "the host is missing");
        check(b"sftp://host:0/dir", "the port");
        check(b"sftp://host:70000/dir", "the port");
        check(b"sftp://host:2x/dir", "the port");
        check(b"sftp://[::1/dir", "the port");
        check(b"sftp://[/dir", "the bracket is not closed");
        check(b"sftp://::1/dir", "the port");
        check(b"sftp://host/%zz", "hexadecimal");
        check(b"sftp://host/a%4", "hexadecimal");
        check(b"sftp://host/a%00", "NUL");
        check(b"host:a\0b", "NUL");
    }

    #[test]
    fn a_password_is_refused_and_never_repeated() {
        for typed in ["sftp://me:s3cret@host/dir", "me:s3cret@host:dir", "ftp://me:s3cret@host/dir"] {
            let error = pull(typed.as_bytes()).unwrap_err();
            let text = format!("{error:?} {error} {}", error.reason());
            assert!(text.contains("password") && !text.contains("s3"), "{text}");
        }
    }

    #[test]
    fn a_host_may_stand_alone() {
        let check =
            |typed: &str, expected: &str| assert_eq!(parse_host(typed).unwrap().to_string(), expected);
        check("host", "host");
        check("me@host", "me@host");
        check("host:dir", "host");
        check("[::1]", "[::1]");
        check("sftp://me@[::1]:2022", "me@[::1]:2022");
        assert!(parse_host("a/b").is_err() && parse_host("").is_err());
    }
}
