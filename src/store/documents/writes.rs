//! The documents that a batch writes.

use std::collections::HashSet;

use crate::{
    domain::{CollectionId, Document, DocumentId, DocumentKey},
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
        log::changes::PageSize,
    },
};

const INSERT: RowsSql = RowsSql {
    sqlite: "INSERT INTO documents (collection_id, id, size, created_at, updated_at, version, data) \
             SELECT column1, column2, column3, column4, column5, column6, jsonb(column7) FROM {rows} \
             WHERE column1 IS NOT NULL",
    postgres: "INSERT INTO documents (collection_id, id, size, created_at, updated_at, version, data) \
               SELECT column1, column2, column3, column4, column5, column6, \
                      column7::jsonb FROM {rows}",
};

/// Inserts the documents that no unique index rejects, and returns their keys.
const INSERT_ACCEPTED: RowsSql = RowsSql {
    sqlite: "INSERT INTO documents (collection_id, id, size, created_at, updated_at, version, data) \
             SELECT column1, column2, column3, column4, column5, column6, jsonb(column7) FROM {rows} \
             WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING RETURNING collection_id, id",
    postgres: "INSERT INTO documents (collection_id, id, size, created_at, updated_at, version, data) \
               SELECT column1, column2, column3, column4, column5, column6, \
                      column7::jsonb FROM {rows} \
               ON CONFLICT DO NOTHING RETURNING collection_id, id",
};

const UPDATE: RowsSql = RowsSql {
    sqlite: "UPDATE documents SET size = column3, created_at = column4, updated_at = column5, version = column6, \
                    data = jsonb(column7) FROM {rows} WHERE collection_id = column1 AND id = column2",
    postgres: "UPDATE documents SET size = column3, created_at = column4, \
                      updated_at = column5, version = column6, data = column7::jsonb \
               FROM {rows} WHERE collection_id = column1 AND id = column2",
};

const DELETE: RowsSql = RowsSql {
    sqlite: "DELETE FROM documents WHERE (collection_id, id) IN (SELECT column1, column2 FROM {rows})",
    postgres: "DELETE FROM documents USING {rows} \
               WHERE collection_id = column1 AND id = column2",
};

/// The next documents in the order of ids after $2: at most $3, and none that begins after $4 bytes of memory. Documents that
/// another node deletes are skipped.
const DELETE_SOME: Sql = Sql {
    sqlite: "DELETE FROM documents WHERE collection_id = ?1 AND id IN (SELECT id FROM ( \
                 SELECT id, SUM(size) OVER (ORDER BY id) - size AS preceding FROM ( \
                     SELECT id, size FROM documents WHERE collection_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3)) \
                 WHERE preceding < ?4) \
             RETURNING id",
    postgres: "DELETE FROM documents WHERE collection_id = $1 AND id IN (SELECT id FROM ( \
                   SELECT id, SUM(size) OVER (ORDER BY id) - size AS preceding FROM ( \
                       SELECT id, size FROM documents WHERE collection_id = $1 AND id > $2 ORDER BY id LIMIT $3 \
                       FOR UPDATE SKIP LOCKED) AS part) AS page \
                   WHERE preceding < $4) \
               RETURNING id",
};

/// The documents that a batch writes, each in its last state.
#[derive(Default)]
pub struct DocumentWrites<'a> {
    /// Documents that no longer exist.
    pub deletes: Vec<&'a DocumentKey>,
    /// Documents that existed before and still do.
    pub updates: Vec<DocumentWrite<'a>>,
    /// Documents that did not exist before.
    pub inserts: Vec<DocumentWrite<'a>>,
}

/// The new state of a document.
pub struct DocumentWrite<'a> {
    pub collection: &'a CollectionId,
    pub document: &'a Document,
}

impl DocumentWrites<'_> {
    /// Counts the statements that they take.
    pub fn statements(&self) -> usize {
        [self.deletes.is_empty(), self.updates.is_empty(), self.inserts.is_empty()]
            .into_iter()
            .filter(|is_empty| !is_empty)
            .count()
    }
}

/// Writes documents with at most three statements. Deletes go first, because an insert may take a unique value that a
/// delete gives up. Deferred. If a unique index rejects one document, its whole statement fails.
pub fn write_many(tx: &mut WriteTx, writes: &DocumentWrites<'_>) {
    tx.defer_rows(DELETE, key_rows(&writes.deletes));
    tx.defer_rows(UPDATE, document_rows(&writes.updates));
    tx.defer_rows(INSERT, document_rows(&writes.inserts));
}

/// Finds the inserts that a unique index rejects after the deletes are done. If two inserts exclude each other, the second
/// is rejected. Updates are left out. The caller must roll back.
///
/// # Errors
/// A database failure.
pub async fn find_rejected(tx: &mut WriteTx, writes: &DocumentWrites<'_>) -> Result<Vec<DocumentKey>> {
    tx.defer_rows(DELETE, key_rows(&writes.deletes));
    let rows = tx.query_rows(INSERT_ACCEPTED, document_rows(&writes.inserts)).await?;
    let mut done = HashSet::with_capacity(rows.len());
    for row in &rows {
        let (collection, id): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let collection = CollectionId::from_stored(&collection);
        done.insert(DocumentKey { collection, id: DocumentId::from_stored(&id) });
    }
    let keys = writes
        .inserts
        .iter()
        .map(|write| DocumentKey { collection: write.collection.clone(), id: write.document.id.clone() });
    Ok(keys.filter(|key| !done.contains(key)).collect())
}

/// Deletes some documents of a removed collection, in the order of their ids after `after`, and returns the last of them; `None`
/// at the end. The log has one entry for the collection and none for its documents.
///
/// # Errors
/// A database failure.
pub async fn delete_some(
    tx: &mut WriteTx,
    collection: &CollectionId,
    after: Option<&DocumentId>,
    size: PageSize,
) -> Result<Option<DocumentId>> {
    let values = [
        collection.as_str().into(),
        // The empty text sorts before any id.
        after.map_or("", DocumentId::as_str).into(),
        (size.entries as i64).into(),
        (size.bytes as i64).into(),
    ];
    let rows = tx.query(DELETE_SOME, values).await?;
    let ids: Result<Vec<String>> = rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect();
    Ok(ids?.iter().max().map(|id| DocumentId::from_stored(id)))
}

fn key_rows(keys: &[&DocumentKey]) -> Rows {
    let mut rows = Rows::default();
    for key in keys {
        rows.row().text(key.collection.as_str()).text(key.id.as_str());
    }
    rows
}

fn document_rows(writes: &[DocumentWrite<'_>]) -> Rows {
    let mut rows = Rows::default();
    for DocumentWrite { collection, document } in writes {
        rows.row()
            .text(collection.as_str())
            .text(document.id.as_str())
            .integer(document.data.weight() as i64)
            .integer(document.created_at.0)
            .integer(document.updated_at.0)
            .integer(document.version as i64)
            .text(document.data.text());
    }
    rows
}
