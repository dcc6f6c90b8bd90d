//! Principals (the callers of the server) and their permissions. REST, WebSocket, SSE and replay all use the same check.
//!
//! Never does: read a header or a URL. The doors do that, and pass the key or the ticket on.
//!
//! Reading order: [`principal`], [`keys`] over `lookups`, [`tickets`], [`permission`].

pub mod keys;
mod lookups;
pub mod permission;
pub mod principal;
pub mod tickets;

pub use keys::{AuthError, KeyRing};
pub use permission::{Action, Forbidden};
pub use principal::{KeyKind, Principal, Scopes, TicketCollection};
pub use tickets::{TicketError, Tickets};
