//! [`Filter`] as SQL. No comparison is ever NULL, so `NOT` is the plain complement.

use sea_orm::{
    DbBackend,
    sea_query::{Expr, ExprTrait},
};
use serde_json::Value;

use crate::{
    query::{Comparison, Field, Filter, Mask, MaskedField, key::Key, mask::Hide},
    store::sql::{
        expression::{all_of, any_of},
        key::{self, Source},
        postgres, sqlite,
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
            match (source_of(field, backend), backend) {
                (Source::Data(value), DbBackend::Postgres) => postgres::equals(&value, &values),
                (Source::Data(value), _) => sqlite::equals(&value, &values),
                (own, _) => own_equals(&own, &values, backend),
            }
        }
        Filter::Compares(field, comparison, values) => {
            let source = source_of(field, backend);
            let each = values.iter().map(|bound| match (&source, backend) {
                (Source::Data(value), DbBackend::Postgres) => postgres::compares(value, *comparison, bound),
                (Source::Data(value), _) => sqlite::compares(value, *comparison, bound),
                (own, _) => own_compares(own, *comparison, bound, backend),
            });
            any_of(each.collect())
        }
        Filter::HasText(field, part, text) => match backend {
            DbBackend::Postgres => postgres::has_text(&source_of(field, backend), *part, text),
            _ => sqlite::has_text(&source_of(field, backend), *part, text),
        },
        Filter::HasElement(field, values) => match (source_of(field, backend), backend) {
            (Source::Data(value), DbBackend::Postgres) => postgres::has_element(&value, values),
            (Source::Data(value), _) => sqlite::has_element(&value, &Values::sort(values)),
            _ => Expr::cust("FALSE"),
        },
    }
}

/// Returns where a field is found.
pub fn source_of(field: &Field, backend: DbBackend) -> Source {
    Source::of(field, |MaskedField { path, hides }| {
        let (covers, within): (Vec<_>, Vec<_>) = hides.iter().partition(|hide| hide.covers(path));
        let data = within.into_iter().fold(key::data(), |data, hide| without(data, hide, backend));
        if covers.is_empty() {
            return data;
        }
        let shown = covers.iter().map(|hide| condition(&hide.except, backend));
        Expr::case(all_of(shown.collect()), data).into()
    })
}

/// Returns the data of a row as a masked caller sees it.
pub fn masked_data(mask: &Mask, backend: DbBackend) -> Expr {
    mask.hides().iter().fold(key::data(), |data, hide| without(data, hide, backend))
}

/// Returns data without a field, unless the row shows it.
fn without(data: Expr, hide: &Hide, backend: DbBackend) -> Expr {
    let rest = match backend {
        DbBackend::Postgres => postgres::without(data.clone(), &hide.path),
        _ => sqlite::without(data.clone(), &hide.path),
    };
    Expr::case(condition(&hide.except, backend), data).finally(rest).into()
}

/// Compares one of a document's own fields. An id is always a string, and a time is always a number.
fn own_equals(source: &Source, values: &Values<'_>, backend: DbBackend) -> Expr {
    let Some(column) = source.own_column() else { return Expr::cust("FALSE") };
    let (values, kind) = match source {
        Source::Id => (&values.strings, "text"),
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

fn own_compares(source: &Source, comparison: Comparison, value: &Value, backend: DbBackend) -> Expr {
    let fits = match source {
        Source::Id => value.is_string(),
        _ => value.is_i64(),
    };
    let bound = key::key_values(source, &Key::of(Some(value)), backend);
    match (source.own_column(), bound.into_iter().next()) {
        (Some(column), Some(bound)) if fits => column.binary(comparison.operator(), bound),
        _ => Expr::cust("FALSE"),
    }
}
