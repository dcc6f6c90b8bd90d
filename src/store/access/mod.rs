//! Projects, their keys, the credentials, sessions and codes of their users, mails that wait, and the secrets of the database.
//!
//! Reading order: [`projects`], [`keys`], [`credentials`], [`sessions`], [`codes`], [`mails`], [`secrets`].

pub mod codes;
pub mod credentials;
pub mod keys;
pub mod mails;
pub mod projects;
pub mod secrets;
pub mod sessions;
