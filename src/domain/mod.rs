//! The vocabulary: documents, collections and changes. It does no I/O and uses no other module of the crate.
//!
//! Reading order: [`name`], [`time`] with [`clock`], [`data`], [`document`], [`patch`], [`schema`] with `schema_cost` and `schema_keywords`, [`collection`],
//! [`email`], [`user`], [`seen`], [`session`] with [`refreshes`], [`code`], [`invitation`], [`totp`], [`identity`], [`provider`], [`mail`], [`project_settings`], [`audit`], [`key`] with [`origins`], [`change`], [`log_ends`], [`cursor`] with [`checksum`], [`json`] with [`json_mistake`], `nearest`.

pub mod audit;
pub mod change;
pub mod checksum;
pub mod clock;
pub mod code;
pub mod collection;
pub mod cursor;
pub mod data;
pub mod document;
pub mod email;
pub mod identity;
pub mod invitation;
pub mod json;
pub mod json_mistake;
pub mod key;
pub mod log_ends;
pub mod mail;
pub mod mail_templates;
pub mod name;
mod nearest;
pub mod origins;
pub mod patch;
pub mod project_settings;
pub mod provider;
pub mod refreshes;
pub mod schema;
mod schema_cost;
mod schema_keywords;
pub mod secrets;
pub mod seen;
pub mod session;
mod survey;
pub mod time;
pub mod totp;
pub mod user;
pub mod user_members;

pub use change::{Change, Control, Entry, Position};
pub use code::{Code, Purpose};
pub use collection::Collection;
pub use data::{Data, DataError};
pub use document::{Document, DocumentKey, DocumentStamp};
pub use email::Email;
pub use identity::{Claimed, Identity, IdentityKey};
pub use invitation::Invitation;
pub use key::{HeldKey, KeyChange, KeyEnd, KeyStates};
pub use log_ends::LogEnds;
pub use mail::Mail;
pub use name::{
    CollectionId, CollectionName, DocumentId, FieldPath, IndexId, KeyId, ProjectId, Segment, SessionId, USERS,
};
pub use nearest::nearest;
pub use origins::{OriginError, Origins};
pub use patch::{ApplyError, Patch, PatchError};
pub use project_settings::ProjectSettings;
pub use schema::{Schema, SchemaError, Violation};
pub use seen::{AskedFrom, Seen};
pub use session::Session;
pub use time::Timestamp;
pub use totp::Totp;
pub use user::{Credentials, PasswordHash, SecondFactor, UserData, UserDataError, UserKey};
