//! Collections of documents.

use sea_orm::entity::prelude::*;

/// A row of `collections`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "collections")]
pub struct Model {
    /// A UUIDv7. Subscriptions and documents refer to it and not to the name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub project_id: String,
    /// Unique in the project, among collections that are not removed.
    pub name: String,
    pub created_at: i64,
    /// When the collection was removed. Its documents are deleted in the background, and then this row.
    pub removed_at: Option<i64>,
    /// The JSON schema as text.
    pub schema: Option<String>,
    /// The rules as JSON.
    pub rules: Option<String>,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
