//! Principals (the callers of the server) and their permissions. REST, WebSocket, SSE and replay all use the same check.
//!
//! Never does: read a header or a URL. The doors do that, and pass the key or the ticket on.
//!
//! Reading order: [`principal`], [`keys`] over `lookups` with `key_ends` and [`key_uses`], [`tokens`] with [`access_keys`], [`sessions`] and [`codes`], [`foreign`], [`authenticator`], [`passwords`] on [`lanes`], [`totp`], [`buckets`], [`limits`], [`traffic`], [`tickets`], [`permission`], [`ruling`], [`facts`], [`rights`], [`write_rights`], [`grant`].

pub mod access_keys;
pub mod authenticator;
pub mod buckets;
pub mod codes;
pub mod facts;
pub mod foreign;
pub mod grant;
mod key_ends;
pub mod key_uses;
pub mod keys;
pub mod lanes;
pub mod limits;
mod lookups;
pub mod passwords;
pub mod permission;
pub mod principal;
pub mod rights;
pub mod ruling;
pub mod sessions;
pub mod tickets;
pub mod tokens;
pub mod totp;
pub mod traffic;
pub mod write_rights;

pub use access_keys::{AccessKeys, TokenAlgorithm};
pub use authenticator::{Authenticator, Credentials};
pub use key_uses::KeyUses;
pub use keys::{AuthError, KeyRing};
pub use lanes::Lanes;
pub use limits::RateLimits;
pub use passwords::{PasswordError, Passwords};
pub use permission::{Action, Forbidden};
pub use principal::{KeyKind, KeyLimits, OriginRefused, Principal, Scopes, SignedIn, TicketCollection};
pub use rights::Rights;
pub use ruling::Ruling;
pub use sessions::Sessions;
pub use tickets::{TicketError, Tickets};
pub use tokens::{TokenError, Tokens};
pub use traffic::{Rates, Traffic, TrafficLimits};
pub use write_rights::{Access, WriteRights};
