//! The current state of documents. The table's name is known here alone, so that a table per project stays possible.

use std::{collections::HashSet, sync::Arc};

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, sea_query::SelectStatement};

use crate::{
    domain::{CollectionId, Data, Document, DocumentId, LogEnds, ProjectId, Timestamp},
    store::{
        Result, Sql, StoreError, WriteTx,
        db::rows::{Rows, RowsSql},
        documents::list::{LOG_ENDS_COLUMN, Listing, document_columns, size_columns},
        log::{changes::PageSize, ends::read_log_ends},
    },
};

/// The table; named nowhere else but in the constant statements here.
pub(in crate::store) const TABLE: &str = "documents";

/// A document's place: which collection, which id.
pub type DocumentKey = (CollectionId, DocumentId);

const FIND: Sql = Sql {
    sqlite: "SELECT id, json(data), created_at, updated_at, version FROM documents WHERE collection_id = ? AND id = ?",
    postgres: "SELECT id, data::text, created_at, updated_at, version FROM documents \
               WHERE collection_id = $1 AND id = $2",
};

/// The data of a document is left out once those before it, in the order asked for, fill $2 bytes of memory.
const GET_MANY: Sql = Sql {
    sqlite: "SELECT id, iif(preceding < ?2, json(data), NULL), created_at, updated_at, version, place FROM ( \
                 SELECT d.*, k.key AS place, SUM(d.size) OVER (ORDER BY k.key) - d.size AS preceding \
                 FROM json_each(?1) AS k CROSS JOIN documents AS d \
                 WHERE d.collection_id = k.value ->> 0 AND d.id = k.value ->> 1)",
    postgres: "SELECT id, CASE WHEN preceding < $2 THEN data::text END, created_at, updated_at, version, place FROM ( \
                   SELECT d.*, k.place - 1 AS place, (SUM(d.size) OVER (ORDER BY k.place))::bigint - d.size AS preceding \
                   FROM json_array_elements($1::json) WITH ORDINALITY AS k(v, place) \
                   JOIN documents AS d ON d.collection_id = k.v ->> 0 AND d.id = k.v ->> 1) AS found",
};

const INSERT: RowsSql = RowsSql {
    sqlite: "INSERT INTO documents (collection_id, id, size, created_at, updated_at, version, data) \
             SELECT column1, column2, column3, column4, column5, column6, jsonb(column7) FROM {rows} \
             WHERE column1 IS NOT NULL",
    postgres: "INSERT INTO documents (collection_id, id, size, created_at, updated_at, version, data) \
               SELECT v ->> 0, v ->> 1, (v ->> 2)::bigint, (v ->> 3)::bigint, (v ->> 4)::bigint, (v ->> 5)::bigint, \
                      (v ->> 6)::jsonb FROM json_array_elements($1::json) AS t(v)",
};

/// As [`INSERT`], of those that no unique index refuses.
const INSERT_FREE: RowsSql = RowsSql {
    sqlite: "INSERT INTO documents (collection_id, id, size, created_at, updated_at, version, data) \
             SELECT column1, column2, column3, column4, column5, column6, jsonb(column7) FROM {rows} \
             WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING RETURNING collection_id, id",
    postgres: "INSERT INTO documents (collection_id, id, size, created_at, updated_at, version, data) \
               SELECT v ->> 0, v ->> 1, (v ->> 2)::bigint, (v ->> 3)::bigint, (v ->> 4)::bigint, (v ->> 5)::bigint, \
                      (v ->> 6)::jsonb FROM json_array_elements($1::json) AS t(v) \
               ON CONFLICT DO NOTHING RETURNING collection_id, id",
};

const UPDATE: RowsSql = RowsSql {
    sqlite: "UPDATE documents SET size = column3, created_at = column4, updated_at = column5, version = column6, \
                    data = jsonb(column7) FROM {rows} WHERE collection_id = column1 AND id = column2",
    postgres: "UPDATE documents SET size = (v ->> 2)::bigint, created_at = (v ->> 3)::bigint, \
                      updated_at = (v ->> 4)::bigint, version = (v ->> 5)::bigint, data = (v ->> 6)::jsonb \
               FROM json_array_elements($1::json) AS t(v) WHERE collection_id = v ->> 0 AND id = v ->> 1",
};

const DELETE: RowsSql = RowsSql {
    sqlite: "DELETE FROM documents WHERE (collection_id, id) IN (SELECT column1, column2 FROM {rows})",
    postgres: "DELETE FROM documents USING json_array_elements($1::json) AS t(v) \
               WHERE collection_id = v ->> 0 AND id = v ->> 1",
};

