//! An API key, kept as its hash.

use sea_orm::entity::prelude::*;

/// A row of `api_keys`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The project it opens.
    pub project_id: String,
    /// `publishable` or `secret`.
    pub kind: String,
    /// The first characters of the key, by which people recognise it in a list.
    pub prefix: String,
    /// SHA-256 of the key, 64 hexadecimal digits; unique.
    pub hash: String,
    /// Comma-separated scopes; `NULL` means all.
    pub scopes: Option<String>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// When it was revoked; `NULL` while it is good.
    pub revoked_at: Option<i64>,
}

/// None is declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
