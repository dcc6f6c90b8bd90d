//! States of sign-ins with other providers that were used.

use sea_orm::entity::prelude::*;

/// A row of `used_states`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "used_states")]
pub struct Model {
    /// The SHA-256 hash of the state, in hexadecimal.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: String,
    /// From here on the state is good for nothing, so that nobody needs the row.
    pub expires_at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