/// A page in the order of ids: at most $3 documents, and none that begins after $4 bytes of memory.
const PAGE_BY_ID: Sql = Sql {
    sqlite: "SELECT id, json(data), created_at, updated_at, version FROM ( \
                 SELECT *, SUM(size) OVER (ORDER BY id) - size AS preceding FROM ( \
                     SELECT * FROM documents WHERE collection_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3)) \
             WHERE preceding < ?4 ORDER BY id",
    postgres: "SELECT id, data::text, created_at, updated_at, version FROM ( \
                   SELECT *, SUM(size) OVER (ORDER BY id) - size AS preceding FROM ( \
                       SELECT * FROM documents WHERE collection_id = $1 AND id > $2 ORDER BY id LIMIT $3) AS part) AS page \
               WHERE preceding < $4 ORDER BY id",
};

const DELETE_SOME: Sql = Sql {
    sqlite: "DELETE FROM documents WHERE rowid IN (SELECT rowid FROM documents WHERE collection_id = ?1 LIMIT ?2) \
             RETURNING id",
    postgres: "DELETE FROM documents WHERE collection_id = $1 AND id IN \
               (SELECT id FROM documents WHERE collection_id = $1 LIMIT $2) RETURNING id",
};

/// What [`get_many`] found of a document that exists.
pub enum Found {
    /// The document.
    Document(Arc<Document>),
    /// It is there, but not read: those before it filled the bound.
    BeyondBound,
}

/// Reads one document.
///
/// # Errors
/// The database's own.
pub async fn find(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    id: &DocumentId,
) -> Result<Option<Document>> {
    let values = [collection.as_str().into(), id.as_str().into()];
    let row = db.query_one_raw(FIND.bind(db.get_database_backend(), values)).await?;
    row.map(|row| read_document(&row, 0)).transpose()
}

/// Reads the next documents of a collection in the order of their ids, after one of them; none at the end. Whoever reads page
/// after page sees each document that was there throughout.
///
/// # Errors
/// The database's own.
pub async fn page_by_id(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    after: Option<&DocumentId>,
    size: PageSize,
) -> Result<Vec<Document>> {
    let values = [
        collection.as_str().into(),
        // Before any id.
        after.map_or("", DocumentId::as_str).into(),
        (size.entries as i64).into(),
        (size.bytes as i64).into(),
    ];
    let rows = db.query_all_raw(PAGE_BY_ID.bind(db.get_database_backend(), values)).await?;
    rows.iter().map(|row| read_document(row, 0)).collect()
}

/// Reads documents before they are written: each that exists, with its place in `keys`. Once those before it come to
/// `max_bytes`, by `Data::weight`, a document is only said to be there.
///
/// # Errors
/// The database's own.
pub async fn get_many(
    tx: &mut WriteTx,
    keys: &[DocumentKey],
    max_bytes: usize,
) -> Result<Vec<(usize, Found)>> {
    let mut asked = Rows::default();
    for (collection, id) in keys {
        asked.row().text(collection.as_str()).text(id.as_str());
    }
    let rows = tx.query(GET_MANY, [asked.into_json(), (max_bytes as i64).into()]).await?;
    let read = |row: &QueryResult| {
        let place = row.try_get_by_index::<i64>(5)? as usize;
        let found = match row.try_get_by_index::<Option<String>>(1)? {
            Some(_) => Found::Document(Arc::new(read_document(row, 0)?)),
            None => Found::BeyondBound,
        };
        Ok((place, found))
    };
    rows.iter().map(read).collect()
}

/// The last states of the documents that a batch writes.
#[derive(Default)]
pub struct DocumentWrites<'a> {
    /// Documents that are gone.
    pub deletes: Vec<&'a DocumentKey>,
    /// Documents that were there before and still are.
    pub updates: Vec<(&'a DocumentKey, &'a Document)>,
    /// Documents that were not there before.
    pub inserts: Vec<(&'a DocumentKey, &'a Document)>,
}

impl DocumentWrites<'_> {
    /// How many statements they take.
    pub fn kinds(&self) -> usize {
        [self.deletes.is_empty(), self.updates.is_empty(), self.inserts.is_empty()]
            .into_iter()
            .filter(|is_empty| !is_empty)
            .count()
    }
}

/// Writes them with at most three statements: what leaves a place goes before what takes it. Deferred; a unique index may
/// refuse a whole statement.
pub fn write_many(tx: &mut WriteTx, writes: &DocumentWrites<'_>) {
    tx.defer_rows(DELETE, key_rows(&writes.deletes));
    tx.defer_rows(UPDATE, document_rows(&writes.updates));
    tx.defer_rows(INSERT, document_rows(&writes.inserts));
}

