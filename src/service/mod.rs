//! Use cases: each turns a request into a query or a mutation, after it has checked the caller's permission.
//!
//! Never does: know of HTTP, or print an answer.
//!
//! Reading order: [`error`], [`documents`], [`lists`], [`trials`], [`batches`], [`queries`], [`populate`], [`exports`], [`collections`],
//! [`exposures`], [`schemas`], [`users`], [`sign_up`], [`invitations`], `sessions`, [`own_account`], [`codes`], [`second_factor`], [`failed_sign_ins`], [`projects`],
//! [`keys`]. [`scans`] and `lookup` have what several of them share.

pub mod batches;
pub mod codes;
pub mod collections;
pub mod documents;
pub mod error;
pub mod exports;
pub mod exposures;
pub mod failed_sign_ins;
pub mod foreign_tokens;
pub mod identities;
pub mod invitations;
pub mod keys;
pub mod lists;
mod lookup;
pub mod own_account;
pub mod populate;
pub mod project_keys;
pub mod projects;
pub mod queries;
pub mod scans;
pub mod schemas;
pub mod second_factor;
pub mod secrets;
mod sessions;
pub mod sign_up;
pub mod trials;
pub mod users;
mod views;

pub use collections::Collections;
pub use documents::Documents;
pub use error::ServiceError;
pub use exports::Exports;
pub use failed_sign_ins::FailedSignIns;
pub use project_keys::ProjectKeys;
pub use projects::Projects;
pub use scans::Scans;
pub use users::Users;
