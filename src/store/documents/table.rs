//! The table of documents: its name, its columns, and how a row becomes a [`Document`].
//!
//! Only this file and the constant statements beside it name the table, so that a table per project stays possible.

use sea_orm::{
    DbBackend, QueryResult,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};

use crate::{
    domain::{CollectionId, Data, Document, DocumentId, Timestamp},
    query::Filter,
    store::{
        Result, StoreError,
        sql::{filter::condition, literal},
    },
};

/// The table's name.
pub(in crate::store) const TABLE: &str = "documents";

/// A column of a row: an expression, and the column's name.
pub(super) type Column = (Expr, &'static str);

/// Returns the columns that [`read_document`] reads, in its order.
pub(super) fn document_columns(backend: DbBackend) -> [Column; 5] {
    let text = if backend == DbBackend::Postgres { "data::text" } else { "json(data)" };
    [
        (Expr::col((TABLE, "id")), "id"),
        (Expr::cust(text), "text"),
        (Expr::col((TABLE, "created_at")), "created_at"),
        (Expr::col((TABLE, "updated_at")), "updated_at"),
        (Expr::col((TABLE, "version")), "version"),
    ]
}

/// Returns the columns by which a page is bounded in bytes, before any data is read.
pub(super) fn size_columns() -> [Column; 2] {
    ["id", "size"].map(|name| (Expr::col(name), name))
}

/// Selects from the documents of a collection that match a filter. The caller adds the columns.
///
/// The collection is a literal in the statement, because an index that a collection declares holds its documents only:
/// both databases use such an index only for a statement that names the collection.
pub(super) fn select_matching(
    collection: &CollectionId,
    filter: &Filter,
    backend: DbBackend,
) -> SelectStatement {
    let mut select = Query::select();
    select
        .from(TABLE)
        .and_where(Expr::col("collection_id").eq(literal(collection.as_str())))
        .and_where(condition(filter, backend));
    select
}

/// Reads the columns `id, data, created_at, updated_at, version`, which begin at `column`.
pub(in crate::store) fn read_document(row: &QueryResult, column: usize) -> Result<Document> {
    read_bounded(row, column)?.ok_or_else(|| StoreError::custom("a document has no data"))
}

/// Reads the same columns. Returns `None` if the data is NULL, because it is beyond a bound.
pub(super) fn read_bounded(row: &QueryResult, column: usize) -> Result<Option<Document>> {
    let integer = |at: usize| row.try_get_by_index::<i64>(column + at);
    let Some(text) = row.try_get_by_index::<Option<String>>(column + 1)? else { return Ok(None) };
    let id = row.try_get_by_index::<String>(column)?;
    // PostgreSQL has a form of its own.
    let data = match row.try_as_sqlite_row() {
        Some(_) => Data::from_stored(text),
        None => Data::parse(text.as_bytes()),
    };
    let data = data.map_err(|err| StoreError::custom(format!("document `{id}` can't be read: {err}")))?;
    Ok(Some(Document {
        id: DocumentId::from_stored(&id),
        data,
        created_at: Timestamp(integer(2)?),
        updated_at: Timestamp(integer(3)?),
        version: integer(4)? as u64,
    }))
}
