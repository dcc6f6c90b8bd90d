//! The rows of collections.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};

use entity::collection;

use crate::{
    domain::{Collection, CollectionId, CollectionName, ProjectId, Schema, Timestamp},
    query::rule::RuleSet,
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

const INSERT: RowsSql = RowsSql::same(
    "INSERT INTO collections (id, project_id, name, created_at, schema) \
     SELECT column1, column2, column3, column4, column5 FROM {rows} WHERE column1 IS NOT NULL",
);
const LIST: Sql = Sql::same(
    "SELECT id, name, created_at, schema, rules FROM collections WHERE project_id = $1 AND removed_at IS NULL",
);
const HAS_REMOVED: Sql = Sql::same("SELECT id FROM collections WHERE removed_at IS NOT NULL LIMIT 1");
const LOCK_REMOVED: Sql = Sql {
    sqlite: "SELECT id FROM collections WHERE removed_at IS NOT NULL LIMIT 1",
    postgres: "SELECT id FROM collections WHERE removed_at IS NOT NULL LIMIT 1 FOR UPDATE SKIP LOCKED",
};
const LOCK_REMOVED_ONE: Sql = Sql {
    sqlite: "SELECT id FROM collections WHERE id = ?1 AND removed_at IS NOT NULL",
    postgres: "SELECT id FROM collections WHERE id = $1 AND removed_at IS NOT NULL FOR UPDATE SKIP LOCKED",
};
const CHANGE: Sql = Sql::same("UPDATE collections SET name = $2, schema = $3 WHERE id = $1");
const SET_RULES: Sql = Sql::same("UPDATE collections SET rules = $2 WHERE id = $1");
const MARK_REMOVED: Sql = Sql::same("UPDATE collections SET removed_at = $2 WHERE id = $1");
// A node of an older version may still be deleting some of its documents.
const DELETE: Sql = Sql::same(
    "DELETE FROM collections WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM documents WHERE collection_id = $1) RETURNING id",
);

/// A collection with its rules, if it has any.
pub type Ruled = (Collection, Option<RuleSet>);

/// Lists the collections of a project by name, without removed ones.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait, project: &ProjectId) -> Result<Vec<Ruled>> {
    let rows = collection::Entity::find()
        .filter(collection::Column::ProjectId.eq(project.as_str()))
        .filter(collection::Column::RemovedAt.is_null())
        .order_by_asc(collection::Column::Name)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(to_collection).collect())
}

/// Lists like [`list`], in a write transaction and in no order.
///
/// # Errors
/// A database failure.
pub async fn list_locked(tx: &mut WriteTx, project: &ProjectId) -> Result<Vec<Ruled>> {
    let rows = tx.query(LIST, [project.as_str().into()]).await?;
    rows.iter()
        .map(|row| {
            let text = |column| row.try_get_by_index::<String>(column);
            let rules = row.try_get_by_index::<Option<String>>(4)?.as_deref().map(RuleSet::from_stored);
            let collection = Collection {
                id: CollectionId::from_stored(&text(0)?),
                name: CollectionName::from_stored(&text(1)?),
                created_at: Timestamp(row.try_get_by_index(2)?),
                schema: row.try_get_by_index::<Option<String>>(3)?.as_deref().map(Schema::from_stored),
            };
            Ok((collection, rules))
        })
        .collect()
}

/// Whether a collection exists and is not removed.
///
/// # Errors
/// A database failure.
pub async fn is_there(db: &impl ConnectionTrait, id: &CollectionId) -> Result<bool> {
    let found = collection::Entity::find_by_id(id.as_str()).one(db).await?;
    Ok(found.is_some_and(|collection| collection.removed_at.is_none()))
}

/// Locks a removed collection until the transaction ends, so that no other node deletes its documents meanwhile: the `wanted` one
/// or any. `None` if there is none, or if others hold them.
///
/// # Errors
/// A database failure.
pub async fn lock_removed(tx: &mut WriteTx, wanted: Option<&CollectionId>) -> Result<Option<CollectionId>> {
    let rows = match wanted {
        Some(wanted) => tx.query(LOCK_REMOVED_ONE, [wanted.as_str().into()]).await?,
        None => tx.query(LOCK_REMOVED, []).await?,
    };
    rows.first().map(|row| Ok(CollectionId::from_stored(&row.try_get_by_index::<String>(0)?))).transpose()
}

/// Whether there is a removed collection, locked or not.
///
/// # Errors
/// A database failure.
pub async fn has_removed(tx: &mut WriteTx) -> Result<bool> {
    Ok(!tx.query(HAS_REMOVED, []).await?.is_empty())
}

/// Adds collections. Deferred.
pub fn insert_many(tx: &mut WriteTx, collections: &[(ProjectId, Collection)]) {
    let mut rows = Rows::default();
    for (project, collection) in collections {
        rows.row()
            .text(collection.id.as_str())
            .text(project.as_str())
            .text(collection.name.as_str())
            .integer(collection.created_at.0)
            .optional_text(collection.schema.as_ref().map(|schema| schema.text()));
    }
    tx.defer_rows(INSERT, rows);
}

/// Writes a collection's name and schema. Deferred.
pub fn change(tx: &mut WriteTx, collection: &Collection) {
    let schema = collection.schema.as_ref().map(|schema| schema.text().to_owned());
    tx.defer(CHANGE, [collection.id.as_str().into(), collection.name.as_str().into(), schema.into()]);
}

/// Writes a collection's rules. Deferred.
pub fn set_rules(tx: &mut WriteTx, id: &CollectionId, rules: Option<&RuleSet>) {
    tx.defer(SET_RULES, [id.as_str().into(), rules.map(|rules| rules.source().to_string()).into()]);
}

/// Marks a collection as removed. Its name is free at once, and its documents are deleted later. Deferred.
pub fn mark_removed(tx: &mut WriteTx, id: &CollectionId, at: Timestamp) {
    tx.defer(MARK_REMOVED, [id.as_str().into(), at.0.into()]);
}

/// Deletes the row of a removed collection, and returns whether it did: the row stays if the collection has documents left.
///
/// # Errors
/// A database failure.
pub async fn delete(tx: &mut WriteTx, id: &CollectionId) -> Result<bool> {
    Ok(!tx.query(DELETE, [id.as_str().into()]).await?.is_empty())
}

fn to_collection(row: collection::Model) -> Ruled {
    let rules = row.rules.as_deref().map(RuleSet::from_stored);
    let collection = Collection {
        id: CollectionId::from_stored(&row.id),
        name: CollectionName::from_stored(&row.name),
        created_at: Timestamp(row.created_at),
        schema: row.schema.as_deref().map(Schema::from_stored),
    };
    (collection, rules)
}
