//! Documents that name other documents by their ids.

use sea_orm::{
    ConnectionTrait, DbBackend,
    sea_query::{Alias, Expr, ExprTrait, Query, SelectStatement, UnionType},
};
use serde_json::Value;

use crate::{
    domain::{CollectionId, Document, DocumentId},
    query::{Field, Filter},
    store::{
        Result,
        documents::{several::read_all_within, table::TABLE},
        sql::{
            filter::{condition, source_of},
            key::key_columns,
            literal,
        },
    },
};

/// Documents that name other documents by their ids.
pub struct Referring<'a> {
    pub collection: &'a CollectionId,
    /// The fields that may name a document. A document counts by the first of them.
    pub fields: &'a [Field],
    pub ids: &'a [DocumentId],
    /// What the documents must match besides.
    pub rule: &'a Filter,
    /// The most documents for each id: the newest.
    pub most: u64,
}

/// Reads documents that name others, the newest first. Returns `None` if they take more than `max_bytes`, by `Data::weight`.
///
/// # Errors
/// A database failure.
pub async fn find_referring(
    db: &impl ConnectionTrait,
    referring: &Referring<'_>,
    max_bytes: usize,
) -> Result<Option<Vec<Document>>> {
    let select = referring_statement(db.get_database_backend(), referring, max_bytes);
    read_all_within(&db.query_all(&select).await?)
}

/// Selects ids and sizes first, so that data which is not wanted is not read.
fn referring_statement(backend: DbBackend, referring: &Referring<'_>, max_bytes: usize) -> SelectStatement {
    let ids: Vec<_> = referring.ids.iter().map(|id| Value::from(id.as_str())).collect();
    let mut others = Filter::Or(Vec::new());
    let mut branches = referring.fields.iter().map(|field| {
        let names = Filter::Equals(field.clone(), ids.clone());
        let mut branch = Query::select();
        // The value is a string, which is in the last column of its key.
        let name = key_columns(&source_of(field, backend), backend).pop().unwrap_or(Expr::cust("TRUE"));
        let placeholder = if backend == DbBackend::Postgres { "$1" } else { "?" };
        let nth = format!("ROW_NUMBER() OVER (PARTITION BY {placeholder} ORDER BY created_at DESC, id DESC)");
        branch
            .columns(["id", "size", "created_at"])
            .expr_as(Expr::cust_with_exprs(nth, [name]), "nth")
            .from(TABLE)
            .and_where(Expr::col("collection_id").eq(literal(referring.collection.as_str())))
            .and_where(condition(&names, backend))
            .and_where(condition(referring.rule, backend))
            .and_where(condition(&others.clone().negate(), backend));
        if let Filter::Or(before) = &mut others {
            before.push(names);
        }
        branch
    });
    let mut entries = branches.next().unwrap_or_default();
    entries.unions(branches.map(|branch| (UnionType::All, branch)));

    let mut page = Query::select();
    page.column("id")
        .expr_as(
            Expr::cust("SUM(size) OVER (ORDER BY created_at DESC, id DESC) - size"),
            Alias::new("preceding"),
        )
        .from_subquery(entries, "entry")
        .and_where(Expr::col("nth").lte(referring.most as i64));

    let text = if backend == DbBackend::Postgres {
        "CASE WHEN preceding < $1 THEN data::text END"
    } else {
        "iif(preceding < ?, json(data), NULL)"
    };
    let mut documents = Query::select();
    documents
        .column((TABLE, "id"))
        .expr(Expr::cust_with_exprs(text, [Expr::val(max_bytes as i64)]))
        .columns(["created_at", "updated_at", "version"].map(|column| (TABLE, column)))
        .from_subquery(page, "page")
        .inner_join(TABLE, Expr::col((TABLE, "id")).eq(Expr::col(("page", "id"))))
        .and_where(Expr::col((TABLE, "collection_id")).eq(literal(referring.collection.as_str())))
        .order_by((TABLE, "created_at"), sea_orm::Order::Desc)
        .order_by((TABLE, "id"), sea_orm::Order::Desc);
    documents
}
