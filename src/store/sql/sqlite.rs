//! Comparisons on SQLite. `true` equals 1 there, and an object equals its own text. So each comparison checks the type: by
//! the sort key, or by `json_type` with `IS`, which is never NULL.

use sea_orm::sea_query::{Expr, ExprTrait};
use serde_json::Value;

use crate::{
    domain::FieldPath,
    query::{Comparison, Part},
    store::sql::{
        expression::any_of,
        key::{
            DataSource, SQLITE_COMPOSITE, SQLITE_NULL, Source, path_literal, sqlite_key, sqlite_number,
            sqlite_text,
        },
        values::{Values, list_of, list_of_texts},
    },
};

/// Returns `x IN (…)` over a JSON array.
pub fn is_one_of(column: Expr, list: Expr) -> Expr {
    Expr::cust_with_exprs("(? IN (SELECT value FROM json_each(?)))", [column, list])
}

pub fn equals(source: &DataSource, values: &Values<'_>) -> Expr {
    let key = sqlite_key(source);
    let mut alternatives = Vec::new();
    let is = |value: &'static str| key.clone().eq(Expr::cust(value));
    for (asked, value) in [(values.null, SQLITE_NULL), (values.no, "x'00'"), (values.yes, "x'01'")] {
        if asked {
            alternatives.push(is(value));
        }
    }
    let plain: Vec<_> = values.integers.iter().chain(&values.strings).copied().collect();
    match plain.as_slice() {
        [] => {}
        [Value::String(text)] => alternatives.push(key.clone().eq(text.as_str())),
        [Value::Number(number)] => alternatives.push(key.clone().eq(sqlite_number(number))),
        many => alternatives.push(is_one_of(key.clone(), list_of(many))),
    }
    // Doubles and composites are compared by their canonical texts: SQLite reads some doubles inexactly, and all composites
    // have one key.
    let has_text = |values: &[&Value]| is_one_of(sqlite_text(source), list_of_texts(values));
    match values.doubles.as_slice() {
        [] => {}
        [Value::Number(number)] => {
            alternatives.push(key.clone().eq(sqlite_number(number)).and(has_text(&values.doubles)));
        }
        many => alternatives.push(is_one_of(key.clone(), list_of(many)).and(has_text(many))),
    }
    if !values.composites.is_empty() {
        alternatives.push(is(SQLITE_COMPOSITE).and(has_text(&values.composites)));
    }
    any_of(alternatives)
}

pub fn compares(source: &DataSource, comparison: Comparison, value: &Value) -> Expr {
    let key = sqlite_key(source);
    // Numbers lie between null and strings, and strings before false, so the range needs its other end.
    let (bound, least, most) = match value {
        Value::Number(number) => (sqlite_number(number), "? > -9e999", "? < ''"),
        Value::String(text) => (Expr::val(text.as_str()), "? >= ''", "? < x''"),
        _ => return Expr::cust("FALSE"),
    };
    let end = if comparison.is_upwards() { most } else { least };
    key.clone().binary(comparison.operator(), bound).and(Expr::cust_with_exprs(end, [key]))
}

/// Looks for text in a string. `lower` of SQLite folds ASCII letters only.
pub fn has_text(source: &Source, part: Part, text: &str) -> Expr {
    let (is_string, found) = match source {
        Source::Data(value) => (
            Expr::cust_with_exprs("(json_type(?, ?) IS 'text')", [value.data(), value.path_literal()]),
            Expr::cust_with_exprs("json_extract(?, ?)", [value.data(), value.path_literal()]),
        ),
        Source::Id => match source.own_column() {
            Some(column) => (Expr::cust("TRUE"), column),
            None => return Expr::cust("FALSE"),
        },
        Source::CreatedAt | Source::UpdatedAt => return Expr::cust("FALSE"),
    };
    if text.is_empty() {
        return is_string;
    }
    let text = Expr::val(text);
    let has = match part {
        Part::Anywhere => Expr::cust_with_exprs("(instr(lower(?), ?) > 0)", [found, text]),
        Part::Start => {
            Expr::cust_with_exprs("(substr(lower(?), 1, length(?)) = ?)", [found, text.clone(), text])
        }
        Part::End => Expr::cust_with_exprs("(substr(lower(?), -length(?)) = ?)", [found, text.clone(), text]),
    };
    is_string.and(has)
}

pub fn has_element(source: &DataSource, values: &Values<'_>) -> Expr {
    let mut alternatives = Vec::new();
    for (asked, kind) in [
        (values.null, "element.type = 'null'"),
        (values.no, "element.type = 'false'"),
        (values.yes, "element.type = 'true'"),
    ] {
        if asked {
            alternatives.push(Expr::cust(kind));
        }
    }
    for (values, list, has_type) in [
        (&values.integers, list_of(&values.integers), "(element.type = 'integer' AND ?)"),
        (&values.doubles, list_of(&values.doubles), "(element.type = 'real' AND ?)"),
        (&values.strings, list_of(&values.strings), "(element.type = 'text' AND ?)"),
        (
            &values.composites,
            list_of_texts(&values.composites),
            "(element.type IN ('array', 'object') AND ?)",
        ),
    ] {
        if !values.is_empty() {
            let found = Expr::cust("element.value");
            alternatives.push(Expr::cust_with_exprs(has_type, [is_one_of(found, list)]));
        }
    }
    let [data, path] = [source.data(), source.path_literal()];
    Expr::cust_with_exprs(
        "(json_type(?, ?) IS 'array' AND EXISTS (SELECT 1 FROM json_each(?, ?) AS element WHERE ?))",
        [data.clone(), path.clone(), data, path, any_of(alternatives)],
    )
}

/// Returns data without the member at a path.
pub fn without(data: Expr, path: &FieldPath) -> Expr {
    Expr::cust_with_exprs("jsonb_remove(?, ?)", [data, path_literal(path)])
}
