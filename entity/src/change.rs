//! An entry of the change log.

use sea_orm::entity::prelude::*;

/// A row of `changes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "changes")]
pub struct Model {
    /// The project whose log this is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// Place in that log: 1, 2, 3 …, no gaps, in commit order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub sequence: i64,
    /// Milliseconds since the epoch.
    pub at: i64,
    /// What the entry takes in memory, in bytes, so that reads can be bounded before they are done.
    pub size: i64,
    /// The collection whose document changed; `NULL` on a control entry.
    pub collection_id: Option<String>,
    /// The document that changed; `NULL` on a control entry.
    pub document_id: Option<String>,
    /// The document before, as JSON text; `NULL` when it was made.
    pub before: Option<String>,
    /// The document after, as JSON text; `NULL` when it was deleted.
    pub after: Option<String>,
    /// The control entry, as JSON text; `NULL` on a change of a document.
    pub control: Option<String>,
}

/// None is declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
