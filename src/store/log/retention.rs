//! How much of its change log a project keeps, and how the rest is deleted: the oldest entries first, a few at a time.
//!
//! Nothing is counted for it. Sequences are without gaps, so the number of entries is the last sequence less the first; times follow the
//! sequences, so the oldest entry is the next one to go; and the bytes are a running total beside the log ends, which
//! each write raises and each deletion lowers, in the transaction that does it.

use std::time::Duration;

use crate::{
    domain::{Position, ProjectId, Timestamp},
    store::{Result, Sql, WriteTx, log::ends},
};

/// How much of its change log a project keeps; whatever is over one of the three goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Entries.
    pub changes: u64,
    /// How old an entry may be.
    pub age: Duration,
    /// Bytes of the entries' texts, and 100 for each.
    pub bytes: u64,
}

/// Entries that one transaction deletes: writes wait for it.
const PORTION: usize = 1000;
/// The same in bytes; one entry may be larger.
const PORTION_BYTES: u64 = 4 * 1024 * 1024;
/// Projects that are looked for at once.
const MAX_DUE: i64 = 256;

const LIST_DUE: Sql = Sql::same(
    "SELECT h.project_id FROM heads AS h \
     LEFT JOIN changes AS c ON c.project_id = h.project_id AND c.sequence = h.floor + 1 \
     WHERE h.head - h.floor > $1 OR h.bytes > $2 OR c.at < $3 LIMIT $4",
);
const OLDEST: Sql = Sql::same(
    "SELECT sequence, at, CAST(100 + COALESCE(OCTET_LENGTH(before), 0) + COALESCE(OCTET_LENGTH(after), 0) \
                                   + COALESCE(OCTET_LENGTH(control), 0) AS BIGINT), \
            (SELECT bytes FROM heads WHERE project_id = $1) \
     FROM changes WHERE project_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
);
const DELETE: Sql =
    Sql::same("DELETE FROM changes WHERE project_id = $1 AND sequence > $2 AND sequence <= $3");
const RAISE_FLOOR: Sql =
    Sql::same("UPDATE heads SET floor = $2, floor_at = $3, bytes = bytes - $4 WHERE project_id = $1");

impl Retention {
    /// The moment before which entries are too old.
    pub fn oldest(&self, now: Timestamp) -> Timestamp {
        let age = i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX);
        Timestamp(now.0.saturating_sub(age))
    }

    /// A little more, so that one who looks often does it for many entries at once.
    pub fn with_slack(self) -> Self {
        Self { changes: self.changes + self.changes / 128, bytes: self.bytes + self.bytes / 128, ..self }
    }
}

/// Projects whose log is over the retention, or has entries from before `oldest`; not all, if they are very many.
///
/// # Errors
/// The database's own.
pub async fn list_due(
    tx: &mut WriteTx,
    retention: &Retention,
    oldest: Option<Timestamp>,
) -> Result<Vec<ProjectId>> {
    let values = [
        to_integer(retention.changes).into(),
        to_integer(retention.bytes).into(),
        oldest.map_or(i64::MIN, |oldest| oldest.0).into(),
        MAX_DUE.into(),
    ];
    let rows = tx.query(LIST_DUE, values).await?;
    rows.iter().map(|row| Ok(ProjectId::from_stored(&row.try_get_by_index::<String>(0)?))).collect()
}

/// Deletes some of a project's oldest entries that are over the retention, and moves the first end past them in the same
/// transaction; every read of the log returns its ends, so that nobody takes what is left for the whole. Returns
/// whether there is more to delete.
///
/// # Errors
/// The database's own.
pub async fn prune(
    tx: &mut WriteTx,
    project: &ProjectId,
    retention: &Retention,
    oldest: Timestamp,
) -> Result<bool> {
    let locked = ends::lock(tx, std::slice::from_ref(project)).await?;
    let Some(ends) = locked.into_iter().next() else { return Ok(false) };
    let values = [project.as_str().into(), to_integer(ends.first.sequence).into(), (PORTION as i64).into()];
    let rows = tx.query(OLDEST, values).await?;
    let (mut first, mut deleted) = (ends.first, 0_u64);
    let mut has_more = rows.len() == PORTION;
    for row in &rows {
        let position = Position {
            sequence: row.try_get_by_index::<i64>(0)? as u64,
            at: Timestamp(row.try_get_by_index::<i64>(1)?),
        };
        let size = row.try_get_by_index::<i64>(2)?.unsigned_abs();
        let bytes = row.try_get_by_index::<i64>(3)?.max(0) as u64;
        let is_over = ends.last.sequence - position.sequence >= retention.changes
            || bytes.saturating_sub(deleted) > retention.bytes
            || position.at < oldest;
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
