//! Entries of the change log.

use sea_orm::entity::prelude::*;

/// A row of `changes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "changes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// 1, 2, 3 … without gaps, in commit order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub sequence: i64,
    pub at: i64,
    /// The memory that the entry takes, in bytes. Reads are bounded by it before they load any image.
    pub size: i64,
    /// `NULL` for a control entry.
    pub collection_id: Option<String>,
    /// `NULL` for a control entry.
    pub document_id: Option<String>,
    /// The document before the change, as JSON text. `NULL` if it was created.
    pub before: Option<String>,
    /// The document after the change, as JSON text. `NULL` if it was deleted.
    pub after: Option<String>,
    /// The control entry as JSON text. `NULL` for a change of a document.
    pub control: Option<String>,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
