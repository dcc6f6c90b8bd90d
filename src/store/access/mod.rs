//! Projects, their keys, the credentials, sessions, codes and identities of their users, mails that wait, and the secrets of the database.
//!
//! Reading order: [`projects`], [`keys`], [`credentials`], [`sessions`], [`codes`], [`identities`] with [`used_states`], [`mails`], [`secrets`].

pub mod audit;
pub mod codes;
pub mod credentials;
pub mod identities;
pub mod invitations;
pub mod keys;
pub mod mails;
pub mod projects;
pub mod secrets;
pub mod sessions;
pub mod used_states;
