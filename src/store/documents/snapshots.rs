//! Pages of a snapshot: documents in the order of their ids, each page with the log ends that it was read at.

use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DbBackend, Order,
    sea_query::{Alias, Expr, ExprTrait, Func, Query, SelectStatement},
};

use crate::{
    domain::{CollectionId, Document, DocumentId, LogEnds, ProjectId},
    query::{
        Filter,
        index_definition::Index,
        page::Direction,
        planner::{is_narrowed, split},
    },
    store::{
        Result,
        documents::{
            ordered::{LOG_ENDS_COLUMN, Ordered, union_all},
            table::{TABLE, read_document, select_matching},
        },
        log::{changes::PageSize, ends::read_log_ends},
        sql::filter::condition,
    },
};

/// The column that pages are ordered by: the id.
const KEY: &str = "key";
/// How many documents one statement looks at, at most, for those that match: it is short also where few do. The number is
/// part of a text.
const MAX_SPAN: &str = "50000";
/// The most documents that are found by an index for every page of a snapshot anew.
const MAX_FEW: u64 = 5000;

/// How a snapshot's documents are found.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// All of the collection are looked at, in the order of their ids.
    ById,
    /// Those that match are looked at, which one of these indexes finds.
    ByIndex(&'a [Arc<Index>]),
}

/// Part of a snapshot.
#[derive(Clone, Debug)]
pub struct DocumentPage {
    /// Where the log ended when these were the documents.
    pub ends: LogEnds,
    /// Matching documents after the id that was asked for, in the order of their ids.
    pub documents: Vec<Document>,
    /// The id up to which these are all; `None` if no other comes after them.
    pub covers: Option<DocumentId>,
}

/// Whether an index finds the documents that match, and they are few: then they are best found by it.
///
/// # Errors
/// The database's own.
pub async fn has_few(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    filter: &Filter,
    indexes: &[Arc<Index>],
) -> Result<bool> {
    if !is_narrowed(filter, indexes) {
        return Ok(false);
    }
    let backend = db.get_database_backend();
    let found = split(filter, indexes).into_iter().map(|part| {
        let mut found = select_matching(collection, &part, backend);
        found.column("id").limit(MAX_FEW + 1).take()
    });
    let mut select = Query::select();
    select.expr(Expr::cust("COUNT(*)")).from_subquery(union_all(found.collect()), "found");
    let row = db.query_one(&select).await?;
    let count = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?;
    Ok(count.is_some_and(|count| count.unsigned_abs() <= MAX_FEW))
}

/// Reads the next matching documents. One statement, so that the log ends belong to exactly this result; nothing is held for
/// the next page, which may be read in another way. `None` if there is no such project.
///
/// # Errors
/// The database's own.
pub async fn read(
    db: &impl ConnectionTrait,
    project: &ProjectId,
    (collection, filter): (&CollectionId, &Filter),
    way: Way<'_>,
    after: Option<&DocumentId>,
    size: PageSize,
) -> Result<Option<DocumentPage>> {
    let statement =
        page_statement(project, (collection, filter), way, after, size, db.get_database_backend());
    let rows = db.query_all(&statement).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let ends = read_log_ends(first, LOG_ENDS_COLUMN)?;
    let found = rows.iter().filter(|row| matches!(row.try_get_by_index::<Option<String>>(0), Ok(Some(_))));
    let documents: Vec<_> = found.map(|row| read_document(row, 0)).collect::<Result<_>>()?;
    // The same measure as the size that was stored with each.
    let bytes: usize = documents.iter().map(|document| document.data.weight()).sum();
    let is_full = documents.len() >= size.entries || bytes >= size.bytes;
    let covers = match documents.last() {
        Some(last) if is_full => Some(last.id.clone()),
        _ => first.try_get::<Option<String>>("", "covers")?.map(|id| DocumentId::from_stored(&id)),
    };
    Ok(Some(DocumentPage { ends, documents, covers }))
}

/// The statement of [`read`].
pub fn page_statement(
    project: &ProjectId,
    (collection, filter): (&CollectionId, &Filter),
    way: Way<'_>,
    after: Option<&DocumentId>,
    size: PageSize,
    backend: DbBackend,
) -> SelectStatement {
    let after = after.map_or("", DocumentId::as_str);
    let (entries, span) = match way {
        Way::ById => {
            // Without a filter a page is soon full.
            let span = (!filter.terms().is_empty()).then(|| span_end(collection, after, backend));
            (entries_by_id(collection, filter, after, span.clone(), size, backend), span)
        }
        Way::ByIndex(indexes) => (entries_by_index(collection, filter, indexes, after, size, backend), None),
    };
    let documents = Ordered { rows: entries, keys: vec![(KEY.to_owned(), Direction::Ascending)] };
    let mut select = documents.within(collection, size.bytes, backend).with_log_ends(project);
    select.expr_as(span.unwrap_or(Expr::cust("NULL")).cast_as("text"), Alias::new("covers"));
    select
}

/// The id at which a statement stops looking; NULL if it comes to the end.
fn span_end(collection: &CollectionId, after: &str, backend: DbBackend) -> Expr {
    let [first, second] = if backend == DbBackend::Postgres { ["$1", "$2"] } else { ["?", "?"] };
    let end = format!(
        "(SELECT id FROM {TABLE} WHERE collection_id = {first} AND id > {second} ORDER BY id LIMIT 1 OFFSET {MAX_SPAN})"
    );
    Expr::cust_with_values(end, [collection.as_str(), after])
}

/// The matching documents of a span. The collection is bound, so that no declared index is taken instead of the ids' own.
fn entries_by_id(
    collection: &CollectionId,
    filter: &Filter,
    after: &str,
    span: Option<Expr>,
    size: PageSize,
    backend: DbBackend,
) -> SelectStatement {
    let mut entries = Query::select();
    entries
        .columns(["id", "size"])
        .expr_as(Expr::col("id"), KEY)
        .from(TABLE)
        .and_where(Expr::col("collection_id").eq(collection.as_str()))
        .and_where(Expr::col("id").gt(after))
        // No id has a `~`, which sorts after all that they have.
        .and_where_option(span.map(|span| Expr::col("id").lte(Func::coalesce([span, Expr::val("~")]))))
        .and_where(condition(filter, backend))
        .order_by("id", Order::Asc)
        .limit(size.entries as u64);
    entries
}

/// The matching documents after an id, all of which an index finds.
fn entries_by_index(
    collection: &CollectionId,
    filter: &Filter,
    indexes: &[Arc<Index>],
    after: &str,
    size: PageSize,
    backend: DbBackend,
) -> SelectStatement {
    // An expression, so that the ids' own index gives neither place nor order.
    let id = || Expr::cust("id || ''");
    let found = split(filter, indexes).into_iter().map(|part| {
        let mut found = select_matching(collection, &part, backend);
        found.columns(["id", "size"]).expr_as(id(), KEY).and_where(id().gt(after)).take()
    });
    let mut entries = union_all(found.collect());
    entries.order_by(KEY, Order::Asc).limit(size.entries as u64);
    entries
}
