//! The documented REST API, a file for each resource. Success is `{"success":true,"data":…}`; [`error`](super::error) has the
//! other answers.
//!
//! Reading order: [`success`], [`shown`], [`written`] and [`settings`] (what is answered), [`documents`], [`batches`], [`transactions`],
//! [`queries`], [`trials`], [`export`], [`collections`], [`exposure`], [`tickets`], [`users`], [`projects`], [`keys`], [`audit`].

pub mod audit;
pub mod batches;
pub mod collections;
pub mod documents;
pub mod export;
pub mod exposure;
pub mod keys;
pub mod projects;
pub mod queries;
pub mod settings;
pub mod shown;
pub mod success;
pub mod tickets;
pub mod transactions;
pub mod trials;
pub mod users;
pub mod written;
