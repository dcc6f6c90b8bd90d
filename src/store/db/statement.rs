//! SQL text, and the values that are bound to it.

use std::borrow::Cow;

use sea_orm::{DbBackend, Statement, Value};

/// A constant statement, with one text for each database.
#[derive(Clone, Copy)]
pub(in crate::store) struct Sql {
    pub(in crate::store) sqlite: &'static str,
    pub(in crate::store) postgres: &'static str,
}

impl Sql {
    pub(in crate::store) const fn same(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }

    /// Returns the text for a database.
    pub(super) fn text(self, backend: DbBackend) -> &'static str {
        if backend == DbBackend::Postgres { self.postgres } else { self.sqlite }
    }

    /// Binds values, for a read.
    pub(in crate::store) fn bind(
        self,
        backend: DbBackend,
        values: impl IntoIterator<Item = Value>,
    ) -> Statement {
        Statement::from_sql_and_values(backend, self.text(backend), values)
    }
}

/// A value that is bound to a statement of a write transaction.
#[derive(Clone, Debug)]
pub(in crate::store) enum Param {
    Text(String),
    OptionalText(Option<String>),
    Integer(i64),
    OptionalInteger(Option<i64>),
    /// A column of many rows, for PostgreSQL.
    Texts(Vec<Option<String>>),
    Integers(Vec<Option<i64>>),
}

/// A statement of a write transaction.
pub(super) struct BoundStatement {
    pub(super) text: Cow<'static, str>,
    pub(super) params: Vec<Param>,
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<String>> for Param {
    fn from(text: Option<String>) -> Self {
        Self::OptionalText(text)
    }
}

impl From<i64> for Param {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<Option<i64>> for Param {
    fn from(integer: Option<i64>) -> Self {
        Self::OptionalInteger(integer)
    }
}
