//! The sort key of a field in SQL. Equality, range, sort and paging use the same expression, which an index can hold.
//!
//! On SQLite the key is one `CASE` over the type of the value. SQLite orders numbers before text and text before blobs, so
//! the other types become an extreme number or a blob.
//!
//! On PostgreSQL the key has two columns, made by functions of a migration. `coir_num` is the number; it is -Infinity for
//! null and missing, Infinity for a string and NaN for the rest. `coir_txt` is the string, or a digit that orders the rest.
//!
//! No key is ever NULL. Queries and indexes take the expression from here, because both databases recognise an index by its
//! expression. For the same reason a path is a literal. Values are always bound.

use sea_orm::{
    DbBackend, Value as SqlValue,
    sea_query::{BinOper, Expr, ExprTrait},
};
use serde_json::{Number, Value};

use crate::{
    domain::{FieldPath, Segment},
    query::{Field, MaskedField, key::Key},
    store::sql::expression::literal,
};

/// Columns of `documents`.
const ID: &str = "id";
const DATA: &str = "data";
const CREATED_AT: &str = "created_at";
const UPDATED_AT: &str = "updated_at";

/// A field in SQL.
#[derive(Clone)]
pub enum Source {
    Id,
    CreatedAt,
    UpdatedAt,
    Data(DataSource),
}

/// A value in the data of a document.
#[derive(Clone)]
pub struct DataSource {
    path: FieldPath,
    /// What stands in the place of the column with the data, for a caller who sees only a part of it. NULL has no values.
    masked: Option<Expr>,
}

impl Source {
    /// Returns the source of a field. `masked` gives the data as a masked caller sees it.
    pub fn of(field: &Field, masked: impl FnOnce(&MaskedField) -> Expr) -> Self {
        match field {
            Field::Id => Self::Id,
            Field::CreatedAt => Self::CreatedAt,
            Field::UpdatedAt => Self::UpdatedAt,
            Field::Data(path) => Self::Data(DataSource { path: path.clone(), masked: None }),
            Field::Masked(field) => {
                Self::Data(DataSource { path: field.path.clone(), masked: Some(masked(field)) })
            }
        }
    }

    /// Returns the column of one of a document's own fields. `None` for a value in the data.
    pub fn own_column(&self) -> Option<Expr> {
        match self {
            Self::Id => Some(Expr::col(ID)),
            Self::CreatedAt => Some(Expr::col(CREATED_AT)),
            Self::UpdatedAt => Some(Expr::col(UPDATED_AT)),
            Self::Data(_) => None,
        }
    }
}

impl DataSource {
    /// Returns the data.
    pub fn data(&self) -> Expr {
        self.masked.clone().unwrap_or_else(data)
    }

    /// Returns the path as a literal of SQLite: `$."a"[0]`. A key is escaped as JSON, because SQLite compares it with the JSON
    /// text.
    pub fn path_literal(&self) -> Expr {
        path_literal(&self.path)
    }
}

/// Returns the column with the data.
pub fn data() -> Expr {
    Expr::col(DATA)
}

/// Returns the expressions of a field's sort key, the most significant first.
pub fn key_columns(source: &Source, backend: DbBackend) -> Vec<Expr> {
    match source {
        Source::Data(value) if backend == DbBackend::Postgres => {
            let PostgresKey { number, text } = postgres_key(value);
            vec![number, text]
        }
        Source::Data(value) => vec![sqlite_key(value)],
        own => own.own_column().into_iter().collect(),
    }
}

