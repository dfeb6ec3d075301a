//! Reading OpenSSH's known_hosts files, as sshd(8) describes them under "SSH_KNOWN_HOSTS FILE FORMAT".
//!
//! Finds the lines that speak about one host; what they mean together is decided in `host_key`.

use std::path::Path;

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding};

use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// Files above this size are refused.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The name a host is looked up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// `host`, or `[host]:port` for any port but 22. Lower case.
    pub full: String,
    /// `host` alone when `full` has a port: OpenSSH also takes a key recorded that way.
    pub without_port: Option<String>,
}

impl HostName {
    /// The name for a host as it was typed.
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.to_lowercase();
        match port {
            22 => Self { full: host, without_port: None },
            _ => Self { full: format!("[{host}]:{port}"), without_port: Some(host) },
        }
    }
}

/// What a line says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is a key of the host.
    Known,
    /// The line names the host without its port: it may confirm the key, but not contradict it.
    KnownWithoutPort,
    /// The key must never be accepted.
    Revoked,
    /// It signs host certificates.
    Authority,
}

/// A line that speaks about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it says about the key.
    pub mark: Mark,
    /// `ssh-ed25519` and the like.
    pub key_type: String,
    /// The public key in SSH's encoding (RFC 4253 §6.6).
    pub key: Vec<u8>,
    /// File and line, for people.
    pub place: String,
}

/// The lines of a file about a host. A file that does not exist has none.
/// Errors: a file that cannot be read, or a line about the host that cannot be understood: both could
/// hide that the host is known by another key.
pub fn lookup(path: &Path, host: &HostName) -> Result<Vec<Entry>> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let bytes = match read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|e| unreadable(&shown, e))?,
    };
    lookup_in(&bytes, &shown, host)
}

/// The same of what stands in a file; `shown` is how the file is called.
pub fn lookup_in(bytes: &[u8], shown: &str, host: &HostName) -> Result<Vec<Entry>> {
    let text = String::from_utf8_lossy(bytes); // host names and keys are ASCII, comments anything
    let numbered = text.lines().enumerate().map(|(i, line)| (format!("{shown}, line {}", i + 1), line));
    numbered.filter_map(|(place, line)| entry(line, place, host).transpose()).collect()
}

fn unreadable(shown: &str, error: std::io::Error) -> Error {
    Error::new(Kind::HostKeyUnknown, "read the known host keys in", shown)
        .because(error)
        .hint("Make it readable, or remove it.")
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > MAX_FILE_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "the file is too large"));
    }
    std::fs::read(path)
}

/// What one line says about the host; `None` when it is about others.
fn entry(line: &str, place: String, host: &HostName) -> Result<Option<Entry>> {
    let mut fields = line.split_whitespace().peekable();
    let marker = fields.next_if(|field| field.starts_with('@'));
    let Some(names) = fields.next().filter(|names| !names.starts_with('#')) else {
        return Ok(None);
    };
    let with_port = !names_match(names, &host.full);
    if with_port && !host.without_port.as_ref().is_some_and(|host| names_match(names, host)) {
        return Ok(None);
    }
    let mark = match (marker, with_port) {
        (None, false) => Mark::Known,
        (None, true) => Mark::KnownWithoutPort,
        (Some("@revoked"), _) => Mark::Revoked,
        (Some("@cert-authority"), _) => Mark::Authority,
        (Some(_), _) => return Err(unclear(&place)),
    };
    let (Some(key_type), Some(key)) = (fields.next(), fields.next()) else {
        return Err(unclear(&place));
    };
    if key_type.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None); // a key of SSH 1, which nobody speaks any more
    }
    let key = Base64::decode_vec(key).map_err(|_| unclear(&place))?;
    Ok(Some(Entry { mark, key_type: key_type.into(), key, place }))
}

fn unclear(place: &str) -> Error {
    Error::new(Kind::HostKeyUnknown, "understand what is known about the host in", place)
        .hint("Correct or remove that line.")
}

/// Whether a comma list of patterns, or one hashed name, means the host.
fn names_match(names: &str, host: &str) -> bool {
    if names.starts_with('|') {
        return hash_matches(names, host).unwrap_or(false);
    }
    let mut found = false;
    for pattern in names.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if pattern_matches(pattern, host) => return false,
            Some(_) => {}
            None => found |= pattern_matches(pattern, host),
        }
    }
    found
}

/// `|1|salt|hash`: HMAC-SHA1 of the name under the salt, both in Base64.
fn hash_matches(names: &str, host: &str) -> Option<bool> {
    let (salt, hash) = names.strip_prefix("|1|")?.split_once('|')?;
    let (salt, hash) = (Base64::decode_vec(salt).ok()?, Base64::decode_vec(hash).ok()?);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    Some(hmac::verify(&key, host.as_bytes(), &hash).is_ok())
}

