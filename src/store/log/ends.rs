//! The ends of the projects' logs: the table `heads`. The transaction that holds a project's row decides its next sequences.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, QueryResult};

use crate::{
    domain::{LogEnds, Position, ProjectId, Timestamp, cursor::Epoch},
    store::{
        Result, Sql, StoreError, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

const LIST: Sql =
    Sql::same("SELECT project_id, epoch, head, head_at, floor, floor_at, control, control_at FROM heads");

const FIND: Sql = Sql::same(
    "SELECT project_id, epoch, head, head_at, floor, floor_at, control, control_at FROM heads WHERE project_id = $1",
);

// Every node locks in the same order, so that two of them can't deadlock. On PostgreSQL, a statement that waited for a lock
// sees other rows as they were before the wait, so this one reads nothing else.
const LOCK: Sql = Sql {
    sqlite: "SELECT project_id, epoch, head, head_at, floor, floor_at, control, control_at, NULL FROM heads \
             WHERE project_id IN (SELECT value FROM json_each(?1)) ORDER BY project_id",
    postgres: "SELECT project_id, epoch, head, head_at, floor, floor_at, control, control_at, \
                      (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint FROM heads \
               WHERE project_id IN (SELECT json_array_elements_text($1::json)) ORDER BY project_id FOR UPDATE",
};

const ADVANCE: RowsSql = RowsSql::same(
    "UPDATE heads SET head = column2, head_at = column3, control = column4, control_at = column5, bytes = bytes + column6, \
            corrected = CASE WHEN column7 > 0 THEN column7 ELSE corrected END, \
            corrected_at = CASE WHEN column7 > 0 THEN column3 ELSE corrected_at END \
     FROM {rows} WHERE project_id = column1",
);

const LAST_TIME: Sql = Sql {
    // A row that can't be read must not stop the writes of others.
    sqlite: "SELECT COALESCE(MAX(CASE typeof(head_at) WHEN 'integer' THEN head_at END), 0), NULL FROM heads",
    postgres: "SELECT COALESCE(MAX(head_at), 0), (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint FROM heads",
};

// It changes nothing, and is a write all the same.
const TOUCH: Sql =
    Sql::same("UPDATE heads SET bytes = bytes WHERE project_id = (SELECT MIN(project_id) FROM heads)");

/// The ends of every project's log.
#[derive(Default)]
pub struct Listed {
    pub ends: Vec<LogEnds>,
    /// The projects whose row can't be read, and why. They must not keep the others waiting.
    pub unreadable: Vec<(ProjectId, StoreError)>,
}

/// Lists the ends of every project's log.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait) -> Result<Listed> {
    let rows = db.query_all_raw(LIST.bind(db.get_database_backend(), [])).await?;
    let mut listed = Listed::default();
    for row in &rows {
        match read_log_ends(row, 0) {
            Ok(ends) => listed.ends.push(ends),
            Err(err) => listed.unreadable.push((read_project(row), err)),
        }
    }
    Ok(listed)
}

fn read_project(row: &QueryResult) -> ProjectId {
    ProjectId::from_stored(&row.try_get_by_index::<String>(0).unwrap_or_default())
}

/// Finds the ends of a project's log; `None` if there is no such project.
///
/// # Errors
/// A database failure.
pub async fn find(db: &impl ConnectionTrait, project: &ProjectId) -> Result<Option<LogEnds>> {
    let row = db.query_one_raw(FIND.bind(db.get_database_backend(), [project.as_str().into()])).await?;
    row.map(|row| read_log_ends(&row, 0)).transpose()
}

/// Log ends that are locked.
pub struct Locked {
    /// Those that exist and can be read.
    pub ends: Vec<LogEnds>,
    /// What the database's clock said meanwhile; `None` on SQLite, which has no clock of its own.
    pub now: Option<Timestamp>,
}

/// Locks the log ends of `projects` until the transaction ends.
///
/// # Errors
/// A database failure.
pub async fn lock(tx: &mut WriteTx, projects: &[ProjectId]) -> Result<Locked> {
    let ids: Vec<_> = projects.iter().map(ProjectId::as_str).collect();
    let rows = tx.query(LOCK, [serde_json::Value::from(ids).to_string().into()]).await?;
    let mut ends = Vec::with_capacity(rows.len());
    for row in &rows {
        match read_log_ends(row, 0) {
            Ok(found) => ends.push(found),
            Err(err) => {
                let project = read_project(row);
                tracing::error!(%project, "the end of the change log of project {project} can't be read, so nothing is written to it: {err}");
            }
        }
    }
    let now = rows.last().map(|row| row.try_get_by_index::<Option<i64>>(COLUMNS.len())).transpose()?;
    Ok(Locked { ends, now: now.flatten().map(Timestamp) })
}

/// Returns the greatest time at which a log ends, 1970 if none has an entry, and what the database's clock says; `None` on SQLite,
/// which has no clock of its own.
///
/// # Errors
/// A database failure.
pub async fn last_time(tx: &mut WriteTx) -> Result<(Timestamp, Option<Timestamp>)> {
    let rows = tx.query(LAST_TIME, []).await?;
    let Some(row) = rows.first() else { return Ok(Default::default()) };
    let now = row.try_get_by_index::<Option<i64>>(1)?;
    Ok((Timestamp(row.try_get_by_index(0)?), now.map(Timestamp)))
}

/// Writes what is there already, to see whether the database can be written. Deferred.
pub fn touch(tx: &mut WriteTx) {
    tx.defer(TOUCH, []);
}

/// Moves locked log ends to their new positions, and counts by how many bytes the logs have `grown`. In a log that is
/// `corrected`, the entries up to that sequence have later times than what follows, which grows old in their stead. Deferred.
pub fn advance<'a>(
    tx: &mut WriteTx,
    moved: impl IntoIterator<Item = &'a LogEnds>,
    grown: &HashMap<ProjectId, u64>,
    corrected: &HashMap<ProjectId, u64>,
) {
    let mut rows = Rows::default();
    for ends in moved {
        rows.row()
            .text(ends.project.as_str())
            .integer(ends.last.sequence as i64)
            .integer(ends.last.at.0)
            .integer(ends.control.sequence as i64)
            .integer(ends.control.at.0)
            .integer(grown.get(&ends.project).copied().unwrap_or(0) as i64)
            .integer(corrected.get(&ends.project).copied().unwrap_or(0) as i64);
    }
    tx.defer_rows(ADVANCE, rows);
}

/// The columns that [`read_log_ends`] reads, in this order.
pub(in crate::store) const COLUMNS: [&str; 8] =
    ["project_id", "epoch", "head", "head_at", "floor", "floor_at", "control", "control_at"];

/// Reads the [`COLUMNS`], the first of them at `column`.
pub(in crate::store) fn read_log_ends(row: &QueryResult, column: usize) -> Result<LogEnds> {
    let integer = |at: usize| row.try_get_by_index::<i64>(column + at);
    let text = |at: usize| row.try_get_by_index::<String>(column + at);
    Ok(LogEnds {
        project: ProjectId::from_stored(&text(0)?),
        epoch: Epoch::from_stored(&text(1)?),
        last: Position { sequence: integer(2)? as u64, at: Timestamp(integer(3)?) },
        first: Position { sequence: integer(4)? as u64, at: Timestamp(integer(5)?) },
        control: Position { sequence: integer(6)? as u64, at: Timestamp(integer(7)?) },
    })
}
