//! Mails that wait in the outbox of a server without SMTP.

use sea_orm::entity::prelude::*;

/// A row of `mails`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "mails")]
pub struct Model {
    /// A UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub project_id: String,
    /// Why it was written, such as `reset-password`.
    pub kind: String,
    /// The address it is for.
    pub recipient: String,
    pub subject: String,
    pub body: String,
    pub created_at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
