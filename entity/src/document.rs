//! The current state of a document.

use sea_orm::entity::prelude::*;

/// A row of `documents`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "documents")]
pub struct Model {
    /// The collection it is in.
    #[sea_orm(primary_key, auto_increment = false)]
    pub collection_id: String,
    /// Unique in its collection.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// What the data takes in memory, in bytes, so that reads can be bounded before they are done.
    pub size: i64,
    /// JSONB on both databases, so it is written through `jsonb(…)` and read as text; never through a model.
    pub data: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
    /// Writes to this document, counted from 1.
    pub version: i64,
}

/// None is declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
