//! Explains how the database reads a list: whether an index serves it, which one, and how many documents are looked at.
//!
//! The database itself is asked, with the statement that reads the list and its values. PostgreSQL runs that statement and
//! counts (`EXPLAIN ANALYZE`). SQLite can tell the index but does not count, so the documents in the searched range of the
//! index are counted by a second statement. Both end at the time limit of reads.
//!
//! Reading order: this file, `access`, `postgres`, `sqlite`.

mod access;
mod postgres;
mod sqlite;

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbBackend, sea_query::SelectStatement};

pub use access::{Access, ListPlan};
use access::{Measured, built_in_fields};

use crate::{
    query::{index_definition::Index, page::Page, planner::helpful_fields},
    store::{Result, documents::list::Listing},
};

/// How the database reads a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether an index finds what the filter asks for (without a filter: gives the order).
    pub plan: ListPlan,
    /// The index that the database goes through, also if the plan is a scan: then it goes through all of the collection in
    /// that index. Of several, the first. `None` if it reads the table without an index.
    pub index: Option<UsedIndex>,
    /// The fields of an index that would help, as they would be declared: `["status", "-createdAt"]`. `None` if an index
    /// serves the list already, or none could.
    pub wanted: Option<Vec<String>>,
    /// The number of documents that the database looks at for this page, those that the filter then refuses included.
    pub rows_read: u64,
}

/// An index that the database uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedIndex {
    /// The database's name of the index: `coir_index_…` of a declared one; `documents_by_age` and the primary key are there
    /// for every collection.
    pub name: String,
    /// The fields of the index, as they would be declared.
    pub fields: Vec<String>,
}

/// Explains the first page of a list. `after` of the page is ignored, because only the end of the page before it narrows a
/// later page.
///
/// # Errors
/// A database failure, also a [timeout](crate::store::StoreError::is_timeout): a list that looks at very many documents
/// can't be explained in time either.
pub async fn explain_list(db: &impl ConnectionTrait, listing: Listing<'_>) -> Result<Explanation> {
    let page = Page { after: None, ..listing.page.clone() };
    let listing = Listing { page: &page, ..listing };
    let Measured { accesses, rows_read } = match db.get_database_backend() {
        DbBackend::Postgres => postgres::measure(db, listing).await?,
        _ => sqlite::measure(db, listing).await?,
    };
    let plan = ListPlan::of(&accesses, listing.filter);
    let index = accesses.into_iter().find_map(|access| access.index);
    let index = index.map(|name| UsedIndex { fields: field_names(&name, listing.indexes), name });
    let wanted = match plan {
        ListPlan::Index => None,
        ListPlan::Scan => Some(helpful_fields(listing.filter, Some(&page.sort))),
    };
    // An index that is in use, or that every collection has, does not help: no index can narrow such a filter.
    let is_there = |fields: &Vec<String>| {
        index.as_ref().is_some_and(|used| used.fields == *fields)
            || matches!(fields.as_slice(), [field] if field.trim_start_matches('-') == "createdAt")
    };
    let wanted = wanted.filter(|fields| !fields.is_empty() && !is_there(fields));
    Ok(Explanation { plan, index, wanted, rows_read })
}

/// Asks the database how it would run a statement, without running it. `indexes` are those of the collection.
///
/// # Errors
/// A database failure.
pub async fn explain_statement(
    db: &impl ConnectionTrait,
    statement: &SelectStatement,
    indexes: &[Arc<Index>],
) -> Result<Vec<Access>> {
    match db.get_database_backend() {
        DbBackend::Postgres => postgres::find_accesses(db, statement).await,
        _ => sqlite::find_accesses(db, statement, indexes).await,
    }
}

/// Returns the fields of an index, as they would be declared.
fn field_names(index: &str, indexes: &[Arc<Index>]) -> Vec<String> {
    match indexes.iter().find(|declared| declared.name() == index) {
        Some(declared) => declared.definition.fields.iter().map(ToString::to_string).collect(),
        None => built_in_fields(index).iter().map(ToString::to_string).collect(),
    }
}
