//! Creates the tables of users' credentials and sessions, and the collection `_users` of each project.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000012_create_users"
    }
}

const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS credentials (
    project_id {text} NOT NULL REFERENCES projects (id),
    user_id {text} NOT NULL,
    email {text},
    password {text},
    created_at {int} NOT NULL,
    PRIMARY KEY (project_id, user_id)
) {strict};
CREATE UNIQUE INDEX IF NOT EXISTS credentials_by_email ON credentials (project_id, email) WHERE email IS NOT NULL;

CREATE TABLE IF NOT EXISTS sessions (
    id {text} NOT NULL PRIMARY KEY,
    project_id {text} NOT NULL,
    user_id {text} NOT NULL,
    method {text} NOT NULL,
    created_at {int} NOT NULL,
    signed_in_at {int} NOT NULL,
    used_at {int} NOT NULL,
    expires_at {int} NOT NULL,
    generation {int} NOT NULL,
    token_hash {text} NOT NULL,
    device {text},
    address {text},
    FOREIGN KEY (project_id, user_id) REFERENCES credentials (project_id, user_id)
) {strict};
CREATE INDEX IF NOT EXISTS sessions_by_user ON sessions (project_id, user_id);
CREATE INDEX IF NOT EXISTS sessions_by_expiry ON sessions (expires_at);
"#;

/// A project that is created later gets its collection with it.
const COLLECTIONS: &str = "INSERT INTO collections (id, project_id, name, created_at) \
     SELECT {uuid}, projects.id, '_users', projects.created_at FROM projects \
     WHERE NOT EXISTS (SELECT 1 FROM collections WHERE collections.project_id = projects.id \
                       AND collections.name = '_users' AND removed_at IS NULL)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let words = match manager.get_database_backend() {
            DbBackend::Postgres => [
                ("{text}", "TEXT COLLATE \"C\""),
                ("{int}", "BIGINT"),
                ("{strict}", ""),
                ("{uuid}", "gen_random_uuid()::text"),
            ],
            // A UUID of version 4, made of 16 random bytes.
            _ => [
                ("{text}", "TEXT"),
                ("{int}", "INTEGER"),
                ("{strict}", "STRICT"),
                (
                    "{uuid}",
                    "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) \
                     || '-8' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))",
                ),
            ],
        };
        for sql in [TABLES, COLLECTIONS] {
            let sql = words.iter().fold(sql.to_owned(), |sql, (mark, word)| sql.replace(mark, word));
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["sessions", "credentials"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        Ok(())
    }
}
