//! A field's sort key in SQL: one expression for typed equality, range, sort and paging, which an index can hold.
//!
//! On SQLite it is a `CASE` over the value's type; SQLite itself orders numbers, then text, then blobs. On PostgreSQL
//! there are two, `coir_num` and `coir_txt` (functions of the migration): the number, -Infinity for null and missing,
//! Infinity for a string and NaN for the rest; and the string, or what parts the rest. None is ever NULL.
//!
//! The text of a key is made here alone, for the query and for the index: SQLite finds an index by its expression. For the
//! same reason a path is a literal. Values are always bound.

use sea_orm::{
    DbBackend, Value as SqlValue,
    sea_query::{BinOper, Expr, ExprTrait},
};
use serde_json::{Number, Value};

use crate::{
    domain::{FieldPath, Segment},
    query::{Field, key::Key},
};

/// Columns of `documents`.
const ID: &str = "id";
const DATA: &str = "data";
const CREATED_AT: &str = "created_at";
const UPDATED_AT: &str = "updated_at";

/// The data itself.
pub fn data() -> Expr {
    Expr::col(DATA)
}

/// The column of one of the document's own fields; `None` for a path into the data.
pub fn own_column(field: &Field) -> Option<Expr> {
    match field {
        Field::Id => Some(Expr::col(ID)),
        Field::CreatedAt => Some(Expr::col(CREATED_AT)),
        Field::UpdatedAt => Some(Expr::col(UPDATED_AT)),
        Field::Data(_) => None,
    }
}

/// The expressions of a field's sort key, the first of them before all.
pub fn key_columns(field: &Field, backend: DbBackend) -> Vec<Expr> {
    match field {
        Field::Data(path) if backend == DbBackend::Postgres => {
            let (number, text) = postgres_key(path);
            vec![number, text]
        }
        Field::Data(path) => vec![sqlite_key(path)],
        own => own_column(own).into_iter().collect(),
    }
}

/// The values that [`key_columns`] have for a key.
pub fn key_values(field: &Field, key: &Key, backend: DbBackend) -> Vec<Expr> {
    match (field, key) {
        (Field::Data(_), _) if backend == DbBackend::Postgres => {
            let (number, text) = match key {
                Key::Null => (NULL_NUMBER, ""),
                Key::Number(number) => return vec![postgres_number(number), Expr::val("")],
                Key::Text(text) => (TEXT_NUMBER, text.as_str()),
                Key::False => (REST_NUMBER, FALSE_TEXT),
                Key::True => (REST_NUMBER, TRUE_TEXT),
                Key::Composite => (REST_NUMBER, COMPOSITE_TEXT),
            };
            vec![Expr::cust(number), Expr::val(text)]
        }
        (Field::Data(_), _) => vec![sqlite_value(key)],
        (_, Key::Number(number)) => vec![Expr::val(number.as_i64().unwrap_or_default())],
        (_, Key::Text(text)) => vec![Expr::val(text.as_str())],
        // The document's own fields have no other values, and cursors are checked for it.
        _ => vec![Expr::val(0_i64)],
    }
}

/// `coir_num` of null, of a string, of the rest; and `coir_txt` of the rest.
const NULL_NUMBER: &str = "'-Infinity'::numeric";
const TEXT_NUMBER: &str = "'Infinity'::numeric";
const REST_NUMBER: &str = "'NaN'::numeric";
const FALSE_TEXT: &str = "0";
const TRUE_TEXT: &str = "1";
const COMPOSITE_TEXT: &str = "2";

/// The two keys on PostgreSQL: number and text.
pub fn postgres_key(path: &FieldPath) -> (Expr, Expr) {
    let value = postgres_value(path);
    // PostgreSQL takes an index for an equality only if the query writes the collation, too.
    let text = Expr::cust_with_exprs("(coir_txt($1) COLLATE \"C\")", [value.clone()]);
    (Expr::cust_with_exprs("coir_num($1)", [value]), text)
}

/// A number to compare `coir_num` with.
pub fn postgres_number(number: &Number) -> Expr {
    Expr::val(number.to_string()).cast_as("numeric")
}

/// `data -> 'a' -> 0`: a key never enters an array, an index never an object. To PostgreSQL a scalar is its own element
/// 0, so what an index enters is asked for its type.
pub fn postgres_value(path: &FieldPath) -> Expr {
    let mut value = data();
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

/// The key on SQLite. It stands several times in a statement, which is made and read for every list: so it is short, and
/// text from the start.
pub fn sqlite_key(path: &FieldPath) -> Expr {
    // In SQLite a quote is doubled, and nothing else in a literal means anything.
    let path = path_text(path).replace('\'', "''");
    Expr::cust(format!(
        "(CASE json_type(\"{DATA}\",'{path}') WHEN 'true' THEN x'01' WHEN 'false' THEN x'00' WHEN 'array' THEN x'02' \
         WHEN 'object' THEN x'02' ELSE ifnull(json_extract(\"{DATA}\",'{path}'),{SQLITE_NULL}) END)"
    ))
}

/// The value that [`sqlite_key`] has for a key.
pub fn sqlite_value(key: &Key) -> Expr {
    match key {
        Key::Null => Expr::cust(SQLITE_NULL),
        Key::Number(number) => sqlite_number(number),
        Key::Text(text) => Expr::val(text.as_str()),
        Key::False => Expr::cust("x'00'"),
        Key::True => Expr::cust("x'01'"),
        Key::Composite => Expr::cust(SQLITE_COMPOSITE),
    }
}

/// The key of null and missing, before every number.
pub const SQLITE_NULL: &str = "-9e999";
/// The key of arrays and objects.
pub const SQLITE_COMPOSITE: &str = "x'02'";

/// A number to compare a key with. SQLite reads some doubles of extreme size a bit off; it shall read both sides alike.
pub fn sqlite_number(number: &Number) -> Expr {
    match number.as_i64() {
        Some(integer) => Expr::val(integer),
        None => Expr::cust_with_exprs("json_extract(?, '$')", [Expr::val(number.to_string())]),
    }
}

/// The value's JSON text on SQLite: canonical, so equal values have equal texts. NULL if the field is missing.
pub fn sqlite_text(path: &FieldPath) -> Expr {
    Expr::cust_with_exprs("(? -> ?)", [data(), path_literal(path)])
}

/// How many bytes a string has on SQLite; 0 for anything else.
pub fn sqlite_text_bytes(path: &FieldPath) -> Expr {
    Expr::cust_with_exprs(
        "(CASE WHEN json_type(?, ?) = 'text' THEN octet_length(json_extract(?, ?)) ELSE 0 END)",
        [data(), path_literal(path), data(), path_literal(path)],
    )
}

/// SQLite's path text `$."a"[0]`, as a literal. A key is quoted and escaped as JSON, which is what SQLite compares with.
pub fn path_literal(path: &FieldPath) -> Expr {
    literal(&path_text(path))
}

fn path_text(path: &FieldPath) -> String {
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
    text
}

/// Text that stands in the statement itself.
pub fn literal(text: &str) -> Expr {
    Expr::Constant(SqlValue::String(Some(text.to_owned())))
}
