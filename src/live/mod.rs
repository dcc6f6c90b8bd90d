//! A subscription's life between the hub and the doors: how it begins, catches up from the log, takes a snapshot, and ends.
//! Nothing here knows of HTTP or of a transport.
//!
//! It uses one thing of `writer`: whether anyone is writing, to throttle catch-up work.
//!
//! Reading order: [`subscription`], [`subscriptions`] with `beginning`, `waiting` and `awaited`, `pause`, [`resume`], `rights`, `catch_up` and `snapshot` over `log_reading`; then [`reads`]
//! (the database, shared and bounded), [`stored_log`] (the log for the relay of the hub), [`error`].

mod awaited;
mod beginning;
mod catch_up;
pub mod error;
mod log_reading;
mod pause;
pub mod reads;
pub mod resume;
mod rights;
mod snapshot;
pub mod stored_log;
pub mod subscription;
pub mod subscriptions;
mod waiting;

pub use error::LiveError;
pub use reads::Streams;
pub use resume::{Gone, Lost, Resume};
pub use subscription::Subscription;
pub use subscriptions::{Begun, Ended, NewSubscription, Subscriptions};
