//! Lists: documents that match a filter, in an order, one page at a time.
//!
//! A list may need several ranges of an index: a field that has one of a few values, or a place in a sort whose directions
//! differ. Each range is a branch of the statement with the page's limit. The index gives a branch in order, so a branch
//! costs as much as the page and not as much as the range.

use std::{ops::ControlFlow, sync::Arc};

use sea_orm::{
    ConnectionTrait, DbBackend,
    sea_query::{Alias, Expr, SelectStatement},
};

use crate::{
    domain::{CollectionId, Document, LogEnds, ProjectId},
    query::{
        Filter,
        index_definition::Index,
        page::{Page, Sort, SortFrom},
        planner::split,
    },
    store::{
        ReadConnection, Result,
        documents::{
            ordered::{LOG_ENDS_COLUMN, Ordered, union_all},
            table::{Column, document_columns, read_document, select_matching, size_columns},
        },
        log::ends::read_log_ends,
        sql::page::{RangeAfter, ranges_after, sort_columns},
    },
};

/// The most branches of one statement. A statement with more takes the database longer to plan than to run.
const MAX_BRANCHES: usize = 16;

/// The longest page that is read with all its data, and cut in memory if it is too large, which is faster. A longer page
/// is bounded by the database, because most of its data might be read in vain.
const MAX_UNBOUNDED: u64 = 32;

/// The documents of a collection that are asked for.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    pub collection: &'a CollectionId,
    /// The indexes that the collection declares.
    pub indexes: &'a [Arc<Index>],
    pub filter: &'a Filter,
    pub page: &'a Page,
}

/// A list as it is asked for.
#[derive(Clone, Copy)]
pub struct ListQuery<'a> {
    /// The project whose log ends are read with the list.
    pub project: &'a ProjectId,
    pub listing: Listing<'a>,
    /// The page ends with the first document that reaches this many bytes of memory.
    pub max_bytes: usize,
}

/// A page of a list, and the log ends at the moment of the read.
pub struct Listed {
    /// In the page's order.
    pub documents: Vec<Document>,
    /// Why the page may have fewer documents than there are.
    pub cut: Option<Cut>,
    pub ends: LogEnds,
}

/// Why a page ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its documents reach `max_bytes`.
    TooLarge,
    /// The next document found no room in memory.
    NoRoom,
}

/// One range of an index, read in the order of the list.
pub(super) struct Branch {
    pub(super) filter: Filter,
    /// The list's order, without the fields that the filter fixes.
    pub(super) sort: Sort,
    /// The condition that a document comes after the page's place.
    after: Option<Expr>,
}

