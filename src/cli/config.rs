//! `highwater config`: what is wrong with the config, what is in force, and its schema.

use serde::Serialize;

use super::Context;
use super::account::{self, Surroundings};
use super::args::ConfigCommand;
use crate::config::model::Config;
use crate::config::{self, Env, Loaded};
use crate::error::{Error, Kind, Result};
use crate::journal::place::expand_home;
use crate::path::escape;
use crate::report::count;

/// Checks, shows, or prints the schema.
pub fn run(context: &Context, command: ConfigCommand) -> Result<u8> {
    match command {
        ConfigCommand::Check => check(context),
        ConfigCommand::Show => show(context),
        ConfigCommand::Schema => context.show.text(&config::schema()).map(|()| 0),
    }
}

/// The config that the flags or the usual places name; empty if there is none.
pub fn load(context: &Context) -> Result<Loaded, config::ConfigErrors> {
    let path = context.global.config.as_deref();
    let path = path.map(|path| expand_home(path, &|name| std::env::var_os(name)));
    config::load(path.as_deref(), &Env::from_process())
}

fn check(context: &Context) -> Result<u8> {
    let loaded = match load(context) {
        Ok(loaded) => loaded,
        Err(errors) => {
            context.show.mistakes(&errors);
            return Ok(Kind::Usage.exit_code());
        }
    };
    let file = file(&loaded)?;
    let mut notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    notes.extend(of_ssh_config(&loaded.config)?);
    let (servers, jobs) = (loaded.config.servers.len(), loaded.config.jobs.len());
    let document = Checked { version: 1, file: &file, servers, jobs, notes: &notes };
    context.show.either(&document, || {
        let head = format!(
            "{file}: no mistakes, {}, {}",
            count(servers as u64, "server"),
            count(jobs as u64, "job")
        );
        let notes = notes.iter().map(|note| format!("note: {note}"));
        [head].into_iter().chain(notes).collect::<Vec<_>>().join("\n")
    })?;
    Ok(0)
}

/// What of ssh_config is not acted upon for these servers, each line once. Errors with `Usage` where a file of it
/// cannot be used.
fn of_ssh_config(config: &Config) -> Result<Vec<String>> {
    let around = Surroundings::of_process();
    let mut notes: Vec<String> = Vec::new();
    for server in &config.servers {
        for note in account::of_server(server, &around)?.notes {
            let note = note.to_string();
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    Ok(notes)
}

#[derive(Serialize)]
struct Checked<'a> {
    version: u32,
    file: &'a str,
    servers: usize,
    jobs: usize,
    notes: &'a [String],
}

fn show(context: &Context) -> Result<u8> {
    let loaded = load(context)?;
    file(&loaded)?;
    context.show.either(&loaded.show_json(), || loaded.show())?;
    Ok(0)
}

/// The file that was read, for people. Errors with `Usage` if there was none.
fn file(loaded: &Loaded) -> Result<String> {
    let shown = |path: &std::path::Path| escape(path.as_os_str().as_encoded_bytes());
    loaded.file().map(shown).ok_or_else(|| {
        let places: Vec<String> = loaded.looked_in.iter().map(|path| shown(path)).collect();
        Error::new(Kind::Usage, "find the config", "")
            .detail(format!("there is none at {}", places.join(" or ")))
            .hint("Name one with --config FILE.")
    })
}
