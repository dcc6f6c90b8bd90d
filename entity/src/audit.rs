//! Security events.

use sea_orm::entity::prelude::*;

/// A row of `audit`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    /// A UUIDv7, so that ids are in the order of time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub project_id: String,
    /// What happened, such as `signIn`.
    pub event: String,
    /// The user to whom it happened.
    pub user_id: Option<String>,
    /// The user who did it.
    pub by_user: Option<String>,
    /// The API key with which it was done.
    pub by_key: Option<String>,
    pub address: Option<String>,
    pub device: Option<String>,
    /// How often it happened.
    pub count: i64,
    /// More about it, as a JSON object.
    pub details: Option<String>,
    pub at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
