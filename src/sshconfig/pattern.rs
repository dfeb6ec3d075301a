//! Patterns of ssh_config(5): `*` and `?`, lists with commas, `!` before what is not meant.

/// What a list of patterns says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing.
    Nothing,
    /// It is meant.
    Yes,
    /// It is not meant, whatever else the list says.
    No,
}

/// Whether the whole text fits: `*` is any number of characters, `?` exactly one.
pub(super) fn fits(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut t, mut p) = (0, 0);
    // Where the last `*` stands, and up to where it reaches so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (t, p) = (t + 1, p + 1),
            _ => match star {
                Some((at, reach)) => {
                    star = Some((at, reach + 1));
                    (t, p) = (reach + 1, at + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// What a list with commas says about the text. Patterns are compared as they are.
pub(super) fn list(text: &str, patterns: &str) -> Said {
    let mut said = Said::Nothing;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if fits(text, not) => return Said::No,
            None if fits(text, pattern) => said = Said::Yes,
            _ => {}
        }
    }
    said
}

/// Whether a list means the host, in upper or lower case.
pub(super) fn host(host: &str, patterns: &str) -> bool {
    list(&host.to_ascii_lowercase(), &patterns.to_ascii_lowercase()) == Said::Yes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_any_number_or_for_one() {
        let check =
            |text: &str, pattern: &str, expected| assert_eq!(fits(text, pattern), expected, "{pattern}");
        check("box", "box", true);
        check("box", "Box", false);
        check("box", "b?x", true);
        check("box", "b*", true);
        check("box", "*", true);
        check("", "*", true);
        check("", "", true);
        check("box", "", false);
        check("a.b.example.org", "*.example.org", true);
        check("example.org", "*.example.org", false);
        check("aaab", "*ab", true);
        check("aaab", "a*a*b*", true);
        check("box", "box?", false);
        check(&"a".repeat(5000), &"*a".repeat(2000), true);
        check(&"a".repeat(5000), &format!("{}b", "*a".repeat(2000)), false);
    }

    #[test]
    fn what_is_denied_is_denied_whatever_else_is_said() {
        let check =
            |text: &str, patterns: &str, expected| assert_eq!(list(text, patterns), expected, "{patterns}");
        check("box", "a,box", Said::Yes);
        check("box", "!box,*", Said::No);
        check("box", "*,!box", Said::No);
        check("box", "!other", Said::Nothing);
        check("box", "", Said::Nothing);
        assert!(host("Box.Example.org", "*.EXAMPLE.org") && !host("box", "!box,*"));
    }
}
