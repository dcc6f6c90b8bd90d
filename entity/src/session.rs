//! Sessions of users.

use sea_orm::entity::prelude::*;

/// A row of `sessions`. A session that ended has none.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    /// A UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub project_id: String,
    pub user_id: String,
    /// How the user signed in, such as `password`.
    pub method: String,
    pub created_at: i64,
    /// When the user last proved who they are.
    pub signed_in_at: i64,
    /// The time of the last refresh.
    pub used_at: i64,
    /// From here on it can't be refreshed.
    pub expires_at: i64,
    /// The current refresh token's: 1, 2, 3 …
    pub generation: i64,
    /// The SHA-256 hash of the current refresh token, in 64 hexadecimal digits.
    pub token_hash: String,
    /// The beginning of a `User-Agent`.
    pub device: Option<String>,
    pub address: Option<String>,
    /// The key with which it began, or was last refreshed.
    pub key_id: Option<String>,
    /// The refreshes of the last moments, as a JSON object.
    pub recent: Option<String>,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
