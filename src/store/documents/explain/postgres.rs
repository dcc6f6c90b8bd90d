//! Explanations of PostgreSQL: a plan as JSON, with what each node did if the statement was run.

use sea_orm::{
    ConnectionTrait, DbBackend,
    sea_query::{PostgresQueryBuilder, SelectStatement},
};
use serde_json::Value;

use crate::store::{
    Result,
    documents::{
        explain::access::{Access, Measured, with_prefix},
        list::Listing,
        table::size_columns,
    },
};

/// Runs the statement that finds the documents of a list, and reads what its plan did.
pub(super) async fn measure(db: &impl ConnectionTrait, listing: Listing<'_>) -> Result<Measured> {
    // Without the data: reading it has no part in how documents are found.
    let statement = listing.rows(&size_columns(), DbBackend::Postgres).rows;
    let plan = explain(db, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON)", &statement).await?;
    let mut accesses = Vec::new();
    read_accesses(&plan, Sorting::None, &mut accesses);
    Ok(Measured { accesses, rows_read: count_rows(&plan) })
}

/// Returns the accesses that the plan of a statement has, without running it.
pub(super) async fn find_accesses(
    db: &impl ConnectionTrait,
    statement: &SelectStatement,
) -> Result<Vec<Access>> {
    let plan = explain(db, "EXPLAIN (FORMAT JSON)", statement).await?;
    let mut accesses = Vec::new();
    read_accesses(&plan, Sorting::None, &mut accesses);
    Ok(accesses)
}

async fn explain(db: &impl ConnectionTrait, prefix: &str, statement: &SelectStatement) -> Result<Value> {
    let explain = with_prefix(prefix, statement.build(PostgresQueryBuilder), DbBackend::Postgres);
    let row = db.query_one_raw(explain).await?;
    let mut plan = row.map_or(Ok(Value::Null), |row| row.try_get_by_index::<Value>(0))?;
    Ok(plan.pointer_mut("/0/Plan").map_or(Value::Null, Value::take))
}

/// Whether documents are sorted before the nearest limit above a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sorting {
    None,
    Before,
}

/// Follows a plan down to its accesses to the table of documents.
fn read_accesses(plan: &Value, sorting: Sorting, accesses: &mut Vec<Access>) {
    let node = plan["Node Type"].as_str().unwrap_or_default();
    let sorting = match node {
        "Limit" => Sorting::None,
        // A bitmap gives documents in the order of the table.
        "Sort" | "Incremental Sort" | "Bitmap Heap Scan" => Sorting::Before,
        _ => sorting,
    };
    let is_table = is_table_node(plan) && node != "Bitmap Heap Scan";
    if is_table || node == "Bitmap Index Scan" {
        let condition = plan["Index Cond"].as_str().unwrap_or_default();
        accesses.push(Access {
            index: plan["Index Name"].as_str().map(str::to_owned),
            is_narrowed: !condition.is_empty() && !is_of_collection_only(condition),
            is_sorted: sorting == Sorting::Before,
        });
    }
    for child in plan["Plans"].as_array().into_iter().flatten() {
        read_accesses(child, sorting, accesses);
    }
}

fn is_table_node(plan: &Value) -> bool {
    plan["Relation Name"] == "documents"
}

/// Whether an index condition is `(collection_id = '…'::text)` and nothing else.
fn is_of_collection_only(condition: &str) -> bool {
    condition.contains("collection_id = '") && !condition.contains(" AND ")
}

/// Adds up the documents that the nodes of a plan looked at. The numbers of a node are means over its loops.
fn count_rows(plan: &Value) -> u64 {
    let number = |name: &str| plan[name].as_f64().unwrap_or(0.0);
    let looked_at = if is_table_node(plan) {
        let rows = ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"];
        rows.into_iter().map(number).sum::<f64>() * number("Actual Loops")
    } else {
        0.0
    };
    let below = plan["Plans"].as_array().into_iter().flatten().map(count_rows);
    looked_at.round() as u64 + below.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_a_plan_of_postgresql_count_with_their_loops_and_what_the_filter_removed() {
        let plan = json!({ "Node Type": "Limit", "Actual Rows": 5, "Actual Loops": 1, "Plans": [
            { "Node Type": "Index Scan", "Relation Name": "documents", "Actual Rows": 5, "Rows Removed by Filter": 7,
              "Actual Loops": 1 },
            { "Node Type": "Bitmap Heap Scan", "Relation Name": "documents", "Actual Rows": 2.5, "Actual Loops": 2,
              "Plans": [{ "Node Type": "Bitmap Index Scan", "Actual Rows": 9, "Actual Loops": 2 }] },
        ]});
        assert_eq!(count_rows(&plan), 17);
    }
}
