//! What is kept beside the documents of users, and never shown.

use sea_orm::entity::prelude::*;

/// A row of `credentials`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credentials")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// The id of the document in the collection `_users`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// In lower case. Unique in the project.
    pub email: Option<String>,
    /// The hash in PHC string format.
    pub password: Option<String>,
    /// The second factor as JSON, if the user has one.
    pub totp: Option<String>,
    /// 1 if a code by mail is the second factor, 0 if not.
    pub has_mail_factor: i64,
    pub created_at: i64,
}

/// No relations are declared. Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
