//! The door for the published Cocobase client libraries: their paths, their shapes and their errors.
//!
//! It only translates: the services decide what a request means, as they do for the documented API.
//!
//! Reading order: [`routes`], [`error`] (`{"detail":…}`), [`body`] and [`shape`] (what comes in and goes out), [`response`],
//! [`documents`], [`batches`], [`collections`] with [`permissions`], [`queries`] with `schema`, [`users`]; then the sockets: [`socket`] (their paths),
//! [`introduction`] (the first message), `refusal`, [`watch`] (collections), [`rooms`] (rooms and broadcast); and
//! [`redirect`], a script for the JavaScript library.

pub mod batches;
pub mod body;
pub mod collections;
pub mod documents;
pub mod error;
pub mod introduction;
pub mod permissions;
pub mod queries;
pub mod redirect;
mod refusal;
pub mod response;
pub mod rooms;
pub mod routes;
mod schema;
pub mod shape;
pub mod socket;
pub mod users;
pub mod watch;
