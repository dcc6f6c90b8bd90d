//! A bound that several holders share. It is in bytes, or counts things such as connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::Account;
use crate::domain::KeyId;

/// A key may hold so many times what it leaves free: alone three quarters of the budget, beside others less. So a newcomer always
/// finds something. A member may hold as many times what the key could then still take: alone nine sixteenths of the budget. So
/// no user keeps others out who have the same key.
const SHARE: usize = 3;

/// A bound in bytes that several holders share. Cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    bytes: usize,
    held: Mutex<Held>,
    /// Rung when bytes become free.
    freed: Notify,
}

/// The bytes that are held.
#[derive(Default)]
struct Held {
    all: usize,
    by_key: HashMap<KeyId, usize>,
    by_member: HashMap<(KeyId, Arc<str>), usize>,
}

/// A part of a budget. Goes back when it is dropped.
pub struct BudgetPermit {
    budget: Budget,
    account: Account,
    bytes: usize,
}

/// The other holders of a budget leave too little, or the account has its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the budget is used up")]
pub struct BudgetExhausted;

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Shared { bytes, held: Mutex::default(), freed: Notify::new() }))
    }

    /// Returns a permit that holds nothing yet.
    pub fn empty_permit(&self, account: &Account) -> BudgetPermit {
        BudgetPermit { budget: self.clone(), account: account.clone(), bytes: 0 }
    }

    /// Takes so many bytes at once, without waiting for them.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if less is free for this account.
    pub fn take(&self, account: &Account, bytes: usize) -> Result<BudgetPermit, BudgetExhausted> {
        let mut permit = self.empty_permit(account);
        permit.grow_to(bytes)?;
        Ok(permit)
    }

    /// Takes so many bytes at once, and waits for them up to `limit`.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if they don't become free in time.
    pub async fn take_within(
        &self,
        limit: Duration,
        account: &Account,
        bytes: usize,
    ) -> Result<BudgetPermit, BudgetExhausted> {
        let wait = async {
            loop {
                let freed = self.0.freed.notified();
                if let Ok(permit) = self.take(account, bytes) {
                    return permit;
                }
                freed.await;
            }
        };
        tokio::time::timeout(limit, wait).await.map_err(|_| BudgetExhausted)
    }

    /// Returns how many bytes are held on all accounts.
    pub fn held_by_all(&self) -> usize {
        self.held().all
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn of_key(&self, account: &Account) -> usize {
        self.by_key.get(&account.key).copied().unwrap_or(0)
    }

    /// Whether an account may hold so much more of `bytes`.
    fn allows(&self, bytes: usize, account: &Account, more: usize) -> bool {
        let Some(free) = self.all.checked_add(more).and_then(|all| bytes.checked_sub(all)) else {
            return false;
        };
        let of_key = self.of_key(account) + more;
        if of_key > SHARE * free {
            return false;
        }
        let Some(own) = self.of_member(account) else { return true };
        // Of the (SHARE * free - of_key) / (SHARE + 1) that the key could still take.
        (SHARE + 1) * (own + more) <= SHARE * (SHARE * free - of_key)
    }

    /// `None` for a key for itself.
    fn of_member(&self, account: &Account) -> Option<usize> {
        let member = account.member_key()?;
        Some(self.by_member.get(&member).copied().unwrap_or(0))
    }
}

impl Account {
    fn member_key(&self) -> Option<(KeyId, Arc<str>)> {
        self.member.clone().map(|member| (self.key.clone(), member))
    }
}

impl BudgetPermit {
    /// Grows to so many bytes, without waiting for them. Never shrinks.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if less is free for this account; the permit then holds what it held before.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let mut held = self.budget.held();
        if !held.allows(self.budget.0.bytes, &self.account, more) {
            return Err(BudgetExhausted);
        }
        held.all += more;
        *held.by_key.entry(self.account.key.clone()).or_default() += more;
        if let Some(member) = self.account.member_key() {
            *held.by_member.entry(member).or_default() += more;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Gives back what is more than so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        if less == 0 {
            return;
        }
        self.bytes = bytes;
        let mut held = self.budget.held();
        held.all -= less;
        if let Some(own) = held.by_key.get_mut(&self.account.key) {
            *own -= less;
            if *own == 0 {
                held.by_key.remove(&self.account.key);
            }
        }
        if let Some(member) = self.account.member_key()
            && let Some(own) = held.by_member.get_mut(&member)
        {
            *own -= less;
            if *own == 0 {
                held.by_member.remove(&member);
            }
        }
        drop(held);
        self.budget.0.freed.notify_waiters();
    }

