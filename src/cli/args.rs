//! Flags and help text, exactly as they are typed. What they mean is worked out by the commands.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};

use crate::config::model::{Event, Via};
use crate::hash::Level;
use crate::units::{Rate, parse_duration};

/// The whole command line.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "highwater",
    version,
    about = "Keeps folders safe and in step over plain SFTP.",
    long_about = "Keeps folders safe and in step with any SFTP account, and never loses its place: what was \
                  cut off goes on where it stopped, and what is done was proved by checksum.",
    after_help = "Examples:\n  \
                  highwater push /srv/data me@backup.example.org:data\n  \
                  highwater pull sftp://me@host.example.org/reports ./reports\n  \
                  highwater run nightly\n\n\
                  Exit codes: 0 done, 1 done with problems, 2 usage or config,\n\
                  3 cannot reach or log in, 4 a person must look, 5 internal error,\n\
                  130 interrupted.",
    max_term_width = 100,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub struct Args {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes, before or after its name.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Keep journal, pinned host keys and locks in this folder [default: ~/.local/state/highwater]
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
    /// Read this config [default: ~/.config/highwater/config.yml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Log what is done on standard error; -vv also why
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// No progress, and a report only if something is amiss
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// One command each.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Show the whole thing on this machine: a server, faults, recoveries; no setup
    Demo(Demo),
    /// Bring a folder, or a file, to a server
    Push(Push),
    /// Bring a folder, or a file, from a server
    Pull(Pull),
    /// Do one round of jobs of the config
    Run(Run),
    /// Watch, schedule, keep going: does the rounds of all jobs until it is stopped
    #[command(after_help = "Example:\n  highwater daemon --config ./config.yml")]
    Daemon(Daemon),
    /// Have the daemon begin a round now
    #[command(after_help = "Example:\n  highwater now nightly")]
    Now(JobName),
    /// Begin no more rounds of a job, and stop the one under way, until resume
    #[command(after_help = "Example:\n  highwater pause nightly")]
    Pause(JobName),
    /// Wait until the daemon has nothing left to do for a job
    Wait(Wait),
    /// Have the daemon carry no more than so much per second, until it ends
    Limit(LimitJob),
    /// Have the daemon read its config again
    #[command(after_help = "Example:\n  highwater reload")]
    Reload,
    /// Show what a round would do, and why
    Plan(Plan),
    /// Show how every job stands: state, last success, next round, problems
    Status(Status),
    /// Show rounds, their problems, and what is in the trash
    Log(Log),
    /// Let a job go on that halted or was paused, and deletes that are held
    Resume(Resume),
    /// Check or show the config, or print its schema
    Config(Config),
    /// Try whether somebody is told
    Notify(Notify),
    /// Trust a server, or see what it can do
    Server(Server),
    /// Serve a folder to SFTP clients
    Serve(Serve),
}

/// How to keep going.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Daemon {
    /// Let everybody else go first: the lowest priority for processor and disk
    #[arg(long)]
    pub low_priority: bool,
}

/// One round without a config: how, as users of ssh and rsync would say it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Round {
    /// Port of the SSH server
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Log in with this private key; may be given again
    #[arg(short, long, value_name = "KEY")]
    pub identity: Vec<PathBuf>,
    /// Read this in place of ~/.ssh/config and /etc/ssh/ssh_config; none for neither
    #[arg(short = 'F', long, value_name = "FILE")]
    pub ssh_config: Option<PathBuf>,
    /// Who makes the session: direct, or OpenSSH's own ssh for logins that only it can do
    #[arg(long, value_name = "direct|ssh", value_parser = via())]
    pub via: Option<Via>,
    /// Follow deletes: what went away at the source goes to the target's trash
    #[arg(long)]
    pub delete: bool,
    /// Let deletes go that are held because they are many
    #[arg(long)]
    pub accept_deletes: bool,
    /// Leave out what this pattern matches, as rsync reads it; may be given again
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// Carry no more than this per second, such as 2MiB/s
    #[arg(long, value_name = "RATE")]
    pub limit: Option<Rate>,
    /// How well to prove what was carried: read all of it back, a share, or trust the acknowledgements
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub verify: Option<Level>,
    /// Whether files must have reached the disk before they count as done
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no())]
    pub durable: Option<bool>,
    /// Show what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Pin the key of a host that was never seen before; a changed key is still refused
    #[arg(long)]
    pub accept_new_host_key: bool,
}

