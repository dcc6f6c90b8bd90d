//! The in-process actors that fan committed changes out to subscriptions. Nobody waits for them, and they wait neither for
//! the database nor for a connection.
//!
//! To the hub a connection is an id and a queue. One [`Shard`] runs on each worker thread and owns the queues of that
//! thread's connections. Each project has a task (`project`) that owns the project's filters, and sends each shard one message
//! per group of changes. When a queue, a shard's channel or a project's backlog is full, subscriptions become `CatchingUp`
//! and read the log, so nothing is lost.
//!
//! Reading order: [`interest`] and [`joining`] (how a subscription comes to the hub), [`filter_index`], `recent_changes` with `replay`, `fan_out`,
//! `backlog` with [`bounds`], `watchers`, `project` with `pace`, [`actor`](HubHandle), [`delivery`], `deliveries`, [`shard`] with its channel `shards` and its messages
//! `to_shard`, [`outbox`] with `outboxes`, [`relay`] with `commits`, `log_reader`, `log_behind` and `polls` (how
//! changes come to the hub).

mod actor;
mod backlog;
pub mod bounds;
mod commits;
mod deliveries;
pub mod delivery;
mod fan_out;
pub mod filter_index;
pub mod interest;
pub mod joining;
mod log_behind;
mod log_reader;
pub mod outbox;
mod outboxes;
mod pace;
mod polls;
mod project;
mod recent_changes;
pub mod relay;
mod replay;
pub mod shard;
mod shards;
mod to_shard;
mod watchers;

pub use actor::{HubHandle, start};
pub use bounds::Bounds;
pub use delivery::{Asked, Delivery, DeliveryState};
pub use interest::{Audience, Interest, Interests, TooManyBytes};
pub use joining::{Joining, SubscriptionId};
pub use outbox::{CloseReason, Frame, Outbox, Owner};
pub use shard::Shard;
