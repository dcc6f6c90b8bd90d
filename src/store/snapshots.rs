//! Pages of a snapshot: documents in the order of their ids, each page with the head that it was read at.

use sea_orm::{
    ConnectionTrait, DbBackend, JoinType, Order,
    sea_query::{Alias, Expr, ExprTrait, Func, Query, SelectStatement},
};

use super::{
    Result,
    changes::PageSize,
    documents::{TABLE, read_document},
    heads::{Head, read_head},
};
use crate::{
    domain::{CollectionId, Document, DocumentId, ProjectId},
    query::{Filter, sql},
};

/// How many documents one statement looks at, at most, for those that match: it is short also where few do. The number is
/// part of a text.
const MAX_SPAN: &str = "50000";

/// Part of a snapshot.
#[derive(Clone, Debug)]
pub struct DocumentPage {
    /// Where the log ended when these were the documents.
    pub head: Head,
    /// Matching documents after the id that was asked for, in the order of their ids.
    pub documents: Vec<Document>,
    /// The id up to which these are all; `None` if no other comes after them.
    pub covers: Option<DocumentId>,
}

/// Reads the next matching documents. One statement, so that the head belongs to exactly this result; nothing is held for
/// the next page. `None` if there is no such project.
///
/// # Errors
/// The database's own.
pub async fn read(
    db: &impl ConnectionTrait,
    project: &ProjectId,
    collection: &CollectionId,
    filter: &Filter,
    after: Option<&DocumentId>,
    size: PageSize,
) -> Result<Option<DocumentPage>> {
    let backend = db.get_database_backend();
    let span = span_end(backend, collection, filter, after);
    let documents = page_statement(backend, collection, filter, (after, span.clone()), size);
    let mut select = Query::select();
    select
        .columns(["id", "text", "created_at", "updated_at", "version"].map(|column| ("d", column)))
        .columns(
            ["project_id", "epoch", "head", "head_at", "floor", "floor_at", "control"]
                .map(|column| ("heads", column)),
        )
        .expr_as(span.unwrap_or(Expr::cust("NULL")).cast_as("text"), Alias::new("covers"))
        .from("heads")
        .join_subquery(JoinType::LeftJoin, documents, "d", Expr::cust("TRUE"))
        .and_where(Expr::col(("heads", "project_id")).eq(project.as_str()))
        .order_by(("d", "id"), Order::Asc);
    let rows = db.query_all(&select).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let head = read_head(first, 5)?;
    let found = rows.iter().filter(|row| matches!(row.try_get_by_index::<Option<String>>(0), Ok(Some(_))));
    let documents: Vec<_> = found.map(|row| read_document(row, 0)).collect::<Result<_>>()?;
    // The same measure as the size that was stored with each.
    let bytes: usize = documents.iter().map(|document| document.data.weight()).sum();
    let is_full = documents.len() >= size.entries || bytes >= size.bytes;
    let covers = match documents.last() {
        Some(last) if is_full => Some(last.id.clone()),
        _ => first.try_get_by_index::<Option<String>>(12)?.map(|id| DocumentId::from_stored(&id)),
    };
    Ok(Some(DocumentPage { head, documents, covers }))
}

/// The id at which a statement stops looking; NULL if it comes to the end. Without a filter a page is soon full.
fn span_end(
    backend: DbBackend,
    collection: &CollectionId,
    filter: &Filter,
    after: Option<&DocumentId>,
) -> Option<Expr> {
    if filter.terms().is_empty() {
        return None;
    }
    let [first, second] = if backend == DbBackend::Postgres { ["$1", "$2"] } else { ["?", "?"] };
    let end = format!(
        "(SELECT id FROM {TABLE} WHERE collection_id = {first} AND id > {second} ORDER BY id LIMIT 1 OFFSET {MAX_SPAN})"
    );
    Some(Expr::cust_with_values(end, [collection.as_str(), after.map_or("", DocumentId::as_str)]))
}

/// Ids and sizes first: data beyond the bound must not be read.
fn page_statement(
    backend: DbBackend,
    collection: &CollectionId,
    filter: &Filter,
    (after, span): (Option<&DocumentId>, Option<Expr>),
    size: PageSize,
) -> SelectStatement {
    let mut entries = Query::select();
    entries.columns(["id", "size"]).from(TABLE).and_where(Expr::col("collection_id").eq(collection.as_str()));
    if let Some(after) = after {
        entries.and_where(Expr::col("id").gt(after.as_str()));
    }
    if let Some(span) = span {
        // No id has a `~`, which sorts after all that they have.
        let span = Func::coalesce([span, Expr::val("~")]);
        entries.and_where(Expr::col("id").lte(span));
    }
    entries.and_where(sql::condition(filter, backend));
    entries.order_by("id", Order::Asc).limit(size.entries as u64);

    let mut page = Query::select();
    page.column("id")
        .expr_as(Expr::cust("SUM(size) OVER (ORDER BY id) - size"), Alias::new("preceding"))
        .from_subquery(entries, "entry");

    let text = if backend == DbBackend::Postgres { "data::text" } else { "json(data)" };
    let mut documents = Query::select();
    documents
        .column((TABLE, "id"))
        .expr_as(Expr::cust(text), Alias::new("text"))
        .columns(["created_at", "updated_at", "version"].map(|column| (TABLE, column)))
        .from_subquery(page, "page")
        .inner_join(TABLE, Expr::col((TABLE, "id")).eq(Expr::col(("page", "id"))))
        .and_where(Expr::col((TABLE, "collection_id")).eq(collection.as_str()))
        .and_where(Expr::col(("page", "preceding")).lt(size.bytes as i64));
    documents
}
