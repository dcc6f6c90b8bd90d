//! Projects, their keys, and the secrets of the database.
//!
//! Reading order: [`projects`], [`keys`], [`secrets`].

pub mod keys;
pub mod projects;
pub mod secrets;
