//! Codes that are good once: links and digits in mails, and tickets between two steps of a sign-in.

use sea_orm::entity::prelude::*;

/// A row of `codes`. A code that was used has none.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "codes")]
pub struct Model {
    /// The SHA-256 hash of the link's token, in 64 hexadecimal digits.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: String,
    pub project_id: String,
    pub user_id: String,
    /// What it is good for, such as `reset-password`.
    pub purpose: String,
    /// The address that it was sent to, in lower case.
    pub email: Option<String>,
    /// The SHA-256 hash of `hash` and the six digits, if it has digits.
    pub digits_hash: Option<String>,
    /// How many wrong codes were tried, where it was asked for.
    pub tries: i64,
    /// How many were tried elsewhere.
    pub other_tries: i64,
    /// The network or the server that asked for it.
    pub asked_from: Option<String>,
    pub created_at: i64,
    /// From here on it is good for nothing.
    pub expires_at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
