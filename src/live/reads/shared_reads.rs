//! Coalesces concurrent reads of the database. When many subscriptions reconnect at once they need the same pages, so one
//! read answers every waiter.
//!
//! A read claims the waiters that asked for exactly the same before it began, so that they don't read it again beside it.
//! Its answer also goes to each other waiter that it covers. An answer that can never change is kept for two seconds, for
//! those who come a little later.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

/// Bytes of memory that kept answers may take together. The oldest ones are dropped first.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// How long an answer is kept. If the database is restored meanwhile, it is as if the answer had been sent before that.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// An answer of the database that several waiters may share. It must be cheap to clone.
pub(super) trait Answer: Clone {
    /// A request under one key.
    type Request: Clone + PartialEq;

    /// Whether the answer to `read` holds everything that `request` asks for. Only asked where the two differ.
    fn covers(&self, read: &Self::Request, request: &Self::Request) -> bool;

    /// Whether a later read would give the same. If not, a waiter that came after the read began may know of something
    /// that the answer lacks, and doesn't get it.
    fn is_immutable(&self) -> bool {
        false
    }

    /// Whether this answer shows that an older one is of a history that is lost.
    fn contradicts(&self, _older: &Self) -> bool {
        false
    }

    /// How many bytes of memory it takes.
    fn weight(&self) -> usize {
        0
    }
}

/// The waiters and their reads, by key. Answers are only shared under the same key.
pub(super) struct SharedReads<K, V: Answer>(Mutex<State<K, V>>);

struct State<K, V: Answer> {
    next_ticket: u64,
    waiting: HashMap<K, Vec<Waiter<V>>>,
    kept: VecDeque<Kept<K, V>>,
    kept_bytes: usize,
}

struct Waiter<V: Answer> {
    /// In the order in which waiters came.
    ticket: u64,
    request: V::Request,
    sender: oneshot::Sender<V>,
}

/// An immutable answer that was read a moment ago.
struct Kept<K, V: Answer> {
    key: K,
    request: V::Request,
    answer: V,
    bytes: usize,
    read_at: Instant,
}

/// A place among the waiters, which is given up when this is dropped.
struct Wait<'a, K: Eq + Hash, V: Answer> {
    reads: &'a SharedReads<K, V>,
    key: &'a K,
    ticket: u64,
    answer: oneshot::Receiver<V>,
}

/// A read that has begun.
struct Read<V: Answer> {
    /// Waiters with a lower ticket came before the read began.
    begun: u64,
    request: V::Request,
    /// Those who asked for the same. If the read fails they find their sender gone, and try by themselves.
    claimed: Vec<Waiter<V>>,
}

impl<K, V: Answer> Default for SharedReads<K, V> {
    fn default() -> Self {
        Self(Mutex::new(State {
            next_ticket: 0,
            waiting: HashMap::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
        }))
    }
}

impl<K: Clone + Eq + Hash, V: Answer> SharedReads<K, V> {
    /// Returns the answer of `read`, or one that another caller has read and that covers the request. Waits for
    /// `permit` before it reads. Can be dropped at any await.
    ///
    /// # Errors
    /// Those of `read`. They concern this caller only.
    pub(super) async fn get<E, P>(
        &self,
        key: &K,
        request: V::Request,
        permit: impl AsyncFn() -> P,
        read: impl AsyncFnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        loop {
            let mut wait = match self.find_or_wait(key, &request) {
                Ok(answer) => return Ok(answer),
                Err(wait) => wait,
            };
            let turn = tokio::select! {
                biased;
                answer = &mut wait.answer => Err(answer),
                permit = permit() => match wait.begin_read(&request) {
                    Some(begun) => Ok((permit, begun)),
                    // Another caller's read has claimed this one.
                    None => {
                        drop(permit);
                        Err((&mut wait.answer).await)
                    }
                },
            };
            let (_permit, begun) = match turn {
                Ok(turn) => turn,
                Err(Ok(answer)) => return Ok(answer),
                // The other caller's read failed, or was dropped.
                Err(Err(_)) => continue,
            };
            let answer = read().await?;
            self.share(key, begun, &answer);
            return Ok(answer);
        }
    }

