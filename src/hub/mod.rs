//! The in-process actor that fans committed changes out to subscriptions. It never waits, neither for the database nor for a
//! connection.
//!
//! To the hub a connection is an id and a queue. One [`Shard`] runs on each worker thread and owns the queues of that
//! thread's connections. The [`actor`](HubHandle) owns the filters, and sends each shard one message per batch of changes.
//! When a queue or a shard's channel is full, its subscriptions become `CatchingUp` and read the log, so nothing is lost.
//!
//! Reading order: [`interest`] and [`joining`] (how a subscription comes to the hub), [`filter_index`], `recent_changes`, `fan_out`,
//! [`actor`](HubHandle), [`delivery`], [`shard`] and its messages `to_shard`, [`outbox`], [`relay`] (how changes come to the hub).

mod actor;
pub mod delivery;
mod fan_out;
pub mod filter_index;
pub mod interest;
pub mod joining;
pub mod outbox;
mod recent_changes;
pub mod relay;
pub mod shard;
mod to_shard;

pub use actor::{HubHandle, start};
pub use delivery::{Delivery, DeliveryState};
pub use interest::{Audience, Interest, Interests, TooManyBytes};
pub use joining::{Joining, SubscriptionId};
pub use outbox::{CloseReason, Frame, Outbox};
pub use shard::Shard;
