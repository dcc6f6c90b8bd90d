//! Bounded resources that several principals share fairly: permits, bytes of memory, the pace of a peer that holds
//! some, and the processors.
//!
//! A bound that is global alone lets one key take all of it. So each permit and each byte here is taken on an
//! [`Account`], and one account always leaves something to the others.
//!
//! Never does: know what a permit or a byte stands for.
//!
//! Reading order: [`account`], [`permits`] (with `queue`), [`budget`], [`pace`], [`processor`].

pub mod account;
pub mod budget;
pub mod pace;
pub mod permits;
pub mod processor;
mod queue;

pub use account::Account;
pub use budget::{Budget, BudgetExhausted, BudgetPermit};
pub use pace::MinimumRate;
pub use permits::{Crowded, FairPermit, FairPermits, PermitLimits};