/// `push SRC DST`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    highwater push /srv/data me@backup.example.org:data\n  \
    highwater push -i ~/.ssh/backup --delete --limit 2MiB/s photos sftp://me@host:2022/srv/photos")]
pub struct Push {
    /// A folder, whose contents go into DST, or a file, which goes to DST as a file
    #[arg(value_name = "SRC")]
    pub source: OsString,
    /// [user@]host:path from the login folder, or sftp://user@host:port/path
    #[arg(value_name = "DST")]
    pub target: OsString,
    /// How.
    #[command(flatten)]
    pub round: Round,
}

/// `pull SRC DST`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    highwater pull me@host.example.org:reports ./reports\n  \
    highwater pull --exclude '*.tmp' --dry-run sftp://me@host.example.org/srv/data /backup/data")]
pub struct Pull {
    /// [user@]host:path from the login folder, or sftp://user@host:port/path
    #[arg(value_name = "SRC")]
    pub source: OsString,
    /// Where the contents of a folder SRC, or a file SRC itself, go
    #[arg(value_name = "DST")]
    pub target: OsString,
    /// How.
    #[command(flatten)]
    pub round: Round,
}

/// `run [JOB…]`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  highwater run nightly")]
pub struct Run {
    /// Jobs of the config; all of them if none is named
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
}

/// `plan JOB`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  highwater plan nightly")]
pub struct Plan {
    /// A job of the config
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// `config check|show|schema`
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// What about it.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong, with line and key
    #[command(after_help = "Example:\n  highwater config check --config ./config.yml")]
    Check,
    /// Show what is in force and where it comes from
    #[command(after_help = "Example:\n  highwater config show --json")]
    Show,
    /// Print the JSON Schema, for editors
    #[command(after_help = "Example:\n  highwater config schema > config.schema.json")]
    Schema,
}

/// `notify test`
#[derive(Debug, Clone, clap::Args)]
pub struct Notify {
    /// What about it.
    #[command(subcommand)]
    pub command: NotifyCommand,
}

/// What to do with those who are told.
#[derive(Debug, Clone, Subcommand)]
pub enum NotifyCommand {
    /// Tell somebody of something made up, once, and say whether that worked
    #[command(after_help = "Example:\n  highwater notify test ops --event halt")]
    Test(NotifyTest),
}

/// `notify test NAME`
#[derive(Debug, Clone, clap::Args)]
pub struct NotifyTest {
    /// A target below "notify" in the config
    #[arg(value_name = "NAME")]
    pub target: String,
    /// What happened [default: failure; for healthchecks success]
    #[arg(long, value_name = "EVENT", value_parser = event())]
    pub event: Option<Event>,
}

/// `server trust|probe`
#[derive(Debug, Clone, clap::Args)]
pub struct Server {
    /// What about it.
    #[command(subcommand)]
    pub command: ServerCommand,
}

/// What to do with a server.
#[derive(Debug, Clone, Subcommand)]
pub enum ServerCommand {
    /// Show a server's host key and pin it
    #[command(after_help = "Examples:\n  \
        highwater server trust offsite\n  \
        highwater server trust --fingerprint SHA256:… me@backup.example.org")]
    Trust(Trust),
    /// Log in and show what a server can do; writes nothing unless --write is given
    #[command(after_help = "Examples:\n  \
        highwater server probe offsite\n  \
        highwater server probe --write me@backup.example.org data")]
    Probe(Probe),
}

