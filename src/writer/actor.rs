//! Drain → one transaction → publish → answer.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    batch::{Base, Batch},
    mutation::{Committed, Mutation, Operation, WriteError},
};
use crate::{
    domain::{Change, ProjectId, Timestamp},
    hub::relay::RelayHandle,
    store::{
        Db, StoreError, WriteTx,
        catalog::{Catalog, Catalogs},
        changes, collections,
        documents::{self, DocumentKey, Found},
        heads, idempotency, keys,
    },
};

/// Mutations that may wait.
const QUEUE: usize = 4096;
/// Bytes that may wait.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Mutations of one batch.
const BATCH: usize = 512;
/// Bytes that the mutations of one batch bring.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of documents that are read for one batch, and that it makes; what needs more waits for the next.
const IMAGE_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of documents that one mutation may need.
const MAX_IMAGE_BYTES: usize = 64 * 1024 * 1024;
/// How long a batch may take. PostgreSQL ends statements that take 10 s; this is for a connection that hangs.
const BATCH_TIMEOUT: Duration = Duration::from_secs(40);
/// How long an outcome is kept under its idempotency key.
const IDEMPOTENCY_AGE: Duration = Duration::from_secs(24 * 3600);
/// How often older ones are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// Documents of a removed collection that one transaction deletes: few, since writes wait for it.
const SWEEP_DOCUMENTS: usize = 200;

struct Request {
    mutation: Mutation,
    bytes: usize,
    reply: oneshot::Sender<Result<Committed, WriteError>>,
}

/// The way to the writer. Cheap to clone; the writer finishes what waits and ends when the last one is dropped.
#[derive(Clone)]
pub struct WriterHandle {
    queue: mpsc::Sender<Request>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl WriterHandle {
    /// Has a mutation done and waits until it is on disk. Dropping the future doesn't stop the mutation.
    ///
    /// # Errors
    /// [`WriteError`]; [`WriteError::QueueFull`] at once if too much waits.
    pub async fn submit(&self, mutation: Mutation) -> Result<Committed, WriteError> {
        let bytes = mutation.bytes();
        // An empty queue takes a mutation of any size; what is too large for a batch is a batch alone.
        if self.waiting_bytes.load(Ordering::Relaxed) > QUEUE_BYTES {
            return Err(WriteError::QueueFull);
        }
        let (reply, answer) = oneshot::channel();
        let permit = self.queue.try_reserve().map_err(|err| match err {
            mpsc::error::TrySendError::Full(()) => WriteError::QueueFull,
            mpsc::error::TrySendError::Closed(()) => WriteError::Unavailable,
        })?;
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        permit.send(Request { mutation, bytes, reply });
        answer.await.unwrap_or(Err(WriteError::Unavailable))
    }
}

/// Starts the writer on the runtime that this is called from. Without a relay (a command beside the server) nothing is
/// published: the server's own relay reads the log. The returned task ends when every handle is dropped and the queue
/// is empty.
pub fn start(
    db: Db,
    catalogs: Catalogs,
    relay: Option<RelayHandle>,
    max_document_bytes: usize,
) -> (WriterHandle, JoinHandle<()>) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let writer = Writer {
        db,
        catalogs,
        relay,
        max_document_bytes,
        waiting_bytes: waiting_bytes.clone(),
        deferred: VecDeque::new(),
        has_removed: true,
    };
    (WriterHandle { queue, waiting_bytes }, tokio::spawn(writer.run(receiver)))
}

struct Writer {
    db: Db,
    catalogs: Catalogs,
    relay: Option<RelayHandle>,
    max_document_bytes: usize,
    waiting_bytes: Arc<AtomicUsize>,
    /// What didn't fit into the last batch.
    deferred: VecDeque<Request>,
    /// Whether there may be documents of removed collections.
    has_removed: bool,
}

/// Why a batch as a whole came to nothing.
enum BatchError {
    /// Before the commit: nothing happened.
    Statement(StoreError),
    /// At the commit: it may have happened.
    Commit(StoreError),
}

impl From<StoreError> for BatchError {
    fn from(err: StoreError) -> Self {
        Self::Statement(err)
    }
}

