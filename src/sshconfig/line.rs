//! One line of ssh_config: where its keyword ends and what its arguments are, quoted as OpenSSH has it.

/// What OpenSSH takes for white space around keywords.
const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

/// A line that says something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// In lower case.
    pub keyword: String,
    /// All that follows it as written, for commands and for `Match`.
    pub rest: &'a str,
    /// The arguments without their quotes, up to a comment.
    pub arguments: Vec<String>,
}

/// Reads a line; `None` if it is empty or a comment. Otherwise says what is wrong with it.
pub(super) fn split(line: &str) -> Result<Option<Line<'_>>, String> {
    let line = line.trim_end_matches(|c| WHITE.contains(&c) || c == '\x0c');
    let line = line.trim_start_matches(WHITE);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let Some((keyword, rest)) = word(line) else { return Err("a quote is not closed".into()) };
    let keyword = keyword.to_ascii_lowercase();
    let rest = rest.trim_start_matches(WHITE);
    if rest.is_empty() {
        return Err(format!("nothing follows \"{keyword}\""));
    }
    let arguments = arguments(rest).ok_or("a quote is not closed")?;
    Ok(Some(Line { keyword, rest, arguments }))
}

/// The first word and what follows it: words end at white space or one `=`, and may be in double quotes.
/// `None`: a quote is not closed.
pub(super) fn word(text: &str) -> Option<(String, &str)> {
    let Some(end) = text.find(|c| WHITE.contains(&c) || c == '"' || c == '=') else {
        return Some((text.into(), ""));
    };
    let (head, rest) = text.split_at(end);
    let (ender, rest) = rest.split_at(1);
    if ender == "\"" {
        let (quoted, rest) = rest.split_once('"')?;
        return Some((format!("{head}{quoted}"), rest.trim_start_matches(WHITE)));
    }
    let rest = rest.trim_start_matches(WHITE);
    match rest.strip_prefix('=') {
        Some(after) if ender != "=" => Some((head.into(), after.trim_start_matches(WHITE))),
        _ => Some((head.into(), rest)),
    }
}

/// The arguments in `text`: in single or double quotes or none, with `\` before a quote, a `\`, or a space
/// outside quotes. `#` begins a comment where an argument could. `None`: a quote is not closed.
fn arguments(text: &str) -> Option<Vec<String>> {
    let mut arguments = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|&c| c == ' ' || c == '\t').is_some() {}
        match chars.peek() {
            None | Some('#') => return Some(arguments),
            Some(_) => arguments.push(argument(&mut chars)?),
        }
    }
}

fn argument(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut argument = String::new();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => {
                let escaped =
                    chars.next_if(|&next| "'\"\\".contains(next) || (next == ' ' && quote.is_none()));
                argument.push(escaped.unwrap_or('\\'));
            }
            (' ' | '\t', None) => return Some(argument),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, _) => argument.push(c),
        }
    }
    quote.is_none().then_some(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_ends_at_white_space_or_one_equals_sign() {
        let check = |line: &str, keyword: &str, rest: &str| {
            let split = split(line).unwrap().unwrap();
            assert_eq!((split.keyword.as_str(), split.rest), (keyword, rest), "{line:?}");
        };
        check("Port 22", "port", "22");
        check("\t PORT\t22 \r\n", "port", "22");
        check("Port=22", "port", "22");
        check("Port = 22", "port", "22");
        check("Port  =22", "port", "22");
        check("Port==22", "port", "=22");
        check("\"Port\" 22", "port", "22");
        check("ProxyCommand ssh -W \"[%h]:%p\" x # y", "proxycommand", "ssh -W \"[%h]:%p\" x # y");
    }

    #[test]
    fn arguments_are_quoted_as_openssh_has_it() {
        let check = |rest: &str, expected: &[&str]| {
            assert_eq!(arguments(rest).unwrap(), expected, "{rest:?}");
        };
        check("a b\tc", &["a", "b", "c"]);
        check("\"a b\" 'c d'", &["a b", "c d"]);
        check("a\" \"b", &["a b"]);
        check(r"a\ b \' \\ \x", &["a b", "'", "\\", "\\x"]);
        check(r#""a\ b" "a\"b""#, &["a\\ b", "a\"b"]);
        check("a #b", &["a"]);
        check("a#b", &["a#b"]);
        check("\"\"", &[""]);
    }

    #[test]
    fn what_says_nothing_is_passed_over_and_what_is_wrong_is_told() {
        for line in ["", "  \t", "# Port 22", "   # x", "\x0c"] {
            assert_eq!(split(line), Ok(None), "{line:?}");
        }
        let check =
            |line: &str, expected: &str| assert!(split(line).unwrap_err().contains(expected), "{line}");
        check("Port", "nothing follows \"port\"");
        check("Port=", "nothing follows");
        check("User \"a", "not closed");
        check("\"Port 22", "not closed");
    }
}
