//! Looks keys up in the database, many with one statement, and remembers for a moment which ones are unknown.
//!
//! A client without a key may send as many wrong ones as the network takes. So unknown keys cost one statement for all that wait,
//! and one statement runs at a time; those with a valid key wait with the others for one statement at most.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::store::{
    Db, Lane, StoreError,
    access::keys::{self, StoredKey},
};

/// How long a key is remembered as unknown. A key that is created meanwhile is refused for so long, if it was tried before.
const UNKNOWN_FOR: Duration = Duration::from_secs(3);
/// How many unknown keys are remembered. The oldest are forgotten first.
const MAX_UNKNOWN: usize = 10_000;
/// How many keys one statement looks up.
const BATCH: usize = 256;
/// How many different keys may wait for a statement.
const MAX_WAITING: usize = 4096;

/// The keys that are being looked up. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lookups {
    db: Db,
    state: Arc<Mutex<State>>,
}

/// The outcome of a look-up, which everyone who asked for the same key shares. `None` before there is one.
type Outcome = watch::Receiver<Option<Result<Option<StoredKey>, StoreError>>>;

#[derive(Default)]
struct State {
    waiting: HashMap<String, Waiting>,
    /// The hashes that no statement has, in the order of coming.
    queue: VecDeque<String>,
    is_reading: bool,
    unknown: HashMap<String, Instant>,
    /// The unknown hashes in the order in which they are forgotten.
    forget: VecDeque<(Instant, String)>,
}

struct Waiting {
    sender: watch::Sender<Option<Result<Option<StoredKey>, StoreError>>>,
    outcome: Outcome,
}

impl Lookups {
    pub(super) fn new(db: Db) -> Self {
        Self { db, state: Arc::default() }
    }

    /// Finds the key with a hash, revoked or not.
    ///
    /// # Errors
    /// A database failure, also if too many wait.
    pub(super) async fn find(&self, hash: &str) -> Result<Option<StoredKey>, StoreError> {
        let Some(mut outcome) = self.find_or_wait(hash)? else { return Ok(None) };
        match outcome.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_else(|| Err(StoreError::no_answer())),
            // The runtime is ending.
            Err(_) => Err(StoreError::no_answer()),
        }
    }

    /// Returns where the outcome will come; `None` if the key is known to be unknown.
    fn find_or_wait(&self, hash: &str) -> Result<Option<Outcome>, StoreError> {
        let mut state = self.lock();
        if state.is_unknown(hash) {
            return Ok(None);
        }
        if let Some(waiting) = state.waiting.get(hash) {
            return Ok(Some(waiting.outcome.clone()));
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(StoreError::busy());
        }
        let (sender, outcome) = watch::channel(None);
        state.waiting.insert(hash.to_owned(), Waiting { sender, outcome: outcome.clone() });
        state.queue.push_back(hash.to_owned());
        if !state.is_reading {
            state.is_reading = true;
            tokio::spawn(self.clone().read_all());
        }
        Ok(Some(outcome))
    }

    /// Reads until nobody waits.
    async fn read_all(self) {
        let reading = Reading(&self);
        while let Some(hashes) = self.take_batch() {
            let wanted = hashes.clone();
            let read = |db| async move { keys::find_by_hashes(&db, &wanted).await };
            let found = self.db.read(Lane::Point, read).await;
            self.lock().share(hashes, found);
        }
        std::mem::forget(reading);
    }

    fn take_batch(&self) -> Option<Vec<String>> {
        let mut state = self.lock();
        let count = state.queue.len().min(BATCH);
        state.is_reading = count > 0;
        (count > 0).then(|| state.queue.drain(..count).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that reads. If it ends in a panic, those who wait hear of a failure, and the next to ask starts another one.
struct Reading<'a>(&'a Lookups);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_reading = false;
        state.waiting.clear();
        state.queue.clear();
    }
}

impl State {
    fn is_unknown(&mut self, hash: &str) -> bool {
        let now = Instant::now();
        while self.forget.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
        self.unknown.contains_key(hash)
    }

    fn share(&mut self, hashes: Vec<String>, found: Result<Vec<StoredKey>, StoreError>) {
        for hash in hashes {
            let outcome = match &found {
                Ok(all) => Ok(all.iter().find(|key| key.hash == hash).cloned()),
                Err(err) => Err(err.clone()),
            };
            let is_unknown = matches!(outcome, Ok(None));
            if let Some(Waiting { sender, .. }) = self.waiting.remove(&hash) {
                // Those who waited may be gone.
                let _ = sender.send(Some(outcome));
            }
            if is_unknown {
                self.remember(hash);
            }
        }
    }

    fn remember(&mut self, hash: String) {
        let until = Instant::now() + UNKNOWN_FOR;
        self.unknown.insert(hash.clone(), until);
        self.forget.push_back((until, hash));
        if self.forget.len() > MAX_UNKNOWN {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((until, hash)) = self.forget.pop_front()
            && self.unknown.get(&hash) == Some(&until)
        {
            self.unknown.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn unknown_keys_are_remembered_for_a_moment_and_never_too_many() {
        let mut state = State::default();
        state.share(vec!["a".to_owned()], Ok(Vec::new()));
        assert!(state.is_unknown("a") && !state.is_unknown("b"));
        state.share(vec!["b".to_owned()], Err(StoreError::busy()));
        assert!(!state.is_unknown("b"), "nothing is known about it");
        tokio::time::advance(UNKNOWN_FOR).await;
        assert!(!state.is_unknown("a"));
        for n in 0..2 * MAX_UNKNOWN {
            state.share(vec![n.to_string()], Ok(Vec::new()));
        }
        assert_eq!((state.unknown.len(), state.forget.len()), (MAX_UNKNOWN, MAX_UNKNOWN));
    }
}
