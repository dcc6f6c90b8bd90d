//! Limits of how often somebody may try: to sign in, to sign up, to have a mail sent, to refresh.
//!
//! Each limit is a token bucket. Buckets are by address, so that one client takes nothing from others, and by account, so that
//! nobody guesses a password. A stranger must not lock the owner of an account out: wrong passwords count for the account *and*
//! the address that they come from, and the bound on an account over all addresses does not hold for an address from which the
//! account was signed in before. A server that does not say for whom it asks has an address that is that of all its users: its
//! wrong passwords count by its key, and the other limits don't bind it.
//!
//! A try takes its token before the password is compared, and gets it back if that is right, so that tries at the same time are
//! no more than the limit allows. One for which tokens are left only if others get theirs back waits for them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

pub use super::buckets::Limited;
use super::{
    Principal,
    buckets::{Buckets, Quota, Standing, nanoseconds},
};
use crate::domain::{Email, ProjectId, seen::network_of};

/// The most keys of a table's younger half. Both halves of all tables take some 12 MiB.
const MAX_KEYS: usize = 50_000;

/// A kind of request that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    SignIn,
    SignUp,
    Mail,
    Refresh,
}

/// Wrong passwords for one account from one address.
const WRONG_BY_ADDRESS: Quota = Quota { burst: 10, each: Duration::from_secs(30) };
/// Wrong passwords for one account that come through one server, which does not say from where.
const WRONG_BY_SERVER: Quota = Quota { burst: 100, each: Duration::from_secs(10) };
/// Wrong passwords for one account from all addresses, but for those from which it was signed in before.
const WRONG: Quota = Quota { burst: 100, each: Duration::from_secs(10) };
/// Mails to one address that say that an account has left it, whoever had the account.
const TOLD: Quota = Quota { burst: 5, each: Duration::from_secs(12 * 60) };

impl Class {
    /// The quota of one address in one project.
    fn quota(self) -> Quota {
        match self {
            Self::SignIn => Quota { burst: 200, each: Duration::from_secs(1) },
            Self::SignUp => Quota { burst: 100, each: Duration::from_secs(5) },
            Self::Mail => Quota { burst: 30, each: Duration::from_secs(20) },
            Self::Refresh => Quota { burst: 3000, each: Duration::from_millis(20) },
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-ins",
            Self::SignUp => "sign-ups",
            Self::Mail => "mails",
            Self::Refresh => "refreshes",
        }
    }
}

/// The limits of all projects. Cheap to clone.
#[derive(Clone)]
pub struct RateLimits(Option<Arc<Shared>>);

struct Shared {
    begun: Instant,
    hasher: RandomState,
    tables: Mutex<Tables>,
    /// Rung when a try ends.
    settled: Notify,
}

struct Tables {
    by_address: Buckets,
    by_account: Buckets,
    /// Accounts and the addresses from which they were signed in.
    known: Buckets,
    /// How many tries of a bucket have not ended.
    in_flight: HashMap<u64, u32>,
}

/// A try to sign in to an account. It holds a token of each of its buckets, which goes back when this is dropped, unless the password
/// was wrong.
pub struct Attempt {
    limits: RateLimits,
    /// The buckets by which it is bounded.
    buckets: Vec<(u64, Quota)>,
    /// The account and the address.
    pair: u64,
    is_known: bool,
    is_wrong: bool,
}

impl RateLimits {
    /// Makes limits, or none.
    pub fn new(are_on: bool) -> Self {
        let shared = || Shared {
            begun: Instant::now(),
            hasher: RandomState::new(),
            tables: Mutex::new(Tables::new()),
            settled: Notify::new(),
        };
        Self(are_on.then(|| Arc::new(shared())))
    }

