//! Writes a batch inside its transaction: in bulk, or bisected until a rejected mutation stands alone.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    batch::Batch,
    cost::Costs,
    error::WriteError,
    outcome::{Committed, Outcome},
    request::Request,
    state::{Answers, BATCH_COST, IMAGE_BYTES},
};
use crate::{
    domain::{Change, DocumentKey, Entry},
    store::{
        StoreError, WriteOrder, WriteTx,
        access::{
            audit, codes, credentials, identities, invitations, keys, mails, projects, secrets, sessions,
            used_states,
        },
        collections::{indexes, rows},
        documents::writes::{self, DocumentWrite, DocumentWrites},
        log::{changes, ends, idempotency},
    },
};

/// The result of writing: the answer to each mutation that fitted into the batch, and the changes in log order.
pub(super) type Written = (Answers, Vec<Arc<Change>>);

/// Applies a batch and writes it with a few statements. A batch whose mutations depend on their order is bisected instead.
///
/// # Errors
/// The database's own. A [statement error](StoreError::is_statement_error) means that one mutation was rejected:
/// [`bisect`] finds it, in a new transaction.
pub(super) async fn write_in_bulk(
    tx: &mut WriteTx,
    work: &mut Batch,
    batch: &[Request],
    costs: &mut Costs,
) -> Result<Written, StoreError> {
    let answers = apply(work, batch, costs);
    if work.plan().needs_order() {
        work.discard();
        return bisect(tx, work, batch, costs).await;
    }
    write(tx, work, Order::ByKind)?;
    Ok((answers, work.plan().changes.clone()))
}

/// Retries a batch after the database rejected a row, bisecting it until the offending mutation stands alone.
///
/// One statement finds the inserts that a unique index rejects; their mutations are written last, each alone. A part that is
/// still rejected is halved. So one offender among n mutations costs about 2 log n statements of each kind, and the others keep
/// sharing theirs. The mutations of a batch are concurrent, so any order of them is right, as long as the log has the same.
///
/// # Errors
/// The database's own, but no statement error: those become the answer of their mutation.
pub(super) async fn bisect(
    tx: &mut WriteTx,
    work: &mut Batch,
    batch: &[Request],
    costs: &mut Costs,
) -> Result<Written, StoreError> {
    // A stack: the part to write next is the last one.
    let mut parts = set_rejected_apart(tx, work, batch, costs).await?;
    let count = parts.iter().map(Vec::len).sum();
    let mut answers: Vec<Option<Result<Committed, WriteError>>> = vec![None; count];
    let mut changes = Vec::new();
    while let Some(part) = parts.pop() {
        let own: Answers = part.iter().map(|place| apply_one(work, batch, *place, costs)).collect();
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
                answers[part[0]] = Some(Err(rejection(err, work)));
            }
            None => {
                work.discard();
                parts.extend(halves(batch, part));
            }
        }
    }
    // Every place is in one part, and a part is split until it has its answers.
    Ok((answers.into_iter().flatten().collect(), changes))
}

/// Splits the mutations into parts, the first to write last. Mutations that a unique index rejects get a part of their own, at
/// the end of the order. Mutations beyond the bound of a batch are left out.
async fn set_rejected_apart(
    tx: &mut WriteTx,
    work: &mut Batch,
    batch: &[Request],
    costs: &mut Costs,
) -> Result<Vec<Vec<usize>>, StoreError> {
    let answers = apply(work, batch, costs);
    let all: Vec<_> = (0..answers.len()).collect();
    let writes = work.document_writes();
    if all.len() < 2 || writes.inserts.is_empty() || work.plan().needs_order() {
        work.discard();
        return Ok(halves(batch, all));
    }
    tx.savepoint();
    tx.set_write_order(WriteOrder::Kept);
    let rejected = writes::find_rejected(tx, &writes).await;
    tx.set_write_order(WriteOrder::Any);
    tx.rollback_to_savepoint();
    work.discard();
    let rejected: HashSet<_> = match rejected {
        Ok(rejected) => rejected.into_iter().map(|key| key.id).collect(),
        // Something other than a unique index rejected the statement.
        Err(err) if err.is_statement_error() => HashSet::new(),
        Err(err) => return Err(err),
    };
    // Compared by document id alone: a mutation with the same id in another collection is written alone too, which is harmless.
    let makes_rejected = |answer: &Result<Committed, WriteError>| {
        answer.iter().flat_map(|committed| &committed.outcomes).any(|outcome| match outcome {
            Outcome::Document { document, .. } => rejected.contains(&document.id),
            _ => false,
        })
    };
    let (offenders, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|place| makes_rejected(&answers[*place]));
    if offenders.is_empty() {
        return Ok(halves(batch, others));
    }
    let mut parts: Vec<_> = offenders.into_iter().rev().map(|place| vec![place]).collect();
    if !others.is_empty() {
        parts.push(others);
    }
    Ok(parts)
}

/// Splits a part where half of its operations are done, so that a large mutation soon stands alone. Returns the second half
/// first.
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

