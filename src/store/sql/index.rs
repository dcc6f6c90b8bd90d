//! The statements of declared indexes. Keys are those of the queries, so that the database knows an index by them.
//!
//! A unique index is two: one that queries use, as any other, and one that refuses doubles, which leaves documents out that
//! have no value to compare in one of the fields. A query that doesn't say the same of its fields could not use the latter.

use sea_orm::{
    DbBackend,
    sea_query::{Expr, ExprTrait, PostgresQueryBuilder, Query, SelectStatement, SqliteQueryBuilder},
};

use crate::{
    domain::{CollectionId, FieldPath},
    query::{
        Field,
        index_definition::{Index, MAX_TEXT_BYTES, MAX_TEXTS_BYTES},
        key::Key,
        page::Direction,
    },
    store::sql::{
        all_of, any_of,
        key::{key_columns, key_values, literal, postgres_value, sqlite_text_bytes},
    },
};

/// One index as the database has it.
pub struct IndexStatement {
    /// Its name.
    pub name: String,
    /// Makes it, if it isn't there.
    pub create: String,
    /// Drops it, if it is there.
    pub drop: String,
    /// Documents that are alike in each of its columns, for the planner of SQLite: none is measured, but each column finds few.
    pub statistics: String,
}

/// The database's own indexes for a declared one. On PostgreSQL they must not be in a transaction.
pub fn statements(
    index: &Index,
    collection: &CollectionId,
    table: &str,
    backend: DbBackend,
) -> Vec<IndexStatement> {
    let concurrently = if backend == DbBackend::Postgres { "CONCURRENTLY " } else { "" };
    let own = Expr::col("collection_id").eq(literal(collection.as_str()));
    let statement = |name: String, unique: &str, columns: Vec<String>, condition: Expr| IndexStatement {
        create: format!(
            "CREATE {unique}INDEX {concurrently}IF NOT EXISTS {name} ON {table} ({}) WHERE {}",
            columns.join(", "),
            text(condition, backend)
        ),
        drop: format!("DROP INDEX {concurrently}IF EXISTS {name}"),
        statistics: statistics(columns.len()),
        name,
    };
    // SQLite takes the index only if it begins with the collection. PostgreSQL leaves out a condition that the index's own
    // implies: it would then have nothing to seek the first column by, and walk the whole index.
    let mut columns = match backend {
        DbBackend::Postgres => Vec::new(),
        _ => vec!["collection_id".to_owned()],
    };
    let mut keys = columns.clone();
    for (field, direction) in &index.definition.fields {
        for column in key_columns(field, backend) {
            // In parentheses, which PostgreSQL demands of expressions.
            let column = format!("({})", text(column, backend));
            columns.push(format!("{column} {}", word(*direction)));
            keys.push(column);
        }
    }
    columns.push(format!("id {}", word(index.definition.by_id())));
    let mut statements = vec![statement(index.name(), "", columns, own.clone())];
    if let Some(name) = index.unique_name() {
        let condition = own.and(has_all_values(index, backend));
        statements.push(statement(name, "UNIQUE ", keys, condition));
    }
    statements
}

/// A document of the collection that has a string too long for the index, if there is one: its id.
pub fn find_too_long(
    index: &Index,
    collection: &CollectionId,
    backend: DbBackend,
) -> Option<SelectStatement> {
    let paths = index.definition.fields.iter().filter_map(|(field, _)| match field {
        Field::Data(path) => Some(text_bytes(path, backend)),
        _ => None,
    });
    let lengths: Vec<_> = paths.collect();
    let sum = lengths.iter().cloned().reduce(ExprTrait::add)?;
    let mut conditions: Vec<_> =
        lengths.into_iter().map(|length| length.gt(Expr::cust(MAX_TEXT_BYTES.to_string()))).collect();
    conditions.push(sum.gt(Expr::cust(MAX_TEXTS_BYTES.to_string())));
    let mut select = Query::select();
    select
        .column("id")
        .from("documents")
        .and_where(Expr::col("collection_id").eq(literal(collection.as_str())))
        .and_where(any_of(conditions))
        .limit(1);
    Some(select)
}

/// Documents of the collection that are alike in a unique index, if there are some: how many, and the ids of two.
pub fn find_doubled(index: &Index, collection: &CollectionId, backend: DbBackend) -> SelectStatement {
    let mut select = Query::select();
    select
        .expr(Expr::cust("COUNT(*)"))
        .expr(Expr::cust("MIN(id)"))
        .expr(Expr::cust("MAX(id)"))
        .from("documents")
        .and_where(Expr::col("collection_id").eq(literal(collection.as_str())))
        .and_where(has_all_values(index, backend))
        .and_having(Expr::cust("COUNT(*) > 1"))
        .limit(1);
    for (field, _) in &index.definition.fields {
        select.add_group_by(key_columns(field, backend));
    }
    select
}

/// Whether each field has a value that can be told from another: not null, not missing, no array and no object.
fn has_all_values(index: &Index, backend: DbBackend) -> Expr {
    let mut conditions = Vec::new();
    for (field, _) in &index.definition.fields {
        let Field::Data(_) = field else { continue };
        for key in [Key::Null, Key::Composite] {
            let pairs = key_columns(field, backend).into_iter().zip(key_values(field, &key, backend));
            // The second key of PostgreSQL tells nothing more of null, but its text is bound.
            let same: Vec<_> = pairs.map(|(column, value)| column.eq(value)).collect();
            conditions.push(all_of(same).not());
        }
    }
    all_of(conditions)
}

/// How many bytes a string has; 0 for anything else.
fn text_bytes(path: &FieldPath, backend: DbBackend) -> Expr {
    if backend != DbBackend::Postgres {
        return sqlite_text_bytes(path);
    }
    let value = postgres_value(path);
    Expr::cust_with_exprs(
        "(CASE WHEN jsonb_typeof($1) = 'string' THEN octet_length($1 #>> '{}') ELSE 0 END)",
        [value],
    )
}

/// Of all documents, those of the collection, and those that are alike in one field more each time; the last is the id.
fn statistics(columns: usize) -> String {
    let alike = (1..columns).map(|place| if place + 1 == columns { 1 } else { usize::max(200 >> place, 1) });
    ["100000".to_owned(), "100000".to_owned()]
        .into_iter()
        .chain(alike.map(|count| count.to_string()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    }
}

/// An expression as text, its values in it.
fn text(expression: Expr, backend: DbBackend) -> String {
    let mut select = Query::select();
    select.expr(expression);
    let text = match backend {
        DbBackend::Postgres => select.to_string(PostgresQueryBuilder),
        _ => select.to_string(SqliteQueryBuilder),
    };
    text.strip_prefix("SELECT ").unwrap_or(&text).to_owned()
}
