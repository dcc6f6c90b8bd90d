//! A bound in bytes that several holders share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The grain of a budget: a semaphore counts at most 2^29 permits, which as single bytes would be too few.
const UNIT_BYTES: usize = 1024;

/// A bound in bytes that several holders share. Cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

/// A part of a budget. Goes back when it is dropped.
pub struct BudgetPermit {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
}

/// The other holders of a budget leave too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the budget is used up")]
pub struct BudgetExhausted;

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT_BYTES)))
    }

    /// Returns a permit that holds nothing yet.
    pub fn empty_permit(&self) -> BudgetPermit {
        BudgetPermit { budget: self.clone(), held: None }
    }

    /// Takes so many bytes at once, without waiting for them.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if less is free.
    pub fn take(&self, bytes: usize) -> Result<BudgetPermit, BudgetExhausted> {
        let mut permit = self.empty_permit();
        permit.grow_to(bytes)?;
        Ok(permit)
    }
}

impl BudgetPermit {
    /// Grows to so many bytes, without waiting for them. Never shrinks.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if less is free; the permit then holds what it held before.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT_BYTES).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| BudgetExhausted)?;
        let more = self.budget.0.clone().try_acquire_many_owned(more).map_err(|_| BudgetExhausted)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_share_a_budget_and_give_their_part_back() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let mut first = budget.take(6 * UNIT_BYTES).unwrap();
        assert_eq!(budget.take(5 * UNIT_BYTES).err(), Some(BudgetExhausted), "4 units are free");
        first.grow_to(2 * UNIT_BYTES).unwrap();
        assert_eq!(budget.take(5 * UNIT_BYTES).err(), Some(BudgetExhausted), "a permit never shrinks");
        first.grow_to(10 * UNIT_BYTES).unwrap();
        assert_eq!(budget.take(1).err(), Some(BudgetExhausted), "a byte takes a unit");
        assert!(budget.take(0).is_ok());
        drop(first);
        assert!(budget.take(10 * UNIT_BYTES).is_ok());
    }
}
