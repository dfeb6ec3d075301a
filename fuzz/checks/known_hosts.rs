//! known_hosts files of any bytes.

use highwater::error::Result;
use highwater::remote::known_hosts::{Entry, HostName, Mark, lookup_in};

/// Hosts that are asked for: a plain one, one with a port, an address.
fn hosts() -> [HostName; 3] {
    [("example.org", 22), ("example.org", 2222), ("fe80::1", 22)]
        .map(|(host, port)| HostName::new(host, port))
}

/// No panic; what a line says does not depend on those around it; nothing hides a key that is revoked; what is
/// said of a mistake can be shown.
pub fn check(data: &[u8]) {
    for host in hosts() {
        let all = lookup(data, &host);
        assert_eq!(outline(&all), line_by_line(data, &host));
        if let Ok(entries) = lookup(&[data, b"\n@revoked * ssh-ed25519 AQID\n"].concat(), &host) {
            let last = entries.last().expect("the line that was added");
            assert_eq!((last.mark, last.key.as_slice()), (Mark::Revoked, &[1, 2, 3][..]));
        }
        if let Err(error) = all {
            let told = format!("{error}: {} {:?}", error.reason(), error.hint_text());
            assert!(!told.contains(char::is_control), "{told:?}");
        }
    }
}

fn lookup(data: &[u8], host: &HostName) -> Result<Vec<Entry>> {
    lookup_in(data, "known_hosts", host)
}

type Outline = Option<Vec<(Mark, String, Vec<u8>)>>;

/// All but the places; `None`: there is a mistake.
fn outline(found: &Result<Vec<Entry>>) -> Outline {
    let entries = found.as_ref().ok()?;
    Some(entries.iter().map(|e| (e.mark, e.key_type.clone(), e.key.clone())).collect())
}

fn line_by_line(data: &[u8], host: &HostName) -> Outline {
    let lines = data.split(|&byte| byte == b'\n').map(|line| outline(&lookup(line, host)));
    lines.collect::<Option<Vec<_>>>().map(|found| found.concat())
}
