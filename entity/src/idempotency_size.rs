//! The bytes that the stored outcomes of a caller take.

use sea_orm::entity::prelude::*;

/// A row of `idempotency_sizes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_sizes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// The id of the API key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub caller: String,
    /// A running total: the texts of the rows in `idempotency`, and 200 for each row.
    pub bytes: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
