//! Permits for something that few may do at a time. Those who wait get theirs in turns, so that a client with many requests
//! holds nobody up. Nor does one fill the queue: when that is full, whoever has most waiters in it gives way to one who has fewer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    Account,
    queue::{Full, Queue},
};
use crate::domain::KeyId;

/// How many permits there are, and how many may wait for one.
#[derive(Clone, Copy, Debug)]
pub struct PermitLimits {
    pub permits: usize,
    /// The last so many permits are only for keys that hold none. So a key with cheap work need not wait for the expensive
    /// work of another one. Fewer than `permits`.
    pub for_newcomers: usize,
    pub waiting_of_a_key: usize,
    pub waiting_of_a_project: usize,
    pub waiting: usize,
}

/// Permits that accounts share fairly. Cheap to clone.
#[derive(Clone)]
pub struct FairPermits(Arc<Shared>);

struct Shared {
    limits: PermitLimits,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// How many permits each key holds, if any.
    held: HashMap<KeyId, usize>,
    queue: Queue,
    next_ticket: u64,
}

/// A permit. Goes to the next waiter when it is dropped.
pub struct FairPermit {
    permits: FairPermits,
    account: Account,
}

/// Too many wait already, on this account or in all, and nobody has more waiters who could give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wait for a permit")]
pub struct Crowded;

/// A place in the queue, which is given up when this is dropped.
struct Wait<'a> {
    permits: &'a FairPermits,
    account: &'a Account,
    ticket: u64,
    granted: oneshot::Receiver<()>,
    is_taken: bool,
}

impl FairPermits {
    pub fn new(limits: PermitLimits) -> Self {
        let state =
            State { free: limits.permits, held: HashMap::new(), queue: Queue::default(), next_ticket: 0 };
        Self(Arc::new(Shared { limits, state: Mutex::new(state) }))
    }

    /// Waits for a permit. Can be dropped while it waits, which leaves no trace.
    ///
    /// # Errors
    /// [`Crowded`]: at once, or later if one who has fewer waiters came into the full queue.
    pub async fn acquire(&self, account: &Account) -> Result<FairPermit, Crowded> {
        let mut wait = match self.take_or_wait(account)? {
            Ok(permit) => return Ok(permit),
            Err(wait) => wait,
        };
        // The sender is in the queue until the permit is granted, or another one needs the place.
        let granted = (&mut wait.granted).await;
        wait.is_taken = true;
        granted.map_err(|_| Crowded)?;
        Ok(FairPermit { permits: self.clone(), account: account.clone() })
    }

    /// Returns how many permits are free.
    pub fn free(&self) -> usize {
        self.lock().free
    }

    fn take_or_wait<'a>(&'a self, account: &'a Account) -> Result<Result<FairPermit, Wait<'a>>, Crowded> {
        let limits = self.0.limits;
        let mut state = self.lock();
        if state.may_have(limits, &account.key) {
            state.take(&account.key);
            return Ok(Ok(FairPermit { permits: self.clone(), account: account.clone() }));
        }
        let queue = &mut state.queue;
        let full = if queue.len_of_key(account) >= limits.waiting_of_a_key {
            Some(Full::Key)
        } else if queue.len_of_project(&account.project) >= limits.waiting_of_a_project {
            Some(Full::Project)
        } else {
            (queue.len() >= limits.waiting).then_some(Full::All)
        };
        if full.is_some_and(|full| !queue.make_room(account, full)) {
            return Err(Crowded);
        }
        let (sender, granted) = oneshot::channel();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push(account, ticket, sender);
        Ok(Err(Wait { permits: self, account, ticket, granted, is_taken: false }))
    }

    fn release(&self, key: &KeyId) {
        self.lock().release(self.0.limits, key);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_have(&self, limits: PermitLimits, key: &KeyId) -> bool {
        let kept = if self.held.contains_key(key) { limits.for_newcomers } else { 0 };
        self.free > kept
    }

    fn take(&mut self, key: &KeyId) {
        self.free -= 1;
        match self.held.get_mut(key) {
            Some(held) => *held += 1,
            None => drop(self.held.insert(key.clone(), 1)),
        }
    }

    /// Gives a permit back, and gives those that are free to waiters.
    fn release(&mut self, limits: PermitLimits, key: &KeyId) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(key) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(key);
            }
        }
        while self.free > 0 {
            let mut queue = std::mem::take(&mut self.queue);
            let next = queue.pop(|key| self.may_have(limits, key));
            self.queue = queue;
            let Some((account, granted)) = next else { return };
            self.take(&account.key);
            // If the waiter is gone, it finds itself out of the queue and gives the permit back.
            let _ = granted.send(());
        }
    }
}

