//! The statement that selects documents in an order, as ranges of the indexes that there are.

use std::sync::Arc;

use sea_orm::{
    DbBackend, JoinType,
    sea_query::{Alias, Asterisk, Expr, ExprTrait, Query, SelectStatement, UnionType},
};

use crate::{
    domain::{CollectionId, ProjectId},
    query::{
        Filter,
        index_definition::{Index, split},
        page::{Direction, Page, Sort},
    },
    store::{
        documents::one::TABLE,
        sql::{
            self,
            key::literal,
            page::{beyond, sort_columns},
        },
    },
};

/// Ranges of an index that one statement may ask for.
const MAX_BRANCHES: usize = 16;

/// Where in the rows of [`Ordered::with_log_ends`] the log ends begin, for `read_log_ends`: after the document.
pub const LOG_ENDS_COLUMN: usize = 5;

/// What a row has of a document: an expression, and the column's name.
pub type Column = (Expr, &'static str);

/// Documents of a collection that are asked for.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    /// The collection.
    pub collection: &'a CollectionId,
    /// Its indexes.
    pub indexes: &'a [Arc<Index>],
    /// Which documents.
    pub filter: &'a Filter,
    /// Which of them, in which order.
    pub page: &'a Page,
}

/// Rows in an order, by columns that they have. What they are joined with has it no more, and is to be ordered again.
pub struct Ordered {
    /// The rows.
    pub rows: SelectStatement,
    /// What they are ordered by, the first of these columns before all.
    pub keys: Vec<(String, Direction)>,
}

/// What `documents::read_document` reads, in its order.
pub fn document_columns(backend: DbBackend) -> [Column; 5] {
    let text = if backend == DbBackend::Postgres { "data::text" } else { "json(data)" };
    [
        (Expr::col((TABLE, "id")), "id"),
        (Expr::cust(text), "text"),
        (Expr::col((TABLE, "created_at")), "created_at"),
        (Expr::col((TABLE, "updated_at")), "updated_at"),
        (Expr::col((TABLE, "version")), "version"),
    ]
}

/// What [`Ordered::within`] measures a page by.
pub fn size_columns() -> [Column; 2] {
    ["id", "size"].map(|name| (Expr::col(name), name))
}

impl Listing<'_> {
    /// A row with these columns for each document.
    ///
    /// What is asked for may be several ranges of an index: after a place in a sort whose directions differ, or of a field
    /// that may have one of few values. Each is a branch with the page's limit, which the index gives in order, and so
    /// costs as much as the page and not as much as the range.
    pub fn rows(&self, columns: &[Column], backend: DbBackend) -> Ordered {
        let Page { sort, limit, offset, .. } = self.page;
        let (keys, directions): (Vec<_>, Vec<_>) = sort_columns(sort, backend).into_iter().unzip();
        let names: Vec<_> = (0..keys.len()).map(|place| format!("key{place}")).collect();
        let branch = |filter: &Filter, sort: &Sort, place: Option<Expr>| {
            let mut rows = Query::select();
            rows.from(TABLE)
                .and_where(Expr::col("collection_id").eq(literal(self.collection.as_str())))
                .and_where(sql::condition(filter, backend))
                .and_where_option(place)
                .limit(limit.saturating_add(*offset));
            for (column, name) in columns {
                rows.expr_as(column.clone(), *name);
            }
            for (key, name) in keys.iter().zip(&names) {
                rows.expr_as(key.clone(), Alias::new(name));
            }
            for (column, direction) in sort_columns(sort, backend) {
                rows.order_by_expr(column, direction.into());
            }
            rows
        };
        let mut branches = self.branches(branch, backend);
        let keys: Vec<_> = names.into_iter().zip(directions).collect();
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

    /// What `branch` makes of each range; at least one.
    fn branches(
        &self,
        branch: impl Fn(&Filter, &Sort, Option<Expr>) -> SelectStatement,
        backend: DbBackend,
    ) -> Vec<SelectStatement> {
        let Page { sort, after, .. } = self.page;
        let ranges = |filter: &Filter| -> Vec<SelectStatement> {
            match sort.within(filter, after.as_ref()) {
                None => Vec::new(),
                Some((sort, None)) => vec![branch(filter, &sort, None)],
                Some((sort, Some(place))) => {
                    let places = beyond(&sort, &place, backend).into_iter();
                    let rest = |alike| Sort { terms: sort.terms[alike..].to_vec(), by_id: sort.by_id };
                    places.map(|(alike, place)| branch(filter, &rest(alike), Some(place))).collect()
                }
            }
        };
        let mut branches: Vec<_> = split(self.filter, self.indexes).iter().flat_map(ranges).collect();
        if branches.len() > MAX_BRANCHES {
            branches = ranges(self.filter);
        }
        if branches.is_empty() {
            branches.push(branch(self.filter, sort, Some(Expr::cust("FALSE"))));
        }
        branches
    }
}