/// Lists the documents that match. Returns `None` if there is no such project. The page ends before the first document for
/// whose bytes of memory `has_room` returns false.
///
/// One statement reads the documents and the log ends, so the ends belong to exactly this result.
///
/// # Errors
/// A database failure, also a [timeout](crate::store::StoreError::is_timeout).
pub async fn list(
    db: &ReadConnection,
    query: ListQuery<'_>,
    mut has_room: impl FnMut(usize) -> bool + Send,
) -> Result<Option<Listed>> {
    let statement = list_statement(query, db.get_database_backend());
    let (mut ends, mut documents, mut bytes, mut cut) = (None, Vec::new(), 0, None);
    db.visit(&statement, |row| {
        if ends.is_none() {
            ends = Some(read_log_ends(&row, LOG_ENDS_COLUMN)?);
        }
        // The rest is read all the same, so that the connection is free for the next statement. It isn't much.
        if cut.is_some() || row.try_get_by_index::<Option<String>>(0)?.is_none() {
            return Ok(ControlFlow::Continue(()));
        }
        if bytes >= query.max_bytes {
            cut = Some(Cut::TooLarge);
            return Ok(ControlFlow::Continue(()));
        }
        let document = read_document(&row, 0)?;
        // The weight is the size that was stored with the document.
        let weight = document.data.weight();
        if !has_room(weight) {
            cut = Some(Cut::NoRoom);
            return Ok(ControlFlow::Continue(()));
        }
        bytes += weight;
        documents.push(document);
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    let Some(ends) = ends else { return Ok(None) };
    if query.listing.page.limit > MAX_UNBOUNDED && bytes >= query.max_bytes {
        cut = cut.or(Some(Cut::TooLarge));
    }
    Ok(Some(Listed { documents, cut, ends }))
}

/// Returns the statement of [`list`].
pub fn list_statement(query: ListQuery<'_>, backend: DbBackend) -> SelectStatement {
    let listing = query.listing;
    let documents = if listing.page.limit > MAX_UNBOUNDED {
        listing.rows(&size_columns(), backend).within(listing.collection, query.max_bytes, backend)
    } else {
        listing.rows(&document_columns(backend), backend)
    };
    documents.with_log_ends(query.project)
}

impl Listing<'_> {
    /// Returns a statement whose rows have `columns`, one row for each document of the page.
    pub(super) fn rows(&self, columns: &[Column], backend: DbBackend) -> Ordered {
        let Page { sort, limit, offset, .. } = self.page;
        let directions = sort_columns(sort, backend).into_iter().map(|by| by.direction);
        let keys: Vec<_> = key_names().zip(directions).collect();
        let branches = self.branches(backend);
        let mut branches: Vec<_> =
            branches.iter().map(|branch| self.branch_rows(branch, columns, backend)).collect();
        let mut rows = match branches.len() {
            1 => branches.remove(0),
            _ => {
                let mut all = union_all(branches);
                for (name, direction) in &keys {
                    all.order_by(Alias::new(name), (*direction).into());
                }
                all
            }
        };
        rows.limit(*limit).offset(*offset);
        Ordered { rows, keys }
    }

    /// Returns a statement with the rows of one branch: as many as the page might need of it.
    pub(super) fn branch_rows(
        &self,
        branch: &Branch,
        columns: &[Column],
        backend: DbBackend,
    ) -> SelectStatement {
        let Page { sort, limit, offset, .. } = self.page;
        let mut rows = select_matching(self.collection, &branch.filter, backend);
        rows.and_where_option(branch.after.clone()).limit(limit.saturating_add(*offset));
        for (column, name) in columns {
            rows.expr_as(column.clone(), *name);
        }
        for (by, name) in sort_columns(sort, backend).into_iter().zip(key_names()) {
            rows.expr_as(by.column, Alias::new(name));
        }
        for by in sort_columns(&branch.sort, backend) {
            rows.order_by_expr(by.column, by.direction.into());
        }
        rows
    }

    /// Splits the list into branches, of which no document is in two. There is at least one.
    pub(super) fn branches(&self, backend: DbBackend) -> Vec<Branch> {
        let mut branches: Vec<_> = split(self.filter, self.indexes)
            .into_iter()
            .flat_map(|part| self.branches_after_place(part, backend))
            .collect();
        if branches.len() > MAX_BRANCHES {
            branches = self.branches_after_place(self.filter.clone(), backend);
        }
        if branches.is_empty() {
            let nothing = Some(Expr::cust("FALSE"));
            branches.push(Branch {
                filter: self.filter.clone(),
                sort: self.page.sort.clone(),
                after: nothing,
            });
        }
        branches
    }

    /// Returns the branches for one part of the filter: none if all of the part comes before the page's place.
    fn branches_after_place(&self, filter: Filter, backend: DbBackend) -> Vec<Branch> {
        match self.page.sort.within(&filter, self.page.after.as_ref()) {
            None => Vec::new(),
            Some(SortFrom { sort, after: None }) => vec![Branch { filter, sort, after: None }],
            Some(SortFrom { sort, after: Some(place) }) => {
                let ranges = ranges_after(&sort, &place, backend).into_iter();
                let branch = |range: RangeAfter| Branch {
                    filter: filter.clone(),
                    // The documents of this range are equal in the first fields.
                    sort: Sort { terms: sort.terms[range.equal_terms..].to_vec(), by_id: sort.by_id },
                    after: Some(range.condition),
                };
                ranges.map(branch).collect()
            }
        }
    }
}

/// The names of the columns that hold the sort keys: `key0`, `key1` and so on.
fn key_names() -> impl Iterator<Item = String> {
    (0..).map(|place| format!("key{place}"))
}
