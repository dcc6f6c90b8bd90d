//! The collections of a project.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};

use entity::collection;

use super::{Result, Sql, WriteTx, rows::Rows};
use crate::domain::{Collection, CollectionId, CollectionName, ProjectId, Timestamp};

const INSERT: Sql = Sql {
    sqlite: "INSERT INTO collections (id, project_id, name, created_at) \
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1)",
    postgres: "INSERT INTO collections (id, project_id, name, created_at) \
               SELECT v ->> 0, v ->> 1, v ->> 2, (v ->> 3)::bigint FROM json_array_elements($1::json) AS t(v)",
};
const RENAME: Sql = Sql::same("UPDATE collections SET name = $2 WHERE id = $1");
const MARK_REMOVED: Sql = Sql::same("UPDATE collections SET removed_at = $2 WHERE id = $1");
const DELETE: Sql = Sql::same("DELETE FROM collections WHERE id = $1");

/// The collections of a project that are not removed, by name.
///
/// # Errors
/// The database's own.
pub async fn list(db: &impl ConnectionTrait, project: &ProjectId) -> Result<Vec<Collection>> {
    let rows = collection::Entity::find()
        .filter(collection::Column::ProjectId.eq(project.as_str()))
        .filter(collection::Column::RemovedAt.is_null())
        .order_by_asc(collection::Column::Name)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(to_collection).collect())
}

/// The same inside a write transaction.
///
/// # Errors
/// The database's own.
pub async fn list_locked(tx: &WriteTx, project: &ProjectId) -> Result<Vec<Collection>> {
    list(&tx.tx, project).await
}

/// Ids of removed collections whose documents are still to be deleted.
///
/// # Errors
/// The database's own.
pub async fn list_removed_locked(tx: &WriteTx) -> Result<Vec<CollectionId>> {
    let rows =
        collection::Entity::find().filter(collection::Column::RemovedAt.is_not_null()).all(&tx.tx).await?;
    Ok(rows.iter().map(|row| CollectionId::from_stored(&row.id)).collect())
}

/// Adds collections.
///
/// # Errors
/// The database's own.
pub async fn insert_many(tx: &WriteTx, collections: &[(ProjectId, Collection)]) -> Result<()> {
    let mut rows = Rows::default();
    for (project, collection) in collections {
        rows.row()
            .text(collection.id.as_str())
            .text(project.as_str())
            .text(collection.name.as_str())
            .integer(collection.created_at.0);
    }
    if !rows.is_empty() {
        tx.execute(INSERT, [rows.into_value()]).await?;
    }
    Ok(())
}

/// Gives a collection another name.
///
/// # Errors
/// The database's own.
pub async fn rename(tx: &WriteTx, id: &CollectionId, name: &CollectionName) -> Result<()> {
    tx.execute(RENAME, [id.as_str().into(), name.as_str().into()]).await.map(|_| ())
}

/// Takes a collection away. Its name is free at once; its documents are deleted later.
///
/// # Errors
/// The database's own.
pub async fn mark_removed(tx: &WriteTx, id: &CollectionId, at: Timestamp) -> Result<()> {
    tx.execute(MARK_REMOVED, [id.as_str().into(), at.0.into()]).await.map(|_| ())
}

/// Deletes the row of a removed collection that has no documents left.
///
/// # Errors
/// The database's own.
pub async fn delete(tx: &WriteTx, id: &CollectionId) -> Result<()> {
    tx.execute(DELETE, [id.as_str().into()]).await.map(|_| ())
}

fn to_collection(row: collection::Model) -> Collection {
    Collection {
        id: CollectionId::from_stored(&row.id),
        name: CollectionName::from_stored(&row.name),
        created_at: Timestamp(row.created_at),
    }
}
