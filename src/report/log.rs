//! The program's log on standard error: for whoever asks why, where summaries say what.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::one_line;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings.
    #[default]
    Normal,
    /// What is being done.
    Info,
    /// And why.
    Debug,
    /// Everything, of the libraries below too.
    Trace,
}

impl Verbosity {
    /// What `--quiet` and so many `-v` ask for; `-v` wins.
    pub fn of_flags(quiet: bool, verbose: u8) -> Self {
        match (verbose, quiet) {
            (0, true) => Self::Quiet,
            (0, false) => Self::Normal,
            (1, _) => Self::Info,
            (2, _) => Self::Debug,
            _ => Self::Trace,
        }
    }

    /// Our own level, and that of the libraries: russh, for one, warns about what we report ourselves.
    fn directives(self) -> &'static str {
        match self {
            Self::Quiet => "off,highwater=error",
            Self::Normal => "error,highwater=warn",
            Self::Info => "error,highwater=info",
            Self::Debug => "warn,highwater=debug",
            Self::Trace => "debug,highwater=trace",
        }
    }
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Level and text.
    Plain,
    /// With the time before it.
    WithTime,
    /// A JSON object.
    Json,
}

/// Starts logging for the whole process, above the progress lines in `bars`. Errors if something logs
/// already.
pub fn start(verbosity: Verbosity, form: Form, bars: MultiProgress) -> Result<(), TryInitError> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(verbosity.directives()))
        .with_ansi(false)
        .with_target(verbosity > Verbosity::Info)
        .with_writer(Above(bars));
    match form {
        Form::Json => log.json().finish().try_init(),
        Form::Plain if verbosity <= Verbosity::Info => log.without_time().finish().try_init(),
        Form::Plain | Form::WithTime => log.finish().try_init(),
    }
}

/// Writes each event as one harmless line on standard error, above the progress lines.
struct Above(MultiProgress);

impl<'a> MakeWriter<'a> for Above {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

/// Takes one event, which the formatter hands over in one write.
struct Line<'a>(&'a MultiProgress);

impl Write for Line<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = harmless(event);
        self.0.suspend(|| io::stderr().lock().write_all(line.as_bytes()))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn harmless(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    format!("{}\n", one_line(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_ask_for_a_level() {
        let check = |quiet, verbose, expected| {
            assert_eq!(Verbosity::of_flags(quiet, verbose), expected);
            assert!(EnvFilter::try_new(expected.directives()).is_ok());
        };
        check(false, 0, Verbosity::Normal);
        check(true, 0, Verbosity::Quiet);
        check(true, 1, Verbosity::Info);
        check(false, 2, Verbosity::Debug);
        check(false, 9, Verbosity::Trace);
    }

    #[test]
    fn an_event_is_one_line_that_a_terminal_does_not_act_upon() {
        assert_eq!(
            harmless(b" WARN server says \x1b[2J\nhello \\x07\n"),
            "WARN server says \\x1b[2J\\x0ahello \\x07\n"
        );
    }
}