    /// Moves all that it holds into a new permit.
    pub fn take(&mut self) -> Self {
        let bytes = std::mem::take(&mut self.bytes);
        Self { budget: self.budget.clone(), account: self.account.clone(), bytes }
    }

    /// Returns by how many bytes it could grow now.
    pub fn growth(&self) -> usize {
        let held = self.budget.held();
        let free = self.budget.0.bytes.saturating_sub(held.all);
        let of_key = held.of_key(&self.account);
        // The key's share after growing by x: of_key + x <= SHARE * (free - x).
        let most = (SHARE * free).saturating_sub(of_key) / (SHARE + 1);
        let Some(own) = held.of_member(&self.account) else { return most };
        // The member's share of that, as in `allows`.
        let left = (SHARE * SHARE * free).saturating_sub(SHARE * of_key + (SHARE + 1) * own);
        most.min(left / ((SHARE + 1) * (SHARE + 1)))
    }

    /// Returns how many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(key: &str) -> Account {
        Account { key: KeyId::from_stored(key), ..Account::anonymous() }
    }

    #[test]
    fn an_account_leaves_something_to_the_others() {
        let (budget, first, second) = (Budget::new(1000), account("a"), account("b"));
        let mut permit = budget.take(&first, 700).unwrap();
        assert_eq!(permit.grow_to(751).err(), Some(BudgetExhausted), "a quarter stays free");
        permit.grow_to(100).unwrap();
        assert_eq!(permit.bytes(), 700, "it never shrinks by growing");
        assert_eq!(permit.growth(), 50);
        permit.grow_to(750).unwrap();
        assert_eq!(permit.growth(), 0);
        assert_eq!(
            budget.take(&second, 200).err(),
            Some(BudgetExhausted),
            "a quarter of the rest stays free"
        );
        let other = budget.take(&second, 187).unwrap();
        assert_eq!(budget.take(&first, 1).err(), Some(BudgetExhausted));
        permit.shrink_to(10);
        drop(other);
        assert!(budget.take(&second, 700).is_ok());
        drop(permit);
        assert!(budget.held().by_key.is_empty() && budget.held().all == 0);
    }

    #[test]
    fn a_member_leaves_something_to_the_others_who_have_the_key() {
        let (budget, key) = (Budget::new(1000), account("a"));
        let (ada, bob) = (key.clone().of_member("ada"), key.clone().of_member("bob"));
        let mut of_ada = budget.take(&ada, 560).unwrap();
        assert_eq!(of_ada.grow_to(570).err(), Some(BudgetExhausted), "nine sixteenths");
        let growth = of_ada.growth();
        of_ada.grow_to(560 + growth).unwrap();
        assert_eq!((of_ada.growth(), of_ada.grow_to(of_ada.bytes() + 1).err()), (0, Some(BudgetExhausted)));
        let of_bob = budget.take(&bob, 130).unwrap();
        // The key for itself, and another one, find something, too.
        let of_key = budget.take(&key, 20).unwrap();
        let other = budget.take(&account("b"), 150).unwrap();
        assert_eq!(budget.take(&ada, 1).err(), Some(BudgetExhausted));
        drop((of_ada, of_bob, of_key, other));
        let held = budget.held();
        assert!(held.by_member.is_empty() && held.by_key.is_empty() && held.all == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_become_free_go_to_one_who_waits() {
        let (budget, account) = (Budget::new(1000), account("a"));
        let permit = budget.take(&account, 700).unwrap();
        let limit = Duration::from_secs(1);
        assert!(budget.take_within(limit, &account, 100).await.is_err());
        let free = async {
            tokio::time::sleep(limit / 2).await;
            drop(permit);
        };
        assert!(tokio::join!(budget.take_within(limit, &account, 100), free).0.is_ok());
    }
}
