//! The configuration: file → tree with places → [`model::Config`], or every mistake at once.
//!
//! `node` reads YAML, `files` the includes, `raw` says which keys there are, `layers` puts `defaults` under
//! each job, `check` judges the whole, `show` tells what is in force and where it comes from. Secrets are
//! only referred to; nothing here opens one.

mod check;
mod env;
mod files;
mod layers;
mod leaf;
mod list;
mod mistake;
pub mod model;
mod nearest;
mod node;
mod overlap;
mod raw;
mod read;
mod reference;
mod show;
mod telling;
mod warn;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

pub use env::Env;
pub use mistake::{ConfigErrors, Mistake, Note};

use files::Files;
use mistake::Mistakes;
use model::Config;
use node::{At, Node};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is worth knowing about it.
    pub notes: Vec<Note>,
    /// Where a file was looked for, the one that was read last.
    pub looked_in: Vec<PathBuf>,
    files: Files,
    effective: Option<Node>,
    from_defaults: HashSet<At>,
}

/// Reads and checks the configuration: the file that is named, else the first default file that there is.
/// Without any, the configuration is empty and [`Loaded::file`] is `None`.
pub fn load(path: Option<&Path>, env: &Env) -> Result<Loaded, ConfigErrors> {
    let candidates = path.map_or_else(|| env.default_files(), |path| vec![path.into()]);
    // A file that cannot even be looked for is read all the same, so that the reason is told.
    let is_there = |candidate: &&PathBuf| path.is_some() || candidate.try_exists().unwrap_or(true);
    match candidates.iter().position(|candidate| is_there(&candidate)) {
        Some(index) => load_file(candidates[..=index].to_vec(), &candidates[index], env),
        None => Ok(Loaded {
            config: Config::default(),
            notes: Vec::new(),
            looked_in: candidates,
            files: Files::default(),
            effective: None,
            from_defaults: HashSet::new(),
        }),
    }
}

fn load_file(looked_in: Vec<PathBuf>, path: &Path, env: &Env) -> Result<Loaded, ConfigErrors> {
    let mut mistakes = Mistakes::default();
    let files = Files::read(path, &mut mistakes);
    check::each_alone(&files.roots, &mut mistakes);
    if !files.is_whole() {
        // What is referred to may stand in the file that could not be read.
        return Err(mistakes.into_errors(|source| files.name(source)));
    }
    let checked = check::together(&files.roots, env, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes.into_errors(|source| files.name(source)));
    }
    let unsafe_files = files.paths.iter().filter_map(|path| {
        let subject = crate::path::escape(path.as_os_str().as_encoded_bytes());
        Some(Note { subject, message: warn::about_config_file(path)? })
    });
    let notes = unsafe_files.chain(checked.notes).collect();
    let (config, effective, from_defaults) = (checked.config, Some(checked.effective), checked.from_defaults);
    Ok(Loaded { config, notes, looked_in, files, effective, from_defaults })
}

impl Loaded {
    /// The file that was read, if there was one.
    pub fn file(&self) -> Option<&Path> {
        self.files.paths.first().map(PathBuf::as_path)
    }

    /// What is in force and where each value comes from, as YAML with comments.
    pub fn show(&self) -> String {
        self.effective.as_ref().map_or_else(String::new, |root| show::yaml(root, &self.origins()))
    }

    /// The same as JSON: each value as `{"value": …, "from": …}`.
    pub fn show_json(&self) -> serde_json::Value {
        match &self.effective {
            Some(root) => show::document(root, &self.origins()),
            None => serde_json::json!({"version": 1}),
        }
    }

    fn origins(&self) -> show::Origins<'_> {
        show::Origins { from_defaults: &self.from_defaults, files: &self.files }
    }
}

/// The JSON Schema of the configuration, for editors.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(raw::RawConfig);
    schema.insert("title".into(), "Highwater configuration".into());
    format!("{:#}", schema.as_value())
}
