//! What a round would do, shown instead of done: `highwater plan` and `--dry-run`.

use std::sync::Arc;

use serde::Serialize;

use super::reach::Reach;
use super::show::Show;
use super::{Context, work};
use crate::error::Result;
use crate::id::JobId;
use crate::job::{self, Preview, Spec};
use crate::journal::Journal;
use crate::monitor::Silent;
use crate::path::RelPath;
use crate::plan::{Action, Removal};
use crate::report::document::path_fields;
use crate::units::ByteSize;

/// Shows it, path by path as it is found, and what it adds up to.
pub async fn show(context: &Context, spec: Spec, journal: &Journal, job: JobId, reach: Reach) -> Result<()> {
    let (name, mode) = (spec.name.clone(), spec.mode);
    let mut shown = Shown::new(context.show);
    let with = work::with(context, journal, job, Arc::new(Silent));
    context.unless_stopped(job::preview(spec, with, reach, &mut shown)).await?;
    let Shown { steps, sums, failure, .. } = shown;
    failure.map_or(Ok(()), Err)?;
    let document = Document { version: 1, job: &name, mode: mode.as_str(), sums: &sums, steps };
    context.show.either(&document, || sums.text())
}

/// Takes actions in as they come: on to the screen, or into the document.
struct Shown {
    show: Show,
    steps: Vec<Step>,
    sums: Sums,
    failure: Option<crate::error::Error>,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    job: &'a str,
    mode: &'static str,
    #[serde(flatten)]
    sums: &'a Sums,
    steps: Vec<Step>,
}

#[derive(Debug, Default, Serialize)]
struct Sums {
    /// Files that would be carried.
    files: u64,
    /// Their content.
    bytes: u64,
    /// Files and links that would be deleted.
    deletes: u64,
    /// All steps, those included.
    steps_total: u64,
    /// Why the deletes would be held.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<String>,
}

#[derive(Serialize)]
struct Step {
    step: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    text: String,
}

impl Shown {
    fn new(show: Show) -> Self {
        Self { show, steps: Vec::new(), sums: Sums::default(), failure: None }
    }

    fn step(&mut self, path: &RelPath, text: String) {
        self.sums.steps_total += 1;
        if !self.show.is_json() {
            if self.failure.is_none() {
                self.failure = self.show.text(&text).err();
            }
            return;
        }
        let step = text.split_whitespace().next().unwrap_or_default().to_owned();
        let (path, path_base64) = path_fields(path);
        self.steps.push(Step { step, path, path_base64, text });
    }
}

impl Preview for Shown {
    fn action(&mut self, action: &Action) {
        if let Action::Put { .. } = action {
            self.sums.files += 1;
            self.sums.bytes += action.bytes();
        }
        self.step(action.path(), action.to_string());
    }

    fn removal(&mut self, removal: &Removal) {
        self.sums.deletes += u64::from(removal.is_delete());
        self.step(&removal.path, removal.to_string());
    }

    fn held(&mut self, message: &str) {
        self.sums.held = Some(message.to_owned());
    }
}

impl Sums {
    fn text(&self) -> String {
        let held = self.held.as_ref().map(|why| format!("\n{why}")).unwrap_or_default();
        if self.steps_total == 0 {
            return format!("nothing to do{held}");
        }
        let (files, deletes) = (self.files, self.deletes);
        let bytes = ByteSize(self.bytes).human();
        format!("would carry {files} files ({bytes}) and delete {deletes}; nothing was changed{held}")
    }
}
