//! Notices when a part of the server ends, or stops moving, before the server stops.
//!
//! A part is a task that everyone depends on and that nobody waits for: the writer, the relay, the hub's task of a project, the
//! shard of a worker thread. A server without one of them looks alive and does half of its work. So the process ends with
//! status 1 and says which part it was, and whoever supervises the process starts it again. Nothing is lost by that: what was
//! answered is committed, and clients resume with their cursors.
//!
//! Two things are watched. A part that *ends*, by a panic or a return, is noticed by [`Supervisor::watch`], in which its future
//! is wrapped. A part that *stops moving* is noticed by the [`watchdog`], a thread that needs no runtime: a part promises its
//! next sign of life with a [`Pulse`], or a [probe](Supervisor::add_probe) looks at the queue in front of it.
//!
//! Reading order: [`failure`], [`pulse`], [`state`], [`supervisor`], [`watchdog`], and [`faults`], by which tests let a part fail.

mod failure;
mod faults;
mod pulse;
mod state;
mod supervisor;
mod watchdog;

pub use failure::{Failure, How, Part};
pub use pulse::Pulse;
pub use supervisor::Supervisor;
