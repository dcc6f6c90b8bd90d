//! The ends of the projects' logs. Whoever holds a project's row here decides its next sequences.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, QueryResult};

use crate::{
    domain::{Position, ProjectId, Timestamp, cursor::Epoch},
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// A project's row of `heads`.
#[derive(Clone, Debug)]
pub struct Head {
    /// The project.
    pub project: ProjectId,
    /// Which history its log is.
    pub epoch: Epoch,
    /// The last change.
    pub head: Position,
    /// The last change that was pruned: the lowest position from which the log can be read.
    pub floor: Position,
    /// Sequence of the last control entry; caches of collections and keys count while it is unchanged.
    pub control: u64,
}

const LIST: Sql = Sql::same("SELECT project_id, epoch, head, head_at, floor, floor_at, control FROM heads");

const FIND: Sql = Sql::same(
    "SELECT project_id, epoch, head, head_at, floor, floor_at, control FROM heads WHERE project_id = $1",
);

// In one order on every node, so that two of them can't deadlock. On PostgreSQL a statement that waits for a lock sees
// the rows from before the wait, so that nothing else may be read here.
const LOCK: Sql = Sql {
    sqlite: "SELECT project_id, epoch, head, head_at, floor, floor_at, control FROM heads \
             WHERE project_id IN (SELECT value FROM json_each(?1)) ORDER BY project_id",
    postgres: "SELECT project_id, epoch, head, head_at, floor, floor_at, control FROM heads \
               WHERE project_id IN (SELECT json_array_elements_text($1::json)) ORDER BY project_id FOR UPDATE",
};

const ADVANCE: RowsSql = RowsSql {
    sqlite: "UPDATE heads SET head = column2, head_at = column3, control = column4, bytes = bytes + column5 \
             FROM {rows} WHERE project_id = column1",
    postgres: "UPDATE heads SET head = (v ->> 1)::bigint, head_at = (v ->> 2)::bigint, control = (v ->> 3)::bigint, \
                      bytes = bytes + (v ->> 4)::bigint \
               FROM json_array_elements($1::json) AS t(v) WHERE project_id = v ->> 0",
};

/// Every project's head.
///
/// # Errors
/// The database's own.
pub async fn list(db: &impl ConnectionTrait) -> Result<Vec<Head>> {
    let rows = db.query_all_raw(LIST.bind(db.get_database_backend(), [])).await?;
    rows.iter().map(|row| read_head(row, 0)).collect()
}

/// A project's head; `None` if there is no such project.
///
/// # Errors
/// The database's own.
pub async fn find(db: &impl ConnectionTrait, project: &ProjectId) -> Result<Option<Head>> {
    let row = db.query_one_raw(FIND.bind(db.get_database_backend(), [project.as_str().into()])).await?;
    row.map(|row| read_head(&row, 0)).transpose()
}

/// Locks the heads of `projects` until the transaction ends and returns those that exist.
///
/// # Errors
/// The database's own.
pub async fn lock(tx: &mut WriteTx, projects: &[ProjectId]) -> Result<Vec<Head>> {
    let ids: Vec<_> = projects.iter().map(ProjectId::as_str).collect();
    let rows = tx.query(LOCK, [serde_json::Value::from(ids).to_string().into()]).await?;
    rows.iter().map(|row| read_head(row, 0)).collect()
}

/// Moves locked heads to their new ends, and counts by how many bytes the logs have `grown`. Deferred.
pub fn advance<'a>(
    tx: &mut WriteTx,
    heads: impl IntoIterator<Item = &'a Head>,
    grown: &HashMap<ProjectId, u64>,
) {
    let mut rows = Rows::default();
    for head in heads {
        rows.row()
            .text(head.project.as_str())
            .integer(head.head.sequence as i64)
            .integer(head.head.at.0)
            .integer(head.control as i64)
            .integer(grown.get(&head.project).copied().unwrap_or(0) as i64);
    }
    tx.defer_rows(ADVANCE, rows);
}

/// Reads the columns `project_id, epoch, head, head_at, floor, floor_at, control`, the first of them at `column`.
pub(in crate::store) fn read_head(row: &QueryResult, column: usize) -> Result<Head> {
    let integer = |at: usize| row.try_get_by_index::<i64>(column + at);
    let text = |at: usize| row.try_get_by_index::<String>(column + at);
    Ok(Head {
        project: ProjectId::from_stored(&text(0)?),
        epoch: Epoch::from_stored(&text(1)?),
        head: Position { sequence: integer(2)? as u64, at: Timestamp(integer(3)?) },
        floor: Position { sequence: integer(4)? as u64, at: Timestamp(integer(5)?) },
        control: integer(6)? as u64,
    })
}
