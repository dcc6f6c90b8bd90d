//! Who users are to other providers of sign-ins.

use sea_orm::entity::prelude::*;

/// A row of `identities`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identities")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// The provider's own name for the person.
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    /// The URL of the provider.
    #[sea_orm(primary_key, auto_increment = false)]
    pub issuer: String,
    /// The id of the document in the collection `_users`.
    pub user_id: String,
    /// The name of the provider in the settings of the project.
    pub provider: String,
    pub email: Option<String>,
    pub created_at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
