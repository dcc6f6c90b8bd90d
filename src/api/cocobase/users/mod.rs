//! Users as the client libraries know them: sign-up, sign-in, one's own account, and the list of users.
//!
//! Reading order: [`shape`] (a user as JSON), [`sign_in`], [`redirect`], [`by_mail`], [`me`], [`all`].

pub mod all;
pub mod by_mail;
pub mod me;
pub mod redirect;
pub mod shape;
pub mod sign_in;
