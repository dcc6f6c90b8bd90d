//! Whether the sets of other collections, for which rules ask, are still true when a batch begins.

use std::sync::Arc;

use super::{batch::Base, error::WriteError, mutation::Mutation, request::Request, state::Writer};
use crate::{
    domain::{Change, Entry},
    store::{
        StoreError, WriteTx,
        log::changes::{self, LogPage, PageSize},
    },
};

/// How much of the log a batch may read for one set. It is small, because every write waits meanwhile.
const PAGE: PageSize = PageSize { entries: 64, bytes: 512 * 1024 };

impl Writer {
    /// Answers the mutations whose rules ask for sets of other collections that may have changed since they were read, and takes them
    /// out of the batch. Their callers read the sets anew.
    pub(super) async fn refuse_behind(
        &mut self,
        tx: &mut WriteTx,
        batch: &mut Vec<Request>,
        base: &Base,
    ) -> Result<(), StoreError> {
        let mut place = 0;
        while let Some(request) = batch.get(place) {
            if sets_are_true(tx, &request.mutation, base).await? {
                place += 1;
                continue;
            }
            let request = batch.remove(place);
            self.answer(request, Err(WriteError::RightsBehind));
        }
        Ok(())
    }
}

/// Whether no document has changed that one of the mutation's sets is made of.
async fn sets_are_true(tx: &mut WriteTx, mutation: &Mutation, base: &Base) -> Result<bool, StoreError> {
    let Some(author) = mutation.author.as_ref().filter(|author| !author.sets.is_empty()) else {
        return Ok(true);
    };
    let (Some(catalog), Some(ends)) =
        (base.catalogs.get(&mutation.project), base.log_ends.get(&mutation.project))
    else {
        return Ok(true);
    };
    if ends.last.sequence == author.sets_at {
        return Ok(true);
    }
    for query in author.sets.keys() {
        let Some(collection) = catalog.find(&query.collection) else { continue };
        let (project, after) = (&mutation.project, author.sets_at);
        let page = changes::read_collection_locked(tx, project, &collection.id, after, PAGE).await?;
        let is_complete = |page: &LogPage| page.is_last && page.ends.first.sequence <= after;
        let Some(page) = page.filter(is_complete) else { return Ok(false) };
        let is_changed = |change: &Arc<Change>| match &change.entry {
            Entry::Document { before, after, .. } => {
                before.iter().chain(after).any(|image| query.filter.matches(image))
            }
            Entry::Unreadable { .. } => true,
            Entry::Control(_) => false,
        };
        if page.entries.iter().any(is_changed) {
            return Ok(false);
        }
    }
    Ok(true)
}
