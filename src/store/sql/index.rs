//! The statements that build and drop declared indexes. They use the sort keys of queries, because the database recognises
//! an index by its expressions.
//!
//! A unique index becomes two indexes. Queries use the first one, like any other index. The second one rejects duplicates. It
//! leaves out documents without a comparable value in one of the fields, so most queries could not use it.

use sea_orm::{
    DbBackend,
    sea_query::{Expr, ExprTrait, PostgresQueryBuilder, Query, SelectStatement, SqliteQueryBuilder},
};

use crate::{
    domain::CollectionId,
    query::{
        index_definition::{Index, MAX_TEXT_BYTES, MAX_TEXTS_BYTES},
        key::Key,
        page::{Direction, SortTerm},
    },
    store::sql::{
        expression::{all_of, any_of, literal},
        filter::source_of,
        key::{DataSource, Source, key_columns, key_values, postgres_value, sqlite_text_bytes},
    },
};

/// An index of the database.
pub struct IndexStatement {
    pub name: String,
    /// Builds the index, if it does not exist.
    pub create: String,
    /// Drops the index, if it exists.
    pub drop: String,
    /// Statistics for the planner of SQLite. They are not measured, but say that each column finds few documents.
    pub statistics: String,
}

/// Returns the statements for the one or two indexes of the database that a declared index needs. On PostgreSQL they must
/// run outside of a transaction.
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
    // SQLite uses the index only if it begins with the collection. PostgreSQL drops a condition that the predicate of the
    // index implies. It would then have no value for a first column with the collection, and walk the whole index.
    let mut columns = match backend {
        DbBackend::Postgres => Vec::new(),
        _ => vec!["collection_id".to_owned()],
    };
    let mut keys = columns.clone();
    for SortTerm { field, direction } in &index.definition.fields {
        for column in key_columns(&source_of(field, backend), backend) {
            // PostgreSQL requires parentheses around an expression.
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

/// Returns a statement that finds the id of a document with a string too long for the index. `None` if no field can have
/// strings.
pub fn find_too_long(
    index: &Index,
    collection: &CollectionId,
    backend: DbBackend,
) -> Option<SelectStatement> {
    let paths = index.definition.fields.iter().filter_map(|term| match source_of(&term.field, backend) {
        Source::Data(value) => Some(text_bytes(&value, backend)),
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

/// Returns a statement that finds documents which are duplicates in a unique index: how many, and the ids of two.
pub fn find_duplicates(index: &Index, collection: &CollectionId, backend: DbBackend) -> SelectStatement {
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
    for term in &index.definition.fields {
        select.add_group_by(key_columns(&source_of(&term.field, backend), backend));
    }
    select
}

/// Returns the condition that each field has a comparable value: not null or missing, and not an array or object.
fn has_all_values(index: &Index, backend: DbBackend) -> Expr {
    let mut conditions = Vec::new();
    for SortTerm { field, .. } in &index.definition.fields {
        let source @ Source::Data(_) = source_of(field, backend) else { continue };
        for key in [Key::Null, Key::Composite] {
            let pairs = key_columns(&source, backend).into_iter().zip(key_values(&source, &key, backend));
            // On PostgreSQL the first column would be enough for null, but the statement has a value for both.
            let same: Vec<_> = pairs.map(|(column, value)| column.eq(value)).collect();
            conditions.push(all_of(same).not());
        }
    }
    all_of(conditions)
}

/// Returns the length of a string, in bytes. It is 0 for any other value.
fn text_bytes(source: &DataSource, backend: DbBackend) -> Expr {
    if backend != DbBackend::Postgres {
        return sqlite_text_bytes(source);
    }
    let value = postgres_value(source);
    Expr::cust_with_exprs(
        "(CASE WHEN jsonb_typeof($1) = 'string' THEN octet_length($1 #>> '{}') ELSE 0 END)",
        [value],
    )
}

/// Returns a row of `sqlite_stat1`: the number of all documents, of those in the collection, and of those that are equal in
/// one more field each time. The last column is the id, in which no two are equal.
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

/// Returns an expression as text that contains its values.
fn text(expression: Expr, backend: DbBackend) -> String {
    let mut select = Query::select();
    select.expr(expression);
    let text = match backend {
        DbBackend::Postgres => select.to_string(PostgresQueryBuilder),
        _ => select.to_string(SqliteQueryBuilder),
    };
    text.strip_prefix("SELECT ").unwrap_or(&text).to_owned()
}