/// Returns the values that [`key_columns`] have for a key.
pub fn key_values(source: &Source, key: &Key, backend: DbBackend) -> Vec<Expr> {
    match (source, key) {
        (Source::Data(_), _) if backend == DbBackend::Postgres => {
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
        (Source::Data(_), _) => vec![sqlite_value(key)],
        (_, Key::Number(number)) => vec![Expr::val(number.as_i64().unwrap_or_default())],
        (_, Key::Text(text)) => vec![Expr::val(text.as_str())],
        // A document's own fields have no other values, and cursors are checked for that.
        _ => vec![Expr::val(0_i64)],
    }
}

/// The values of `coir_num` for null, for a string and for the rest, and of `coir_txt` for the rest.
const NULL_NUMBER: &str = "'-Infinity'::numeric";
const TEXT_NUMBER: &str = "'Infinity'::numeric";
const REST_NUMBER: &str = "'NaN'::numeric";
const FALSE_TEXT: &str = "0";
const TRUE_TEXT: &str = "1";
const COMPOSITE_TEXT: &str = "2";

/// The two columns of a key on PostgreSQL.
pub struct PostgresKey {
    /// `coir_num`.
    pub number: Expr,
    /// `coir_txt`.
    pub text: Expr,
}

/// Returns the sort key of a value on PostgreSQL.
pub fn postgres_key(source: &DataSource) -> PostgresKey {
    let value = postgres_value(source);
    // PostgreSQL uses an index for an equality only if the query has the same collation.
    let text = Expr::cust_with_exprs("(coir_txt($1) COLLATE \"C\")", [value.clone()]);
    PostgresKey { number: Expr::cust_with_exprs("coir_num($1)", [value]), text }
}

/// Returns a number to compare with `coir_num`.
pub fn postgres_number(number: &Number) -> Expr {
    Expr::val(number.to_string()).cast_as("numeric")
}

/// Returns the value at a path on PostgreSQL: `data -> 'a' -> 0`. A key never enters an array, and an index never enters an
/// object. PostgreSQL takes a scalar for its own element 0, so the type is checked before an index.
pub fn postgres_value(source: &DataSource) -> Expr {
    let mut value = source.data();
    let mut is_array: Option<Expr> = None;
    for segment in source.path.segments() {
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

/// Returns the sort key of a value on SQLite. It occurs several times in the statement of each list, so it is built as short
/// text.
pub fn sqlite_key(source: &DataSource) -> Expr {
    if let Some(masked) = &source.masked {
        let [data, path] = [masked.clone(), source.path_literal()];
        return Expr::cust_with_exprs(
            format!(
                "(CASE json_type(?, ?) WHEN 'true' THEN x'01' WHEN 'false' THEN x'00' WHEN 'array' THEN x'02' \
                 WHEN 'object' THEN x'02' ELSE ifnull(json_extract(?, ?),{SQLITE_NULL}) END)"
            ),
            [data.clone(), path.clone(), data, path],
        );
    }
    // In a literal of SQLite only the quote is special, and it is doubled.
    let path = path_text(&source.path).replace('\'', "''");
    Expr::cust(format!(
        "(CASE json_type(\"{DATA}\",'{path}') WHEN 'true' THEN x'01' WHEN 'false' THEN x'00' WHEN 'array' THEN x'02' \
         WHEN 'object' THEN x'02' ELSE ifnull(json_extract(\"{DATA}\",'{path}'),{SQLITE_NULL}) END)"
    ))
}

/// Returns the value that [`sqlite_key`] has for a key.
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

/// The key of null and missing, which is before every number.
pub const SQLITE_NULL: &str = "-9e999";
/// The key of arrays and objects.
pub const SQLITE_COMPOSITE: &str = "x'02'";

/// Returns a number to compare with a key. SQLite reads some extreme doubles inexactly, so it must read both sides from JSON.
pub fn sqlite_number(number: &Number) -> Expr {
    match number.as_i64() {
        Some(integer) => Expr::val(integer),
        None => Expr::cust_with_exprs("json_extract(?, '$')", [Expr::val(number.to_string())]),
    }
}

/// Returns the JSON text of a value on SQLite. It is canonical, so equal values have equal texts. NULL if the field is
/// missing.
pub fn sqlite_text(source: &DataSource) -> Expr {
    Expr::cust_with_exprs("(? -> ?)", [source.data(), source.path_literal()])
}

/// Returns the length of a string on SQLite, in bytes. It is 0 for any other value.
pub fn sqlite_text_bytes(source: &DataSource) -> Expr {
    let [data, path] = [source.data(), source.path_literal()];
    Expr::cust_with_exprs(
        "(CASE WHEN json_type(?, ?) = 'text' THEN octet_length(json_extract(?, ?)) ELSE 0 END)",
        [data.clone(), path.clone(), data, path],
    )
}

/// Returns a path of SQLite as a literal; see [`DataSource::path_literal`].
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
