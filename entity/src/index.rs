//! An index that a collection declares.

use sea_orm::entity::prelude::*;

/// A row of `indexes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "indexes")]
pub struct Model {
    /// UUIDv7; the names of the database's own indexes are made of it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The project of its collection.
    pub project_id: String,
    /// The collection whose documents it holds.
    pub collection_id: String,
    /// JSON array of field names, each with `-` before it for descending.
    pub fields: String,
    /// 1 if no two documents may be alike in its fields.
    pub is_unique: i64,
    /// `building`, `ready`, `failed`; `removed` until the database's own index is dropped.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// None is declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
