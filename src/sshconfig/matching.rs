//! `Match`: whether a block applies (ssh_config(5)). Commands are not run, networks not looked at.

use super::line::word;
use super::pattern::{self, Said, list};

/// What conditions are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The host as far as it is known by now.
    pub host: &'a str,
    /// The host as it was typed.
    pub typed: &'a str,
    /// Who logs in there, as far as it is known by now.
    pub user: &'a str,
    /// Who runs us.
    pub local_user: &'a str,
    /// The tag.
    pub tag: &'a str,
    /// Whether the files are read for the second time.
    pub is_final: bool,
}

/// What came of a line with conditions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matched {
    /// Whether the block applies.
    pub applies: bool,
    /// Whether the files are to be read a second time.
    pub wants_final: bool,
    /// The condition that was not looked into, if the others left it to that.
    pub left_out: Option<&'static str>,
}

/// Holds the conditions against the facts, or says what is wrong with them.
pub(super) fn conditions(text: &str, facts: Facts<'_>) -> Result<Matched, String> {
    let mut matched = Matched { applies: true, ..Matched::default() };
    let (mut rest, mut count) = (text, 0);
    while !rest.is_empty() && !rest.starts_with('#') {
        let (written, after) = word(rest).ok_or("a quote is not closed")?;
        rest = after;
        let (negated, name) = match written.strip_prefix('!') {
            Some(name) => (true, name.to_ascii_lowercase()),
            None => (false, written.to_ascii_lowercase()),
        };
        if name == "all" {
            if count > 1 || !(rest.is_empty() || rest.starts_with('#')) {
                return Err("\"all\" stands alone, or after \"final\" or \"canonical\"".into());
            }
            matched.applies &= !negated;
            return Ok(matched);
        }
        count += 1;
        if name == "final" || name == "canonical" {
            matched.wants_final |= name == "final";
            matched.applies &= facts.is_final != negated;
            continue;
        }
        let (value, after) = word(rest).ok_or("a quote is not closed")?;
        if value.is_empty() || value.starts_with('#') {
            return Err(format!("the condition \"{name}\" has no value"));
        }
        rest = after;
        match facts.holds(&name, &value)? {
            Some(holds) => matched.applies &= holds != negated,
            None => matched.leave_out(&name),
        }
    }
    if count == 0 { Err("there is no condition".into()) } else { Ok(matched) }
}

impl Matched {
    fn leave_out(&mut self, name: &str) {
        if self.applies {
            self.left_out = Some(if name == "exec" { "exec" } else { "localnetwork" });
        }
        self.applies = false;
    }
}

impl Facts<'_> {
    /// Whether a condition holds; `None`: it is not looked into.
    fn holds(&self, name: &str, value: &str) -> Result<Option<bool>, String> {
        Ok(match name {
            "host" => Some(pattern::host(self.host, value)),
            "originalhost" => Some(pattern::host(self.typed, value)),
            "user" => Some(list(self.user, value) == Said::Yes),
            "localuser" => Some(list(self.local_user, value) == Said::Yes),
            "tagged" => Some(list(self.tag, value) == Said::Yes),
            "exec" | "localnetwork" => None,
            _ => return Err(format!("there is no condition \"{name}\"")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'_> = Facts {
        host: "backup.example.org",
        typed: "Box",
        user: "web1",
        local_user: "ann",
        tag: "",
        is_final: false,
    };

    #[test]
    fn all_conditions_must_hold() {
        let check =
            |text: &str, expected| assert_eq!(conditions(text, FACTS).unwrap().applies, expected, "{text}");
        check("all", true);
        check("!all", false);
        check("host *.EXAMPLE.org", true);
        check("host=*.example.org user=web1", true);
        check("host box", false);
        check("originalhost box,other", true);
        check("!originalhost box", false);
        check("user web?,!web1", false);
        check("user \"web1\" localuser ann", true);
        check("localuser !ann", false);
        check("host * # user nobody", true);
        check("host nobody all", false);
        check("final all", false);
        check("!final all", true);
        check("!canonical host *", true);
        check("tagged x", false);
    }

    #[test]
    fn what_is_not_looked_into_does_not_hold_and_is_told() {
        let check = |text: &str, left_out| {
            let matched = conditions(text, FACTS).unwrap();
            assert_eq!((matched.applies, matched.left_out), (false, left_out), "{text}");
        };
        check("exec \"test -f x\"", Some("exec"));
        check("!exec true", Some("exec"));
        check("host * localnetwork 10.0.0.0/8", Some("localnetwork"));
        check("host nobody exec true", None);
    }

    #[test]
    fn a_second_reading_is_asked_for() {
        let check = |text: &str, wants, applies| {
            let first = conditions(text, FACTS).unwrap();
            let second = conditions(text, Facts { is_final: true, ..FACTS }).unwrap();
            assert_eq!((first.wants_final, second.applies), (wants, applies), "{text}");
        };
        check("final", true, true);
        check("!final", true, false);
        check("canonical", false, true);
        check("final host nobody", true, false);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for wrong in ["# all", "host", "host #", "nonsense x", "all host x", "host a user b all", "host \"a"]
        {
            assert!(conditions(wrong, FACTS).is_err(), "{wrong}");
        }
    }
}
