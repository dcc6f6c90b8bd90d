//! How many sockets there may be, and how many strangers among them.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::Notify;

use super::{
    state::{Origin, SocketState},
    strangers::Strangers,
};
use crate::shares::{Account, Budget};

/// How many sockets there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketLimits {
    /// Sockets at the same time: what the descriptors of the process allow.
    pub open: usize,
    /// Sockets over which no good key has come.
    pub unauthenticated: usize,
    /// The most of these that one address may have.
    pub unauthenticated_per_address: usize,
}

/// All sockets of the process, counted.
pub struct Sockets {
    limits: SocketLimits,
    /// The origins whose pages may read answers; `None` allows every origin.
    pub(super) allowed_origins: Option<Vec<String>>,
    started: Instant,
    open: AtomicUsize,
    /// How many of them are no strangers.
    known: AtomicUsize,
    /// The same by account. An account may have three times what it leaves free, so that no key keeps the others out.
    by_account: Budget,
    accepted: AtomicUsize,
    /// Wakes whoever waits until no socket is left.
    all_closed: Notify,
    /// The mutex is taken when a socket is accepted, when the first good key comes over it, and when it ends.
    strangers: Mutex<Strangers>,
}

impl Sockets {
    /// Begins without sockets.
    pub fn new(limits: SocketLimits, allowed_origins: Option<Vec<String>>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            allowed_origins,
            // Zero stands for "never" in the times of a socket.
            started: Instant::now(),
            open: AtomicUsize::new(0),
            known: AtomicUsize::new(0),
            by_account: Budget::new(limits.open),
            accepted: AtomicUsize::new(0),
            all_closed: Notify::new(),
            strangers: Mutex::default(),
        })
    }

    /// Counts the sockets that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns once no socket is open.
    pub async fn closed(&self) {
        loop {
            let all_closed = self.all_closed.notified();
            if self.open() == 0 {
                return;
            }
            all_closed.await;
        }
    }

    /// Whether the sockets with a good key, or those with the key of this one, are so many that an idle one must not stay.
    /// Strangers don't count: they make room anyway.
    pub(super) fn is_crowded(&self, state: &SocketState) -> bool {
        let (known, open) = (self.known.load(Ordering::Relaxed), self.limits.open);
        // Only then can an account come near its share.
        known > open / 2
            && (known > open - open / 8 || state.permit().is_some_and(|permit| permit.growth() <= open / 8))
    }

    /// Returns the time in milliseconds since the start, never 0.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Admits a new socket as a stranger, and closes others if there are too many. `None` if there is no room.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> Option<Arc<SocketState>> {
        let (origin, now) = (Origin::of(address), self.now());
        let serial = self.accepted.fetch_add(1, Ordering::Relaxed) as u64;
        let state = Arc::new(SocketState::new(serial, origin, now));
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        // An address over its share pays with its own sockets. Two at a time, so that a crowd that was spared shrinks again.
        for _ in 0..2 {
            if strangers.count_of(&origin) >= self.limits.unauthenticated_per_address {
                strangers.close_one(Some(&origin), now);
            } else if strangers.count() >= self.limits.unauthenticated {
                strangers.close_one(None, now);
            }
        }
        if open > self.limits.open && !strangers.close_any() {
            drop(strangers);
            self.count_closed();
            return None;
        }
        strangers.add(&state);
        Some(state)
    }

    /// Notes that a good key came over the socket. The first one counts. Returns false if its account has too many sockets.
    pub(super) fn authenticate(&self, state: &SocketState, account: &Account) -> bool {
        if state.is_known() {
            return true;
        }
        let Ok(permit) = self.by_account.take(account, 1) else { return false };
        if state.set_known(permit) {
            self.known.fetch_add(1, Ordering::Relaxed);
            self.strangers.lock().unwrap_or_else(PoisonError::into_inner).remove(state);
        }
        true
    }

    /// Notes that the socket is closed.
    pub(super) fn leave(&self, state: &SocketState) {
        if state.is_known() {
            self.known.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.strangers.lock().unwrap_or_else(PoisonError::into_inner).remove(state);
        }
        self.count_closed();
    }

    fn count_closed(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.all_closed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sockets::state::Fate;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn sockets(open: usize) -> Arc<Sockets> {
        Sockets::new(SocketLimits { open, unauthenticated: 4, unauthenticated_per_address: 2 }, None)
    }

    /// Admits a socket that has been silent for long.
    fn admit(sockets: &Sockets, last: u8) -> Arc<SocketState> {
        let state = sockets.admit(address(last)).unwrap();
        state.set_waits_since(1);
        state
    }

    fn account(key: &str) -> Account {
        Account { key: crate::domain::KeyId::from_stored(key), ..Account::anonymous() }
    }

    fn closed(states: &[Arc<SocketState>]) -> Vec<usize> {
        let indexes = 0..states.len();
        indexes.filter(|index| states[*index].fate() == Fate::Abort).collect()
    }

    /// Silence of an hour.
    fn aged(open: usize) -> Arc<Sockets> {
        let mut sockets = sockets(open);
        let inner = Arc::get_mut(&mut sockets).unwrap();
        inner.started = inner.started.checked_sub(std::time::Duration::from_secs(3600)).unwrap();
        sockets
    }

    #[test]
    fn an_address_over_its_share_loses_its_own_oldest_socket() {
        let sockets = aged(100);
        let states: Vec<_> = [1, 2, 2, 2].map(|last| admit(&sockets, last)).into();
        assert_eq!(closed(&states), [1]);
    }

    #[test]
    fn beyond_the_number_of_strangers_the_oldest_of_all_is_closed() {
        let sockets = aged(100);
        let states: Vec<_> = [1, 2, 3, 4, 5].map(|last| admit(&sockets, last)).into();
        assert_eq!(closed(&states), [0]);
    }

    #[test]
    fn a_socket_with_a_good_key_is_no_stranger() {
        let sockets = aged(100);
        let known = admit(&sockets, 1);
        assert!(sockets.authenticate(&known, &account("a")));
        let states: Vec<_> = [2, 3, 4, 5].map(|last| admit(&sockets, last)).into();
        assert_eq!(closed(&[known]), [0_usize; 0]);
        assert_eq!(closed(&states), [0_usize; 0]);
    }

    #[test]
    fn strangers_are_no_crowd_but_clients_with_a_key_are() {
        let sockets = aged(8);
        let states: Vec<_> = (0..8).map(|last| admit(&sockets, last)).collect();
        let is_crowded = || sockets.is_crowded(&states[0]);
        assert!(!is_crowded());
        for (state, key) in states.iter().zip(["a", "a", "a", "a", "b", "b"]) {
            assert!(sockets.authenticate(state, &account(key)));
        }
        assert!(is_crowded());
        states.iter().for_each(|state| sockets.leave(state));
        assert!(!is_crowded());
    }

    #[test]
    fn a_key_leaves_sockets_to_the_others() {
        let sockets = aged(100);
        let states: Vec<_> = (0..77).map(|last| admit(&sockets, last)).collect();
        let (of_key, others) = states.split_at(75);
        assert!(of_key.iter().all(|state| sockets.authenticate(state, &account("a"))));
        assert!(sockets.authenticate(&of_key[0], &account("a")), "it is known already");
        assert!(sockets.is_crowded(&of_key[0]), "an idle one must not stay");
        assert!(!sockets.authenticate(&others[0], &account("a")));
        assert!(sockets.authenticate(&others[0], &account("b")));
        assert!(!sockets.is_crowded(&others[0]), "there is room for this one");
    }

    #[test]
    fn a_new_socket_gets_in_however_many_have_a_key() {
        let sockets = sockets(2);
        let [first, second] = [1, 2].map(|last| sockets.admit(address(last)).unwrap());
        assert!(sockets.authenticate(&first, &account("a")));
        let third = sockets.admit(address(3)).unwrap();
        assert_eq!(second.fate(), Fate::Abort, "there is no room, so nobody is spared");
        sockets.leave(&second);
        // Its key gets nothing, but it is heard.
        assert!(!sockets.authenticate(&third, &account("b")));
        let fourth = sockets.admit(address(4)).unwrap();
        sockets.leave(&third);
        sockets.leave(&first);
        sockets.leave(&fourth);
        assert_eq!(sockets.open(), 0);
    }
}
