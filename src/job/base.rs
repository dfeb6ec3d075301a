//! The journal's base as the planner wants it: in terms of source and target, page by page.

use crate::error::Result;
use crate::id::JobId;
use crate::journal::{BaseRow, Journal};
use crate::outcome::Mode;
use crate::path::RelPath;
use crate::plan::BaseView;

/// Rows per page.
const PAGE: usize = 2_000;

/// Base in path order, a page at a time.
pub(super) struct Pages {
    journal: Journal,
    job: JobId,
    mode: Mode,
    is_void: bool,
}

impl Pages {
    pub fn new(journal: Journal, job: JobId, mode: Mode) -> Self {
        Self { journal, job, mode, is_void: false }
    }

    /// As if nothing were known.
    pub fn none(self) -> Self {
        Self { is_void: true, ..self }
    }
}

impl crate::scan::BasePages for Pages {
    async fn next_page(&mut self, after: Option<&RelPath>) -> Result<Vec<(RelPath, BaseView)>> {
        if self.is_void {
            return Ok(Vec::new());
        }
        let rows = self.journal.base_page(self.job, after, PAGE).await?;
        Ok(rows.into_iter().map(|row| view(row, self.mode)).collect())
    }
}

pub(super) fn view(row: BaseRow, mode: Mode) -> (RelPath, BaseView) {
    let (source, target) = match mode {
        Mode::Push => (row.near, row.far),
        Mode::Pull => (row.far, row.near),
    };
    let view =
        BaseView { kind: row.kind, source, target, hash: row.hash, link: row.link, unsettled: row.unsettled };
    (row.path, view)
}
