//! Comparisons on PostgreSQL. They use the sort keys where possible, so that an index serves them. None is ever NULL.

use sea_orm::sea_query::{Expr, ExprTrait};
use serde_json::Value;

use crate::{
    domain::FieldPath,
    query::{Comparison, Field, Part, key::Key},
    store::sql::{
        expression::any_of,
        key::{
            PostgresKey, key_columns, key_values, own_column, postgres_key, postgres_number, postgres_value,
        },
        values::{Values, list_of},
    },
};

/// Returns `x = ANY (…)` over a JSON array of values with the SQL type `kind`.
pub fn is_one_of(column: Expr, values: &[&Value], kind: &'static str) -> Expr {
    let template = match kind {
        "bigint" => "($1 = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($2 AS jsonb))::bigint)))",
        "numeric" => "($1 = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($2 AS jsonb))::numeric)))",
        "jsonb" => "($1 = ANY (ARRAY(SELECT jsonb_array_elements(CAST($2 AS jsonb)))))",
        _ => "($1 = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($2 AS jsonb)))))",
    };
    Expr::cust_with_exprs(template, [column, list_of(values)])
}

pub fn equals(path: &FieldPath, values: &Values<'_>) -> Expr {
    let field = Field::Data(path.clone());
    let has_key = |key: &Key| {
        let columns = key_columns(&field, sea_orm::DbBackend::Postgres).into_iter();
        let pairs = columns.zip(key_values(&field, key, sea_orm::DbBackend::Postgres));
        pairs.map(|(column, value)| column.eq(value)).reduce(ExprTrait::and).unwrap_or(Expr::cust("TRUE"))
    };
    let mut alternatives = Vec::new();
    for (asked, key) in [(values.null, Key::Null), (values.no, Key::False), (values.yes, Key::True)] {
        if asked {
            alternatives.push(has_key(&key));
        }
    }
    let PostgresKey { number, text } = postgres_key(path);
    let numbers: Vec<_> = values.integers.iter().chain(&values.doubles).copied().collect();
    match numbers.as_slice() {
        [] => {}
        [value] => alternatives.push(has_key(&Key::of(Some(value)))),
        many => alternatives.push(is_one_of(number.clone(), many, "numeric").and(text.clone().eq(""))),
    }
    match values.strings.as_slice() {
        [] => {}
        [value] => alternatives.push(has_key(&Key::of(Some(value)))),
        many => {
            let is_text = number.eq(Expr::cust("'Infinity'::numeric"));
            alternatives.push(is_text.and(is_one_of(text, many, "text")));
        }
    }
    if !values.composites.is_empty() {
        let same = is_one_of(postgres_value(path), &values.composites, "jsonb");
        alternatives.push(has_key(&Key::Composite).and(same));
    }
    any_of(alternatives)
}

pub fn compares(path: &FieldPath, comparison: Comparison, value: &Value) -> Expr {
    let PostgresKey { number, text } = postgres_key(path);
    match value {
        Value::Number(bound) => {
            // Numbers lie between null and strings, so the range needs its other end.
            let end = if comparison.is_upwards() {
                Expr::cust_with_exprs("$1 < 'Infinity'::numeric", [number.clone()])
            } else {
                Expr::cust_with_exprs("$1 > '-Infinity'::numeric", [number.clone()])
            };
            number.binary(comparison.operator(), postgres_number(bound)).and(end)
        }
        Value::String(bound) => {
            let is_text = number.eq(Expr::cust("'Infinity'::numeric"));
            is_text.and(text.binary(comparison.operator(), Expr::val(bound.as_str())))
        }
        _ => Expr::cust("FALSE"),
    }
}

/// Looks for text in a string. `lower` of the collation "C" folds ASCII letters only.
pub fn has_text(field: &Field, part: Part, text: &str) -> Expr {
    let (is_string, found) = match field {
        Field::Data(path) => (
            Expr::cust_with_exprs("(jsonb_typeof($1) IS NOT DISTINCT FROM 'string')", [postgres_value(path)]),
            postgres_key(path).text,
        ),
        Field::Id => match own_column(field) {
            Some(column) => (Expr::cust("TRUE"), Expr::cust_with_exprs("($1 COLLATE \"C\")", [column])),
            None => return Expr::cust("FALSE"),
        },
        Field::CreatedAt | Field::UpdatedAt => return Expr::cust("FALSE"),
    };
    if text.is_empty() {
        return is_string;
    }
    let template = match part {
        Part::Anywhere => "(strpos(lower($1), $2) > 0)",
        Part::Start => "starts_with(lower($1), $2)",
        Part::End => "(right(lower($1), char_length($2)) = $2)",
    };
    is_string.and(Expr::cust_with_exprs(template, [found, Expr::val(text)]))
}

pub fn has_element(path: &FieldPath, values: &[Value]) -> Expr {
    let values: Vec<_> = values.iter().collect();
    Expr::cust_with_exprs(
        "EXISTS (SELECT 1 FROM jsonb_array_elements(CASE WHEN jsonb_typeof($1) = 'array' THEN $1 END) \
         AS element(value) WHERE $2)",
        [postgres_value(path), is_one_of(Expr::cust("element.value"), &values, "jsonb")],
    )
}
