//! What a write with an `Idempotency-Key` came to, so that its repetition is answered and not done again.

use sea_orm::entity::prelude::*;

/// A row of `idempotency`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency")]
pub struct Model {
    /// The project.
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// Id of the key (later: of the user) that asked.
    #[sea_orm(primary_key, auto_increment = false)]
    pub caller: String,
    /// The client's key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// SHA-256 of the request, 64 hexadecimal digits: the same key with another request is a conflict.
    pub request: String,
    /// The outcome, as JSON text.
    pub outcome: String,
    /// Milliseconds since the epoch; kept for 24 hours.
    pub created_at: i64,
}

/// None is declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
