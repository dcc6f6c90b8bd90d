//! Who is asking, and may they. One check for REST, WebSocket, SSE and replay.
//!
//! Reading order: [`principal`], [`keys`], [`tickets`], [`permission`].

pub mod keys;
pub mod permission;
pub mod principal;
pub mod tickets;

pub use keys::{AuthError, KeyRing};
pub use permission::{Action, Forbidden};
pub use principal::{KeyKind, Principal, Scopes};
pub use tickets::{TicketError, Tickets};
