//! Expectations, and what was found.

use serde::Serialize;

use crate::outcome::{Ending, Outcome};
use crate::report::summary;

/// So many problems of a round are quoted.
const QUOTED: usize = 3;

/// One expectation.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What is expected, as a statement.
    pub expected: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub found: String,
}

impl Check {
    /// An expectation that holds or not.
    pub fn new(expected: impl Into<String>, holds: bool, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), holds, found: found.into() }
    }

    /// Two numbers that must be the same.
    pub fn equal(expected: impl Into<String>, wanted: u64, found: u64) -> Self {
        Self::new(expected, wanted == found, format!("{found}, where {wanted} was expected"))
    }

    /// A list that must be empty.
    pub fn none(expected: impl Into<String>, found: &[String]) -> Self {
        let text = if found.is_empty() { "none".into() } else { found.join("; ") };
        Self::new(expected, found.is_empty(), text)
    }

    /// The round ended well, without problems.
    pub fn ended_well(outcome: &Outcome) -> Self {
        let problems = outcome.problems.iter().take(QUOTED).map(summary::problem);
        let words: Vec<String> = outcome.message.iter().cloned().chain(problems).collect();
        let holds = outcome.ending == Ending::Ok && words.is_empty();
        let found = [vec![outcome.ending.as_str().to_owned()], words].concat().join("; ");
        Self::new("the round ends well", holds, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_says_what_was_found() {
        let check = |check: Check, holds, found: &str| {
            assert_eq!((check.holds, check.found.as_str()), (holds, found), "{}", check.expected);
        };
        check(Check::equal("connections", 1, 1), true, "1, where 1 was expected");
        check(Check::equal("connections", 1, 2), false, "2, where 1 was expected");
        check(Check::none("nothing is torn", &[]), true, "none");
        check(Check::none("nothing is torn", &["a".into(), "b".into()]), false, "a; b");
    }
}
