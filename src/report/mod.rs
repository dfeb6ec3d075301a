//! What people and programs are told: summaries of rounds, progress on a terminal, the log.
//!
//! Reports are made from an [`Outcome`](crate::outcome::Outcome) or heard through
//! [`Monitor`](crate::monitor::Monitor); the engine is never asked. Printing is `cli::show`'s.

pub mod document;
mod driven;
pub mod history;
pub mod live;
pub mod log;
pub mod moment;
pub mod probe;
pub mod progress;
mod rotating;
pub mod summary;

use crate::path::escape;

/// Text that may hold anything, made harmless to a terminal: control characters and the like are
/// escaped, one line stays one line. Text that was escaped before comes back unchanged.
pub fn one_line(text: &str) -> String {
    let pieces = text.split('\\').map(|piece| escape(piece.as_bytes()));
    pieces.collect::<Vec<_>>().join("\\")
}

/// A number for people, thousands apart: `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 file`, `2,000 files`.
pub fn count(n: u64, thing: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", number(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_made_harmless_once() {
        let check = |text, expected| assert_eq!(one_line(text), expected);
        check("a\x1b[2J\nb", "a\\x1b[2J\\x0ab");
        check("a\\x1b[2J\\x0ab", "a\\x1b[2J\\x0ab");
        check("\\", "\\");
    }

    #[test]
    fn numbers_are_grouped() {
        let check = |n, expected| assert_eq!(count(n, "file"), expected);
        check(0, "0 files");
        check(1, "1 file");
        check(999, "999 files");
        check(1000, "1,000 files");
        check(1_234_567, "1,234,567 files");
    }
}
