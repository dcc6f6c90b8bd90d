//! What several ask for at once, in the same words, is read once: a thousand pages of an app that is loaded anew want the
//! same snapshot.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, oneshot};

/// Who waits for which read. Whoever may read takes all who wait for the same by then: to those who ask later it is old news.
pub(super) struct IdenticalReads<K, V>(Mutex<Waiting<K, V>>);

struct Waiting<K, V> {
    next: u64,
    requests: HashMap<K, Vec<(u64, oneshot::Sender<V>)>>,
}

impl<K, V> Default for IdenticalReads<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Waiting { next: 0, requests: HashMap::new() }))
    }
}

/// One who waits; no more when dropped.
struct Wait<'a, K: Eq + Hash, V> {
    reads: &'a IdenticalReads<K, V>,
    key: &'a K,
    number: u64,
    answer: oneshot::Receiver<V>,
}

impl<K: Clone + Eq + Hash, V: Clone> IdenticalReads<K, V> {
    /// What `read` gives, or what it gave to another one who asked for the same and began after this. Waits for one of
    /// `readers`.
    ///
    /// # Errors
    /// Those of `read`; others who waited for it try by themselves.
    pub(super) async fn get<E>(
        &self,
        key: &K,
        readers: &Semaphore,
        read: impl AsyncFnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        loop {
            let mut wait = self.wait(key);
            let taken = tokio::select! {
                biased;
                answer = &mut wait.answer => Err(answer),
                permit = readers.acquire() => match wait.take_all() {
                    Some(waiting) => Ok((permit, waiting)),
                    // Somebody reads for this one as well.
                    None => {
                        drop(permit);
                        Err((&mut wait.answer).await)
                    }
                },
            };
            let (_permit, waiting) = match taken {
                Ok(taken) => taken,
                Err(Ok(value)) => return Ok(value),
                // Who did has failed, or is gone.
                Err(Err(_)) => continue,
            };
            let value = read().await?;
            for (_, answer) in waiting {
                // Whoever hangs up meanwhile needs nothing.
                let _ = answer.send(value.clone());
            }
            return Ok(value);
        }
    }

    fn wait<'a>(&'a self, key: &'a K) -> Wait<'a, K, V> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.requests.entry(key.clone()).or_default().push((number, sender));
        Wait { reads: self, key, number, answer }
    }
}

impl<K, V> IdenticalReads<K, V> {
    fn lock(&self) -> MutexGuard<'_, Waiting<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Wait<'_, K, V> {
    /// All who wait for the same, this one among them; `None` if it was taken with others.
    fn take_all(&self) -> Option<Vec<(u64, oneshot::Sender<V>)>> {
        let mut waiting = self.reads.lock();
        let is_there = waiting.requests.get(self.key)?.iter().any(|(number, _)| *number == self.number);
        if is_there { waiting.requests.remove(self.key) } else { None }
    }
}

impl<K: Eq + Hash, V> Drop for Wait<'_, K, V> {
    fn drop(&mut self) {
        let mut waiting = self.reads.lock();
        if let Some(requests) = waiting.requests.get_mut(self.key) {
            requests.retain(|(number, _)| *number != self.number);
            if requests.is_empty() {
                waiting.requests.remove(self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_for_the_same_before_a_read_begins_share_it() {
        let (reads, readers, count) = (IdenticalReads::<_, u32>::default(), Semaphore::new(1), Cell::new(0));
        let get = |key: &'static str, after: u64, fails: bool| {
            let (reads, readers, count) = (&reads, &readers, &count);
            async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                let read = async || {
                    count.set(count.get() + 1);
                    let number = count.get();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    if fails { Err(()) } else { Ok(number) }
                };
                reads.get(&key, readers, read).await
            }
        };
        // The first reads at once; who comes while it does waits for the next, and another's question is another's.
        let answers =
            tokio::join!(get("a", 0, false), get("a", 1, false), get("a", 2, false), get("b", 3, false));
        assert_eq!(answers, (Ok(1), Ok(2), Ok(2), Ok(3)));
        // Who fails fails alone.
        let answers = tokio::join!(get("b", 0, false), get("a", 1, true), get("a", 2, false));
        assert_eq!(answers, (Ok(4), Err(()), Ok(6)));
        // Who is gone doesn't wait.
        let gone = tokio::time::timeout(Duration::from_millis(5), get("c", 1, false));
        let _ = tokio::join!(get("b", 0, false), gone);
        assert!(reads.lock().requests.is_empty());
    }
}
