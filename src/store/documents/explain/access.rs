//! Accesses to the table of documents, and the plan that they make.

use sea_orm::{DbBackend, Statement, sea_query::Values};

use crate::query::{Field, Filter};

/// One access to the table of documents, as the database describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The name of the index, if one is used.
    pub index: Option<String>,
    /// Whether a condition on a field narrows the search, beside the condition on the collection.
    pub is_narrowed: bool,
    /// Whether the found documents are sorted afterwards, before the limit.
    pub is_sorted: bool,
}

/// The accesses of a list, and how many documents the database looked at.
pub(super) struct Measured {
    pub(super) accesses: Vec<Access>,
    pub(super) rows_read: u64,
}

/// How a list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListPlan {
    /// An index finds what the filter asks for, or, without a filter, gives the order.
    Index,
    /// Documents that don't match are read as well: all of the collection, unless the page is full before.
    Scan,
}

impl ListPlan {
    /// Returns the plan that these accesses make for a list with this filter.
    pub(in crate::store) fn of(accesses: &[Access], filter: &Filter) -> Self {
        let is_filtered = !filter.terms().is_empty();
        let is_served = |access: &Access| {
            access.index.is_some() && (access.is_narrowed || !is_filtered && !access.is_sorted)
        };
        if accesses.iter().all(is_served) { Self::Index } else { Self::Scan }
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Scan => "scan",
        }
    }
}

/// Puts `EXPLAIN …` before the text of a statement.
pub(super) fn with_prefix(prefix: &str, (text, values): (String, Values), backend: DbBackend) -> Statement {
    Statement { sql: format!("{prefix} {text}"), values: Some(values), db_backend: backend }
}

/// Returns the fields of an index that every collection has: by creation time, or the primary key.
pub(super) fn built_in_fields(index: &str) -> Vec<Field> {
    match index {
        "documents_by_age" => vec![Field::CreatedAt, Field::Id],
        "documents_pkey" | "sqlite_autoindex_documents_1" => vec![Field::Id],
        _ => Vec::new(),
    }
}
