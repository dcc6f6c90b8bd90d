//! How the database does a list: whether an index serves it, asked of the database itself and remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sea_orm::{
    ConnectionTrait, DbBackend, Statement,
    sea_query::{PostgresQueryBuilder, SelectStatement, SqliteQueryBuilder},
};
use serde_json::Value;

use crate::{
    query::{Filter, index_definition::Index, page::Page},
    store::{
        Result,
        documents::{
            list::Listing,
            one::{ListQuery, list_statement},
        },
    },
};

/// Statements that are remembered; with one more, all are forgotten.
const MAX_REMEMBERED: usize = 1000;

/// How a list is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListPlan {
    /// An index finds what the filter asks for, or, if it asks for nothing, gives the order.
    Index,
    /// Documents that aren't wanted are read as well: as many as the collection has, if nothing ends it before.
    Scan,
}

/// One access to the table of documents, as the database describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The index, or none.
    pub index: Option<String>,
    /// Whether a condition on a field narrows it, beside the one on the collection.
    pub is_narrowed: bool,
    /// Whether what it finds is sorted afterwards, before the limit.
    pub is_sorted: bool,
}

/// Remembers plans by the text of their statements. Cheap to clone.
#[derive(Clone, Default)]
pub struct Plans(Arc<Mutex<HashMap<String, (u64, ListPlan)>>>);

impl Plans {
    /// How a list is done. Every page counts as the first: what narrows the others is only where the last one ended.
    ///
    /// # Errors
    /// The database's own, if it has to be asked.
    pub async fn get(
        &self,
        db: &impl ConnectionTrait,
        query: ListQuery<'_>,
        control: u64,
    ) -> Result<ListPlan> {
        let backend = db.get_database_backend();
        let page = Page { after: None, offset: 0, ..query.listing.page.clone() };
        let query = ListQuery { listing: Listing { page: &page, ..query.listing }, ..query };
        let statement = list_statement(query, backend);
        let text = match backend {
            DbBackend::Postgres => statement.build(PostgresQueryBuilder).0,
            _ => statement.build(SqliteQueryBuilder).0,
        };
        if let Some(plan) = self.find(&text, control) {
            return Ok(plan);
        }
        let is_filtered = !matches!(query.listing.filter, Filter::And(terms) if terms.is_empty());
        let accesses = explain(db, &statement, query.listing.indexes).await?;
        let plan = ListPlan::of(&accesses, is_filtered);
        // An index that is no longer declared is gone in a moment, and no entry of the log will say so.
        let is_declared = |name: &String| query.listing.indexes.iter().any(|index| index.name() == *name);
        let is_ours = |name: &String| name.starts_with("coir_");
        if accesses
            .iter()
            .filter_map(|access| access.index.as_ref())
            .all(|name| !is_ours(name) || is_declared(name))
        {
            self.remember(text, control, plan);
        }
        Ok(plan)
    }

    /// The plan that was remembered at the same `control` sequence of the project, so since indexes last changed.
    fn find(&self, statement: &str, control: u64) -> Option<ListPlan> {
        let plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.get(statement).filter(|(at, _)| *at == control).map(|(_, plan)| *plan)
    }

    /// Remembers a plan.
    fn remember(&self, statement: String, control: u64, plan: ListPlan) {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= MAX_REMEMBERED {
            plans.clear();
        }
        plans.insert(statement, (control, plan));
    }
}

