//! Creates the tables of projects, keys, collections, documents and the change log.
//!
//! The step is SQL text, because no schema builder has JSONB, partial indexes, `STRICT` and `COLLATE "C"`. Each statement has
//! `IF NOT EXISTS`: on SQLite a step is not one transaction, and a step that was cut short is run again. The two dialects
//! differ only in the words that `words` lists.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261124_000001_create_tables"
    }
}

/// Lists a placeholder, and its text on SQLite and on PostgreSQL.
fn words() -> [(&'static str, &'static str, &'static str); 4] {
    [
        // Text is compared by code point. The default collation of SQLite does that.
        ("{text}", "TEXT", "TEXT COLLATE \"C\""),
        ("{int}", "INTEGER", "BIGINT"),
        ("{json}", "BLOB", "JSONB"),
        ("{strict}", "STRICT", ""),
    ]
}

const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS projects (
    id {text} NOT NULL PRIMARY KEY,
    name {text} NOT NULL UNIQUE,
    created_at {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS heads (
    project_id {text} NOT NULL PRIMARY KEY REFERENCES projects (id),
    epoch {text} NOT NULL,
    head {int} NOT NULL,
    head_at {int} NOT NULL,
    floor {int} NOT NULL,
    floor_at {int} NOT NULL,
    control {int} NOT NULL
) {strict};

CREATE TABLE IF NOT EXISTS api_keys (
    id {text} NOT NULL PRIMARY KEY,
    project_id {text} NOT NULL REFERENCES projects (id),
    kind {text} NOT NULL,
    prefix {text} NOT NULL,
    hash {text} NOT NULL UNIQUE,
    scopes {text},
    created_at {int} NOT NULL,
    revoked_at {int}
) {strict};

CREATE TABLE IF NOT EXISTS collections (
    id {text} NOT NULL PRIMARY KEY,
    project_id {text} NOT NULL REFERENCES projects (id),
    name {text} NOT NULL,
    created_at {int} NOT NULL,
    removed_at {int}
) {strict};
CREATE UNIQUE INDEX IF NOT EXISTS collections_by_name ON collections (project_id, name) WHERE removed_at IS NULL;

CREATE TABLE IF NOT EXISTS documents (
    collection_id {text} NOT NULL,
    id {text} NOT NULL,
    size {int} NOT NULL,
    created_at {int} NOT NULL,
    updated_at {int} NOT NULL,
    version {int} NOT NULL,
    data {json} NOT NULL,
    PRIMARY KEY (collection_id, id)
) {strict};
CREATE INDEX IF NOT EXISTS documents_by_age ON documents (collection_id, created_at, id);

CREATE TABLE IF NOT EXISTS changes (
    project_id {text} NOT NULL,
    sequence {int} NOT NULL,
    at {int} NOT NULL,
    size {int} NOT NULL,
    collection_id {text},
    document_id {text},
    before {text},
    after {text},
    control {text},
    PRIMARY KEY (project_id, sequence)
) {strict};
CREATE INDEX IF NOT EXISTS changes_by_collection ON changes (collection_id, sequence) WHERE collection_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS changes_of_control ON changes (project_id, sequence) WHERE collection_id IS NULL;

CREATE TABLE IF NOT EXISTS idempotency (
    project_id {text} NOT NULL,
    caller {text} NOT NULL,
    key {text} NOT NULL,
    request {text} NOT NULL,
    outcome {text} NOT NULL,
    created_at {int} NOT NULL,
    PRIMARY KEY (project_id, caller, key)
) {strict};
CREATE INDEX IF NOT EXISTS idempotency_by_age ON idempotency (created_at);
"#;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        let mut sql = TABLES.to_owned();
        for (placeholder, sqlite_word, postgres_word) in words() {
            sql = sql.replace(placeholder, if postgres { postgres_word } else { sqlite_word });
        }
        manager.get_connection().execute_unprepared(&sql).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["idempotency", "changes", "documents", "collections", "api_keys", "heads", "projects"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        Ok(())
    }
}