    /// Counts a try of a project's visitor. A server that asks for many is not bound.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn check(&self, class: Class, principal: &Principal) -> Result<(), Limited> {
        if principal.asks_for_many() {
            return Ok(());
        }
        self.check_address(class, &principal.project, principal.address())
    }

    /// Counts a try that comes from an address.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn check_address(
        &self,
        class: Class,
        project: &ProjectId,
        address: Option<IpAddr>,
    ) -> Result<(), Limited> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let key = shared.hasher.hash_one((class as u8, project, address.map(network_of)));
        let now = shared.now();
        let quota = class.quota();
        let mut tables = shared.lock();
        tables.by_address.judge(key, quota, now, class.name())?;
        tables.by_address.count(key, quota, now);
        Ok(())
    }

    /// Returns how many tries of a class the principal has left; `None` if none bounds them.
    pub fn standing(&self, class: Class, principal: &Principal) -> Option<Standing> {
        let shared = self.0.as_ref().filter(|_| !principal.asks_for_many())?;
        let address = principal.address().map(network_of);
        let key = shared.hasher.hash_one((class as u8, &principal.project, address));
        Some(shared.lock().by_address.standing(key, class.quota(), shared.now()))
    }

    /// Whether an account was signed in from the address of the principal since the server started.
    pub fn knows(&self, principal: &Principal, email: &Email) -> bool {
        let Some(shared) = &self.0 else { return false };
        let pair = shared.pair(principal, email);
        shared.lock().known.find(pair).is_some()
    }

    /// Checks that the wrong passwords that came from the principal's address are not too many, without counting anything.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn check_wrong(&self, principal: &Principal, email: &Email) -> Result<(), Limited> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let pair = shared.pair(principal, email);
        let now = shared.now();
        let mut tables = shared.lock();
        match tables.by_account.judge(pair, wrong_quota(principal), now, WRONG_PASSWORDS) {
            Err(limited) if !tables.in_flight.contains_key(&pair) => Err(limited),
            _ => Ok(()),
        }
    }

    /// Begins a try to sign in to an account. `is_known` says that it was signed in from this address before: the wrong passwords from
    /// other addresses don't count then. Waits for other tries of the account to end, if they hold the last tokens.
    ///
    /// # Errors
    /// [`Limited`] if too many passwords were wrong.
    pub async fn begin_sign_in(
        &self,
        principal: &Principal,
        email: &Email,
        is_known: bool,
    ) -> Result<Attempt, Limited> {
        let mut attempt =
            Attempt { limits: self.clone(), buckets: Vec::new(), pair: 0, is_known, is_wrong: false };
        let Some(shared) = &self.0 else { return Ok(attempt) };
        attempt.pair = shared.pair(principal, email);
        let mut buckets = vec![(attempt.pair, wrong_quota(principal))];
        if !is_known && !principal.asks_for_many() {
            buckets.push((shared.account(principal, email), WRONG));
        }
        loop {
            let settled = shared.settled.notified();
            if shared.lock().reserve(&buckets, shared.now())? {
                attempt.buckets = buckets;
                return Ok(attempt);
            }
            settled.await;
        }
    }

    /// Counts a mail that says to an address that an account has another one. Returns whether it may be sent: an account can leave an
    /// address that it never showed to be its own, again and again.
    pub fn may_tell(&self, project: &ProjectId, email: &Email) -> bool {
        let Some(shared) = &self.0 else { return true };
        let key = shared.hasher.hash_one(("told", project, email));
        let now = shared.now();
        let mut tables = shared.lock();
        let may_tell = tables.by_account.judge(key, TOLD, now, "mails").is_ok();
        tables.by_account.count(key, TOLD, now);
        may_tell
    }
}

/// What is limited, for the message.
const WRONG_PASSWORDS: &str = "wrong passwords for this account";

fn wrong_quota(principal: &Principal) -> Quota {
    if principal.asks_for_many() { WRONG_BY_SERVER } else { WRONG_BY_ADDRESS }
}

impl Attempt {
    /// Whether the account was signed in before from where this try comes.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Notes that the password was wrong, which takes the tokens.
    pub fn note_wrong(mut self) {
        self.is_wrong = true;
    }

    /// Notes that the account was signed in.
    pub fn note_right(self) {
        let Some(shared) = &self.limits.0 else { return };
        shared.lock().known.set(self.pair, 0);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Some(shared) = &self.limits.0 else { return };
        let mut tables = shared.lock();
        for (key, quota) in &self.buckets {
            if !self.is_wrong {
                tables.by_account.give_back(*key, *quota);
            }
            if let Some(count) = tables.in_flight.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    tables.in_flight.remove(key);
                }
            }
        }
        drop(tables);
        shared.settled.notify_waiters();
    }
}

impl Tables {
    fn new() -> Self {
        let buckets = || Buckets::bounded(MAX_KEYS);
        Self { by_address: buckets(), by_account: buckets(), known: buckets(), in_flight: HashMap::new() }
    }

    /// Takes a token of each bucket. Returns false if some are missing that tries in flight may give back.
    fn reserve(&mut self, buckets: &[(u64, Quota)], now: u64) -> Result<bool, Limited> {
        for (key, quota) in buckets {
            match self.by_account.judge(*key, *quota, now, WRONG_PASSWORDS) {
                Ok(()) => {}
                Err(_) if self.in_flight.contains_key(key) => return Ok(false),
                Err(limited) => return Err(limited),
            }
        }
        for (key, quota) in buckets {
            self.by_account.count(*key, *quota, now);
            *self.in_flight.entry(*key).or_default() += 1;
        }
        Ok(true)
    }
}

impl Shared {
    fn now(&self) -> u64 {
        nanoseconds(self.begun.elapsed())
    }

    fn account(&self, principal: &Principal, email: &Email) -> u64 {
        self.hasher.hash_one((&principal.project, email))
    }

    /// Returns what stands for an account and the address from which somebody asks, or the server.
    fn pair(&self, principal: &Principal, email: &Email) -> u64 {
        let account = self.account(principal, email);
        match principal.asks_for_many() {
            true => self.hasher.hash_one((account, &principal.key)),
            false => self.hasher.hash_one((account, principal.address().map(network_of))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
