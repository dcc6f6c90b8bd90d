//! Indexes that collections declare.

use sea_orm::entity::prelude::*;

/// A row of `indexes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "indexes")]
pub struct Model {
    /// A UUIDv7. The names of the database's own indexes contain it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub project_id: String,
    pub collection_id: String,
    /// A JSON array of field names, with `-` before a name for descending.
    pub fields: String,
    /// 1 if the index is unique.
    pub is_unique: i64,
    /// `building`, `ready` or `failed`; or `removed`, until the database's own index is dropped.
    pub state: String,
    /// Why the index failed.
    pub error: Option<String>,
    pub created_at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