/// Finds out which inserts a unique index refuses, once the deletes are done; of two that refuse each other, the second.
/// Updates are left out. The caller undoes it.
///
/// # Errors
/// The database's own.
pub async fn find_refused(tx: &mut WriteTx, writes: &DocumentWrites<'_>) -> Result<Vec<DocumentKey>> {
    tx.defer_rows(DELETE, key_rows(&writes.deletes));
    let rows = tx.query_rows(INSERT_FREE, document_rows(&writes.inserts)).await?;
    let mut done = HashSet::with_capacity(rows.len());
    for row in &rows {
        let (collection, id): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        done.insert((CollectionId::from_stored(&collection), DocumentId::from_stored(&id)));
    }
    let refused = writes.inserts.iter().filter(|(key, _)| !done.contains(*key));
    Ok(refused.map(|(key, _)| (*key).clone()).collect())
}

fn key_rows(keys: &[&DocumentKey]) -> Rows {
    let mut rows = Rows::default();
    for (collection, id) in keys {
        rows.row().text(collection.as_str()).text(id.as_str());
    }
    rows
}

fn document_rows(documents: &[(&DocumentKey, &Document)]) -> Rows {
    let mut rows = Rows::default();
    for ((collection, id), document) in documents {
        rows.row()
            .text(collection.as_str())
            .text(id.as_str())
            .integer(document.data.weight() as i64)
            .integer(document.created_at.0)
            .integer(document.updated_at.0)
            .integer(document.version as i64)
            .text(document.data.text());
    }
    rows
}

/// Deletes at most `limit` documents of a removed collection and returns how many there were. The log has one entry for
/// the collection, and none for these.
///
/// # Errors
/// The database's own.
pub async fn delete_some(tx: &mut WriteTx, collection: &CollectionId, limit: usize) -> Result<usize> {
    let values = [collection.as_str().into(), (limit as i64).into()];
    Ok(tx.query(DELETE_SOME, values).await?.len())
}

/// A page of a list, and the log position that it was read at.
pub struct Listed {
    /// In the page's order.
    pub documents: Vec<Document>,
    /// Whether more may be on the page than fits into memory.
    pub is_cut: bool,
    /// The ends of the project's log at the moment of the read.
    pub ends: LogEnds,
}

/// A list of documents that is asked for.
#[derive(Clone, Copy)]
pub struct ListQuery<'a> {
    /// The project whose log ends belong to it.
    pub project: &'a ProjectId,
    /// The documents.
    pub listing: Listing<'a>,
    /// No document of the page is read that begins after so many bytes of memory.
    pub bytes: usize,
}

/// Documents of the greatest length that are read at once where most of them may not be wanted: a page that has no more is
/// cut after it was read, which is faster.
const MAX_UNCUT: u64 = 32;

/// Lists the documents of a collection that match. One statement, so that the log ends belong to exactly this result.
/// `None` if there is no such project.
///
/// # Errors
/// The database's own.
pub async fn list(db: &impl ConnectionTrait, query: ListQuery<'_>) -> Result<Option<Listed>> {
    let rows = db.query_all(&list_statement(query, db.get_database_backend())).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let ends = read_log_ends(first, LOG_ENDS_COLUMN)?;
    let (mut documents, mut bytes, mut is_cut) = (Vec::with_capacity(rows.len()), 0, false);
    for row in &rows {
        if row.try_get_by_index::<Option<String>>(0)?.is_none() {
            continue;
        }
        if bytes >= query.bytes {
            is_cut = true;
            break;
        }
        let document = read_document(row, 0)?;
        // The same measure as the size that was stored with it.
        bytes += document.data.weight();
        documents.push(document);
    }
    is_cut |= query.listing.page.limit > MAX_UNCUT && bytes >= query.bytes;
    Ok(Some(Listed { documents, is_cut, ends }))
}

/// The statement of [`list`].
pub fn list_statement(query: ListQuery<'_>, backend: DbBackend) -> SelectStatement {
    let listing = query.listing;
    let documents = match listing.page.limit > MAX_UNCUT {
        true => listing.rows(&size_columns(), backend).within(listing.collection, query.bytes, backend),
        false => listing.rows(&document_columns(backend), backend),
    };
    documents.with_log_ends(query.project)
}

/// Reads the columns `id, data, created_at, updated_at, version`, the first of them at `column`.
pub(in crate::store) fn read_document(row: &QueryResult, column: usize) -> Result<Document> {
    let integer = |at: usize| row.try_get_by_index::<i64>(column + at);
    let id = row.try_get_by_index::<String>(column)?;
    let text = row.try_get_by_index::<String>(column + 1)?;
    let data = Data::from_stored(&text)
        .map_err(|err| StoreError::custom(format!("document `{id}` can't be read: {err}")))?;
    Ok(Document {
        id: DocumentId::from_stored(&id),
        data,
        created_at: Timestamp(integer(2)?),
        updated_at: Timestamp(integer(3)?),
        version: integer(4)? as u64,
    })
}
