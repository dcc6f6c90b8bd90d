//! Every door into the server: the documented REST API, live streams, and the paths of the Cocobase client libraries.
//!
//! Turns bytes into types and answers into bytes. With `app`, this is the only module that knows of HTTP.
//! Never does: decide what a request means. The services do that.
//!
//! Reading order: [`sockets`], [`routes`], [`state`], [`error`] with `error_code`, [`request`], [`rest`], [`realtime`], [`cocobase`]; then
//! [`response`], [`headers`], [`traffic`], [`fallback`] with [`route_hints`] and `account_hints`, [`health`], [`token_keys`], [`site`] and [`public`].

mod account_hints;
pub mod cocobase;
pub mod error;
mod error_code;
pub mod fallback;
pub mod headers;
pub mod health;
pub mod public;
pub mod readiness;
pub mod realtime;
pub mod request;
pub mod response;
pub mod rest;
pub mod route_hints;
pub mod routes;
pub mod site;
pub mod sockets;
pub mod state;
pub mod token_keys;
pub mod traffic;
