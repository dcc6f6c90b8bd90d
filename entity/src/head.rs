//! The end of a project's change log. A table of its own: every write locks its project's row here, and a
//! lock on `projects` would stall every insert that refers to it.

use sea_orm::entity::prelude::*;

/// A row of `heads`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "heads")]
pub struct Model {
    /// The project.
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// 16 hexadecimal digits, drawn when the log begins; another epoch is another history.
    pub epoch: String,
    /// Sequence of the last change; 0 when there is none.
    pub head: i64,
    /// Time of the last change; 0 when there is none.
    pub head_at: i64,
    /// Sequence of the last change that was pruned: the lowest position from which the log can be read.
    pub floor: i64,
    /// Time of the change at `floor`.
    pub floor_at: i64,
    /// Sequence of the last control entry: caches of collections and keys count while it is unchanged.
    pub control: i64,
    /// What the entries in the log occupy, in bytes of their texts, and 100 for each.
    pub bytes: i64,
}

/// None is declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