type Answers = Vec<Result<Committed, WriteError>>;

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if self.deferred.is_empty() {
                // In turns: writes that never stop must not put the sweeping off for ever.
                tokio::select! {
                    request = queue.recv() => match request {
                        Some(request) => self.deferred.push_back(request),
                        None => return,
                    },
                    () = std::future::ready(()), if self.has_removed => {
                        self.sweep_removed().await;
                        continue;
                    }
                    _ = sweep.tick() => {
                        self.sweep_idempotency().await;
                        self.has_removed = true;
                        continue;
                    }
                }
            }
            let batch = self.take_batch(&mut queue);
            self.commit(batch).await;
        }
    }

    /// Takes what waits, up to the bounds of a batch; at least one.
    fn take_batch(&mut self, queue: &mut mpsc::Receiver<Request>) -> Vec<Request> {
        let mut batch: Vec<Request> = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH {
            let Some(request) = self.deferred.pop_front().or_else(|| queue.try_recv().ok()) else { break };
            if !batch.is_empty() && bytes + request.bytes > BATCH_BYTES {
                self.deferred.push_front(request);
                break;
            }
            bytes += request.bytes;
            batch.push(request);
        }
        batch
    }

    async fn commit(&mut self, mut batch: Vec<Request>) {
        let outcome = match self.try_batch_in_time(&mut batch, Mode::Together).await {
            // One mutation spoils the statement of all: each is done on its own, still with one commit.
            Err(BatchError::Statement(err)) if err.is_of_statement() => {
                self.try_batch_in_time(&mut batch, Mode::OneByOne).await
            }
            outcome => outcome,
        };
        let answers = outcome.unwrap_or_else(|err| {
            let (BatchError::Statement(cause) | BatchError::Commit(cause)) = &err;
            tracing::error!(mutations = batch.len(), "a batch of {} writes failed: {cause}", batch.len());
            vec![Err(WriteError::Unavailable); batch.len()]
        });
        for (request, answer) in batch.into_iter().zip(answers) {
            self.waiting_bytes.fetch_sub(request.bytes, Ordering::Relaxed);
            // A caller that is gone doesn't hear; its write happened all the same.
            let _ = request.reply.send(answer);
        }
    }

    /// Gives up on a database that hangs. The transaction takes its connection with it, and whether it was committed is
    /// not known.
    async fn try_batch_in_time(
        &mut self,
        batch: &mut Vec<Request>,
        mode: Mode,
    ) -> Result<Answers, BatchError> {
        let Ok(outcome) = tokio::time::timeout(BATCH_TIMEOUT, self.try_batch(batch, mode)).await else {
            if let Some(relay) = &self.relay {
                relay.check_heads().await;
            }
            return Err(BatchError::Commit(StoreError::no_answer()));
        };
        outcome
    }

    /// Does a batch in one transaction and publishes it. Requests whose documents are beyond the bound are taken out of
    /// `batch` and wait for the next one.
    async fn try_batch(&mut self, batch: &mut Vec<Request>, mode: Mode) -> Result<Answers, BatchError> {
        let (mut tx, base) = self.begin(batch).await?;
        let mut work = Batch::new(base);
        let done = match mode {
            Mode::Together => do_together(&mut tx, &mut work, batch).await,
            Mode::OneByOne => do_one_by_one(&mut tx, &mut work, batch).await,
        };
        let (answers, changes) = match done {
            Ok(done) => done,
            Err(err) => {
                self.abandon(tx).await;
                return Err(err.into());
            }
        };
        // What the images would have been too much for was not looked at.
        for request in batch.drain(answers.len()..).rev() {
            self.deferred.push_front(request);
        }
        if let Err(err) = tx.commit().await {
            if err.is_of_statement() {
                return Err(BatchError::Statement(err));
            }
            // It may have happened: the log knows, and what did commit must be published.
            if let Some(relay) = &self.relay {
                relay.check_heads().await;
            }
            return Err(BatchError::Commit(err));
        }
        for (project, catalog) in work.into_catalogs() {
            self.catalogs.put(&project, &catalog);
        }
        let removes = |operation: &Operation| matches!(operation, Operation::RemoveCollection { .. });
        self.has_removed |= batch.iter().any(|request| request.mutation.operations.iter().any(removes));
        self.publish(changes).await;
        Ok(answers)
    }

    /// Begins a transaction and reads what the mutations need. A connection that was idle may have died: a new one is
    /// tried before anybody is told.
    async fn begin(&mut self, batch: &mut Vec<Request>) -> Result<(WriteTx, Base), StoreError> {
        loop {
            let mut tx = self.db.begin_write().await?;
            match self.read_base(&mut tx, batch).await {
                Ok(base) => return Ok((tx, base)),
                Err(err) if tx.is_reused() && err.is_of_connection() => {
                    tracing::warn!("the writer's connection failed, trying a new one: {err}");
                }
                Err(err) => {
                    self.abandon(tx).await;
                    return Err(err);
                }
            }
        }
    }

    async fn abandon(&self, tx: WriteTx) {
        if let Err(err) = tx.rollback().await {
            tracing::warn!("a transaction could not be rolled back, its connection is given up: {err}");
        }
    }

    /// Locks the heads and reads what the mutations need; the heads come first and alone, so that what is read after
    /// them is the newest.
    async fn read_base(&mut self, tx: &mut WriteTx, batch: &mut Vec<Request>) -> Result<Base, StoreError> {
        let projects: HashSet<_> = batch.iter().map(|request| request.mutation.project.clone()).collect();
        let projects: Vec<_> = projects.into_iter().collect();
        let mut base =
            Base { now: Timestamp::now(), max_document_bytes: self.max_document_bytes, ..Base::default() };
        for head in heads::lock(tx, &projects).await? {
            let catalog = match self.catalogs.cached(&head.project) {
                Some(catalog) if catalog.control == head.control => catalog,
                _ => Arc::new(Catalog::new(head.control, collections::list_locked(tx, &head.project).await?)),
            };
            base.catalogs.insert(head.project.clone(), catalog);
            base.heads.insert(head.project.clone(), head);
        }
        self.read_documents(tx, batch, &mut base).await?;
        let keys: Vec<_> = batch.iter().filter_map(|request| request.mutation.idempotency.as_ref()).collect();
        if !keys.is_empty() {
            let keys: Vec<_> = keys.into_iter().map(|idempotency| idempotency.key.clone()).collect();
            for (place, stored) in idempotency::get_many(tx, &keys, oldest_outcome()).await? {
                base.outcomes.insert(keys[place].clone(), stored);
            }
        }
        Ok(base)
    }

    /// Reads the before-images, in one query and up to a bound.
    async fn read_documents(
        &mut self,
        tx: &mut WriteTx,
        batch: &mut Vec<Request>,
        base: &mut Base,
    ) -> Result<(), StoreError> {
        let (mut keys, mut places) = (Vec::new(), HashMap::new());
        for request in batch.iter() {
            for key in needed_documents(&request.mutation, base) {
                if !places.contains_key(&key) {
                    places.insert(key.clone(), keys.len());
                    keys.push(key);
                }
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        let mut beyond = HashSet::new();
        // The first mutation must get what it needs, or it would wait for ever.
        let first = needed_documents(&batch[0].mutation, base).count();
        let bound = if first > 1 { MAX_IMAGE_BYTES } else { IMAGE_BYTES };
        for (place, found) in documents::get_many(tx, &keys, bound).await? {
            match found {
                Found::Document(document) => {
                    base.documents.insert(keys[place].clone(), document);
                }
                Found::BeyondBound => {
                    beyond.insert(keys[place].clone());
                }
            }
        }
        if beyond.is_empty() {
            return Ok(());
        }
        let is_beyond =
            |request: &Request| needed_documents(&request.mutation, base).any(|key| beyond.contains(&key));
        let cut = batch.iter().position(is_beyond).unwrap_or(batch.len());
        if cut == 0 {
            let too_large = batch.remove(0);
            self.waiting_bytes.fetch_sub(too_large.bytes, Ordering::Relaxed);
            let _ = too_large.reply.send(Err(WriteError::TooManyBytes { limit: MAX_IMAGE_BYTES }));
        }
        // Those behind it wait too, so that requests are done in the order in which they came.
        for request in batch.drain(cut..).rev() {
            self.deferred.push_front(request);
        }
        Ok(())
    }

    async fn publish(&self, changes: Vec<Arc<Change>>) {
        let Some(relay) = &self.relay else { return };
        let mut by_project: HashMap<ProjectId, Vec<Arc<Change>>> = HashMap::new();
        for change in changes {
            by_project.entry(change.project.clone()).or_default().push(change);
        }
        for changes in by_project.into_values() {
            relay.publish(changes).await;
        }
    }

    /// Deletes some documents of removed collections, and remembers whether there are more.
    async fn sweep_removed(&mut self) {
        match self.try_sweep_removed().await {
            Ok(more) => self.has_removed = more,
            Err(err) => {
                self.has_removed = false;
                tracing::warn!("documents of removed collections could not be deleted, later again: {err}");
            }
        }
    }

    async fn try_sweep_removed(&self) -> Result<bool, StoreError> {
        let mut tx = self.db.begin_write().await?;
        let Some(collection) = collections::find_removed(&mut tx).await? else {
            tx.rollback().await?;
            return Ok(false);
        };
        if documents::delete_some(&mut tx, &collection, SWEEP_DOCUMENTS).await? < SWEEP_DOCUMENTS {
            collections::delete(&mut tx, &collection);
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn sweep_idempotency(&self) {
        let sweep = async {
            let mut tx = self.db.begin_write().await?;
            idempotency::delete_old(&mut tx, oldest_outcome());
            tx.commit().await
        };
        if let Err(err) = sweep.await {
            tracing::warn!("old idempotency keys could not be deleted, later again: {err}");
        }
    }
}

/// How the mutations of a batch are written.
#[derive(Clone, Copy)]
enum Mode {
    /// With a few statements for all of them.
    Together,
    /// Each under its own savepoint, so that one which the database refuses fails alone.
    OneByOne,
}

async fn do_together(
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

async fn do_one_by_one(
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
    changes::append_many(tx, &plan.changes)?;
    idempotency::insert_many(tx, &plan.outcomes, now);
    heads::advance(tx, work.moved_heads());
    Ok(())
}

/// The documents that a mutation needs and that may be there. A collection that isn't there has none.
fn needed_documents<'a>(mutation: &'a Mutation, base: &'a Base) -> impl Iterator<Item = DocumentKey> + 'a {
    let catalog = base.catalogs.get(&mutation.project);
    mutation.operations.iter().filter_map(move |operation| {
        let (collection, id) = operation.needs()?;
        Some((catalog?.find(collection)?.id.clone(), id.clone()))
    })
}

fn oldest_outcome() -> Timestamp {
    Timestamp(Timestamp::now().0 - IDEMPOTENCY_AGE.as_millis() as i64)
}
