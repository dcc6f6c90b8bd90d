//! Users: sign-up, sign-in, sessions, and one's own account.
//!
//! Reading order: [`body`] (what comes in), [`welcome`] (what goes out), [`sign_in`], [`me`], [`sessions`], [`all`].

pub mod all;
pub mod body;
pub mod me;
pub mod sessions;
pub mod sign_in;
mod welcome;
