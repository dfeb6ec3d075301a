//! Reading the files line by line: which blocks apply, which files are included, which lines are wrong.

use std::path::Path;

use super::files::lines;
use super::keyword::{Keyword, find};
use super::line::{Line, split};
use super::matching::{Facts, conditions};
use super::pattern::{Said, fits, list};
use super::settings::{Given, Settings};
use super::{Around, Note, tokens};
use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// How deep files may include each other (readconf.c, READCONF_MAX_DEPTH).
const MOST_DEPTH: usize = 16;

/// Files that may be read for one host.
const MOST_FILES: usize = 1000;

/// Mistakes that are told at once.
const TOLD_MISTAKES: usize = 5;

/// How a file is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Whether it is one of the user's, not of the system.
    pub is_users: bool,
    /// Whether it must belong to the user or root, and nobody else may write to it.
    pub is_checked: bool,
    /// Whether it is included by a block that does not apply.
    pub never_applies: bool,
}

/// Reads files for one host, and knows what they came to so far.
pub(super) struct Reader<'a> {
    pub around: &'a Around<'a>,
    /// The host as it was typed.
    pub typed: &'a str,
    /// The host as far as it is known by now.
    pub host: String,
    pub settings: Settings,
    /// Whether the files are read for the second time.
    pub is_final: bool,
    /// Whether a block asks to read them a second time.
    pub wants_final: bool,
    pub notes: Vec<Note>,
    /// Keywords that may be unknown.
    ignored: Option<String>,
    /// Keywords that were met and are not acted upon: of those too, the first value wins.
    unheeded: Vec<String>,
    mistakes: Vec<String>,
    files: usize,
}

impl<'a> Reader<'a> {
    pub fn new(around: &'a Around<'a>, typed: &'a str, settings: Settings) -> Self {
        Self {
            around,
            typed,
            host: typed.into(),
            settings,
            is_final: false,
            wants_final: false,
            notes: Vec::new(),
            ignored: None,
            unheeded: Vec::new(),
            mistakes: Vec::new(),
            files: 0,
        }
    }

    /// Reads a file and what it includes. `false`: there is none. Errors with `Usage`: it cannot be read, or not be
    /// trusted, or has mistakes.
    pub fn read(&mut self, path: &Path, manner: Manner) -> Result<bool> {
        let found = self.file(path, manner, &mut true, 0)?;
        if self.mistakes.is_empty() {
            return Ok(found);
        }
        let mut told: Vec<String> = self.mistakes.drain(..).collect();
        let more = told.len().saturating_sub(TOLD_MISTAKES);
        told.truncate(TOLD_MISTAKES);
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        Err(Error::new(Kind::Usage, "use", shown(path)).detail(told.join("; ")))
    }

