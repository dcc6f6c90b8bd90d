//! Rooms and broadcasts: people who are at a place, and what they say to each other. Nothing of it is in the database or in
//! the change log.
//!
//! Reading order: [`bus`] (who is where, as a trait), [`inbox`] (what reaches one person), [`registry`] (the bus of one
//! process), [`conversation`] (one person's socket) with [`wording`] (its messages), [`list`] (`GET /realtime/rooms`).

pub mod bus;
pub mod conversation;
pub mod inbox;
pub mod list;
pub mod registry;
mod wording;
