//! A batch in its transaction: all mutations together, or in parts, until the culprit stands alone.

use std::{ops::Range, sync::Arc};

use super::{
    actor::{Answers, Request},
    base::IMAGE_BYTES,
    batch::Batch,
    mutation::WriteError,
};
use crate::{
    domain::{Change, Entry, Timestamp},
    store::{
        StoreError, WriteTx, changes, collections,
        documents::{self, DocumentWrites},
        heads, idempotency, keys,
    },
};

/// How the mutations of a batch are written.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// With a few statements for all of them.
    Together,
    /// In parts under savepoints, so that one which the database refuses fails alone.
    Apart,
}

pub(super) async fn do_together(
    tx: &mut WriteTx,
    work: &mut Batch,
    batch: &[Request],
) -> Result<(Answers, Vec<Arc<Change>>), StoreError> {
    let answers = apply(work, batch);
    if work.plan().needs_order() {
        work.discard();
        return do_apart(tx, work, batch).await;
    }
    write(tx, work, Order::ByKind)?;
    Ok((answers, work.plan().changes.clone()))
}

/// Halves what the database refuses, and does the halves one after the other. So one culprit among n mutations costs about
/// 2 log n statements of each kind, and not n, and the others still share theirs.
pub(super) async fn do_apart(
    tx: &mut WriteTx,
    work: &mut Batch,
    batch: &[Request],
) -> Result<(Answers, Vec<Arc<Change>>), StoreError> {
    let (mut answers, mut changes) = (Vec::new(), Vec::new());
    // The next one last. Halves, since the whole has failed before.
    let mut parts = halves(batch, 0..batch.len());
    while let Some(part) = parts.pop() {
        if is_full(work) {
            break;
        }
        let own = apply(work, &batch[part.clone()]);
        let is_cut = own.len() < part.len();
        let written = if part.len() > 1 && work.plan().needs_order() {
            None
        } else {
            match write_part(tx, work, part.len()).await {
                Ok(()) => Some(Ok(())),
                Err(err) if !err.is_of_statement() => return Err(err),
                Err(_) if part.len() > 1 => None,
                Err(err) => Some(Err(err)),
            }
        };
        match written {
            Some(Ok(())) => {
                changes.extend(work.plan().changes.iter().cloned());
                work.keep();
                answers.extend(own);
                if is_cut {
                    break;
                }
            }
            Some(Err(err)) => {
                work.discard();
                answers.push(Err(refusal(err)));
            }
            None => {
                work.discard();
                parts.extend(halves(batch, part));
            }
        }
    }
    Ok((answers, changes))
}

/// Cuts a part where half of its operations are done, so that a large mutation soon stands alone. The second half first.
fn halves(batch: &[Request], part: Range<usize>) -> Vec<Range<usize>> {
    let operations = |request: &Request| request.mutation.operations.len().max(1);
    let total: usize = batch[part.clone()].iter().map(operations).sum();
    let (mut before, mut middle) = (0, part.start);
    while middle < part.end && 2 * before < total {
        before += operations(&batch[middle]);
        middle += 1;
    }
    if middle == part.end && part.len() > 1 {
        middle -= 1;
    }
    let halves = [middle..part.end, part.start..middle];
    halves.into_iter().filter(|half| !half.is_empty()).collect()
}

/// Applies mutations in order, as many as a batch may hold.
fn apply(work: &mut Batch, batch: &[Request]) -> Answers {
    let mut answers = Vec::with_capacity(batch.len());
    for request in batch {
        if is_full(work) {
            break;
        }
        answers.push(work.apply(&request.mutation));
    }
    answers
}

fn refusal(err: StoreError) -> WriteError {
    if err.is_unique_violation() {
        return WriteError::UniqueViolation { index: err.violated_index() };
    }
    WriteError::Store(err)
}

/// Writes a part; if it is refused, nothing of it stays.
///
/// Of a single mutation the verdict is final. Its documents are first written by kind, which asks least of a unique index
/// but for updates: rows of one statement have no order. So what holds updates is tried again in the order of its operations.
async fn write_part(tx: &mut WriteTx, work: &Batch, mutations: usize) -> Result<(), StoreError> {
    let outcome = write_under_savepoint(tx, work, Order::ByKind).await;
    let is_refused = outcome.as_ref().is_err_and(StoreError::is_of_statement);
    let has_order = !work.document_writes().updates.is_empty() && work.plan().changes.len() > 1;
    if is_refused && mutations == 1 && has_order {
        return write_under_savepoint(tx, work, Order::ByOperation).await;
    }
    outcome
}

async fn write_under_savepoint(tx: &mut WriteTx, work: &Batch, order: Order) -> Result<(), StoreError> {
    tx.savepoint();
    let kinds = work.document_writes().kinds();
    tx.keep_order(kinds > 1 || matches!(order, Order::ByOperation));
    write(tx, work, order)?;
    let outcome = tx.flush().await;
    tx.keep_order(false);
    match outcome {
        Ok(()) => tx.release_savepoint(),
        Err(err) => {
            tx.rollback_to_savepoint();
            return Err(err);
        }
    }
    Ok(())
}

/// In which order documents are written.
#[derive(Clone, Copy)]
enum Order {
    /// The last state of each: deletes, updates, inserts.
    ByKind,
    /// Each state, as the operations make them.
    ByOperation,
}

/// Whether a batch holds as many images as it may: many changes of one large document are as many documents.
fn is_full(work: &Batch) -> bool {
    work.weight() > IMAGE_BYTES
}

/// Defers what the batch has come to since it was last kept.
fn write(tx: &mut WriteTx, work: &Batch, order: Order) -> Result<(), StoreError> {
    if work.is_empty() {
        return Ok(());
    }
    let plan = work.plan();
    // A name that was given up in this batch is free for one that is made or renamed in it.
    let now = plan.changes.last().map_or_else(Timestamp::now, |change| change.position.at);
    for id in &plan.removed_collections {
        collections::mark_removed(tx, id, now);
    }
    for collection in &plan.changed_collections {
        collections::change(tx, collection);
    }
    collections::insert_many(tx, &plan.new_collections);
    match order {
        Order::ByKind => documents::write_many(tx, &work.document_writes()),
        Order::ByOperation => {
            for change in &plan.changes {
                write_change(tx, change);
            }
        }
    }
    for key in &plan.revoked_keys {
        keys::revoke(tx, key, now);
    }
    let grown = changes::append_many(tx, &plan.changes)?;
    idempotency::insert_many(tx, &plan.outcomes, now);
    heads::advance(tx, work.moved_heads(), &grown);
    Ok(())
}

fn write_change(tx: &mut WriteTx, change: &Change) {
    let Entry::Document { collection, before, after } = &change.entry else { return };
    let Some(id) = after.as_ref().or(before.as_ref()).map(|document| document.id.clone()) else { return };
    let key = (collection.clone(), id);
    let mut writes = DocumentWrites::default();
    match (before, after) {
        (Some(_), Some(after)) => writes.updates.push((&key, after)),
        (None, Some(after)) => writes.inserts.push((&key, after)),
        (_, None) => writes.deletes.push(&key),
    }
    documents::write_many(tx, &writes);
}
