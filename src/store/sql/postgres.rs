//! Comparisons on PostgreSQL. They use the sort keys where possible, so that an index serves them. None is ever NULL.

use sea_orm::sea_query::{BinOper, Expr, ExprTrait};
use serde_json::Value;

use crate::{
    domain::{FieldPath, Segment},
    query::{Comparison, Part, key::Key},
    store::sql::{
        expression::{all_of, any_of, literal},
        key::{
            DataSource, PostgresKey, Source, key_columns, key_values, postgres_key, postgres_number,
            postgres_value,
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

pub fn equals(source: &DataSource, values: &Values<'_>) -> Expr {
    let has_key = |key: &Key| {
        let field = Source::Data(source.clone());
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
    let PostgresKey { number, text } = postgres_key(source);
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
        let same = is_one_of(postgres_value(source), &values.composites, "jsonb");
        alternatives.push(has_key(&Key::Composite).and(same));
    }
    any_of(alternatives)
}

pub fn compares(source: &DataSource, comparison: Comparison, value: &Value) -> Expr {
    let PostgresKey { number, text } = postgres_key(source);
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
pub fn has_text(source: &Source, part: Part, text: &str) -> Expr {
    let (is_string, found) = match source {
        Source::Data(value) => (
            Expr::cust_with_exprs(
                "(jsonb_typeof($1) IS NOT DISTINCT FROM 'string')",
                [postgres_value(value)],
            ),
            postgres_key(value).text,
        ),
        Source::Id => match source.own_column() {
            Some(column) => (Expr::cust("TRUE"), Expr::cust_with_exprs("($1 COLLATE \"C\")", [column])),
            None => return Expr::cust("FALSE"),
        },
        Source::CreatedAt | Source::UpdatedAt => return Expr::cust("FALSE"),
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

pub fn has_element(source: &DataSource, values: &[Value]) -> Expr {
    let values: Vec<_> = values.iter().collect();
    Expr::cust_with_exprs(
        "EXISTS (SELECT 1 FROM jsonb_array_elements(CASE WHEN jsonb_typeof($1) = 'array' THEN $1 END) \
         AS element(value) WHERE $2)",
        [postgres_value(source), is_one_of(Expr::cust("element.value"), &values, "jsonb")],
    )
}

/// Returns data without the member at a path of keys. The path ends at what is no object: PostgreSQL takes a key of digits for a
/// place in a list, and refuses others there.
pub fn without(data: Expr, path: &FieldPath) -> Expr {
    let keys = path.segments().iter().map(|segment| match segment {
        Segment::Key(key) => key.clone(),
        Segment::Index(index) => index.to_string(),
    });
    let keys: Vec<_> = keys.collect();
    let (mut holder, mut are_objects) = (data.clone(), Vec::new());
    for key in &keys[..keys.len().saturating_sub(1)] {
        holder = holder.binary(BinOper::Custom("->"), literal(key));
        are_objects.push(Expr::cust_with_exprs(
            "(jsonb_typeof($1) IS NOT DISTINCT FROM 'object')",
            [holder.clone()],
        ));
    }
    let names: Vec<_> =
        keys.iter().map(|key| format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    let path = literal(&format!("{{{}}}", names.join(",")));
    let rest = Expr::cust_with_exprs("($1 #- CAST($2 AS text[]))", [data.clone(), path]);
    if are_objects.is_empty() { rest } else { Expr::case(all_of(are_objects), rest).finally(data).into() }
}