    fn find_or_wait<'a>(&'a self, key: &'a K, request: &V::Request) -> Result<V, Wait<'a, K, V>> {
        let (sender, answer) = oneshot::channel();
        let mut state = self.lock();
        if let Some(kept) = state.find_kept(key, request) {
            return Ok(kept);
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let waiter = Waiter { ticket, request: request.clone(), sender };
        state.waiting.entry(key.clone()).or_default().push(waiter);
        Err(Wait { reads: self, key, ticket, answer })
    }

    /// Sends an answer to everyone whom it covers. One that may change goes only to those who came before the read began.
    fn share(&self, key: &K, read: Read<V>, answer: &V) {
        let mut state = self.lock();
        state.drop_lost(answer);
        if answer.is_immutable() {
            state.keep(key, &read.request, answer);
        }
        let covered = |waiter: &mut Waiter<V>| {
            (answer.is_immutable() || waiter.ticket < read.begun)
                && (waiter.request == read.request || answer.covers(&read.request, &waiter.request))
        };
        let covered: Vec<_> =
            state.waiting.get_mut(key).map(|all| all.extract_if(.., covered).collect()).unwrap_or_default();
        drop(state);
        for waiter in read.claimed.into_iter().chain(covered) {
            // A waiter that has gone meanwhile needs no answer.
            let _ = waiter.sender.send(answer.clone());
        }
    }
}

impl<K, V: Answer> SharedReads<K, V> {
    /// Drops the answers that are kept.
    pub(super) fn forget_kept(&self) {
        let mut state = self.lock();
        state.kept.clear();
        state.kept_bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq, V: Answer> State<K, V> {
    fn find_kept(&mut self, key: &K, request: &V::Request) -> Option<V> {
        while self.kept.front().is_some_and(|kept| kept.read_at.elapsed() > KEPT_FOR) {
            self.drop_oldest();
        }
        let fits = |kept: &&Kept<K, V>| {
            kept.key == *key && (kept.request == *request || kept.answer.covers(&kept.request, request))
        };
        self.kept.iter().find(fits).map(|kept| kept.answer.clone())
    }

    fn keep(&mut self, key: &K, request: &V::Request, answer: &V) {
        let (answer, bytes) = (answer.clone(), answer.weight());
        let kept =
            Kept { key: key.clone(), request: request.clone(), answer, bytes, read_at: Instant::now() };
        self.kept.push_back(kept);
        self.kept_bytes += bytes;
        while self.kept_bytes > KEPT_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_lost(&mut self, newer: &V) {
        self.kept.retain(|kept| !newer.contradicts(&kept.answer));
        self.kept_bytes = self.kept.iter().map(|kept| kept.bytes).sum();
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.kept_bytes -= oldest.bytes;
        }
    }
}

impl<K: Eq + Hash, V: Answer> Wait<'_, K, V> {
    /// Begins a read, and claims everyone who waits for the same, this one among them. `None` if this one was claimed by
    /// another read already.
    fn begin_read(&self, request: &V::Request) -> Option<Read<V>> {
        let mut state = self.reads.lock();
        let begun = state.next_ticket;
        let waiting = state.waiting.get_mut(self.key)?;
        if !waiting.iter().any(|waiter| waiter.ticket == self.ticket) {
            return None;
        }
        let claimed = waiting.extract_if(.., |waiter| waiter.request == *request).collect();
        Some(Read { begun, request: request.clone(), claimed })
    }
}

impl<K: Eq + Hash, V: Answer> Drop for Wait<'_, K, V> {
    fn drop(&mut self) {
        let mut state = self.reads.lock();
        if let Some(waiting) = state.waiting.get_mut(self.key) {
            waiting.retain(|waiter| waiter.ticket != self.ticket);
            if waiting.is_empty() {
                state.waiting.remove(self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Semaphore;

    use super::*;

    /// The numbers after one, up to a last one.
    #[derive(Clone, Debug, PartialEq)]
    struct Numbers {
        last: u64,
        is_immutable: bool,
    }

    impl Answer for Numbers {
        /// After which number.
        type Request = u64;

        fn covers(&self, read: &u64, request: &u64) -> bool {
            request >= read && (!self.is_immutable || *request < self.last)
        }

        fn is_immutable(&self) -> bool {
            self.is_immutable
        }

        fn contradicts(&self, older: &Self) -> bool {
            !self.is_immutable && self.last < older.last
        }
    }

    const READ_TIME: Duration = Duration::from_millis(10);

    /// Reads for 10 ms, and counts how many reads there were.
    struct Reader {
        reads: SharedReads<&'static str, Numbers>,
        permits: Semaphore,
        count: Cell<u64>,
    }

    impl Reader {
        fn new(permits: usize) -> Self {
            Self { reads: SharedReads::default(), permits: Semaphore::new(permits), count: Cell::new(0) }
        }

        /// Asks after `delay` milliseconds. The answer ends at the number of the read, plus 20.
        async fn get(
            &self,
            (key, after): (&'static str, u64),
            delay: u64,
            answer: Result<bool, ()>,
        ) -> Result<u64, ()> {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let read = async || {
                self.count.set(self.count.get() + 1);
                let last = 20 + self.count.get();
                tokio::time::sleep(READ_TIME).await;
                answer.map(|is_immutable| Numbers { last, is_immutable })
            };
            self.reads
                .get(&key, after, async || self.permits.acquire().await, read)
                .await
                .map(|numbers| numbers.last - 20)
        }
    }

    const MUTABLE: Result<bool, ()> = Ok(false);
    const IMMUTABLE: Result<bool, ()> = Ok(true);

    #[tokio::test(start_paused = true)]
    async fn callers_that_ask_for_the_same_before_a_read_begins_share_it() {
        let reader = Reader::new(1);
        // The first reads at once. Those who come meanwhile share the next read; another key is another question.
        let answers = tokio::join!(
            reader.get(("a", 0), 0, MUTABLE),
            reader.get(("a", 0), 1, MUTABLE),
            reader.get(("a", 0), 2, MUTABLE),
            reader.get(("b", 0), 3, MUTABLE),
        );
        assert_eq!(answers, (Ok(1), Ok(2), Ok(2), Ok(3)));
        assert!(reader.reads.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_ask_for_the_same_never_read_at_the_same_time() {
        let reader = Reader::new(4);
        let answers = tokio::join!(
            reader.get(("b", 0), 0, MUTABLE),
            reader.get(("b", 1), 0, MUTABLE),
            reader.get(("b", 2), 0, MUTABLE),
            reader.get(("b", 3), 0, MUTABLE),
            reader.get(("a", 0), 1, MUTABLE),
            reader.get(("a", 0), 1, MUTABLE),
        );
        assert_eq!((answers.4, answers.5), (Ok(5), Ok(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_or_dropped_read_concerns_nobody_else() {
        let reader = Reader::new(1);
        let answers = tokio::join!(
            reader.get(("b", 0), 0, MUTABLE),
            reader.get(("a", 0), 1, Err(())),
            reader.get(("a", 0), 2, MUTABLE),
        );
        assert_eq!(answers, (Ok(1), Err(()), Ok(3)));
        let dropped = tokio::time::timeout(READ_TIME / 2, reader.get(("c", 0), 0, MUTABLE));
        let answers = tokio::join!(dropped, reader.get(("c", 0), 1, MUTABLE));
        assert!(answers.0.is_err());
        assert_eq!(answers.1, Ok(5));
        assert!(reader.reads.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_goes_to_those_whose_request_it_covers() {
        for (why, answer, after, delay, expected) in [
            ("the same", IMMUTABLE, 10, 1, 2),
            ("a part of it", IMMUTABLE, 19, 1, 2),
            ("it begins later than asked for", IMMUTABLE, 9, 1, 3),
            ("it ends before what is asked for", IMMUTABLE, 30, 1, 3),
            ("its end, and the read had not begun", MUTABLE, 30, 1, 2),
            ("its end, but the read had begun", MUTABLE, 10, 15, 3),
            ("a part of it, and the read had begun", IMMUTABLE, 19, 15, 2),
        ] {
            let reader = Reader::new(1);
            let (_, first, second) = tokio::join!(
                reader.get(("other", 0), 0, MUTABLE),
                reader.get(("a", 10), 0, answer),
                reader.get(("a", after), delay, answer),
            );
            assert_eq!((first, second), (Ok(2), Ok(expected)), "{why}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_immutable_answer_is_kept_for_a_while() {
        let reader = Reader::new(1);
        assert_eq!(reader.get(("a", 10), 0, IMMUTABLE).await, Ok(1));
        assert_eq!(reader.get(("a", 12), 0, IMMUTABLE).await, Ok(1));
        assert_eq!(reader.get(("b", 12), 0, IMMUTABLE).await, Ok(2), "another key");
        tokio::time::advance(2 * KEPT_FOR).await;
        assert_eq!(reader.get(("a", 12), 0, IMMUTABLE).await, Ok(3), "it was too old");
        reader.reads.forget_kept();
        assert_eq!(reader.get(("a", 12), 0, IMMUTABLE).await, Ok(4), "it was dropped");
        let newer = Read { begun: 0, request: 0, claimed: Vec::new() };
        reader.reads.share(&"c", newer, &Numbers { last: 1, is_immutable: false });
        assert_eq!(reader.get(("a", 12), 0, IMMUTABLE).await, Ok(5), "it was of a lost history");
    }
}
