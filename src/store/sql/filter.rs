//! [`Filter`] as SQL. No comparison is ever NULL, so `NOT` is the plain complement.

use sea_orm::{
    DbBackend,
    sea_query::{Expr, ExprTrait},
};
use serde_json::Value;

use crate::{
    query::{Comparison, Field, Filter, key::Key},
    store::sql::{
        expression::{all_of, any_of},
        key, postgres, sqlite,
        values::{Values, list_of},
    },
};

/// Returns the condition that a row of `documents` matches the filter: true or false, never NULL.
pub fn condition(filter: &Filter, backend: DbBackend) -> Expr {
    let all = |terms: &[Filter]| terms.iter().map(|term| condition(term, backend)).collect::<Vec<_>>();
    match filter {
        Filter::And(terms) => all_of(all(terms)),
        Filter::Or(terms) => any_of(all(terms)),
        Filter::Not(term) => condition(term, backend).not(),
        Filter::Equals(field, values) => {
            let values = Values::sort(values);
            match (field, backend) {
                (Field::Data(path), DbBackend::Postgres) => postgres::equals(path, &values),
                (Field::Data(path), _) => sqlite::equals(path, &values),
                (own, _) => own_equals(own, &values, backend),
            }
        }
        Filter::Compares(field, comparison, values) => {
            let each = values.iter().map(|value| match (field, backend) {
                (Field::Data(path), DbBackend::Postgres) => postgres::compares(path, *comparison, value),
                (Field::Data(path), _) => sqlite::compares(path, *comparison, value),
                (own, _) => own_compares(own, *comparison, value, backend),
            });
            any_of(each.collect())
        }
        Filter::HasText(field, part, text) => match backend {
            DbBackend::Postgres => postgres::has_text(field, *part, text),
            _ => sqlite::has_text(field, *part, text),
        },
        Filter::HasElement(Field::Data(path), values) => match backend {
            DbBackend::Postgres => postgres::has_element(path, values),
            _ => sqlite::has_element(path, &Values::sort(values)),
        },
        Filter::HasElement(..) => Expr::cust("FALSE"),
    }
}

/// Compares one of a document's own fields. An id is always a string, and a time is always a number.
fn own_equals(field: &Field, values: &Values<'_>, backend: DbBackend) -> Expr {
    let Some(column) = key::own_column(field) else { return Expr::cust("FALSE") };
    let (values, kind) = match field {
        Field::Id => (&values.strings, "text"),
        _ => (&values.integers, "bigint"),
    };
    match (values.as_slice(), backend) {
        ([], _) => Expr::cust("FALSE"),
        ([Value::String(text)], _) => column.eq(text.as_str()),
        ([Value::Number(number)], _) => column.eq(number.as_i64().unwrap_or_default()),
        (many, DbBackend::Postgres) => postgres::is_one_of(column, many, kind),
        (many, _) => sqlite::is_one_of(column, list_of(many)),
    }
}

fn own_compares(field: &Field, comparison: Comparison, value: &Value, backend: DbBackend) -> Expr {
    let fits = match field {
        Field::Id => value.is_string(),
        _ => value.is_i64(),
    };
    let bound = key::key_values(field, &Key::of(Some(value)), backend);
    match (key::own_column(field), bound.into_iter().next()) {
        (Some(column), Some(bound)) if fits => column.binary(comparison.operator(), bound),
        _ => Expr::cust("FALSE"),
    }
}
