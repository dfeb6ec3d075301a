//! What is wrong with a configuration: all of it at once, each with its place.

use std::fmt;

use super::node::{At, Source};
use crate::error::{Error, Kind};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, escaped for people.
    pub file: String,
    /// The line, from 1; 0 when it concerns the file as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 likewise.
    pub column: usize,
    /// The keys that lead there, as `jobs.nightly.trash`; empty when it concerns the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Every mistake of a configuration, sorted by file and line. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The mistakes.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.mistakes.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        Error::new(Kind::Usage, "use the configuration", "").because(errors)
    }
}

/// Something worth knowing about a configuration that can be used all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The keys that it concerns, or the file.
    pub subject: String,
    /// What there is to know.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

/// Mistakes as they are found.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<(At, Mistake)>);

impl Mistakes {
    /// Adds one, unless the same was found at the same place before: what stands under `defaults` is met
    /// again in every job.
    pub fn add(&mut self, at: At, key: &str, message: impl Into<String>, hint: Option<String>) {
        let (line, column) = (at.line, at.column);
        let (key, message) = (key.to_string(), message.into());
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_string();
        let is_known = |(other, mistake): &(At, Mistake)| {
            *other == at && mistake.message == message && last(&mistake.key) == last(&key)
        };
        if !self.0.iter().any(is_known) {
            self.0.push((at, Mistake { file: String::new(), line, column, key, message, hint }));
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes in the order of files and lines, with the files' names.
    pub fn into_errors(mut self, name_of: impl Fn(Source) -> String) -> ConfigErrors {
        self.0.sort_by_key(|(at, _)| *at);
        let named = |(at, mistake): (At, Mistake)| Mistake { file: name_of(at.source), ..mistake };
        ConfigErrors { mistakes: self.0.into_iter().map(named).collect() }
    }
}
