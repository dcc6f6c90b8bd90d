//! The SQL back-end of [`Filter`] and [`Page`], for SQLite and PostgreSQL.
//!
//! A path reaches SQL as a literal that [`path_literal`] alone makes, quoted by sea-query: a bound path would miss
//! every expression index. Values are always bound. No comparison is ever NULL.

use sea_orm::{
    DbBackend, Value as SqlValue,
    sea_query::{BinOper, Expr, ExprTrait, Order, SelectStatement},
};
use serde_json::Value;

use super::{
    Field, Filter,
    page::{Direction, Page},
};
use crate::domain::{FieldPath, Segment};

/// Columns of `documents`.
const ID: &str = "id";
const DATA: &str = "data";
const CREATED_AT: &str = "created_at";
const UPDATED_AT: &str = "updated_at";

/// Adds the filter to a `SELECT` over `documents`.
pub fn apply_filter(select: &mut SelectStatement, filter: &Filter, backend: DbBackend) {
    for term in filter.terms() {
        select.and_where(condition(term, backend));
    }
}

/// Adds order, limit and the place to go on from to a `SELECT` over `documents` of one collection.
pub fn apply_page(select: &mut SelectStatement, page: &Page) {
    let (order, beyond) = match page.direction {
        Direction::Ascending => (Order::Asc, BinOper::GreaterThan),
        Direction::Descending => (Order::Desc, BinOper::SmallerThan),
    };
    if let Some(after) = &page.after {
        let columns = Expr::tuple([Expr::col(CREATED_AT), Expr::col(ID)]);
        let place = Expr::tuple([Expr::val(after.created_at.0), Expr::val(after.id.as_str())]);
        select.and_where(columns.binary(beyond, place));
    }
    select.order_by(CREATED_AT, order.clone()).order_by(ID, order);
    select.limit(page.limit).offset(page.offset);
}

fn condition(filter: &Filter, backend: DbBackend) -> Expr {
    match filter {
        Filter::And(terms) => terms
            .iter()
            .map(|term| condition(term, backend))
            .reduce(ExprTrait::and)
            .unwrap_or(Expr::val(true)),
        Filter::Equals(field, values) => values
            .iter()
            .map(|value| equals(field, value, backend))
            .reduce(ExprTrait::or)
            .unwrap_or(Expr::val(false)),
    }
}

fn equals(field: &Field, value: &Value, backend: DbBackend) -> Expr {
    let own = |column: &'static str, value: Option<SqlValue>| match value {
        Some(value) => Expr::col(column).eq(Expr::Value(value)),
        None => Expr::val(false),
    };
    match field {
        Field::Id => own(ID, value.as_str().map(Into::into)),
        Field::CreatedAt => own(CREATED_AT, value.as_i64().map(Into::into)),
        Field::UpdatedAt => own(UPDATED_AT, value.as_i64().map(Into::into)),
        Field::Data(path) if backend == DbBackend::Postgres => postgres_equals(path, value),
        Field::Data(path) => sqlite_equals(path, value),
    }
}

/// `data -> 'a' -> 0`: a key never enters an array, an index never an object. To PostgreSQL a scalar is its own element
/// 0, so what an index enters is asked for its type.
fn postgres_value(path: &FieldPath) -> Expr {
    let mut value = Expr::col(DATA);
    let mut is_array: Option<Expr> = None;
    for segment in path.segments() {
        let step = match segment {
            Segment::Key(key) => literal(key),
            Segment::Index(index) => {
                let guard = Expr::cust_with_exprs("jsonb_typeof($1) = 'array'", [value.clone()]);
                is_array = Some(is_array.map_or_else(|| guard.clone(), |others| others.and(guard.clone())));
                Expr::Constant(SqlValue::BigInt(Some(i64::from(*index)))).cast_as("integer")
            }
        };
        value = value.binary(BinOper::Custom("->"), step);
    }
    match is_array {
        Some(is_array) => Expr::case(is_array, value).into(),
        None => value,
    }
}

fn postgres_equals(path: &FieldPath, value: &Value) -> Expr {
    let found = postgres_value(path);
    let wanted = Expr::val(value.to_string()).cast_as("jsonb");
    let absent =
        if value.is_null() { "COALESCE($1, 'null'::jsonb) = $2" } else { "COALESCE($1 = $2, FALSE)" };
    Expr::cust_with_exprs(absent, [found, wanted])
}

/// The type guard is needed: to SQLite `true` is 1, and an object equals its own text. `IS` is never NULL.
fn sqlite_equals(path: &FieldPath, value: &Value) -> Expr {
    let json_type = Expr::cust_with_exprs("json_type(?, ?)", [Expr::col(DATA), path_literal(path)]);
    let found = Expr::cust_with_exprs("json_extract(?, ?)", [Expr::col(DATA), path_literal(path)]);
    let typed = |name: &'static str, wanted: Expr| {
        Expr::cust_with_exprs(
            "(? IS ? AND ? IS ?)",
            [json_type.clone(), literal(name), found.clone(), wanted],
        )
    };
    match value {
        Value::Null => Expr::cust_with_exprs("COALESCE(?, 'null') IS 'null'", [json_type]),
        Value::Bool(true) => Expr::cust_with_exprs("? IS 'true'", [json_type]),
        Value::Bool(false) => Expr::cust_with_exprs("? IS 'false'", [json_type]),
        Value::String(text) => typed("text", Expr::val(text.as_str())),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => typed("integer", Expr::val(integer)),
            // As text, which is canonical: SQLite reads some doubles one bit off.
            None => Expr::cust_with_exprs(
                "(? -> ?) IS ?",
                [Expr::col(DATA), path_literal(path), Expr::val(number.to_string())],
            ),
        },
        // Both texts are canonical, so equal values have equal texts.
        Value::Array(_) => typed("array", Expr::val(value.to_string())),
        Value::Object(_) => typed("object", Expr::val(value.to_string())),
    }
}

/// SQLite's path text `$."a"[0]`, as a literal. A key is quoted and escaped as JSON, which is what SQLite compares with.
fn path_literal(path: &FieldPath) -> Expr {
    let mut text = String::from("$");
    for segment in path.segments() {
        match segment {
            Segment::Key(key) => {
                text.push('.');
                text.push_str(&Value::from(key.as_str()).to_string());
            }
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    literal(&text)
}

fn literal(text: &str) -> Expr {
    Expr::Constant(SqlValue::String(Some(text.to_owned())))
}
