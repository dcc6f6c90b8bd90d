//! The values of an equality, sorted by how each database compares them.

use sea_orm::sea_query::Expr;
use serde_json::Value;

/// The values of an equality. Each list is bound as one JSON array, so that there are few statement texts.
#[derive(Default)]
pub struct Values<'a> {
    pub null: bool,
    pub no: bool,
    pub yes: bool,
    pub integers: Vec<&'a Value>,
    pub doubles: Vec<&'a Value>,
    pub strings: Vec<&'a Value>,
    pub composites: Vec<&'a Value>,
}

impl<'a> Values<'a> {
    pub fn sort(values: &'a [Value]) -> Self {
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

/// Returns a JSON array of values.
pub fn list_of(values: &[&Value]) -> Expr {
    Expr::val(serde_json::to_string(values).unwrap_or_default())
}

/// Returns a JSON array of the texts of values.
pub fn list_of_texts(values: &[&Value]) -> Expr {
    let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
    Expr::val(serde_json::to_string(&texts).unwrap_or_default())
}
