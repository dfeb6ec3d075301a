//! The journal's base as the planner wants it: in terms of source and target, page by page.

use tokio::task::{JoinError, JoinSet};

use crate::error::{Error, Kind, Result};
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
    /// The page that most likely comes next, and after which path.
    ahead: JoinSet<(RelPath, Result<Vec<BaseRow>>)>,
}

impl Pages {
    pub fn new(journal: Journal, job: JobId, mode: Mode) -> Self {
        Self { journal, job, mode, is_void: false, ahead: JoinSet::new() }
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
        let rows = match self.ahead.join_next().await.transpose().map_err(broken)? {
            Some((path, page)) if after == Some(&path) => page?,
            _ => self.journal.base_page(self.job, after, PAGE).await?,
        };
        if let Some(last) = rows.last() {
            self.fetch(last.path.clone());
        }
        Ok(rows.into_iter().map(|row| view(row, self.mode)).collect())
    }
}

impl Pages {
    /// Reads a page while the one before it is gone through.
    fn fetch(&mut self, after: RelPath) {
        let (journal, job) = (self.journal.clone(), self.job);
        self.ahead.spawn(async move {
            let page = journal.base_page(job, Some(&after), PAGE).await;
            (after, page)
        });
    }
}

fn broken(error: JoinError) -> Error {
    Error::new(Kind::Internal, "read the journal ahead", "").because(error)
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
