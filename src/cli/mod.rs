//! The command line: what was typed, what it means, and the only place that prints.
//!
//! One file per command, named as it is typed. A command gets a [`Context`] and its flags, and returns
//! the exit code; an error that it returns is shown here, once.

pub mod account;
mod alias;
pub mod args;
mod ask;
mod by_ssh;
mod config;
mod daemon;
mod demo;
pub mod ends;
mod journals;
mod log;
mod me;
mod notify;
mod one_round;
mod plan;
mod preview;
mod probe;
mod reach;
mod resume;
mod rounds;
mod run;
mod serve;
pub mod show;
mod status;
pub mod stop;
mod trust;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use indicatif::MultiProgress;
use tokio::runtime::Builder;
use tokio::sync::watch;

use self::args::{Args, Command, Global, NotifyCommand, ServerCommand};
use self::show::Show;
use crate::error::{Error, Kind, Result};
use crate::outcome::Mode;
use crate::report::log::{Form, Log, Verbosity};
use crate::report::{self, document, progress};

/// Threads for calls to the file system. More of them only wait for each other; a disk that is told to make
/// many files durable at once does so faster than one by one.
const BLOCKING_THREADS: usize = 16;

/// How long work that nobody waits for any more may take to end.
const LAST_WORK: Duration = Duration::from_secs(2);

/// What every command gets.
#[derive(Debug, Clone)]
pub struct Context {
    /// The flags that every command takes.
    pub global: Global,
    /// Where it prints.
    pub show: Show,
    /// Where progress is shown, if at all.
    pub bars: MultiProgress,
    /// Where the log goes.
    pub log: Log,
    /// Becomes true when the work should end; `stop::listen` holds the other end.
    pub stop: watch::Receiver<bool>,
}

impl Context {
    /// Does `work`, unless a signal comes first: then it is dropped.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut stop = self.stop.clone();
        tokio::select! {
            result = work => result,
            Ok(_) = stop.wait_for(|&stop| stop) => Err(Error::new(Kind::Interrupted, "go on", "")),
        }
    }
}

/// Does what `args` (the program's name first) ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return show::usage(&error).into(),
    };
    let show = Show::new(&args.global);
    let code = start(args, show).unwrap_or_else(|error| {
        show.error(&error);
        let code = error.kind().exit_code();
        if show.is_json() && code != 2 {
            // The error was told already; the exit code tells a reader who gets no document.
            let _ = show.document(&document::of_error(&error));
        }
        code
    });
    code.into()
}

fn start(args: Args, show: Show) -> Result<u8> {
    let bars = progress::bars(args.global.quiet);
    let verbosity = verbosity(&args);
    let internal = |operation: &str| Error::new(Kind::Internal, operation, "");
    let log = report::log::start(verbosity, form(&args), bars.clone())
        .map_err(|e| internal("start the log").because(e))?;
    if let Command::Daemon(flags) = &args.command {
        daemon::give_way(flags)?; // before there are other threads, which do as this one does then
    }
    let context = Context { global: args.global, show, bars, log, stop: stop::listen()? };
    let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build();
    let runtime = runtime.map_err(|e| internal("start the runtime").because(e))?;
    let result = runtime.block_on(dispatch(&context, args.command));
    runtime.shutdown_timeout(LAST_WORK);
    result
}

/// What a daemon does is in its log unless its flags say otherwise.
fn verbosity(args: &Args) -> Verbosity {
    let verbosity = Verbosity::of_flags(args.global.quiet, args.global.verbose);
    match args.command {
        Command::Daemon(_) if verbosity == Verbosity::Normal => Verbosity::Info,
        _ => verbosity,
    }
}

/// A daemon's log has times, unless whoever keeps it adds them (systemd.exec(5): `$JOURNAL_STREAM`).
fn form(args: &Args) -> Form {
    match args.command {
        Command::Daemon(_) if args.global.json => Form::Json,
        Command::Daemon(_) if std::env::var_os("JOURNAL_STREAM").is_some() => Form::Journal,
        Command::Daemon(_) => Form::WithTime,
        _ => Form::Plain,
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<u8> {
    match command {
        Command::Demo(args) => demo::run(context, &args).await,
        Command::Push(args) => {
            one_round::run(context, Mode::Push, &args.source, &args.target, &args.round).await
        }
        Command::Pull(args) => {
            one_round::run(context, Mode::Pull, &args.source, &args.target, &args.round).await
        }
        Command::Run(args) => run::run(context, &args).await,
        Command::Daemon(_) => daemon::run(context).await,
        Command::Now(args) => ask::now(context, &args).await,
        Command::Pause(args) => ask::pause(context, &args).await,
        Command::Wait(args) => ask::wait(context, &args).await,
        Command::Limit(args) => ask::limit(context, &args).await,
        Command::Reload => ask::reload(context).await,
        Command::Plan(args) => plan::run(context, &args).await,
        Command::Status(args) => status::run(context, &args).await,
        Command::Log(args) => log::run(context, &args).await,
        Command::Resume(args) => resume::run(context, &args).await,
        Command::Config(args) => config::run(context, args.command),
        Command::Notify(args) => match args.command {
            NotifyCommand::Test(args) => notify::run(context, &args).await,
        },
        Command::Serve(args) => serve::run(context, &args).await,
        Command::Server(args) => match args.command {
            ServerCommand::Trust(args) => trust::run(context, &args).await,
            ServerCommand::Probe(args) => probe::run(context, &args).await,
        },
    }
}
