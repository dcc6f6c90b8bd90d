//! One document, by its id.

use sea_orm::ConnectionTrait;

use crate::{
    domain::{CollectionId, Document, DocumentId},
    store::{Result, Sql, documents::table::read_document},
};

const FIND: Sql = Sql {
    sqlite: "SELECT id, json(data), created_at, updated_at, version FROM documents WHERE collection_id = ? AND id = ?",
    postgres: "SELECT id, data::text, created_at, updated_at, version FROM documents \
               WHERE collection_id = $1 AND id = $2",
};

/// Finds a document.
///
/// # Errors
/// A database failure.
pub async fn find(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    id: &DocumentId,
) -> Result<Option<Document>> {
    let values = [collection.as_str().into(), id.as_str().into()];
    let row = db.query_one_raw(FIND.bind(db.get_database_backend(), values)).await?;
    row.map(|row| read_document(&row, 0)).transpose()
}