/// `server trust NAME|HOST`
#[derive(Debug, Clone, clap::Args)]
pub struct Trust {
    /// A server of the config, an alias of ~/.ssh/config, [user@]host or sftp://host:port
    #[arg(value_name = "NAME|HOST")]
    pub server: String,
    /// Port of the SSH server
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Read this in place of ~/.ssh/config and /etc/ssh/ssh_config; none for neither
    #[arg(short = 'F', long, value_name = "FILE")]
    pub ssh_config: Option<PathBuf>,
    /// Pin the key if this is its fingerprint, and ask nothing
    #[arg(long, value_name = "SHA256:…")]
    pub fingerprint: Option<String>,
    /// Pin the key of a host that was never seen before, and ask nothing
    #[arg(long, conflicts_with = "fingerprint")]
    pub accept_new_host_key: bool,
}

/// `server probe NAME|HOST [PATH]`
#[derive(Debug, Clone, clap::Args)]
pub struct Probe {
    /// A server of the config, [user@]host, [user@]host:path or sftp://user@host:port/path
    #[arg(value_name = "NAME|HOST")]
    pub server: String,
    /// The folder to look at [default: the login folder]
    #[arg(value_name = "PATH")]
    pub folder: Option<OsString>,
    /// Port of the SSH server
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Log in with this private key; may be given again
    #[arg(short, long, value_name = "KEY")]
    pub identity: Vec<PathBuf>,
    /// Read this in place of ~/.ssh/config and /etc/ssh/ssh_config; none for neither
    #[arg(short = 'F', long, value_name = "FILE")]
    pub ssh_config: Option<PathBuf>,
    /// Who makes the session: direct, or OpenSSH's own ssh for logins that only it can do
    #[arg(long, value_name = "direct|ssh", value_parser = via())]
    pub via: Option<Via>,
    /// Pin the key of a host that was never seen before; a changed key is still refused
    #[arg(long)]
    pub accept_new_host_key: bool,
    /// Try things out with files of our own below .highwater in PATH, and remove them again
    #[arg(long)]
    pub write: bool,
}

