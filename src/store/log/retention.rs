//! Retention: how much of its change log a project keeps. The rest is deleted, the oldest entries first, a few at a time.
//!
//! This needs no scan. Sequences have no gaps, so the number of entries is the difference of the log ends. Times follow the
//! sequences, so the oldest entry is the first. Where a wrong clock was corrected, the entries before have later times; they
//! are as old as the correction. The bytes are a running total in the row of the log ends, which each write raises and each
//! deletion lowers.

use std::time::Duration;

use sea_orm::QueryResult;

use crate::{
    domain::{Position, ProjectId, Timestamp},
    store::{Result, Sql, WriteTx, log::ends},
};

/// How much of its change log a project keeps. Entries beyond any of the three limits are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The most entries.
    pub changes: u64,
    /// The greatest age of an entry.
    pub age: Duration,
    /// The most bytes: those of the entries' texts, and 100 for each entry.
    pub bytes: u64,
}

/// The most bytes that one transaction deletes, unless one entry is larger.
const PORTION_BYTES: u64 = 4 * 1024 * 1024;
/// The most projects that are compared at once.
const MAX_COMPARED: usize = 256;

/// Whether logs are beyond the retention: the projects in their order after $4, or those in the list $4.
macro_rules! compare {
    ($projects:literal) => {
        concat!(
            "SELECT h.project_id, CASE WHEN h.head - h.floor > $1 OR h.bytes > $2 OR c.at < $3 \
                                         OR (h.corrected > h.floor AND h.corrected_at < $3) THEN 1 ELSE 0 END \
             FROM (SELECT * FROM heads WHERE ",
            $projects,
            ") AS h LEFT JOIN changes AS c ON c.project_id = h.project_id AND c.sequence = h.floor + 1 \
             ORDER BY h.project_id"
        )
    };
}

const COMPARE_NEXT: Sql = Sql::same(compare!("project_id > $4 ORDER BY project_id LIMIT $5"));
const COMPARE: Sql = Sql {
    sqlite: compare!("project_id IN (SELECT value FROM json_each($4))"),
    postgres: compare!("project_id IN (SELECT json_array_elements_text($4::json))"),
};
const OLDEST: Sql = Sql::same(
    "SELECT sequence, at, CAST(100 + COALESCE(OCTET_LENGTH(before), 0) + COALESCE(OCTET_LENGTH(after), 0) \
                                   + COALESCE(OCTET_LENGTH(control), 0) AS BIGINT), \
            h.bytes, h.corrected, h.corrected_at \
     FROM (SELECT bytes, corrected, corrected_at FROM heads WHERE project_id = $1) AS h CROSS JOIN changes \
     WHERE project_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
);
const DELETE: Sql =
    Sql::same("DELETE FROM changes WHERE project_id = $1 AND sequence > $2 AND sequence <= $3");
const RAISE_FLOOR: Sql =
    Sql::same("UPDATE heads SET floor = $2, floor_at = $3, bytes = bytes - $4 WHERE project_id = $1");

impl Retention {
    /// Returns the time before which entries are too old.
    pub fn oldest(&self, now: Timestamp) -> Timestamp {
        let age = i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX);
        Timestamp(now.0.saturating_sub(age))
    }

    /// Returns limits that are a little larger, so that a frequent check deletes many entries at once.
    pub fn with_slack(self) -> Self {
        Self { changes: self.changes + self.changes / 128, bytes: self.bytes + self.bytes / 128, ..self }
    }
}

/// The projects of a comparison that are beyond the retention.
pub struct Compared {
    pub due: Vec<ProjectId>,
    /// The last project that was compared, if there may be more after it.
    pub last: Option<ProjectId>,
}

