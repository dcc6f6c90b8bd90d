//! The in-process actor that fans committed changes out to subscriptions. It never waits: no database, no connection.
//!
//! To the hub a connection is an id and a queue. One [`Shard`] runs on each worker thread and owns the queues of that
//! thread's connections; the [`actor`](HubHandle) owns the filters, and sends each shard one message per batch of
//! changes. Whatever does not fit, in a queue or in a shard's channel, goes back to the log: its subscriptions are
//! `CatchingUp`, and nothing is lost.
//!
//! Reading order: [`subscription`], [`index`], [`encode`], `recent`, [`actor`](HubHandle), [`delivery`], [`shard`], [`outbox`], [`relay`].

mod actor;
pub mod delivery;
pub mod filter_index;
pub mod joining;
pub mod outbox;
mod recent_changes;
pub mod relay;
pub mod shard;

pub use actor::{HubHandle, start};
pub use delivery::{Delivery, DeliveryState};
pub use joining::{Joining, SubscriptionId};
pub use outbox::{CloseReason, Frame, Outbox};
pub use shard::Shard;