/// `*` stands for any run of characters, `?` for one; case does not count.
pub(super) fn pattern_matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase().into_bytes(), host.as_bytes());
    let (mut p, mut h) = (0, 0);
    let mut star = None; // where to go on when what follows the last star does not fit
    while h < host.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, h));
                p += 1;
            }
            Some(&b) if b == b'?' || b == host[h] => (p, h) = (p + 1, h + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, h) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HMAC-SHA1 of "example.org" and "[example.org]:2222" as ssh-keygen -H wrote them.
    const HASHED: &str = "|1|cdDPJI2LGFPelwtmM9Dp5iwp9SU=|HyXSgkF8USNCxVoAbin2mE+RHuc=";
    const HASHED_PORT: &str = "|1|TzbL80YFkp1tFLWXbIIrFue4Y+M=|ydgxQAAXc7jTa76XNNoQ4id8PYI=";

    #[test]
    fn patterns_mean_hosts_as_openssh_reads_them() {
        let check = |names: &str, host: &str, port: u16, expected: bool| {
            let matched = names_match(names, &HostName::new(host, port).full);
            assert_eq!(matched, expected, "{names} {host} {port}");
        };
        check("example.org", "example.org", 22, true);
        check("example.org", "Example.ORG", 22, true);
        check("EXAMPLE.org", "example.org", 22, true);
        check("example.org", "example.org", 2222, false);
        check("[example.org]:2222", "example.org", 2222, true);
        check("[example.org]:2222", "example.org", 22, false);
        check("a.example.org,192.0.2.1,example.org", "example.org", 22, true);
        check("*.example.org", "a.b.example.org", 22, true);
        check("*.example.org", "example.org", 22, false);
        check("host?", "host1", 22, true);
        check("host?", "host", 22, false);
        check("*a*b*c", "xxaxxbxxc", 22, true);
        check("*a*b*c", "xxaxxcxxb", 22, false);
        check("*", "anything", 22, true);
        check("[*.example.org]:2222", "a.example.org", 2222, true);
        check("*.example.org,!secret.example.org", "secret.example.org", 22, false);
        check("!secret.example.org,*.example.org", "open.example.org", 22, true);
        check("!example.org", "other.example.org", 22, false);
        check(HASHED, "example.org", 22, true);
        check(HASHED, "example.com", 22, false);
        check(HASHED_PORT, "example.org", 2222, true);
        check(HASHED_PORT, "example.org", 22, false);
        check("|2|abc|def", "example.org", 22, false);
        check("|1|***|***", "example.org", 22, false);
        check("fe80::1", "fe80::1", 22, true);
        check("[fe80::1]:2222", "FE80::1", 2222, true);
    }

    #[test]
    fn lines_are_read_with_their_marks() {
        let check = |line: &str, expected: Option<(Mark, &str, &[u8])>| {
            let entry = entry(line, "here".into(), &HostName::new("example.org", 2222)).unwrap();
            let found = entry.as_ref().map(|e| (e.mark, e.key_type.as_str(), e.key.as_slice()));
            assert_eq!(found, expected, "{line}");
        };
        check("[example.org]:2222 ssh-ed25519 AQID comment", Some((Mark::Known, "ssh-ed25519", &[1, 2, 3])));
        check(" \t[example.org]:2222 \t ssh-rsa\tAQID", Some((Mark::Known, "ssh-rsa", &[1, 2, 3])));
        check("example.org ssh-ed25519 AQID", Some((Mark::KnownWithoutPort, "ssh-ed25519", &[1, 2, 3])));
        check("@revoked * ssh-rsa AQID", Some((Mark::Revoked, "ssh-rsa", &[1, 2, 3])));
        check("@cert-authority *.org,*:2222 ssh-rsa AQID", Some((Mark::Authority, "ssh-rsa", &[1, 2, 3])));
        check("other.org ssh-ed25519 AQID", None);
        check("@revoked other.org ssh-ed25519 AQID", None);
        check("# [example.org]:2222 ssh-ed25519 AQID", None);
        check("", None);
        check("@revoked", None);
        check("other.org", None);
        check("[example.org]:2222 1024 65537 123456", None);
    }

    #[test]
    fn a_line_about_the_host_that_makes_no_sense_is_an_error() {
        let check = |line: &str| {
            let error = entry(line, "here".into(), &HostName::new("example.org", 22)).unwrap_err();
            assert_eq!(error.kind(), Kind::HostKeyUnknown, "{line}");
        };
        check("example.org");
        check("example.org ssh-ed25519");
        check("example.org ssh-ed25519 !!!!");
        check("@unheard-of example.org ssh-ed25519 AQID");
    }

    #[test]
    fn a_missing_file_is_empty_and_an_unreadable_one_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let host = HostName::new("example.org", 22);
        assert_eq!(lookup(&folder.path().join("none"), &host).unwrap(), []);
        lookup(folder.path(), &host).unwrap_err();
    }
}
