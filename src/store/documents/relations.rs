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
        sql::{filter::condition, key::key_columns, literal},
    },
};

/// Documents that name others by their ids.
pub struct Referring<'a> {
    /// Where they are.
    pub collection: &'a CollectionId,
    /// The fields that may name one, the first of them before the others.
    pub fields: &'a [Field],
    /// The ids.
    pub ids: &'a [DocumentId],
    /// For each id at most so many, the newest.
    pub most: u64,
}

/// Reads documents that name others, newest first. `None` if they take more than `max_bytes`, by `Data::weight`.
///
/// # Errors
/// The database's own.
pub async fn find_referring(
    db: &impl ConnectionTrait,
    referring: &Referring<'_>,
    max_bytes: usize,
) -> Result<Option<Vec<Document>>> {
    let select = referring_statement(db.get_database_backend(), referring, max_bytes);
    read_all_within(&db.query_all(&select).await?)
}

/// Ids and sizes first: data that isn't wanted must not be read.
fn referring_statement(backend: DbBackend, referring: &Referring<'_>, max_bytes: usize) -> SelectStatement {
    let ids: Vec<_> = referring.ids.iter().map(|id| Value::from(id.as_str())).collect();
    let mut others = Filter::Or(Vec::new());
    let mut branches = referring.fields.iter().map(|field| {
        let names = Filter::Equals(field.clone(), ids.clone());
        let mut branch = Query::select();
        // What is found is a string: of the columns of its key, the last has it.
        let name = key_columns(field, backend).pop().unwrap_or(Expr::cust("TRUE"));
        let placeholder = if backend == DbBackend::Postgres { "$1" } else { "?" };
        let nth = format!("ROW_NUMBER() OVER (PARTITION BY {placeholder} ORDER BY created_at DESC, id DESC)");
        branch
            .columns(["id", "size", "created_at"])
            .expr_as(Expr::cust_with_exprs(nth, [name]), "nth")
            .from(TABLE)
            .and_where(Expr::col("collection_id").eq(literal(referring.collection.as_str())))
            .and_where(condition(&names, backend))
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
