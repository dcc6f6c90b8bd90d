//! Tells sign-ups that are to be confirmed from invitations by a column of their own, since a sign-up has no password any more, and
//! remembers the refreshes of each session in the last moments.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000021_protect_accounts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Drops the sign-ups that are under way, whose passwords somebody else may have chosen. A node of an older version may still
    /// add some.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        db.execute_unprepared("DELETE FROM invitations WHERE password IS NOT NULL").await?;
        if !manager.has_column("invitations", "is_sign_up").await? {
            let kind = match manager.get_database_backend() {
                DbBackend::Postgres => "BIGINT",
                _ => "INTEGER",
            };
            let sql = format!("ALTER TABLE invitations ADD COLUMN is_sign_up {kind} NOT NULL DEFAULT 0");
            db.execute_unprepared(&sql).await?;
        }
        if manager.has_column("sessions", "recent").await? {
            return Ok(());
        }
        db.execute_unprepared("ALTER TABLE sessions ADD COLUMN recent TEXT").await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        db.execute_unprepared("ALTER TABLE sessions DROP COLUMN recent").await?;
        db.execute_unprepared("ALTER TABLE invitations DROP COLUMN is_sign_up").await.map(drop)
    }
}
