//! Outcomes of writes with an `Idempotency-Key`. A repeated write gets the stored outcome and is not done again.

use sea_orm::entity::prelude::*;

/// A row of `idempotency`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// The id of the caller's API key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub caller: String,
    /// The text that the client chose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// The SHA-256 hash of the request, in 64 hexadecimal digits. The same key with another request is a conflict.
    pub request: String,
    /// The outcome as JSON text.
    pub outcome: String,
    /// Rows are kept for 24 hours.
    pub created_at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
