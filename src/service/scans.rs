//! Reads that may take the database long, and the memory of what they return. Keys share both fairly: a client with many
//! expensive queries waits for itself, and others hardly notice.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::error::ServiceError;
use crate::{
    auth::Principal,
    shares::{Budget, BudgetPermit, FairPermit, FairPermits, PermitLimits},
    store::{Db, Lane, ReadConnection, StoreError},
};

/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(10);
/// How many requests of one key may wait for their turn, and how many in all.
const WAITING: (usize, usize) = (128, 1024);
/// A read whose documents take less takes nothing of the budget: the permits bound how many there are.
const FREE_BYTES: usize = 64 * 1024;
/// By how much a read's share of the budget grows at once.
const STEP: usize = 256 * 1024;

/// The turns to read, and the memory for what is read. Cheap to clone.
#[derive(Clone)]
pub struct Scans {
    db: Db,
    permits: FairPermits,
    memory: Budget,
}

/// The right to read, one statement after the other, and the memory of what was read. Drop it as soon as the answer is
/// written.
pub struct Scan {
    db: Db,
    /// Shared with the statement that runs: if the request is dropped, the statement goes on, and still counts.
    permit: Arc<FairPermit>,
    room: Room,
}

/// The memory of what a request has read. Cheap to clone, so that a statement can count its rows.
#[derive(Clone)]
pub struct Room(Arc<Mutex<Held>>);

struct Held {
    memory: BudgetPermit,
    /// Bytes that were read so far.
    bytes: usize,
}

/// The error for a request whose turn doesn't come in time.
pub const TOO_MANY: ServiceError = ServiceError::Busy("too many expensive queries are waiting; try again");
/// The error for a read whose documents find no room in memory.
pub const NO_ROOM: ServiceError =
    ServiceError::Busy("too many large answers are being made or sent; try again, or ask for less");

impl Scans {
    /// Makes the turns for a database's connections. What is read takes its bytes from `memory`.
    pub fn new(db: Db, memory: Budget) -> Self {
        let permits = FairPermits::new(PermitLimits {
            permits: db.connections(Lane::Scan),
            for_newcomers: 1,
            waiting_of_a_key: WAITING.0,
            waiting_of_a_project: usize::MAX,
            waiting: WAITING.1,
        });
        Self { db, permits, memory }
    }

    /// Waits for the principal's turn.
    ///
    /// # Errors
    /// [`ServiceError::Busy`] if it doesn't come in time, or if too many wait already.
    pub async fn begin(&self, principal: &Principal) -> Result<Scan, ServiceError> {
        self.begin_with(principal, self.memory.empty_permit(&principal.account())).await
    }

    /// Waits for the principal's turn, for a read that may take so many bytes.
    ///
    /// # Errors
    /// As [`Scans::begin`], and if the bytes don't become free in time.
    pub(super) async fn begin_large(
        &self,
        principal: &Principal,
        bytes: usize,
    ) -> Result<Scan, ServiceError> {
        let memory = self.memory.take_within(WAIT, &principal.account(), bytes).await;
        self.begin_with(principal, memory.map_err(|_| NO_ROOM)?).await
    }

    async fn begin_with(&self, principal: &Principal, memory: BudgetPermit) -> Result<Scan, ServiceError> {
        let account = principal.account();
        let permit = tokio::time::timeout(WAIT, self.permits.acquire(&account)).await;
        let Ok(Ok(permit)) = permit else { return Err(TOO_MANY) };
        let room = Room(Arc::new(Mutex::new(Held { memory, bytes: 0 })));
        Ok(Scan { db: self.db.clone(), permit: Arc::new(permit), room })
    }
}

impl Scan {
    /// Runs one read.
    ///
    /// # Errors
    /// Those of [`Db::read`].
    pub(super) async fn read<T, F, R>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(ReadConnection) -> R + Send + 'static,
        R: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let permit = self.permit.clone();
        let read = move |db| async move {
            let outcome = read(db).await;
            drop(permit);
            outcome
        };
        self.db.read(Lane::Scan, read).await
    }

    /// Returns the memory of what is read.
    pub(super) fn room(&self) -> Room {
        self.room.clone()
    }

    /// Counts bytes that are in memory now.
    ///
    /// # Errors
    /// [`ServiceError::Busy`] if they find no room.
    pub fn count(&self, bytes: usize) -> Result<(), ServiceError> {
        if self.room.count(bytes) { Ok(()) } else { Err(NO_ROOM) }
    }

    /// Ends reading, and keeps the memory.
    pub fn into_memory(self) -> BudgetPermit {
        self.room.lock().memory.take()
    }
}

impl Room {
    /// Counts bytes that are in memory now. Returns false if they find no room.
    pub(super) fn count(&self, bytes: usize) -> bool {
        let mut held = self.lock();
        held.bytes += bytes;
        let (bytes, memory) = (held.bytes, &mut held.memory);
        bytes <= FREE_BYTES
            || bytes <= memory.bytes()
            || memory.grow_to(bytes.next_multiple_of(STEP)).is_ok()
            || memory.grow_to(bytes).is_ok()
    }

    /// Returns how many more bytes would find room now.
    pub(super) fn free_bytes(&self) -> usize {
        self.lock().memory.growth().max(FREE_BYTES)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
