//! Rules: who may do what with the documents of a collection, in the language of filters.
//!
//! A [`RuleSet`] is parsed once, when it is set. For a caller, [`Condition::bind`] turns a condition into an ordinary
//! [`Filter`](crate::query::Filter): variables become values, and terms on the caller become true or false. So the matcher, both databases and the hub need to
//! know nothing of rules.
//!
//! A term whose variable has no value is *unknown*, and stays unknown under `$not`. A rule that ends unknown denies:
//! `{"owner":"$user.id"}` without a user must not match the documents without an owner, and neither must its opposite.
//!
//! Reading order: this file, `set`, `variable`, `condition`, `update`, `stamp`, `rule_set`, `clause`, `reach`, `advice`, `checks`, `parse`, `of_users`.

mod advice;
mod checks;
mod clause;
mod condition;
mod of_users;
mod parse;
mod reach;
mod rule_set;
mod set;
mod stamp;
#[cfg(test)]
mod tests;
mod update;
mod variable;

pub use advice::Wanted;
pub use clause::Clause;
pub use condition::{Condition, Missing};
pub use of_users::default_rules_of_users;
pub use parse::MEMBERS;
pub use reach::Reach;
pub use rule_set::{Reading, RuleAction, RuleError, RuleSet, WriteRule};
pub use set::{SetQuery, Sets};
pub use stamp::{StampError, Stamps};
pub use update::{Unmet, UpdateRule, is_changed};
pub use variable::{CallerKind, Params, UserValues, Values};
