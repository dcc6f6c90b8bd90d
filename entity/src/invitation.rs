//! Accounts that wait for their owners: invitations, and sign-ups that are to be confirmed.

use sea_orm::entity::prelude::*;

/// A row of `invitations`. One that was accepted has none.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "invitations")]
pub struct Model {
    /// A UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub project_id: String,
    /// The SHA-256 hash of the link's token, in 64 hexadecimal digits.
    pub hash: String,
    /// The address that it was sent to, in lower case.
    pub email: String,
    /// Only a node of an older version sets it, for a sign-up, which is then good for nothing.
    pub password: Option<String>,
    /// 1 for a sign-up, 0 for an invitation.
    pub is_sign_up: i64,
    /// A JSON array of texts.
    pub roles: String,
    /// A JSON object.
    pub profile: String,
    pub created_at: i64,
    pub expires_at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
