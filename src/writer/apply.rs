//! A batch in its transaction: all mutations together, or one by one.

use std::sync::Arc;

use super::{
    actor::{Answers, Request},
    base::IMAGE_BYTES,
    batch::Batch,
    mutation::WriteError,
};
use crate::{
    domain::{Change, Timestamp},
    store::{StoreError, WriteTx, changes, collections, documents, heads, idempotency, keys},
};

/// How the mutations of a batch are written.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// With a few statements for all of them.
    Together,
    /// Each under its own savepoint, so that one which the database refuses fails alone.
    OneByOne,
}

pub(super) async fn do_together(
    tx: &mut WriteTx,
    work: &mut Batch,
    batch: &[Request],
) -> Result<(Answers, Vec<Arc<Change>>), StoreError> {
    let mut answers = Vec::with_capacity(batch.len());
    for request in batch {
        if is_full(work) {
            break;
        }
        answers.push(work.apply(&request.mutation));
    }
    if work.plan().needs_order() {
        work.discard();
        return do_one_by_one(tx, work, batch).await;
    }
    write(tx, work)?;
    Ok((answers, work.plan().changes.clone()))
}

pub(super) async fn do_one_by_one(
    tx: &mut WriteTx,
    work: &mut Batch,
    batch: &[Request],
) -> Result<(Answers, Vec<Arc<Change>>), StoreError> {
    let (mut answers, mut changes) = (Vec::new(), Vec::new());
    for request in batch {
        if is_full(work) {
            break;
        }
        tx.savepoint();
        let answer = match work.apply(&request.mutation) {
            Ok(committed) => match flush(tx, work).await {
                Ok(()) => Ok(committed),
                Err(err) if err.is_unique_violation() => Err(WriteError::UniqueViolation),
                Err(err) if err.is_of_statement() => Err(WriteError::Store(err)),
                Err(err) => return Err(err),
            },
            Err(err) => Err(err),
        };
        if answer.is_ok() {
            changes.extend(work.plan().changes.iter().cloned());
            work.keep();
        } else {
            tx.rollback_to_savepoint().await?;
            work.discard();
        }
        answers.push(answer);
    }
    Ok((answers, changes))
}

/// Whether a batch holds as many images as it may: many changes of one large document are as many documents.
fn is_full(work: &Batch) -> bool {
    work.weight() > IMAGE_BYTES
}

async fn flush(tx: &mut WriteTx, work: &Batch) -> Result<(), StoreError> {
    write(tx, work)?;
    tx.flush().await
}

/// Defers what the batch has come to since it was last kept.
fn write(tx: &mut WriteTx, work: &Batch) -> Result<(), StoreError> {
    if work.is_empty() {
        return Ok(());
    }
    let plan = work.plan();
    // A name that was given up in this batch is free for one that is made or renamed in it.
    let now = plan.changes.last().map_or_else(Timestamp::now, |change| change.position.at);
    for id in &plan.removed_collections {
        collections::mark_removed(tx, id, now);
    }
    for (id, name) in &plan.renamed_collections {
        collections::rename(tx, id, name);
    }
    collections::insert_many(tx, &plan.new_collections);
    documents::write_many(tx, &work.document_writes());
    for key in &plan.revoked_keys {
        keys::revoke(tx, key, now);
    }
    let grown = changes::append_many(tx, &plan.changes)?;
    idempotency::insert_many(tx, &plan.outcomes, now);
    heads::advance(tx, work.moved_heads(), &grown);
    Ok(())
}