/// Applies mutations in order, until the batch holds as many bytes of images as it may, or has cost as much as it may. Those
/// that fail cost as much as those that succeed.
fn apply(work: &mut Batch, batch: &[Request], costs: &mut Costs) -> Answers {
    let mut answers = Vec::with_capacity(batch.len());
    let mut spent = Duration::ZERO;
    for place in 0..batch.len() {
        if is_full(work) || spent > BATCH_COST {
            break;
        }
        answers.push(apply_one(work, batch, place, costs));
        spent += costs.of(place);
    }
    answers
}

fn apply_one(
    work: &mut Batch,
    batch: &[Request],
    place: usize,
    costs: &mut Costs,
) -> Result<Committed, WriteError> {
    costs.measure(place, || {
        let before = work.weight();
        let answer = work.apply(&batch[place].mutation);
        (answer, work.weight() - before)
    })
}

/// The answer to a single mutation that the database rejected.
fn rejection(err: StoreError, work: &Batch) -> WriteError {
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

/// Writes a part. If the database rejects it, nothing of it stays.
///
/// For a single mutation the outcome is final, so it gets a second try. The first try writes deletes, then updates, then inserts,
/// which frees unique values before they are taken again. But the updates of one statement have no order, so a rejected
/// mutation with updates is written once more in the order of its operations.
async fn write_part(tx: &mut WriteTx, work: &Batch, mutations: usize) -> Result<(), StoreError> {
    let outcome = write_under_savepoint(tx, work, Order::ByKind).await;
    let is_rejected = outcome.as_ref().is_err_and(StoreError::is_statement_error);
    let has_order = !work.document_writes().updates.is_empty() && work.plan().changes.len() > 1;
    if is_rejected && mutations == 1 && has_order {
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

/// The order in which documents are written.
#[derive(Clone, Copy)]
enum Order {
    /// The last state of each: first deletes, then updates, then inserts.
    ByKind,
    /// Each state, in the order of the operations.
    ByOperation,
}

/// Whether the batch holds as many bytes of images as it may. Each change of a document counts.
fn is_full(work: &Batch) -> bool {
    work.weight() > IMAGE_BYTES
}

/// Defers the statements of everything that was applied since the batch was last kept.
fn write(tx: &mut WriteTx, work: &Batch, order: Order) -> Result<(), StoreError> {
    if work.is_empty() {
        return Ok(());
    }
    let plan = work.plan();
    // Removed first: a name that is given up in this batch may be taken again in it.
    let now = plan.changes.last().map_or_else(|| work.now(), |change| change.position.at);
    for id in &plan.removed_collections {
        rows::mark_removed(tx, id, now);
        indexes::remove_all(tx, id);
    }
    for collection in &plan.changed_collections {
        rows::change(tx, collection);
    }
    rows::insert_many(tx, &plan.new_collections);
    for (collection, rules) in &plan.rules {
        rows::set_rules(tx, collection, rules.as_deref());
    }
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
    write_accounts(tx, work);
    mails::insert_many(tx, &plan.mails);
    audit::insert_many(tx, &plan.audit);
    for (project, settings) in &plan.settings {
        projects::set_settings(tx, project, settings);
    }
    for rotation in &plan.secrets {
        secrets::rotate(tx, rotation);
    }
    plan.new_keys.iter().for_each(|key| keys::insert(tx, key));
    plan.changed_keys.iter().for_each(|key| keys::change(tx, key));
    if !plan.key_uses.is_empty() {
        keys::note_uses(tx, &plan.key_uses);
    }
    for key in &plan.revoked_keys {
        keys::revoke(tx, key, now);
    }
    let grown = changes::append_many(tx, &plan.changes)?;
    idempotency::insert_many(tx, &plan.outcomes, now);
    idempotency::add_sizes(tx, work.outcome_sizes());
    ends::advance(tx, work.moved_log_ends(), &grown, &plan.corrected);
    Ok(())
}

/// Sessions, codes and identities refer to credentials, so they go first and come last.
fn write_accounts(tx: &mut WriteTx, work: &Batch) {
    let accounts = work.next_accounts();
    let ended = accounts.sessions.iter().filter(|(_, session)| session.is_none()).map(|(id, _)| id);
    sessions::delete_many(tx, ended);
    let used = accounts.codes.iter().filter(|(_, code)| code.is_none()).map(|(hash, _)| hash);
    codes::delete_many(tx, used);
    let unlinked = accounts.identities.iter().filter(|(_, identity)| identity.is_none()).map(|(key, _)| key);
    identities::delete_many(tx, unlinked);
    let gone =
        accounts.credentials.iter().filter(|(_, credentials)| credentials.is_none()).map(|(key, _)| key);
    credentials::delete_many(tx, gone);
    credentials::put_many(tx, accounts.credentials.values().flatten().map(|credentials| &**credentials));
    sessions::put_many(tx, accounts.sessions.values().flatten().map(|session| &**session));
    let gone = accounts.invitations.iter().filter(|(_, left)| left.is_none()).map(|(hash, _)| hash);
    invitations::delete_many(tx, gone);
    invitations::insert_many(tx, accounts.invitations.values().flatten().map(|invitation| &**invitation));
    codes::put_many(tx, accounts.codes.values().flatten().map(|code| &**code));
    identities::put_many(tx, accounts.identities.values().flatten().map(|identity| &**identity));
    used_states::put_many(tx, &accounts.states);
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
