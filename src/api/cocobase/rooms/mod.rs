//! Rooms and broadcasts, which are outside the change log.
//!
//! Reading order: [`bus`], [`registry`].

pub mod bus;
pub mod registry;
