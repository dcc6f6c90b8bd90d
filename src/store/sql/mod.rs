//! The SQL back-end of [`Filter`] and of pages, for SQLite and PostgreSQL. No comparison is ever NULL.
//!
//! Reading order: this file, [`key`], [`page`], [`index`], then the comparisons of each database, `sqlite` and `postgres`.

pub mod index;
pub mod key;
pub mod page;
mod postgres;
mod sqlite;

use sea_orm::{
    DbBackend,
    sea_query::{BinOper, Expr, ExprTrait},
};
use serde_json::Value;

use crate::query::{Comparison, Field, Filter, key::Key};

/// The filter as a condition on a row of `documents`: true or false, never NULL.
pub fn condition(filter: &Filter, backend: DbBackend) -> Expr {
    let all = |terms: &[Filter]| terms.iter().map(|term| condition(term, backend)).collect::<Vec<_>>();
    match filter {
        Filter::And(terms) => all(terms).into_iter().reduce(ExprTrait::and).unwrap_or(Expr::cust("TRUE")),
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

impl Comparison {
    fn operator(self) -> BinOper {
        match self {
            Self::Greater => BinOper::GreaterThan,
            Self::GreaterOrEqual => BinOper::GreaterThanOrEqual,
            Self::Less => BinOper::SmallerThan,
            Self::LessOrEqual => BinOper::SmallerThanOrEqual,
        }
    }
}

fn all_of(conditions: Vec<Expr>) -> Expr {
    conditions.into_iter().reduce(ExprTrait::and).unwrap_or(Expr::cust("TRUE"))
}

fn any_of(alternatives: Vec<Expr>) -> Expr {
    alternatives.into_iter().reduce(ExprTrait::or).unwrap_or(Expr::cust("FALSE"))
}

/// The values of an equality by how they are compared. Lists are bound as one JSON array each, so that the texts of
/// statements stay few.
#[derive(Default)]
struct Values<'a> {
    null: bool,
    no: bool,
    yes: bool,
    integers: Vec<&'a Value>,
    doubles: Vec<&'a Value>,
    strings: Vec<&'a Value>,
    composites: Vec<&'a Value>,
}

impl<'a> Values<'a> {
    fn sort(values: &'a [Value]) -> Self {
        let mut sorted = Self::default();
        for value in values {
            match value {
                Value::Null => sorted.null = true,
                Value::Bool(false) => sorted.no = true,
                Value::Bool(true) => sorted.yes = true,
                Value::Number(number) if number.is_i64() => sorted.integers.push(value),
                Value::Number(_) => sorted.doubles.push(value),
                Value::String(_) => sorted.strings.push(value),
                Value::Array(_) | Value::Object(_) => sorted.composites.push(value),
            }
        }
        sorted
    }
}

/// A JSON array of values.
fn list_of(values: &[&Value]) -> Expr {
    Expr::val(serde_json::to_string(values).unwrap_or_default())
}

/// A JSON array of the texts of values.
fn list_of_texts(values: &[&Value]) -> Expr {
    let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
    Expr::val(serde_json::to_string(&texts).unwrap_or_default())
}

/// An id is a string, a time a number; neither is ever anything else.
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
