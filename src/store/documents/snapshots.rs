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
/// The most documents that one statement looks at to find those that match, so that it is short even if few match. The number
/// is part of the statement's text.
const MAX_SPAN: &str = "50000";
/// The most matching documents that are found by an index, because each page of the snapshot searches the index anew.
const MAX_FEW: u64 = 5000;

/// How the documents of a snapshot are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessPath {
    /// By an index, for each page anew. Good for few matching documents.
    ByIndex,
    /// By looking at all documents in the order of their ids.
    ById,
}

/// A page of a snapshot that is asked for.
#[derive(Clone, Copy)]
pub struct SnapshotQuery<'a> {
    /// The project whose log ends are read with the page.
    pub project: &'a ProjectId,
    pub collection: &'a CollectionId,
    pub filter: &'a Filter,
    /// The indexes that the collection declares.
    pub indexes: &'a [Arc<Index>],
    pub path: AccessPath,
    /// The page begins after this id.
    pub after: Option<&'a DocumentId>,
    pub size: PageSize,
}

/// A page of a snapshot.
#[derive(Clone, Debug)]
pub struct DocumentPage {
    /// The log ends at the moment of the read.
    pub ends: LogEnds,
    /// Matching documents in the order of their ids.
    pub documents: Vec<Document>,
    /// The id up to which the page has all matching documents. `None` if it has all that are left.
    pub covers: Option<DocumentId>,
}

/// Chooses how the documents that match are found: by an index if there is one and they are few, and by their ids otherwise.
///
/// # Errors
/// A database failure.
pub async fn choose_path(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    filter: &Filter,
    indexes: &[Arc<Index>],
) -> Result<AccessPath> {
    if !is_narrowed(filter, indexes) {
        return Ok(AccessPath::ById);
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
    let are_few = count.is_some_and(|count| count.unsigned_abs() <= MAX_FEW);
    Ok(if are_few { AccessPath::ByIndex } else { AccessPath::ById })
}

/// Reads the next page of a snapshot. Returns `None` if there is no such project.
///
/// One statement reads the documents and the log ends, so the ends belong to exactly this page. Nothing is held for the next
/// page, which may be read by another path.
///
/// # Errors
/// A database failure.
pub async fn read(db: &impl ConnectionTrait, query: SnapshotQuery<'_>) -> Result<Option<DocumentPage>> {
    let rows = db.query_all(&page_statement(query, db.get_database_backend())).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let ends = read_log_ends(first, LOG_ENDS_COLUMN)?;
    let found = rows.iter().filter(|row| matches!(row.try_get_by_index::<Option<String>>(0), Ok(Some(_))));
    let documents: Vec<_> = found.map(|row| read_document(row, 0)).collect::<Result<_>>()?;
    // The weight is the size that was stored with the document.
    let bytes: usize = documents.iter().map(|document| document.data.weight()).sum();
    let is_full = documents.len() >= query.size.entries || bytes >= query.size.bytes;
    let covers = match documents.last() {
        Some(last) if is_full => Some(last.id.clone()),
        _ => first.try_get::<Option<String>>("", "covers")?.map(|id| DocumentId::from_stored(&id)),
    };
    Ok(Some(DocumentPage { ends, documents, covers }))
}

/// Returns the statement of [`read`].
pub fn page_statement(query: SnapshotQuery<'_>, backend: DbBackend) -> SelectStatement {
    let after = query.after.map_or("", DocumentId::as_str);
    let (entries, span) = match query.path {
        AccessPath::ById => {
            // Without a filter the page is soon full, so the span needs no bound.
            let is_filtered = !query.filter.terms().is_empty();
            let span = is_filtered.then(|| span_end(query.collection, after, backend));
            (entries_by_id(query, after, span.clone(), backend), span)
        }
        AccessPath::ByIndex => (entries_by_index(query, after, backend), None),
    };
    let documents = Ordered { rows: entries, keys: vec![(KEY.to_owned(), Direction::Ascending)] };
    let mut select =
        documents.within(query.collection, query.size.bytes, backend).with_log_ends(query.project);
    select.expr_as(span.unwrap_or(Expr::cust("NULL")).cast_as("text"), Alias::new("covers"));
    select
}

/// Returns the id at which a statement stops looking. NULL if it comes to the end of the collection.
fn span_end(collection: &CollectionId, after: &str, backend: DbBackend) -> Expr {
    let [first, second] = if backend == DbBackend::Postgres { ["$1", "$2"] } else { ["?", "?"] };
    let end = format!(
        "(SELECT id FROM {TABLE} WHERE collection_id = {first} AND id > {second} ORDER BY id LIMIT 1 OFFSET {MAX_SPAN})"
    );
    Expr::cust_with_values(end, [collection.as_str(), after])
}

/// Selects the matching documents of a span. The collection is bound and not a literal, so that the database uses the index of
/// the ids and none that the collection declares.
fn entries_by_id(
    query: SnapshotQuery<'_>,
    after: &str,
    span: Option<Expr>,
    backend: DbBackend,
) -> SelectStatement {
    let mut entries = Query::select();
    entries
        .columns(["id", "size"])
        .expr_as(Expr::col("id"), KEY)
        .from(TABLE)
        .and_where(Expr::col("collection_id").eq(query.collection.as_str()))
        .and_where(Expr::col("id").gt(after))
        // `~` sorts after every character that an id may have.
        .and_where_option(span.map(|span| Expr::col("id").lte(Func::coalesce([span, Expr::val("~")]))))
        .and_where(condition(query.filter, backend))
        .order_by("id", Order::Asc)
        .limit(query.size.entries as u64);
    entries
}

/// Selects the matching documents after an id, which an index finds.
fn entries_by_index(query: SnapshotQuery<'_>, after: &str, backend: DbBackend) -> SelectStatement {
    // An expression instead of the column, so that the database does not use the index of the ids.
    let id = || Expr::cust("id || ''");
    let found = split(query.filter, query.indexes).into_iter().map(|part| {
        let mut found = select_matching(query.collection, &part, backend);
        found.columns(["id", "size"]).expr_as(id(), KEY).and_where(id().gt(after)).take()
    });
    let mut entries = union_all(found.collect());
    entries.order_by(KEY, Order::Asc).limit(query.size.entries as u64);
    entries
}