impl Ordered {
    /// Orders a statement that has the rows as `table`.
    pub fn order(&self, statement: &mut SelectStatement, table: &'static str) {
        for (name, direction) in &self.keys {
            statement.order_by((table, Alias::new(name)), (*direction).into());
        }
    }

    /// These documents, each a row of [`document_columns`] and of its project's log ends: one row without a document if there are none,
    /// and no row if there is no such project.
    pub fn with_log_ends(self, project: &ProjectId) -> SelectStatement {
        let mut select = Query::select();
        select
            .columns(["id", "text", "created_at", "updated_at", "version"].map(|column| ("d", column)))
            .columns(
                ["project_id", "epoch", "head", "head_at", "floor", "floor_at", "control"]
                    .map(|column| ("heads", column)),
            )
            .from("heads")
            .and_where(Expr::col(("heads", "project_id")).eq(project.as_str()));
        self.order(&mut select, "d");
        select.join_subquery(JoinType::LeftJoin, self.rows, "d", Expr::cust("TRUE"));
        select
    }

    /// The documents whose [`size_columns`] these rows are, each a row of [`document_columns`]: the first of them, and none that
    /// begins after so many bytes of memory. Data beyond that isn't read.
    pub fn within(self, collection: &CollectionId, bytes: usize, backend: DbBackend) -> Self {
        let order = self.keys.iter().map(|(name, direction)| match direction {
            Direction::Ascending => format!("{name} ASC"),
            Direction::Descending => format!("{name} DESC"),
        });
        let preceding = format!("SUM(size) OVER (ORDER BY {}) - size", order.collect::<Vec<_>>().join(", "));
        let Self { rows, keys } = self;
        let mut page = Query::select();
        page.expr_as(Expr::col("id"), "entry_id")
            .expr_as(Expr::cust(preceding), "preceding")
            .columns(keys.iter().map(|(name, _)| Alias::new(name)))
            .from_subquery(rows, "entry");

        // SQLite doesn't know how short a page with a bound limit is, and would look for each document of the collection in it.
        // By this word it takes the tables as they stand here; PostgreSQL has none like it, and needs none.
        let join = if backend == DbBackend::Postgres { JoinType::InnerJoin } else { JoinType::CrossJoin };
        let mut documents = Query::select();
        for (column, name) in document_columns(backend) {
            documents.expr_as(column, name);
        }
        documents
            .columns(keys.iter().map(|(name, _)| ("page", Alias::new(name))))
            .from_subquery(page, "page")
            .join(join, TABLE, Expr::cust("TRUE"))
            .and_where(Expr::col((TABLE, "id")).eq(Expr::col(("page", "entry_id"))))
            .and_where(Expr::col((TABLE, "collection_id")).eq(literal(collection.as_str())))
            .and_where(Expr::col(("page", "preceding")).lt(bytes as i64));
        Self { rows: documents, keys }
    }
}

/// The rows of all of them, which may have orders and limits of their own.
pub fn union_all(statements: Vec<SelectStatement>) -> SelectStatement {
    let mut branches = statements.into_iter().enumerate().map(|(place, statement)| {
        Query::select().column(Asterisk).from_subquery(statement, Alias::new(format!("branch{place}"))).take()
    });
    let mut first = branches.next().unwrap_or_default();
    first.unions(branches.map(|branch| (UnionType::All, branch)));
    first
}
