//! A bound that several holders share. It is in bytes, or counts things such as connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::Account;
use crate::domain::KeyId;

/// An account may hold so many times what it leaves free: alone three quarters of the budget, beside others less. So a
/// newcomer always finds something.
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
        let all = held.all.saturating_add(more);
        let own = held.by_key.get(&self.account.key).copied().unwrap_or(0).saturating_add(more);
        let free = self.budget.0.bytes.checked_sub(all).ok_or(BudgetExhausted)?;
        if own > SHARE * free {
            return Err(BudgetExhausted);
        }
        held.all = all;
        held.by_key.insert(self.account.key.clone(), own);
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
        let own = held.by_key.get(&self.account.key).copied().unwrap_or(0);
        let free = self.budget.0.bytes.saturating_sub(held.all);
        // The account's share after growing by x: own + x <= SHARE * (free - x).
        (SHARE * free).saturating_sub(own) / (SHARE + 1)
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
