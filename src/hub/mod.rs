//! The in-process actor that fans committed changes out to subscriptions. It never waits: no database, no connection.
//!
//! To the hub a connection is an id and a queue. One [`Shard`] runs on each worker thread and owns the queues of that
//! thread's connections; the [`actor`](HubHandle) owns the filters, and sends each shard one message per batch of
//! changes. Whatever does not fit, in a queue or in a shard's channel, goes back to the log: its subscriptions are
//! `CatchingUp`, and nothing is lost.
//!
//! Reading order: [`subscription`], [`index`], [`encode`], `ring`, [`actor`](HubHandle), [`slot`], [`shard`], [`outbox`], [`relay`].

mod actor;
pub mod encode;
pub mod index;
pub mod outbox;
pub mod relay;
mod ring;
pub mod shard;
pub mod slot;
pub mod subscription;

pub use actor::{HubHandle, start};
pub use encode::{Encode, Event, Form, Head};
pub use outbox::{CloseReason, Frame, Outbox};
pub use shard::Shard;
pub use slot::{Slot, SlotState};
pub use subscription::{EventKind, Reason, SubscriptionId, event_for};
