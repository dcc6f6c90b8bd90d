//! A collection of documents.

use sea_orm::entity::prelude::*;

/// A row of `collections`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "collections")]
pub struct Model {
    /// UUIDv7; subscriptions and cursors belong to it, not to the name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The project it is in.
    pub project_id: String,
    /// Unique in the project among those that are not removed.
    pub name: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// When it was removed. Its documents are deleted in the background, and then this row.
    pub removed_at: Option<i64>,
    /// JSON Schema as text.
    pub schema: Option<String>,
}

/// None is declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
