//! Explanations of SQLite: one line of text for each search. SQLite does not count the rows that a statement reads, so the
//! range that the search goes through is counted by a statement of its own.

use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, QueryResult, Statement,
    sea_query::{Expr, ExprTrait, SelectStatement, SqliteQueryBuilder},
};

use crate::{
    query::{
        Filter,
        index_definition::Index,
        planner::{IndexUse, narrowing_part},
    },
    store::{
        Result,
        documents::{
            explain::access::{Access, Measured, built_in_fields, with_prefix},
            list::{Branch, Listing},
            table::{document_columns, read_document, select_matching, size_columns},
        },
        sql::page::ranges_after,
    },
};

/// An access, and how it searches its index.
struct Search {
    access: Access,
    used: IndexUse,
    /// Whether it finds one of several alternatives of the filter.
    is_alternative: bool,
}

/// Explains each branch of a list, and counts what it looks at.
pub(super) async fn measure(db: &impl ConnectionTrait, listing: Listing<'_>) -> Result<Measured> {
    let backend = db.get_database_backend();
    let mut measured = Measured { accesses: Vec::new(), rows_read: 0 };
    for branch in listing.branches(backend) {
        let statement = listing.branch_rows(&branch, &size_columns(), backend);
        let rows = explain(db, &statement, listing.indexes).await?;
        let searches = read_searches(&rows);
        measured.rows_read += count_rows(db, listing, &branch, &searches).await?;
        measured.accesses.extend(searches.into_iter().map(|search| search.access));
    }
    Ok(measured)
}

/// Returns the accesses that the plan of a statement has, without running it.
pub(super) async fn find_accesses(
    db: &impl ConnectionTrait,
    statement: &SelectStatement,
    indexes: &[Arc<Index>],
) -> Result<Vec<Access>> {
    let rows = explain(db, statement, indexes).await?;
    Ok(read_searches(&rows).into_iter().map(|search| search.access).collect())
}

async fn explain(
    db: &impl ConnectionTrait,
    statement: &SelectStatement,
    indexes: &[Arc<Index>],
) -> Result<Vec<(i32, String)>> {
    let backend = db.get_database_backend();
    // EXPLAIN reads no data, so SQLite would not notice that the schema changed since the statement was prepared. A
    // statement that does read goes first, and a comment with the names of the indexes keeps an old one from being used.
    db.query_one_raw(Statement::from_string(backend, "SELECT 1 FROM heads LIMIT 1")).await?;
    let indexes: Vec<_> = indexes.iter().map(|index| index.name()).collect();
    let prefix = format!("EXPLAIN QUERY PLAN /* {} */", indexes.join(" "));
    let rows = db.query_all_raw(with_prefix(&prefix, statement.build(SqliteQueryBuilder), backend)).await?;
    let read = |row: &QueryResult| Ok((row.try_get_by_index::<i32>(1)?, row.try_get_by_index::<String>(3)?));
    rows.iter().map(read).collect()
}

/// Reads `SEARCH documents USING INDEX name (collection_id=? AND <expr>=? AND <expr>>?)`; a sort is a sibling of it.
fn read_searches(rows: &[(i32, String)]) -> Vec<Search> {
    // Alternatives are searched one by one, below another row, and what they find is sorted.
    let is_alternative = rows.iter().any(|(_, detail)| detail.starts_with("MULTI-INDEX OR"));
    let search = |(parent, detail): &(i32, String)| {
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
        let conditions = rest.split_once('(').map_or("", |(_, conditions)| conditions);
        let conditions: Vec<_> = conditions.trim_end_matches(')').split(" AND ").skip(1).collect();
        let equal_fields = conditions.iter().filter(|condition| condition.ends_with("=?")).count();
        let is_narrowed = verb == "SEARCH" && (!conditions.is_empty() || rest.contains("(rowid"));
        Some(Search {
            access: Access {
                index: name.map(|name| (*name).to_owned()),
                is_narrowed,
                is_sorted: is_sorted || is_alternative,
            },
            used: IndexUse { equal_fields, has_range: conditions.len() > equal_fields },
            is_alternative,
        })
    };
    rows.iter().filter_map(search).collect()
}

