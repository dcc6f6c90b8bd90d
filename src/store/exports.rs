//! Pages of an export: documents in any order, a bounded number of bytes at a time, with nothing held in between.

use sea_orm::{
    ConnectionTrait, DbBackend, Order, Statement,
    sea_query::{Alias, Asterisk, Expr, ExprTrait, Query, SelectStatement, UnionType},
};

use super::{
    Result,
    changes::PageSize,
    documents::{TABLE, read_document},
};
use crate::{
    domain::{CollectionId, Document, DocumentId},
    query::{
        Filter,
        page::{Direction, Place, Sort},
        sql::{
            self,
            key::literal,
            page::{beyond, sort_columns},
        },
    },
};

/// Reads the next documents that match. Empty at the end only.
///
/// # Errors
/// The database's own.
pub async fn read(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    filter: &Filter,
    sort: &Sort,
    after: Option<&Place>,
    size: PageSize,
) -> Result<Vec<Document>> {
    let select = page_statement(db.get_database_backend(), collection, filter, sort, after, size);
    db.query_all(&select).await?.iter().map(|row| read_document(row, 0)).collect()
}

/// Ids and sizes first: data beyond the bound must not be read.
fn page_statement(
    backend: DbBackend,
    collection: &CollectionId,
    filter: &Filter,
    sort: &Sort,
    after: Option<&Place>,
    size: PageSize,
) -> SelectStatement {
    let columns = sort_columns(sort, backend);
    let names: Vec<_> = (0..columns.len()).map(|place| format!("key{place}")).collect();
    let limit = size.entries as u64;
    let branch = |condition: Option<Expr>| {
        let mut entries = Query::select();
        entries
            .columns(["id", "size"])
            .from(TABLE)
            .and_where(Expr::col("collection_id").eq(literal(collection.as_str())))
            .and_where(sql::condition(filter, backend))
            .and_where_option(condition)
            .limit(limit);
        for ((column, direction), name) in columns.iter().zip(&names) {
            entries
                .expr_as(column.clone(), Alias::new(name))
                .order_by_expr(column.clone(), (*direction).into());
        }
        entries
    };
    let entries = match after {
        None => branch(None),
        Some(place) => {
            let conditions = beyond(sort, place, backend).into_iter().enumerate();
            let mut branches = conditions.map(|(place, (_, condition))| {
                let name = Alias::new(format!("branch{place}"));
                Query::select().column(Asterisk).from_subquery(branch(Some(condition)), name).take()
            });
            let mut first = branches.next().unwrap_or_default();
            first.unions(branches.map(|branch| (UnionType::All, branch))).limit(limit);
            for ((_, direction), name) in columns.iter().zip(&names) {
                first.order_by(Alias::new(name), Order::from(*direction));
            }
            first
        }
    };

    let order: Vec<_> = columns
        .iter()
        .zip(&names)
        .map(|((_, direction), name)| match direction {
            Direction::Ascending => format!("{name} ASC"),
            Direction::Descending => format!("{name} DESC"),
        })
        .collect();
    let preceding = format!("SUM(size) OVER (ORDER BY {}) - size", order.join(", "));
    let mut page = Query::select();
    page.column("id").expr_as(Expr::cust(preceding), "preceding").from_subquery(entries, "entry");
    page.columns(names.iter().map(Alias::new));

    let text = if backend == DbBackend::Postgres { "data::text" } else { "json(data)" };
    let mut documents = Query::select();
    documents
        .column((TABLE, "id"))
        .expr(Expr::cust(text))
        .columns(["created_at", "updated_at", "version"].map(|column| (TABLE, column)))
        .from_subquery(page, "page")
        .inner_join(TABLE, Expr::col((TABLE, "id")).eq(Expr::col(("page", "id"))))
        .and_where(Expr::col((TABLE, "collection_id")).eq(literal(collection.as_str())))
        .and_where(Expr::col(("page", "preceding")).lt(size.bytes as i64));
    for ((_, direction), name) in columns.iter().zip(&names) {
        documents.order_by(("page", Alias::new(name)), Order::from(*direction));
    }
    documents
}

/// The names of top-level fields in some documents.
pub struct FieldNames {
    /// In no order, each once; one more than was asked for says that there are too many.
    pub names: Vec<String>,
    /// The greatest id of these documents; `None` if there are none.
    pub last: Option<DocumentId>,
}

/// Reads which top-level fields the next documents have, in the order of their ids: at most `documents` of them, and one
/// name more than `most`.
///
/// # Errors
/// The database's own.
pub async fn field_names(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    filter: &Filter,
    after: Option<&DocumentId>,
    documents: u64,
    most: usize,
) -> Result<FieldNames> {
    let backend = db.get_database_backend();
    let mut page = Query::select();
    page.columns(["id", "data"])
        .from(TABLE)
        .and_where(Expr::col("collection_id").eq(literal(collection.as_str())))
        .and_where(sql::condition(filter, backend))
        .and_where_option(after.map(|after| Expr::col("id").gt(after.as_str())))
        .order_by("id", Order::Asc)
        .limit(documents);
    let Statement { sql, values, .. } = backend.build(&page);
    let each = match backend {
        DbBackend::Postgres => "LATERAL jsonb_object_keys(page.data) AS field(key)",
        _ => "json_each(page.data) AS field",
    };
    let sql = format!(
        "SELECT field.key, MAX(page.id) FROM ({sql}) AS page LEFT JOIN {each} ON TRUE \
         GROUP BY field.key ORDER BY MAX(page.id) DESC LIMIT {}",
        most + 2
    );
    let statement =
        Statement::from_sql_and_values(backend, sql, values.map(|values| values.0).unwrap_or_default());
    let rows = db.query_all_raw(statement).await?;
    let mut found = FieldNames { names: Vec::new(), last: None };
    for row in &rows {
        // NULL stands for documents without any field.
        found.names.extend(row.try_get_by_index::<Option<String>>(0)?);
        if found.last.is_none() {
            found.last = Some(DocumentId::from_stored(&row.try_get_by_index::<String>(1)?));
        }
    }
    Ok(found)
}