impl ListPlan {
    /// What the accesses of a statement come to, whose filter asks for something or not.
    pub fn of(accesses: &[Access], is_filtered: bool) -> Self {
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

/// Asks the database how it finds documents, of a collection with these indexes: with the statement, and the values, that
/// they are read with.
///
/// # Errors
/// The database's own.
pub async fn explain(
    db: &impl ConnectionTrait,
    statement: &SelectStatement,
    indexes: &[Arc<Index>],
) -> Result<Vec<Access>> {
    let backend = db.get_database_backend();
    let explain = |prefix: &str, (text, values): (String, sea_orm::sea_query::Values)| Statement {
        sql: format!("{prefix} {text}"),
        values: Some(values),
        db_backend: backend,
    };
    if backend == DbBackend::Postgres {
        let explain = explain("EXPLAIN (FORMAT JSON)", statement.build(PostgresQueryBuilder));
        let Some(row) = db.query_one_raw(explain).await? else { return Ok(Vec::new()) };
        let plan: Value = row.try_get_by_index(0)?;
        let mut accesses = Vec::new();
        read_postgres(&plan[0]["Plan"], false, &mut accesses);
        return Ok(accesses);
    }
    // An explanation reads nothing, so SQLite doesn't notice that the schema is another one by now: a statement that does
    // read goes first, and the indexes that there are make the text of the explanation another one.
    db.query_one_raw(Statement::from_string(backend, "SELECT 1 FROM heads LIMIT 1")).await?;
    let indexes: Vec<_> = indexes.iter().map(|index| index.name()).collect();
    let prefix = format!("EXPLAIN QUERY PLAN /* {} */", indexes.join(" "));
    let explain = explain(&prefix, statement.build(SqliteQueryBuilder));
    let rows = db.query_all_raw(explain).await?;
    let read = |row: &sea_orm::QueryResult| {
        Ok((row.try_get_by_index::<i32>(1)?, row.try_get_by_index::<String>(3)?))
    };
    Ok(read_sqlite(&rows.iter().map(read).collect::<Result<Vec<_>>>()?))
}

/// Reads `SEARCH documents USING INDEX name (collection_id=? AND <expr>>?)`; a sort is a sibling of it.
fn read_sqlite(rows: &[(i32, String)]) -> Vec<Access> {
    let access = |(parent, detail): &(i32, String)| {
        let (verb, rest) = detail.split_once(' ')?;
        let rest = rest.strip_prefix("documents")?;
        if !matches!(verb, "SEARCH" | "SCAN") {
            return None;
        }
        let words: Vec<_> = rest.split_whitespace().collect();
        let name = words.iter().position(|word| *word == "INDEX").and_then(|place| words.get(place + 1));
        let is_sorted = rows.iter().any(|(own, detail)| {
            own == parent && detail.starts_with("USE TEMP B-TREE") && detail.ends_with("ORDER BY")
        });
        // The first condition is the one on the collection.
        let is_narrowed = verb == "SEARCH" && (rest.contains(" AND ") || rest.contains("(rowid"));
        Some(Access { index: name.map(|name| (*name).to_owned()), is_narrowed, is_sorted })
    };
    let mut accesses: Vec<_> = rows.iter().filter_map(access).collect();
    // Alternatives are searched one by one, below another row, and their finds are sorted.
    let is_sorted = rows.iter().any(|(_, detail)| detail.starts_with("MULTI-INDEX OR"));
    accesses.iter_mut().for_each(|access| access.is_sorted |= is_sorted);
    accesses
}

/// Follows a plan of PostgreSQL down to the table; a sort below the nearest limit sorts what was found.
fn read_postgres(plan: &Value, is_sorted: bool, accesses: &mut Vec<Access>) {
    let is_sorted = match plan["Node Type"].as_str().unwrap_or_default() {
        "Limit" => false,
        "Sort" | "Incremental Sort" | "Bitmap Heap Scan" => true,
        _ => is_sorted,
    };
    let children = plan["Plans"].as_array().into_iter().flatten();
    let is_table = plan["Relation Name"] == "documents";
    if is_table || plan["Node Type"] == "Bitmap Index Scan" {
        let condition = plan["Index Cond"].as_str().unwrap_or_default();
        let index = plan["Index Name"].as_str();
        let is_bitmap = plan["Node Type"] == "Bitmap Heap Scan";
        if !is_bitmap {
            accesses.push(Access {
                index: index.map(str::to_owned),
                is_narrowed: !condition.is_empty() && !is_of_collection_only(condition),
                is_sorted,
            });
        }
    }
    children.for_each(|child| read_postgres(child, is_sorted, accesses));
}

/// Whether an index condition is `(collection_id = '…'::text)` and nothing else.
fn is_of_collection_only(condition: &str) -> bool {
    condition.contains("collection_id = '") && !condition.contains(" AND ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(rows: &[(i32, &str)]) -> Vec<Access> {
        read_sqlite(&rows.iter().map(|(parent, detail)| (*parent, (*detail).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn plans_of_sqlite_are_read() {
        let access = |rows: &[(i32, &str)]| sqlite(rows).remove(0);
        let narrowed = access(&[
            (0, "CO-ROUTINE d"),
            (2, "SEARCH documents USING INDEX coir_index_1 (collection_id=? AND <expr>>?)"),
            (0, "SEARCH heads USING INDEX sqlite_autoindex_heads_1 (project_id=?)"),
            (0, "USE TEMP B-TREE FOR ORDER BY"),
        ]);
        let index = Some("coir_index_1".to_owned());
        assert_eq!(narrowed, Access { index, is_narrowed: true, is_sorted: false });
        let walked = access(&[
            (2, "SEARCH documents USING INDEX documents_by_age (collection_id=?)"),
            (2, "USE TEMP B-TREE FOR LAST TERM OF ORDER BY"),
        ]);
        assert!(!walked.is_narrowed && walked.is_sorted);
        assert_eq!(ListPlan::of(&[walked], false), ListPlan::Scan);
        assert_eq!(ListPlan::of(&[narrowed], true), ListPlan::Index);
    }
}
