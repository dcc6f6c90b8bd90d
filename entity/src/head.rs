//! The ends of the projects' change logs. They have a table of their own, because every write locks its project's row here. A
//! lock on `projects` would block every insert that refers to the project.

use sea_orm::entity::prelude::*;

/// A row of `heads`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "heads")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// 16 random hexadecimal digits. A log with another epoch has another history.
    pub epoch: String,
    /// The sequence of the last entry. 0 if there is none.
    pub head: i64,
    /// The time of the last entry. 0 if there is none.
    pub head_at: i64,
    /// The sequence of the last pruned entry: the first position from which the log can be read.
    pub floor: i64,
    /// The time of the entry at `floor`.
    pub floor_at: i64,
    /// The sequence of the last control entry. Caches of collections and keys stay valid while it is unchanged.
    pub control: i64,
    /// The size of the log: the bytes of the entries' texts, and 100 for each entry.
    pub bytes: i64,
    /// The sequence of the last entry that a wrong clock wrote, with a time after what follows. 0 if there is none.
    pub corrected: i64,
    /// When the clock was corrected.
    pub corrected_at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