/// Compares the next projects after `after` with the retention, and looks for entries from before `oldest`. It is done part
/// by part, because writes wait for it.
///
/// # Errors
/// A database failure.
pub async fn compare_next(
    tx: &mut WriteTx,
    retention: &Retention,
    oldest: Timestamp,
    after: Option<&ProjectId>,
) -> Result<Compared> {
    let values = [
        to_integer(retention.changes).into(),
        to_integer(retention.bytes).into(),
        oldest.0.into(),
        // The empty text sorts before any id.
        after.map_or("", ProjectId::as_str).into(),
        (MAX_COMPARED as i64).into(),
    ];
    let mut compared = read_compared(&tx.query(COMPARE_NEXT, values).await?)?;
    let last = if compared.len() == MAX_COMPARED { compared.last().map(|(id, _)| id.clone()) } else { None };
    compared.retain(|(_, is_due)| *is_due);
    Ok(Compared { due: compared.into_iter().map(|(id, _)| id).collect(), last })
}

/// Returns which of these projects have more entries or bytes than the retention allows. The ages are not looked at.
///
/// # Errors
/// A database failure.
pub async fn find_due(
    tx: &mut WriteTx,
    retention: &Retention,
    projects: impl Iterator<Item = &ProjectId>,
) -> Result<Vec<ProjectId>> {
    let ids: Vec<_> = projects.map(ProjectId::as_str).collect();
    let values = [
        to_integer(retention.changes).into(),
        to_integer(retention.bytes).into(),
        i64::MIN.into(),
        serde_json::Value::from(ids).to_string().into(),
    ];
    let compared = read_compared(&tx.query(COMPARE, values).await?)?;
    Ok(compared.into_iter().filter(|(_, is_due)| *is_due).map(|(id, _)| id).collect())
}

fn read_compared(rows: &[QueryResult]) -> Result<Vec<(ProjectId, bool)>> {
    let read = |row: &QueryResult| {
        let is_due = row.try_get_by_index::<i32>(1)? != 0;
        Ok((ProjectId::from_stored(&row.try_get_by_index::<String>(0)?), is_due))
    };
    rows.iter().map(read).collect()
}

/// Deletes at most `limit` of a project's oldest entries that are beyond the retention, and moves the log's first end past them
/// in the same transaction. Every read of the log returns its ends, so no reader takes the rest for the whole. Returns
/// whether there is more to delete.
///
/// # Errors
/// A database failure.
pub async fn prune(
    tx: &mut WriteTx,
    project: &ProjectId,
    retention: &Retention,
    oldest: Timestamp,
    limit: usize,
) -> Result<bool> {
    let locked = ends::lock(tx, std::slice::from_ref(project)).await?;
    let Some(ends) = locked.ends.into_iter().next() else { return Ok(false) };
    let values = [project.as_str().into(), to_integer(ends.first.sequence).into(), (limit as i64).into()];
    let rows = tx.query(OLDEST, values).await?;
    let (mut first, mut deleted) = (ends.first, 0_u64);
    let mut has_more = rows.len() == limit;
    for row in &rows {
        let position = Position {
            sequence: row.try_get_by_index::<i64>(0)? as u64,
            at: Timestamp(row.try_get_by_index::<i64>(1)?),
        };
        let size = row.try_get_by_index::<i64>(2)?.unsigned_abs();
        let bytes = row.try_get_by_index::<i64>(3)?.max(0) as u64;
        let corrected = Position {
            sequence: row.try_get_by_index::<i64>(4)? as u64,
            at: Timestamp(row.try_get_by_index::<i64>(5)?),
        };
        let is_wrong = position.sequence <= corrected.sequence;
        let at = if is_wrong { position.at.min(corrected.at) } else { position.at };
        let is_over = ends.last.sequence - position.sequence >= retention.changes
            || bytes.saturating_sub(deleted) > retention.bytes
            || at < oldest;
        if !is_over {
            has_more = false;
            break;
        }
        if deleted > 0 && deleted + size > PORTION_BYTES {
            has_more = true;
            break;
        }
        (first, deleted) = (position, deleted + size);
    }
    if first != ends.first {
        let (from, to) = (to_integer(ends.first.sequence), to_integer(first.sequence));
        tx.defer(DELETE, [project.as_str().into(), from.into(), to.into()]);
        let values = [project.as_str().into(), to.into(), first.at.0.into(), to_integer(deleted).into()];
        tx.defer(RAISE_FLOOR, values);
    }
    Ok(has_more)
}

fn to_integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
