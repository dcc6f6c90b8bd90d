//! The parts of a request, read once for every door: the caller, the body, preconditions, the idempotency key, parameters
//! and batches. A door only names the parts it wants and prints the answer.
//!
//! Never does: decide anything, or keep a credential longer than it takes to find its principal.
//!
//! Reading order: [`credential`], [`proxies`], [`client`], [`origin`], [`caller`], [`params`], [`path`], [`body`], [`precondition`], [`preference`], [`idempotency`], [`parameters`], [`unknown`], [`ignored`], [`list`] with `list_body`,
//! [`batch`].

pub mod batch;
pub mod body;
pub mod caller;
pub mod client;
pub mod credential;
pub mod idempotency;
pub mod ignored;
pub mod list;
mod list_body;
pub mod origin;
pub mod parameters;
pub mod params;
pub mod path;
pub mod precondition;
pub mod preference;
pub mod proxies;
pub mod unknown;

pub use body::Body;
pub use caller::{Caller, Visitor};
pub use parameters::Parameters;