    fn file(&mut self, path: &Path, manner: Manner, applies: &mut bool, depth: usize) -> Result<bool> {
        let error = || Error::new(Kind::Usage, "use", shown(path));
        self.files += 1;
        if depth > MOST_DEPTH || self.files > MOST_FILES {
            return Err(error().detail("too many files include each other"));
        }
        let read = self.around.files.read(path);
        let Some(found) = read.map_err(|e| error().because(e))? else { return Ok(false) };
        let is_ours = found.uid == 0 || found.uid == self.around.uid;
        if manner.is_checked && !(is_ours && found.mode & 0o022 == 0) {
            let hint = "It must belong to you or root, and nobody else may write to it: chmod go-w it.";
            return Err(error().detail("others may change it").hint(hint));
        }
        for (number, line) in lines(&found.bytes) {
            let place = format!("{}, line {number}", shown(path));
            let line = line.map_or_else(|| Err("this is not UTF-8".into()), split);
            let outcome = match line {
                Ok(Some(line)) => self.line(&line, &place, manner, applies, depth),
                Ok(None) => Ok(()),
                Err(wrong) => Err(Wrong::Line(wrong)),
            };
            match outcome {
                Ok(()) => {}
                Err(Wrong::Line(wrong)) => {
                    self.mistakes.push(format!("{place}: {}", escape(wrong.as_bytes())))
                }
                Err(Wrong::All(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    fn line(
        &mut self,
        line: &Line<'_>,
        place: &str,
        manner: Manner,
        applies: &mut bool,
        depth: usize,
    ) -> Result<(), Wrong> {
        match find(&line.keyword) {
            Some(Keyword::Host) => *applies = self.means_host(&line.arguments)? && !manner.never_applies,
            Some(Keyword::Match) => {
                *applies = false;
                *applies = self.matches(line.rest, place)? && !manner.never_applies;
            }
            Some(Keyword::Include) => self.include(line, manner, *applies, depth)?,
            Some(Keyword::IgnoreUnknown) => {
                let [patterns] = line.arguments.as_slice() else { return Err("expected one list".into()) };
                if *applies && self.ignored.is_none() {
                    self.ignored = Some(patterns.to_ascii_lowercase());
                }
            }
            Some(Keyword::Set(setting)) => {
                let (rest, arguments) = (line.rest, line.arguments.as_slice());
                let given = Given { rest, arguments, is_users: manner.is_users, applies: *applies };
                let told = |wrong| format!("{}: {wrong}", line.keyword);
                self.settings.take(setting, given).map_err(told)?;
            }
            Some(Keyword::Idle) => {}
            Some(Keyword::Unheeded { harmless, means }) if *applies => {
                self.unheeded(line, place, manner, harmless, means);
            }
            Some(Keyword::Refused(why)) if *applies && !line.rest.eq_ignore_ascii_case("none") => {
                return Err(format!("{}: {why}", line.keyword).into());
            }
            Some(Keyword::Unheeded { .. } | Keyword::Refused(_)) => {}
            None if self.may_be_unknown(&line.keyword) => {}
            None => return Err(format!("there is no keyword \"{}\"", line.keyword).into()),
        }
        Ok(())
    }

    fn may_be_unknown(&self, keyword: &str) -> bool {
        self.ignored.as_ref().is_some_and(|patterns| list(keyword, patterns) == Said::Yes)
    }

    fn means_host(&self, patterns: &[String]) -> Result<bool, Wrong> {
        let mut means = false;
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                _ if pattern.is_empty() => return Err("a pattern is empty".into()),
                Some(not) if fits(&self.host, not) => return Ok(false),
                Some(_) => {}
                None => means |= fits(&self.host, pattern),
            }
        }
        Ok(means)
    }

    fn matches(&mut self, text: &str, place: &str) -> Result<bool, Wrong> {
        let local_user = self.around.user.as_str();
        // On the second reading the host is what the first one made of it.
        let host = match &self.settings.host_name {
            Some(name) if !self.is_final => tokens::host_name(name, &self.host)?,
            _ => self.host.clone(),
        };
        let facts = Facts {
            host: &host,
            typed: self.typed,
            user: self.settings.user.as_deref().unwrap_or(local_user),
            local_user,
            tag: self.settings.tag.as_deref().unwrap_or_default(),
            is_final: self.is_final,
        };
        let matched = conditions(text, facts)?;
        self.wants_final |= matched.wants_final;
        if let Some(left_out) = matched.left_out {
            let means =
                format!("\"Match {left_out}\" is not looked into here: what stands below it does not apply");
            self.note(place, means);
        }
        Ok(matched.applies)
    }

    fn unheeded(&mut self, line: &Line<'_>, place: &str, manner: Manner, harmless: &[&str], means: &str) {
        if self.unheeded.contains(&line.keyword) {
            return;
        }
        self.unheeded.push(line.keyword.clone());
        let value = line.arguments.join(" ");
        // Distributions switch Kerberos on for everybody.
        let is_usual = line.keyword == "gssapiauthentication" && !manner.is_users;
        if !is_usual && !harmless.iter().any(|harmless| value.eq_ignore_ascii_case(harmless)) {
            let said = format!("{} {value}", line.keyword);
            self.note(place, format!("\"{}\" is not heeded: {means}", escape(said.as_bytes())));
        }
    }

    fn note(&mut self, place: &str, message: String) {
        let note = Note { place: place.into(), message };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn include(&mut self, line: &Line<'_>, manner: Manner, applies: bool, depth: usize) -> Result<(), Wrong> {
        for pattern in &line.arguments {
            let pattern = match pattern.as_str() {
                "" => return Err("the name of a file is empty".into()),
                home if home.starts_with('~') && manner.is_users => tokens::expand_home(home, self.around)?,
                home if home.starts_with('~') => return Err("~ means nothing in a file of the system".into()),
                absolute if absolute.starts_with('/') => absolute.to_owned(),
                relative if manner.is_users => {
                    tokens::expand_home(&format!("~/.ssh/{relative}"), self.around)?
                }
                relative => format!("/etc/ssh/{relative}"),
            };
            let paths = self.around.files.glob(&pattern).map_err(|e| format!("{pattern}: {e}"))?;
            for path in paths {
                let below =
                    Manner { is_checked: true, never_applies: manner.never_applies || !applies, ..manner };
                // What a file's last block says of hosts ends with the file.
                self.file(&path, below, &mut applies.clone(), depth + 1).map_err(Wrong::All)?;
            }
        }
        Ok(())
    }
}

/// What is wrong: with one line, or with a whole file.
enum Wrong {
    Line(String),
    All(Error),
}

impl From<String> for Wrong {
    fn from(wrong: String) -> Self {
        Self::Line(wrong)
    }
}

impl From<&str> for Wrong {
    fn from(wrong: &str) -> Self {
        Self::Line(wrong.into())
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