/// Counts the documents in the range of the index that a branch goes through, up to the one that fills the page.
async fn count_rows(
    db: &impl ConnectionTrait,
    listing: Listing<'_>,
    branch: &Branch,
    searches: &[Search],
) -> Result<u64> {
    let backend = db.get_database_backend();
    let range = searched_range(listing, branch, searches);
    let mut count = select_matching(listing.collection, &range, backend);
    count.expr(Expr::cust("COUNT(*)"));
    if !searches.iter().any(|search| search.access.is_sorted) {
        let limit = listing.page.limit.saturating_add(listing.page.offset);
        let mut last = listing.branch_rows(branch, &document_columns(backend), backend);
        last.limit(1).offset(limit.saturating_sub(1));
        if let Some(row) = db.query_one(&last).await? {
            let place = branch.sort.place_of(&read_document(&row, 0)?);
            for range in ranges_after(&branch.sort, &place, backend) {
                count.and_where(range.condition.not());
            }
        }
    }
    let row = db.query_one(&count).await?;
    Ok(row.map_or(Ok(0), |row| row.try_get_by_index::<i64>(0))?.unsigned_abs())
}

/// Returns a filter for the documents that the searches of a branch look at.
fn searched_range(listing: Listing<'_>, branch: &Branch, searches: &[Search]) -> Filter {
    let Some(search) = searches.first() else { return Filter::all() };
    if search.is_alternative {
        // Each alternative is found by an index of its own.
        let is_choice = |term: &&Filter| matches!(term, Filter::Or(_) | Filter::Equals(..));
        return Filter::And(branch.filter.terms().iter().filter(is_choice).cloned().collect());
    }
    let index = search.access.index.as_deref().unwrap_or_default();
    let declared = listing.indexes.iter().find(|declared| declared.name() == index);
    let fields = match declared {
        Some(declared) => declared.definition.fields.iter().map(|term| term.field.clone()).collect(),
        None => built_in_fields(index),
    };
    let part = narrowing_part(&branch.filter, &fields, search.used);
    let equal = part.terms().iter().filter(|term| matches!(term, Filter::Equals(..))).count();
    if equal == search.used.equal_fields {
        return part;
    }
    // SQLite searches `n = 1 OR n = 2` like `n IN (1, 2)`, in one search.
    let choices = branch.filter.terms().iter().filter(|term| matches!(term, Filter::Or(_)));
    Filter::And(part.terms().iter().chain(choices).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{query::parse::parse_json, store::documents::explain::access::ListPlan};

    fn search(rows: &[(i32, &str)]) -> Search {
        let rows: Vec<_> = rows.iter().map(|(parent, detail)| (*parent, (*detail).to_owned())).collect();
        read_searches(&rows).remove(0)
    }

    #[test]
    fn the_index_and_its_conditions_are_read_from_a_plan_of_sqlite() {
        let narrowed = search(&[
            (0, "CO-ROUTINE d"),
            (
                2,
                "SEARCH documents USING INDEX coir_index_1 (collection_id=? AND <expr>=? AND <expr>>? AND <expr><?)",
            ),
            (0, "SEARCH heads USING INDEX sqlite_autoindex_heads_1 (project_id=?)"),
            (0, "USE TEMP B-TREE FOR ORDER BY"),
        ]);
        let index = Some("coir_index_1".to_owned());
        assert_eq!(narrowed.access, Access { index, is_narrowed: true, is_sorted: false });
        assert_eq!(narrowed.used, IndexUse { equal_fields: 1, has_range: true });
        assert_eq!(ListPlan::of(&[narrowed.access], &parse_json(r#"{"n":1}"#).unwrap()), ListPlan::Index);

        let walked = search(&[
            (2, "SEARCH documents USING INDEX documents_by_age (collection_id=?)"),
            (2, "USE TEMP B-TREE FOR LAST TERM OF ORDER BY"),
        ]);
        assert!(!walked.access.is_narrowed && walked.access.is_sorted);
        assert_eq!(walked.used, IndexUse { equal_fields: 0, has_range: false });
        assert_eq!(ListPlan::of(&[walked.access], &Filter::all()), ListPlan::Scan);
    }
}
