//! Rows of documents in an order, and what is joined to them: the log ends, and the data of a page bounded in bytes.

use sea_orm::{
    DbBackend, JoinType,
    sea_query::{Alias, Asterisk, Expr, ExprTrait, Query, SelectStatement, UnionType},
};

use crate::{
    domain::{CollectionId, ProjectId},
    query::page::Direction,
    store::{
        documents::table::{TABLE, document_columns},
        log::ends::COLUMNS,
        sql::literal,
    },
};

/// The column of [`Ordered::with_log_ends`] at which the log ends begin, for `read_log_ends`.
pub(super) const LOG_ENDS_COLUMN: usize = 5;

/// Rows in an order, by columns that they have. A join loses the order, so the joined statement is ordered again.
pub struct Ordered {
    /// The rows.
    pub rows: SelectStatement,
    /// The columns that order the rows, the most significant first.
    pub keys: Vec<(String, Direction)>,
}

impl Ordered {
    /// Orders a statement that has the rows as `table`.
    pub fn order(&self, statement: &mut SelectStatement, table: &'static str) {
        for (name, direction) in &self.keys {
            statement.order_by((table, Alias::new(name)), (*direction).into());
        }
    }

    /// Joins the log ends of the project to each row, which has [`document_columns`].
    ///
    /// Without documents there is one row, whose document is NULL. Without such a project there is no row.
    pub fn with_log_ends(self, project: &ProjectId) -> SelectStatement {
        let mut select = Query::select();
        select
            .columns(["id", "text", "created_at", "updated_at", "version"].map(|column| ("d", column)))
            .columns(COLUMNS.map(|column| ("heads", column)))
            .from("heads")
            .and_where(Expr::col(("heads", "project_id")).eq(project.as_str()));
        self.order(&mut select, "d");
        select.join_subquery(JoinType::LeftJoin, self.rows, "d", Expr::cust("TRUE"));
        select
    }

    /// Turns rows with `size_columns` into rows with [`document_columns`], up to a bound.
    ///
    /// The page ends with the first document that reaches `max_bytes` of memory. The data of later documents is not read.
    pub fn within(self, collection: &CollectionId, max_bytes: usize, backend: DbBackend) -> Self {
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

        // SQLite does not know that the page is short, because its limit is bound. With a plain join it would scan the
        // collection and look for each document in the page. CROSS JOIN makes it take the tables in this order.
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
            .and_where(Expr::col(("page", "preceding")).lt(max_bytes as i64));
        Self { rows: documents, keys }
    }
}

/// Selects the rows of all statements, each of which may have its own order and limit.
pub(super) fn union_all(statements: Vec<SelectStatement>) -> SelectStatement {
    let mut branches = statements.into_iter().enumerate().map(|(place, statement)| {
        Query::select().column(Asterisk).from_subquery(statement, Alias::new(format!("branch{place}"))).take()
    });
    let mut first = branches.next().unwrap_or_default();
    first.unions(branches.map(|branch| (UnionType::All, branch)));
    first
}
