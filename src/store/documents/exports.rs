//! Pages of an export: documents in any order, bounded in bytes. Nothing is held between two pages.

use sea_orm::{
    ConnectionTrait, DbBackend, Order, Statement,
    sea_query::{Asterisk, Expr, ExprTrait, Query},
};

use crate::{
    domain::{CollectionId, Document, DocumentId},
    query::{Filter, Mask},
    store::{
        Result,
        documents::{
            list::Listing,
            table::{TABLE, read_document, size_columns},
        },
        sql::{
            filter::{condition, masked_data},
            literal,
        },
    },
};

/// Reads a page, which ends with the document that reaches `max_bytes` of memory. It is empty only if no document is left.
///
/// # Errors
/// A database failure.
pub async fn read(
    db: &impl ConnectionTrait,
    listing: Listing<'_>,
    max_bytes: usize,
) -> Result<Vec<Document>> {
    let backend = db.get_database_backend();
    let documents = listing.rows(&size_columns(), backend).within(listing.collection, max_bytes, backend);
    let mut select = Query::select();
    select.column(Asterisk);
    documents.order(&mut select, "d");
    select.from_subquery(documents.rows, "d");
    db.query_all(&select).await?.iter().map(|row| read_document(row, 0)).collect()
}

/// The names of top-level fields in some documents.
pub struct FieldNames {
    /// Each name once, in no order. One name more than asked for means that there are too many.
    pub names: Vec<String>,
    /// The greatest id of these documents. `None` if there are none.
    pub last: Option<DocumentId>,
}

/// Reads the names of the top-level fields of the next documents, in the order of their ids. It looks at up to `documents`
/// documents, and returns up to one name more than `most`.
///
/// # Errors
/// A database failure.
pub async fn field_names(
    db: &impl ConnectionTrait,
    collection: &CollectionId,
    (filter, mask): (&Filter, &Mask),
    after: Option<&DocumentId>,
    documents: u64,
    most: usize,
) -> Result<FieldNames> {
    let backend = db.get_database_backend();
    let mut page = Query::select();
    page.column("id")
        .expr_as(masked_data(mask, backend), "data")
        .from(TABLE)
        .and_where(Expr::col("collection_id").eq(literal(collection.as_str())))
        .and_where(condition(filter, backend))
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
        // NULL stands for documents without fields.
        found.names.extend(row.try_get_by_index::<Option<String>>(0)?);
        if found.last.is_none() {
            found.last = Some(DocumentId::from_stored(&row.try_get_by_index::<String>(1)?));
        }
    }
    Ok(found)
}
