//! Projects, their keys, the credentials and sessions of their users, and the secrets of the database.
//!
//! Reading order: [`projects`], [`keys`], [`credentials`], [`sessions`], [`secrets`].

pub mod credentials;
pub mod keys;
pub mod projects;
pub mod secrets;
pub mod sessions;
