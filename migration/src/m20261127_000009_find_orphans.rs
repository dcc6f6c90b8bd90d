//! Finds documents whose collection is gone, which nodes of earlier versions could leave behind when they emptied one removed
//! collection together. Each such collection gets a row as a removed one, and the server then deletes its documents.

use sea_orm_migration::prelude::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000009_find_orphans"
    }
}

/// Goes from collection to collection along the primary key of `documents`, so it costs as much as there are collections, and
/// not documents.
const FIND: &str = r#"
INSERT INTO collections (id, project_id, name, created_at, removed_at)
WITH RECURSIVE c(id) AS (
    SELECT MIN(collection_id) FROM documents
    UNION ALL
    SELECT (SELECT MIN(collection_id) FROM documents WHERE collection_id > c.id) FROM c WHERE c.id IS NOT NULL
)
SELECT c.id, COALESCE((SELECT project_id FROM changes WHERE collection_id = c.id LIMIT 1), (SELECT MIN(id) FROM projects)),
       c.id, 0, 0
FROM c
WHERE c.id IS NOT NULL AND EXISTS (SELECT 1 FROM projects)
      AND NOT EXISTS (SELECT 1 FROM collections AS there WHERE there.id = c.id)
"#;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(FIND).await.map(|_| ())
    }

    /// There is nothing to undo.
    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}
