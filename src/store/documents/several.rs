//! Several documents at once, by their ids, bounded in bytes.
//!
//! The database adds up the stored sizes in the order that was asked for, and gives no data after the bound is reached. So
//! a request for large documents takes no more memory than a request for small ones. SQLite looks up the data afterwards, because
//! it copies every column that goes through a sum.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, QueryResult};

use crate::{
    domain::{CollectionId, Document, DocumentId, DocumentKey},
    store::{
        Result, Sql, WriteTx,
        db::rows::Rows,
        documents::table::{read_bounded, read_document},
        log::changes::PageSize,
    },
};

/// The columns of a document, and its place in the JSON array $1 of keys. The data is NULL if the documents before it reach
/// $2 bytes of memory.
const GET_MANY: Sql = Sql {
    sqlite: "SELECT d.id, iif(preceding < ?2, json(d.data), NULL), d.created_at, d.updated_at, d.version, place FROM ( \
                 SELECT d.rowid AS found, k.key AS place, SUM(d.size) OVER (ORDER BY k.key) - d.size AS preceding \
                 FROM json_each(?1) AS k CROSS JOIN documents AS d \
                 WHERE d.collection_id = k.value ->> 0 AND d.id = k.value ->> 1) \
             CROSS JOIN documents AS d ON d.rowid = found",
    postgres: "SELECT id, CASE WHEN preceding < $2 THEN data::text END, created_at, updated_at, version, place FROM ( \
                   SELECT d.*, k.place - 1 AS place, (SUM(d.size) OVER (ORDER BY k.place))::bigint - d.size AS preceding \
                   FROM json_array_elements($1::json) WITH ORDINALITY AS k(v, place) \
                   JOIN documents AS d ON d.collection_id = k.v ->> 0 AND d.id = k.v ->> 1) AS found",
};

/// The documents after the id $2 in the order of ids: at most $3, and none that begins after $4 bytes of memory.
const AFTER_ID: Sql = Sql {
    sqlite: "SELECT d.id, json(d.data), d.created_at, d.updated_at, d.version FROM ( \
                 SELECT *, SUM(size) OVER (ORDER BY id) - size AS preceding FROM ( \
                     SELECT rowid AS found, id, size FROM documents WHERE collection_id = ?1 AND id > ?2 \
                     ORDER BY id LIMIT ?3)) AS page \
             CROSS JOIN documents AS d ON d.rowid = found WHERE preceding < ?4 ORDER BY page.id",
    postgres: "SELECT id, data::text, created_at, updated_at, version FROM ( \
                   SELECT *, SUM(size) OVER (ORDER BY id) - size AS preceding FROM ( \
                       SELECT * FROM documents WHERE collection_id = $1 AND id > $2 ORDER BY id LIMIT $3) AS part) AS page \
               WHERE preceding < $4 ORDER BY id",
};

/// The result of a bounded read for a document that exists.
pub enum Found {
    Document(Arc<Document>),
    /// The document exists but was not read, because those before it reach the bound.
    BeyondBound,
}

/// A document that a bounded read found, and the place of its key among those that were asked for.
pub struct FoundAt {
    pub place: usize,
    pub found: Found,
}

/// Reads documents that a transaction may write. Missing documents are left out. Documents after the one that reaches
/// `max_bytes`, by `Data::weight`, are [`Found::BeyondBound`].
///
/// # Errors
/// A database failure.
pub async fn get_many(tx: &mut WriteTx, keys: &[DocumentKey], max_bytes: usize) -> Result<Vec<FoundAt>> {
    let keys = key_rows(keys.iter().map(|key| (&key.collection, &key.id)));
    let rows = tx.query(GET_MANY, [keys.to_json().into(), (max_bytes as i64).into()]).await?;
    let read = |row: &QueryResult| {
        let place = row.try_get_by_index::<i64>(5)? as usize;
        Ok(FoundAt { place, found: read_found(row)? })
    };
    rows.iter().map(read).collect()
}

/// Reads the documents with these ids that exist. Returns `None` if they take more than `max_bytes`, by `Data::weight`.
///
/// # Errors
/// A database failure.
pub async fn find_many(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    ids: &[DocumentId],
    max_bytes: usize,
) -> Result<Option<Vec<Document>>> {
    let keys = key_rows(ids.iter().map(|id| (collection, id)));
    let values = [keys.to_json().into(), (max_bytes as i64).into()];
    read_all_within(&db.query_all_raw(GET_MANY.bind(db.get_database_backend(), values)).await?)
}

/// Reads the next documents of a collection in the order of their ids, after the id `after`. Empty at the end.
///
/// A reader of page after page sees each document that exists all the while.
///
/// # Errors
/// A database failure.
pub async fn read_after_id(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    after: Option<&DocumentId>,
    size: PageSize,
) -> Result<Vec<Document>> {
    let values = [
        collection.as_str().into(),
        // The empty text sorts before any id.
        after.map_or("", DocumentId::as_str).into(),
        (size.entries as i64).into(),
        (size.bytes as i64).into(),
    ];
    let rows = db.query_all_raw(AFTER_ID.bind(db.get_database_backend(), values)).await?;
    rows.iter().map(|row| read_document(row, 0)).collect()
}

/// Reads rows whose data is NULL beyond a bound. Returns `None` if there is such a row.
pub(super) fn read_all_within(rows: &[QueryResult]) -> Result<Option<Vec<Document>>> {
    rows.iter().map(|row| read_bounded(row, 0)).collect()
}

fn read_found(row: &QueryResult) -> Result<Found> {
    Ok(read_bounded(row, 0)?.map_or(Found::BeyondBound, |document| Found::Document(Arc::new(document))))
}

fn key_rows<'a>(keys: impl Iterator<Item = (&'a CollectionId, &'a DocumentId)>) -> Rows {
    let mut rows = Rows::default();
    for (collection, id) in keys {
        rows.row().text(collection.as_str()).text(id.as_str());
    }
    rows
}
