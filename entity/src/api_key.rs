//! API keys, of which only the hash is stored.

use sea_orm::entity::prelude::*;

/// A row of `api_keys`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// A UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub project_id: String,
    /// `publishable` or `secret`.
    pub kind: String,
    /// The first characters of the key, by which people recognise it in a list.
    pub prefix: String,
    /// The SHA-256 hash of the key, in 64 hexadecimal digits. Unique.
    pub hash: String,
    /// Scopes with commas between them. `NULL` means all scopes.
    pub scopes: Option<String>,
    pub created_at: i64,
    /// By which people know it.
    pub name: Option<String>,
    /// A JSON array of origins. `NULL` means all origins.
    pub origins: Option<String>,
    /// `NULL` for a key that doesn't expire.
    pub expires_at: Option<i64>,
    /// In whole minutes.
    pub last_used_at: Option<i64>,
    /// The key that has replaced it.
    pub successor: Option<String>,
    /// How often it was changed.
    pub revision: i64,
    /// The revision with the last change of its scopes or origins.
    pub rescoped: i64,
    /// `NULL` while the key is valid.
    pub revoked_at: Option<i64>,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
