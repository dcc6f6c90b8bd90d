//! The current state of documents.

use sea_orm::entity::prelude::*;

/// A row of `documents`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "documents")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub collection_id: String,
    /// Unique in its collection.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The memory that the data takes, in bytes. Reads are bounded by it before they load any data.
    pub size: i64,
    /// JSONB on both databases. It is written through `jsonb(…)` and read as text, and never through this model.
    pub data: String,
    pub created_at: i64,
    pub updated_at: i64,
    /// Counts the writes to this document, from 1.
    pub version: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
