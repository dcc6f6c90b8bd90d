//! What is said on a live stream, in bytes. Pure: no I/O, and no part of the hub.
//!
//! Reading order: [`event`].

pub mod event;

pub use event::{Encode, Event, EventKind, Form, Head, Reason};
