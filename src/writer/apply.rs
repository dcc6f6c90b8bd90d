//! A batch in its transaction: all mutations together, or in parts, until the culprit stands alone.

use std::{collections::HashSet, sync::Arc};

use crate::{
    domain::{Change, DocumentKey, Entry, Timestamp},
    store::{
        StoreError, WriteOrder, WriteTx,
        access::keys,
        collections::{indexes, rows},
        documents::writes::{self, DocumentWrite, DocumentWrites},
        log::{changes, ends, idempotency},
    },
    writer::{
        actor::{Answers, Request},
        batch::Batch,
        load::IMAGE_BYTES,
        mutation::WriteError,
        outcome::{Committed, Outcome},
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

/// Does a batch again of which the database refused something.
///
/// Inserts that it refuses are found with one statement: their mutations are put last, each alone. What is still refused is
/// halved, so that one culprit among n mutations costs about 2 log n statements of each kind, and not n. So the others go on
/// sharing theirs. Mutations of one batch are concurrent: any order of them is right, if the log has the same.
pub(super) async fn do_apart(
    tx: &mut WriteTx,
    work: &mut Batch,
    batch: &[Request],
) -> Result<(Answers, Vec<Arc<Change>>), StoreError> {
    // The next one last.
    let mut parts = split_refused(tx, work, batch).await?;
    let count = parts.iter().map(Vec::len).sum();
    let mut answers: Vec<Option<Result<Committed, WriteError>>> = vec![None; count];
    let mut changes = Vec::new();
    while let Some(part) = parts.pop() {
        let own: Answers = part.iter().map(|place| work.apply(&batch[*place].mutation)).collect();
        let written = if part.len() > 1 && work.plan().needs_order() {
            None
        } else {
            match write_part(tx, work, part.len()).await {
                Ok(()) => Some(Ok(())),
                Err(err) if !err.is_statement_error() => return Err(err),
                Err(_) if part.len() > 1 => None,
                Err(err) => Some(Err(err)),
            }
        };
        match written {
            Some(Ok(())) => {
                changes.extend(work.plan().changes.iter().cloned());
                work.keep();
                for (place, answer) in part.into_iter().zip(own) {
                    answers[place] = Some(answer);
                }
            }
            Some(Err(err)) => {
                work.discard();
                answers[part[0]] = Some(Err(refusal(err, work)));
            }
            None => {
                work.discard();
                parts.extend(halves(batch, part));
            }
        }
    }
    // Every place is in one part, and a part goes on until it has its answers.
    Ok((answers.into_iter().flatten().collect(), changes))
}

/// The mutations in parts that are to be done from the last to the first: as many from the beginning as a batch may hold.
async fn split_refused(
    tx: &mut WriteTx,
    work: &mut Batch,
    batch: &[Request],
) -> Result<Vec<Vec<usize>>, StoreError> {
    let answers = apply(work, batch);
    let all: Vec<_> = (0..answers.len()).collect();
    let writes = work.document_writes();
    if all.len() < 2 || writes.inserts.is_empty() || work.plan().needs_order() {
        work.discard();
        return Ok(halves(batch, all));
    }
    tx.savepoint();
    tx.set_write_order(WriteOrder::Kept);
    let refused = writes::find_rejected(tx, &writes).await;
    tx.set_write_order(WriteOrder::Any);
    tx.rollback_to_savepoint();
    work.discard();
    let refused: HashSet<_> = match refused {
        Ok(refused) => refused.into_iter().map(|key| key.id).collect(),
        // Something else than a unique index takes offence.
        Err(err) if err.is_statement_error() => HashSet::new(),
        Err(err) => return Err(err),
    };
    // By its id alone: a mutation that makes another document of this id is done alone, and no worse for it.
    let makes_refused = |answer: &Result<Committed, WriteError>| {
        answer.iter().flat_map(|committed| &committed.outcomes).any(|outcome| match outcome {
            Outcome::Document { document, .. } => refused.contains(&document.id),
            _ => false,
        })
    };
    let (culprits, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|place| makes_refused(&answers[*place]));
    if culprits.is_empty() {
        return Ok(halves(batch, others));
    }
    let mut parts: Vec<_> = culprits.into_iter().rev().map(|place| vec![place]).collect();
    if !others.is_empty() {
        parts.push(others);
    }
    Ok(parts)
}

/// Cuts a part where half of its operations are done, so that a large mutation soon stands alone. The second half first.
fn halves(batch: &[Request], part: Vec<usize>) -> Vec<Vec<usize>> {
    let operations = |place: &usize| batch[*place].mutation.operations.len().max(1);
    let total: usize = part.iter().map(operations).sum();
    let (mut before, mut middle) = (0, 0);
    while middle < part.len() && 2 * before < total {
        before += operations(&part[middle]);
        middle += 1;
    }
    if middle == part.len() && middle > 1 {
        middle -= 1;
    }
    let (first, second) = part.split_at(middle);
    [second, first].into_iter().filter(|half| !half.is_empty()).map(<[usize]>::to_vec).collect()
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

fn refusal(err: StoreError, work: &Batch) -> WriteError {
    if err.is_unique_violation() {
        let name = err.violated_index();
        return match name.as_deref().and_then(|name| work.find_index(name)) {
            Some(index) => WriteError::UniqueViolation {
                name: Some(index.name()),
                fields: index.definition.names.clone(),
            },
            None => WriteError::UniqueViolation { name, fields: Vec::new() },
        };
    }
    WriteError::Store(err)
}

/// Writes a part; if it is refused, nothing of it stays.
///
/// Of a single mutation the verdict is final. Its documents are first written by kind, which asks least of a unique index
/// but for updates: rows of one statement have no order. So what holds updates is tried again in the order of its operations.
async fn write_part(tx: &mut WriteTx, work: &Batch, mutations: usize) -> Result<(), StoreError> {
    let outcome = write_under_savepoint(tx, work, Order::ByKind).await;
    let is_refused = outcome.as_ref().is_err_and(StoreError::is_statement_error);
    let has_order = !work.document_writes().updates.is_empty() && work.plan().changes.len() > 1;
    if is_refused && mutations == 1 && has_order {
        return write_under_savepoint(tx, work, Order::ByOperation).await;
    }
    outcome
}

async fn write_under_savepoint(tx: &mut WriteTx, work: &Batch, order: Order) -> Result<(), StoreError> {
    tx.savepoint();
    let has_one_statement = work.document_writes().statements() <= 1;
    tx.set_write_order(match order {
        Order::ByKind if has_one_statement => WriteOrder::Any,
        Order::ByKind | Order::ByOperation => WriteOrder::Kept,
    });
    write(tx, work, order)?;
    let outcome = tx.flush().await;
    tx.set_write_order(WriteOrder::Any);
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
        rows::mark_removed(tx, id, now);
        indexes::remove_all(tx, id);
    }
    for collection in &plan.changed_collections {
        rows::change(tx, collection);
    }
    rows::insert_many(tx, &plan.new_collections);
    indexes::insert_many(tx, &plan.new_indexes, now);
    for (index, state) in &plan.index_states {
        indexes::set_state(tx, index, state.as_ref());
    }
    match order {
        Order::ByKind => writes::write_many(tx, &work.document_writes()),
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
    ends::advance(tx, work.moved_log_ends(), &grown);
    Ok(())
}

fn write_change(tx: &mut WriteTx, change: &Change) {
    let Entry::Document { collection, before, after } = &change.entry else { return };
    let Some(id) = after.as_ref().or(before.as_ref()).map(|document| document.id.clone()) else { return };
    let key = DocumentKey { collection: collection.clone(), id };
    let mut writes = DocumentWrites::default();
    match (before, after) {
        (Some(_), Some(document)) => writes.updates.push(DocumentWrite { collection, document }),
        (None, Some(document)) => writes.inserts.push(DocumentWrite { collection, document }),
        (_, None) => writes.deletes.push(&key),
    }
    writes::write_many(tx, &writes);
}