/// `now JOB`, `pause JOB`
#[derive(Debug, Clone, clap::Args)]
pub struct JobName {
    /// A job of the config
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// `wait --job JOB`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  highwater wait --job nightly --timeout 60s")]
pub struct Wait {
    /// A job of the config
    #[arg(long, value_name = "JOB")]
    pub job: String,
    /// For so long at most
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

/// `limit JOB [RATE]`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  highwater limit nightly 2MiB/s\n  highwater limit nightly unlimited")]
pub struct LimitJob {
    /// A job of the config
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Such as 2MiB/s or unlimited [default: what the config says]
    #[arg(value_name = "RATE")]
    pub rate: Option<Rate>,
}

/// `status`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  highwater status --json\n  highwater status --watch")]
pub struct Status {
    /// Show it again every second, in place
    #[arg(long)]
    pub watch: bool,
}

/// `log [JOB]`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  highwater log nightly --rounds 3")]
pub struct Log {
    /// A job of the config, or the two ends of a push or pull as they were typed; everything if none is named
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// How many rounds of each job, the latest first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub rounds: usize,
}

/// `resume JOB`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  highwater resume nightly --accept-deletes")]
pub struct Resume {
    /// A job of the config
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Let deletes and displacements that are held go with the next round
    #[arg(long)]
    pub accept_deletes: bool,
}

/// `demo`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  highwater demo --keep ./highwater-demo")]
pub struct Demo {
    /// Work in this folder, which is new or empty, and leave everything there
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// `serve DIR`
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    highwater serve /srv/inbox --authorized-keys ~/.ssh/authorized_keys\n  \
    highwater serve /srv/outbox --read-only --user partner --password file:/etc/highwater/partner")]
pub struct Serve {
    /// The folder that clients see as /
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Listen here
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2022")]
    pub listen: SocketAddr,
    /// Who may log in [default: the user who starts it]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Let in whoever holds one of these keys
    #[arg(long, value_name = "FILE")]
    pub authorized_keys: Option<PathBuf>,
    /// Let in whoever knows this password: env:NAME, file:PATH or cmd:COMMAND
    #[arg(long, value_name = "SOURCE")]
    pub password: Option<String>,
    /// Let in whoever knows the password in this file
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,
    /// The host key, made if it is missing [default: host_key in the state folder]
    #[arg(long, value_name = "FILE")]
    pub host_key: Option<PathBuf>,
    /// Let nothing be written
    #[arg(long)]
    pub read_only: bool,
}

fn level() -> impl TypedValueParser<Value = Level> {
    let levels = [Level::Full, Level::Sample, Level::Ack].map(Level::as_str);
    PossibleValuesParser::new(levels).try_map(|text| Level::parse(&text).ok_or("there is no such level"))
}

fn via() -> impl TypedValueParser<Value = Via> {
    PossibleValuesParser::new(["direct", "ssh"])
        .map(|text| if text == "ssh" { Via::Ssh } else { Via::Direct })
}

fn event() -> impl TypedValueParser<Value = Event> {
    let find = |text: String| Event::ALL.into_iter().find(|event| event.as_str() == text);
    PossibleValuesParser::new(Event::ALL.map(Event::as_str))
        .try_map(move |text| find(text).ok_or("there is no such event"))
}

fn yes_or_no() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["yes", "no"]).map(|text| text == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            let subcommands: Vec<_> = command.get_subcommands().collect();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("  highwater ") || !subcommands.is_empty(), "{}", command.get_name());
            subcommands.into_iter().for_each(check);
        }
        check(&Args::command());
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        let check = |line: &str| {
            let words = ["highwater"].into_iter().chain(line.split(' '));
            let global = Args::try_parse_from(words).unwrap().global;
            let paths = (global.state.unwrap(), global.config.unwrap());
            assert_eq!(paths, ("s".into(), "c".into()), "{line}");
            assert!(global.json && global.quiet && global.verbose == 2, "{line}");
        };
        check("--state s --config c --json -vv --quiet status");
        check("status --state s --config=c --json -vv -q");
        check("--state s -q log nightly --config c --json -v --verbose");
    }

    /// The flags of a round, parsed without a command around them.
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        round: Round,
    }

    fn round(line: &str) -> Result<Round, clap::Error> {
        let words = ["push"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
        Line::try_parse_from(words).map(|line| line.round)
    }

    #[test]
    fn rounds_take_what_users_of_ssh_and_rsync_type() {
        let check = |line: &str, is_as_typed: fn(&Round) -> bool| {
            assert!(is_as_typed(&round(line).unwrap()), "{line}");
        };
        check("", |r| !r.delete && !r.accept_deletes && !r.dry_run && !r.accept_new_host_key);
        check("", |r| r.port.is_none() && r.verify.is_none() && r.durable.is_none() && r.limit.is_none());
        check("-p 2022", |r| r.port == Some(2022));
        check("-i a --identity b", |r| r.identity == [PathBuf::from("a"), PathBuf::from("b")]);
        check("--delete --accept-deletes", |r| r.delete && r.accept_deletes);
        check("--exclude *.tmp --exclude=/cache/", |r| r.exclude == ["*.tmp", "/cache/"]);
        check("-F none", |r| r.ssh_config == Some("none".into()));
        check("--via ssh", |r| r.via == Some(Via::Ssh));
        check("--limit 2MiB/s", |r| r.limit == "2MiB/s".parse().ok());
        check("--verify sample", |r| r.verify == Some(Level::Sample));
        check("--durable no", |r| r.durable == Some(false));
        check("--durable yes -n", |r| r.durable == Some(true) && r.dry_run);
        check("--accept-new-host-key", |r| r.accept_new_host_key);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let check = |line: &str| assert!(round(line).is_err(), "{line}");
        check("-p 0");
        check("-p 65536");
        check("--limit fast");
        check("--verify some");
        check("--durable maybe");
    }
}