impl FairPermit {
    /// Returns the account that it is held on.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        self.permits.release(&self.account.key);
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        let mut state = self.permits.lock();
        // Out of the queue, it has either the permit or given way.
        if !state.queue.remove(self.account, self.ticket) && self.granted.try_recv().is_ok() {
            state.release(self.permits.0.limits, &self.account.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use futures_util::future::join_all;

    use super::*;
    use crate::domain::ProjectId;

    fn account(project: &str, key: &str) -> Account {
        Account::new(ProjectId::from_stored(project), KeyId::from_stored(key))
    }

    fn permits(permits: usize, for_newcomers: usize) -> FairPermits {
        FairPermits::new(PermitLimits {
            permits,
            for_newcomers,
            waiting_of_a_key: 10,
            waiting_of_a_project: 12,
            waiting: 12,
        })
    }

    /// Lets each account work for 10 ms, and returns the keys in the order of their beginning.
    async fn order_of(permits: &FairPermits, accounts: &[Account]) -> String {
        let begun = RefCell::new(String::new());
        let work = accounts.iter().map(async |account| {
            let _permit = permits.acquire(account).await.unwrap();
            begun.borrow_mut().push_str(account.key.as_str());
            tokio::time::sleep(Duration::from_millis(10)).await;
        });
        join_all(work).await;
        begun.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_served_in_turns_by_project_and_then_by_key() {
        let permits = permits(1, 0);
        let [a, b, c] = [account("p", "a"), account("p", "b"), account("q", "c")];
        let asked = [&a, &a, &a, &a, &b, &c, &b, &c].map(Account::clone);
        assert_eq!(order_of(&permits, &asked).await, "aacbcaba");
        assert_eq!((permits.free(), permits.lock().queue.len()), (1, 0));
        assert!(permits.lock().held.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_permits_are_for_keys_that_hold_none() {
        let permits = permits(3, 1);
        let (a, b) = (account("p", "a"), account("p", "b"));
        let _held = (permits.acquire(&a).await.unwrap(), permits.acquire(&a).await.unwrap());
        let mut third = Box::pin(permits.acquire(&a));
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut third).await.is_err());
        let other = permits.acquire(&b).await.unwrap();
        assert_eq!(permits.free(), 0);
        drop(other);
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut third).await.is_err());
        drop(_held.0);
        assert!(third.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_is_dropped_leaves_no_trace() {
        let permits = permits(1, 0);
        let a = account("p", "a");
        let held = permits.acquire(&a).await.unwrap();
        let (mut first, mut second) = (Box::pin(permits.acquire(&a)), Box::pin(permits.acquire(&a)));
        assert!(
            futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending()
        );
        drop(held);
        // The first has the permit but does not know it yet.
        drop(first);
        assert!(futures_util::poll!(&mut second).is_ready());
        drop(second);
        let (permit, mut waiting) = (permits.acquire(&a).await.unwrap(), Box::pin(permits.acquire(&a)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        drop(permit);
        assert_eq!((permits.free(), permits.lock().queue.len()), (1, 0));
        assert!(permits.lock().held.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_bounded_by_key_and_in_all() {
        let permits = permits(1, 0);
        let [a, b] = [account("p", "a"), account("p", "b")];
        let _held = permits.acquire(&a).await.unwrap();
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(permits.acquire(&a))).collect();
        for wait in &mut waiting {
            assert!(futures_util::poll!(wait).is_pending());
        }
        assert_eq!(permits.acquire(&a).await.err(), Some(Crowded));
        let mut others: Vec<_> = (0..2).map(|_| Box::pin(permits.acquire(&b))).collect();
        for wait in &mut others {
            assert!(futures_util::poll!(wait).is_pending());
        }
        assert!(futures_util::poll!(Box::pin(permits.acquire(&b))).is_pending(), "who has more gives way");
    }

    /// Those who have one key share its turns and its places.
    #[tokio::test(start_paused = true)]
    async fn members_of_a_key_take_turns_and_give_way_to_each_other() {
        let permits = permits(1, 0);
        let key = account("p", "k");
        let [a, b, c] = ["a", "b", "c"].map(|member| key.clone().of_member(member));
        let held = permits.acquire(&a).await.unwrap();
        let mut flood: Vec<_> = (0..10).map(|_| Box::pin(permits.acquire(&a))).collect();
        for wait in &mut flood {
            assert!(futures_util::poll!(wait).is_pending());
        }
        let (mut second, mut third, mut alone) =
            (Box::pin(permits.acquire(&b)), Box::pin(permits.acquire(&c)), Box::pin(permits.acquire(&key)));
        for wait in [&mut second, &mut third, &mut alone] {
            assert!(futures_util::poll!(wait).is_pending());
        }
        assert_eq!(permits.lock().queue.len(), 10);
        drop(held);
        // In turns: one of the flood, and then each of the others.
        assert!(futures_util::poll!(&mut flood[0]).is_ready());
        for wait in [&mut second, &mut third, &mut alone] {
            assert!(futures_util::poll!(wait).is_ready());
        }
        drop(flood);
        assert_eq!((permits.free(), permits.lock().queue.len()), (1, 0));
        assert!(permits.lock().held.is_empty());
    }

    /// Whoever has most waiters gives way, until all have as many.
    #[tokio::test(start_paused = true)]
    async fn a_full_queue_takes_one_more_from_whoever_has_fewer() {
        let permits = permits(1, 0);
        let [a, b, c] = [account("p", "a"), account("p", "b"), account("q", "c")];
        let held = permits.acquire(&a).await.unwrap();
        let mut waiting: Vec<_> =
            [&a; 10].into_iter().chain([&b; 2]).map(|one| permits.acquire(one)).map(Box::pin).collect();
        for wait in &mut waiting {
            assert!(futures_util::poll!(wait).is_pending());
        }
        let mut newcomers: Vec<_> = (0..3).map(|_| Box::pin(permits.acquire(&c))).collect();
        for wait in &mut newcomers {
            assert!(futures_util::poll!(wait).is_pending());
        }
        for (place, wait) in waiting.iter_mut().enumerate() {
            let has_given_way = matches!(futures_util::poll!(wait), std::task::Poll::Ready(Err(Crowded)));
            assert_eq!(has_given_way, (7..10).contains(&place), "{place}");
        }
        // Those who were told of it, and one who was not, leave no trace.
        let mut last = Box::pin(permits.acquire(&b));
        assert!(futures_util::poll!(&mut last).is_pending());
        waiting.truncate(7);
        assert_eq!(permits.lock().queue.len(), 4 + 6);
        drop((waiting, newcomers, last));
        assert_eq!((permits.free(), permits.lock().queue.len()), (0, 0));
        drop(held);
        assert_eq!((permits.free(), permits.lock().held.len()), (1, 0));
    }
}
