//! Users: sign-up, sign-in, sessions, and one's own account.
//!
//! Reading order: [`body`] (what comes in), [`welcome`] (what goes out), [`sign_in`], [`by_mail`], [`second_factor`], [`providers`], [`me`], [`sessions`], [`all`], [`invitations`], [`outbox`].

pub mod all;
pub mod body;
pub mod by_mail;
pub mod invitations;
pub mod me;
pub mod outbox;
pub mod providers;
pub mod second_factor;
pub mod sessions;
pub mod sign_in;
mod welcome;
