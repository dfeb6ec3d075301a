//! A round that looks at what the watcher saw change, and at nothing else.

use std::collections::VecDeque;

use super::base::view;
use super::{Dial, Round};
use crate::entry::Kind;
use crate::error::Result;
use crate::id::JobId;
use crate::journal::Journal;
use crate::outcome::Mode;
use crate::path::RelPath;
use crate::plan::BaseView;
use crate::scan::{BasePages, Extent, Places};
use crate::settle::Quiet;
use crate::tree::Tree;

/// Rows per page.
const PAGE: usize = 2_000;

impl<D: Dial> Round<D> {
    /// The places to look at for these changes. Where a folder came, went, or took something's place, all
    /// below it is looked at: nobody may have told of each thing in it.
    pub(super) async fn places<T: Tree>(&self, near: &T, changes: &[Quiet]) -> Result<Places> {
        let mut places = Places::default();
        for change in changes.iter().filter(|change| !change.path.is_own()) {
            let (path, is_new) = self.topmost_change(near, &change.path).await?;
            let extent = if change.is_whole || is_new { Extent::Whole } else { Extent::Itself };
            places.add(path, extent);
        }
        Ok(places)
    }

    /// The path itself, or the first folder above it that is not a folder on both sides of base; and
    /// whether what is below it has to be looked at.
    async fn topmost_change<T: Tree>(&self, near: &T, path: &RelPath) -> Result<(RelPath, bool)> {
        let mut above: Vec<RelPath> = std::iter::successors(Some(path.clone()), RelPath::parent).collect();
        above.pop(); // the root
        for folder in above.into_iter().rev() {
            let was = self.context.journal.base_get(self.context.job, &folder).await?;
            let was_dir = was.is_some_and(|row| row.kind == Kind::Dir);
            // What cannot be looked at is found out where it is visited.
            let is_dir = matches!(near.stat(&folder).await, Ok(Some(stat)) if stat.kind == Kind::Dir);
            if was_dir != is_dir {
                return Ok((folder, true));
            }
            if !is_dir {
                return Ok((folder, false));
            }
        }
        Ok((path.clone(), false))
    }
}

/// Base at some places, in path order.
pub(super) struct PlacePages {
    journal: Journal,
    job: JobId,
    mode: Mode,
    places: VecDeque<(RelPath, Extent)>,
    /// The last row of the whole folder that is being read.
    last: Option<RelPath>,
}

impl PlacePages {
    pub fn new(journal: Journal, job: JobId, mode: Mode, places: &Places) -> Self {
        let places = places.iter().map(|(path, extent)| (path.clone(), extent)).collect();
        Self { journal, job, mode, places, last: None }
    }
}

impl BasePages for PlacePages {
    async fn next_page(&mut self, _after: Option<&RelPath>) -> Result<Vec<(RelPath, BaseView)>> {
        let mut rows = Vec::new();
        while rows.len() < PAGE {
            let Some((path, extent)) = self.places.front() else { break };
            if *extent == Extent::Itself {
                rows.extend(self.journal.base_get(self.job, path).await?);
                self.places.pop_front();
                continue;
            }
            let page = self.journal.base_page_within(self.job, path, self.last.as_ref(), PAGE).await?;
            match page.last() {
                Some(last) => self.last = Some(last.path.clone()),
                None => {
                    self.last = None;
                    self.places.pop_front();
                }
            }
            rows.extend(page);
        }
        Ok(rows.into_iter().map(|row| view(row, self.mode)).collect())
    }
}
