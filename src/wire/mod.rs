//! The bytes of a live stream. Everything here is pure: there is no I/O, and no other module but `domain` is used.
//!
//! It stands below the hub, so that the hub can encode an event once for all who get it in the same form.
//!
//! Reading order: [`event`], [`form`] (the dialects and transports, and what differs between them), [`messages`]
//! (everything but events); then how each dialect is written: [`json`], [`websocket`] over [`frames`], [`sse`], [`cocobase`].

pub mod cocobase;
pub mod event;
pub mod form;
pub mod frames;
pub mod json;
pub mod messages;
pub mod sse;
pub mod websocket;

pub use event::{Event, EventKind, Reason, event_for};
pub use form::Form;
pub use frames::CloseCode;
pub use websocket::NamedHead;
