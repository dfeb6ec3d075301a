//! The only place that prints: reports and documents on standard output, errors on standard error.
//!
//! A reader that closed the pipe has had enough: that ends the printing, and is no error. Whatever is
//! printed for people has nothing in it that a terminal acts upon, wherever it came from.

use std::io::{self, IsTerminal, Write};

use console::{Term, truncate_str};
use serde::Serialize;

use super::args::Global;
use crate::config::ConfigErrors;
use crate::error::{Error, Kind, Result};
use crate::outcome::{Ending, Outcome};
use crate::path::is_unsafe_to_show;
use crate::report::summary::{self, Started};
use crate::report::{count, document, one_line};

/// Prints for people or for programs, as the flags say.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    json: bool,
    quiet: bool,
}

impl Show {
    /// As `--json` and `--quiet` say.
    pub fn new(global: &Global) -> Self {
        Self { json: global.json, quiet: global.quiet }
    }

    /// Whether standard output is for a program: one JSON document and nothing else.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// What was asked for, for people.
    pub fn text(&self, text: &str) -> Result<()> {
        to_stdout(&harmless(text))
    }

    /// What was asked for, for programs.
    pub fn document(&self, document: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|e| Error::new(Kind::Internal, "make the JSON document", "").because(e))?;
        to_stdout(&escaped(text))
    }

    /// One of the two.
    pub fn either(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        if self.json { self.document(document) } else { self.text(&text()) }
    }

    /// What was asked for, over the `before` lines that were shown last; of what the terminal has no room for, how
    /// much that is. Returns how many lines are shown now. Where there is no terminal nothing is taken back.
    pub fn in_place(&self, text: &str, before: usize) -> Result<usize> {
        let terminal = Term::stdout();
        if !terminal.is_term() {
            return self.text(text).map(|()| 0);
        }
        let lines = fitted(&harmless(text), terminal.size());
        let shown = terminal.clear_last_lines(before).and_then(|()| terminal.write_line(&lines.join("\n")));
        shown.map(|()| lines.len()).map_err(|e| Error::io("write to the terminal", "", e))
    }

    /// What rounds came to. `--quiet` leaves out those that ended well.
    pub fn rounds(&self, outcomes: &[Outcome], started: Started) -> Result<()> {
        if self.json {
            return self.document(&document::of_rounds(outcomes));
        }
        let told = outcomes.iter().filter(|o| !self.quiet || o.ending != Ending::Ok);
        let texts: Vec<String> = told.map(|outcome| summary::text(outcome, started)).collect();
        if texts.is_empty() { Ok(()) } else { self.text(&texts.join("")) }
    }

    /// Something in passing, on standard error.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            to_stderr(text);
        }
    }

    /// The error that ends the program: on one line, and what to try on the next.
    pub fn error(&self, error: &Error) {
        to_stderr(&format!("highwater: {}", summary::describe(error)));
    }

    /// Everything that is wrong with a config, a line each as compilers have it, and how much that is.
    pub fn mistakes(&self, errors: &ConfigErrors) {
        errors.mistakes.iter().for_each(|mistake| to_stderr(&mistake.to_string()));
        to_stderr(&format!("highwater: {} in the config", count(errors.mistakes.len() as u64, "mistake")));
    }

    /// Asks a person, who answers yes or no. No, if there is nobody to ask.
    pub fn ask(&self, question: &str) -> bool {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return false;
        }
        let mut stderr = io::stderr().lock();
        let asked = write!(stderr, "{} [y/N] ", one_line(question)).and_then(|()| stderr.flush());
        let mut answer = String::new();
        let answered = asked.and_then(|()| io::stdin().read_line(&mut answer));
        answered.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes" | "Yes")
    }
}

/// Help, the version, or what is wrong with the command line; with the exit code for it.
pub fn usage(error: &clap::Error) -> u8 {
    let _ = error.print(); // help that nobody reads is no error
    if error.use_stderr() { 2 } else { 0 }
}

fn to_stdout(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("write to standard output", "", e)),
        _ => Ok(()),
    }
}

fn harmless(text: &str) -> String {
    text.lines().map(one_line).collect::<Vec<_>>().join("\n")
}

/// The lines that a terminal of so many rows and columns shows without scrolling or breaking one, which would leave
/// parts of them behind when they are taken back.
fn fitted(text: &str, (rows, columns): (u16, u16)) -> Vec<String> {
    let most = usize::from(rows).saturating_sub(1).max(1);
    let mut lines: Vec<&str> = text.lines().collect();
    let left_out = if lines.len() > most { lines.split_off(most - 1).len() } else { 0 };
    let fit = |line: &str| truncate_str(line, usize::from(columns).max(1), "…").into_owned();
    let more = (left_out > 0).then(|| fit(&format!("… {left_out} lines more")));
    lines.into_iter().map(fit).chain(more).collect()
}

fn to_stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless(text)); // there is nowhere left to say it
}

/// The same document with everything escaped that should not be shown. JSON leaves DEL and what is beyond it as it is,
/// and to a terminal U+009B begins a command as ESC does; all of it stands within strings.
fn escaped(document: String) -> String {
    let is_harmful = |c: char| c >= '\u{7f}' && is_unsafe_to_show(c);
    if !document.contains(is_harmful) {
        return document;
    }
    let escape = |c: char| if is_harmful(c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() };
    document.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_what_it_has_room_for() {
        let check = |text: &str, size, expected: &[&str]| {
            assert_eq!(fitted(text, size), expected, "{text:?} in {size:?}")
        };
        check("one\ntwo", (3, 3), &["one", "two"]);
        check("one\ntwo\nthree", (3, 80), &["one", "… 2 lines more"]);
        check("three\n日本語", (24, 4), &["thr…", "日…"]);
        check("", (24, 80), &[]);
        check("one\ntwo", (0, 0), &["…"]);
    }

    #[test]
    fn documents_stay_what_they_are_and_are_safe_to_look_at() {
        let check = |text: &str, expected: &str| {
            let document = escaped(serde_json::to_string(text).unwrap());
            assert_eq!(document, expected);
            assert_eq!(serde_json::from_str::<String>(&document).unwrap(), text);
        };
        check("plain é", "\"plain é\"");
        check("\u{1b}[31m\n", "\"\\u001b[31m\\n\"");
        check("\u{7f}\u{9b}2J", "\"\\u007f\\u009b2J\"");
        check("\u{202e}gnp.exe\u{feff}", "\"\\u202egnp.exe\\ufeff\"");
    }
}
