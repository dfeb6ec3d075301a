//! The program's log on standard error: for whoever asks why, where summaries say what.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::MultiProgress;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::moment::rfc3339;
use super::one_line;
use super::rotating::Rotating;
use crate::clock::{Clock, SystemClock};
use crate::config::model::LogFile;
use crate::error::{Error, Result};
use crate::path::escape;

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
    /// With its level before it as systemd's journal reads it (sd-daemon(3)), which adds the time itself.
    Journal,
    /// A JSON object.
    Json,
}

/// Where the log goes beside standard error: to a file, if somebody asks for it.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Option<Rotating>>>);

impl Log {
    /// From now on to this file, or to none. Errors when it cannot be opened; then nothing changes.
    pub fn to(&self, place: Option<&LogFile>) -> Result<()> {
        // Opened anew also if it is the same: somebody may have renamed it to begin another.
        let opened = place.map(|place| {
            Rotating::open(place.clone()).map_err(|error| {
                let path = escape(place.path.as_os_str().as_encoded_bytes());
                Error::io("open the log file", path, error)
            })
        });
        *self.lock() = opened.transpose()?;
        Ok(())
    }

    fn write(&self, line: &str, has_time: bool) {
        let mut file = self.lock();
        let Some(file) = file.as_mut() else { return };
        let time = if has_time { None } else { rfc3339(SystemClock.now()) };
        let written = match time {
            Some(time) => file.write(&format!("{time} {line}")),
            None => file.write(line),
        };
        // Standard error has the line; that the file has not cannot be told in the log itself.
        drop(written);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Rotating>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts logging for the whole process, above the progress lines in `bars`. Errors if something logs
/// already.
pub fn start(
    verbosity: Verbosity,
    form: Form,
    bars: MultiProgress,
) -> std::result::Result<Log, TryInitError> {
    let has_time = match form {
        Form::Plain => verbosity > Verbosity::Info,
        Form::Journal => false,
        Form::WithTime | Form::Json => true,
    };
    let file = Log::default();
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(verbosity.directives()))
        .with_ansi(false)
        .with_target(verbosity > Verbosity::Info)
        .with_writer(Above { bars, file: file.clone(), form, has_time });
    match form {
        Form::Json => log.json().finish().try_init(),
        _ if !has_time => log.without_time().finish().try_init(),
        _ => log.finish().try_init(),
    }?;
    Ok(file)
}

/// Writes each event as one harmless line on standard error, above the progress lines, and to the file.
struct Above {
    bars: MultiProgress,
    file: Log,
    form: Form,
    /// Whether an event has its time in it.
    has_time: bool,
}

impl<'a> MakeWriter<'a> for Above {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self, Level::INFO)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        Line(self, *event.level())
    }
}

/// Takes one event of a level, which the formatter hands over in one write.
struct Line<'a>(&'a Above, Level);

impl Write for Line<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = harmless(event);
        self.0.file.write(&line, self.0.has_time);
        let before = if self.0.form == Form::Journal { priority(self.1) } else { "" };
        let line = format!("{before}{line}");
        self.0.bars.suspend(|| io::stderr().lock().write_all(line.as_bytes()))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The level as syslog(3) counts.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
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
