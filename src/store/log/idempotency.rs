//! Outcomes of writes with an `Idempotency-Key`. They are stored in the transaction of the write.
//!
//! The bytes that a caller's outcomes take are a running total in `idempotency_sizes`, which each write raises and each deletion
//! lowers.

use std::collections::HashMap;

use crate::{
    domain::{ProjectId, Timestamp},
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// An idempotency key, which belongs to one caller of one project.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    pub project: ProjectId,
    /// The id of the caller's API key.
    pub caller: String,
    /// The text that the client chose.
    pub key: String,
}

impl IdempotencyKey {
    pub fn caller(&self) -> Caller {
        (self.project.clone(), self.caller.clone())
    }
}

/// The outcome that is stored for a key.
#[derive(Clone, Debug)]
pub struct StoredOutcome {
    /// The hash of the request.
    pub request: String,
    /// The outcome as JSON text.
    pub outcome: String,
}

/// A row that was found for a key.
pub enum Found {
    Stored(StoredOutcome),
    /// It was not read, because those before it reach the bound.
    BeyondBound,
    /// It no longer counts, but still takes this many bytes.
    Expired {
        bytes: u64,
    },
}

/// A row that was found, and the place of its key among those that were asked for.
pub struct FoundAt {
    pub place: usize,
    pub found: Found,
}

/// A caller of a project, whose outcomes are counted together.
pub type Caller = (ProjectId, String);

/// The estimated bytes of a stored outcome beside its texts: the rest of the row, and its index entries. The statements and a
/// migration have the same number.
const ROW_BYTES: usize = 200;

/// The outcome is NULL if it is expired, or if those before it, in the order of the keys, reach $3 bytes.
const GET_MANY: Sql = Sql {
    sqlite: "SELECT place, request, CASE WHEN preceding < ?3 AND created_at > ?2 THEN outcome END, created_at, bytes FROM ( \
                 SELECT k.key AS place, i.request, i.outcome, i.created_at, \
                        200 + OCTET_LENGTH(i.key) + OCTET_LENGTH(i.request) + OCTET_LENGTH(i.outcome) AS bytes, \
                        SUM(LENGTH(i.outcome)) OVER (ORDER BY k.key) - LENGTH(i.outcome) AS preceding \
                 FROM json_each(?1) AS k CROSS JOIN idempotency AS i \
                 WHERE i.project_id = k.value ->> 0 AND i.caller = k.value ->> 1 AND i.key = k.value ->> 2)",
    postgres: "SELECT place, request, CASE WHEN preceding < $3 AND created_at > $2 THEN outcome END, created_at, bytes FROM ( \
                   SELECT k.place - 1 AS place, i.request, i.outcome, i.created_at, \
                          (200 + OCTET_LENGTH(i.key) + OCTET_LENGTH(i.request) + OCTET_LENGTH(i.outcome))::bigint AS bytes, \
                          SUM(LENGTH(i.outcome)) OVER (ORDER BY k.place) - LENGTH(i.outcome) AS preceding \
                   FROM json_array_elements($1::json) WITH ORDINALITY AS k(v, place) \
                   JOIN idempotency AS i ON i.project_id = k.v ->> 0 AND i.caller = k.v ->> 1 AND i.key = k.v ->> 2) AS found",
};
const GET_SIZES: Sql = Sql {
    sqlite: "SELECT project_id, caller, bytes FROM idempotency_sizes \
             WHERE project_id IN (SELECT value FROM json_each(?1))",
    postgres: "SELECT project_id, caller, bytes FROM idempotency_sizes \
               WHERE project_id IN (SELECT json_array_elements_text($1::json))",
};
// An expired outcome may still be stored. It is replaced.
const INSERT: RowsSql = RowsSql::same(
    "INSERT INTO idempotency (project_id, caller, key, request, outcome, created_at) \
     SELECT column1, column2, column3, column4, column5, column6 FROM {rows} \
     WHERE column1 IS NOT NULL ON CONFLICT (project_id, caller, key) DO UPDATE \
     SET request = excluded.request, outcome = excluded.outcome, created_at = excluded.created_at",
);
/// Never below zero: an older version of Coir beside this one doesn't count what it stores.
const ADD_SIZES: RowsSql = RowsSql {
    sqlite: "INSERT INTO idempotency_sizes (project_id, caller, bytes) \
             SELECT column1, column2, column3 FROM {rows} WHERE column1 IS NOT NULL \
             ON CONFLICT (project_id, caller) DO UPDATE \
             SET bytes = CASE WHEN bytes + excluded.bytes > 0 THEN bytes + excluded.bytes ELSE 0 END",
    postgres: "INSERT INTO idempotency_sizes AS s (project_id, caller, bytes) \
               SELECT column1, column2, column3 FROM {rows} \
               ON CONFLICT (project_id, caller) DO UPDATE SET bytes = GREATEST(s.bytes + excluded.bytes, 0)",
};
/// The oldest first. A sweep begins where the last one ended, because PostgreSQL would else walk past what was deleted. Rows
/// that another node deletes are skipped.
const DELETE_OLD: Sql = Sql {
    sqlite: "DELETE FROM idempotency WHERE rowid IN (SELECT rowid FROM idempotency \
                 WHERE created_at >= ?1 AND created_at <= ?2 ORDER BY created_at LIMIT ?3) \
             RETURNING project_id, caller, created_at, \
                       200 + OCTET_LENGTH(key) + OCTET_LENGTH(request) + OCTET_LENGTH(outcome)",
    postgres: "DELETE FROM idempotency WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency \
                   WHERE created_at >= $1 AND created_at <= $2 ORDER BY created_at LIMIT $3 FOR UPDATE SKIP LOCKED)) \
               RETURNING project_id, caller, created_at, \
                         (200 + OCTET_LENGTH(key) + OCTET_LENGTH(request) + OCTET_LENGTH(outcome))::bigint",
};

/// The latest first, from which times there should be none.
const CORRECT: Sql = Sql {
    sqlite: "UPDATE idempotency SET created_at = ?1 WHERE rowid IN (SELECT rowid FROM idempotency \
                 WHERE created_at > ?2 ORDER BY created_at DESC LIMIT ?3) RETURNING 1",
    postgres: "UPDATE idempotency SET created_at = $1 WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency \
                   WHERE created_at > $2 ORDER BY created_at DESC LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING 1",
};

/// Gives the time `now` to at most `limit` outcomes that a wrong clock stored with a time after `last`, so that they grow old.
/// Returns whether there may be more.
///
/// # Errors
/// A database failure.
pub async fn correct_times(tx: &mut WriteTx, now: Timestamp, last: Timestamp, limit: usize) -> Result<bool> {
    let rows = tx.query(CORRECT, [now.0.into(), last.0.into(), (limit as i64).into()]).await?;
    Ok(rows.len() == limit)
}

/// Reads outcomes that are younger than `since`. An outcome after those that reach `max_bytes` is found but not read.
///
/// # Errors
/// A database failure.
pub async fn get_many(
    tx: &mut WriteTx,
    keys: &[IdempotencyKey],
    since: Timestamp,
    max_bytes: usize,
) -> Result<Vec<FoundAt>> {
    let mut asked = Rows::default();
    for key in keys {
        asked.row().text(key.project.as_str()).text(&key.caller).text(&key.key);
    }
    let rows =
        tx.query(GET_MANY, [asked.to_json().into(), since.0.into(), (max_bytes as i64).into()]).await?;
    rows.iter()
        .map(|row| {
            let found = match row.try_get_by_index::<Option<String>>(2)? {
                Some(outcome) => Found::Stored(StoredOutcome { request: row.try_get_by_index(1)?, outcome }),
                None if row.try_get_by_index::<i64>(3)? > since.0 => Found::BeyondBound,
                None => Found::Expired { bytes: row.try_get_by_index::<i64>(4)?.unsigned_abs() },
            };
            Ok(FoundAt { place: row.try_get_by_index::<i64>(0)? as usize, found })
        })
        .collect()
}

/// Returns the bytes that the outcomes of each caller of these projects take.
///
/// # Errors
/// A database failure.
pub async fn get_sizes(tx: &mut WriteTx, projects: &[ProjectId]) -> Result<HashMap<Caller, u64>> {
    let ids: Vec<_> = projects.iter().map(ProjectId::as_str).collect();
    let rows = tx.query(GET_SIZES, [serde_json::Value::from(ids).to_string().into()]).await?;
    rows.iter()
        .map(|row| {
            let project = ProjectId::from_stored(&row.try_get_by_index::<String>(0)?);
            Ok(((project, row.try_get_by_index(1)?), row.try_get_by_index::<i64>(2)?.max(0) as u64))
        })
        .collect()
}

/// Returns the bytes that an outcome takes.
pub fn size(key: &IdempotencyKey, stored: &StoredOutcome) -> u64 {
    (ROW_BYTES + key.key.len() + stored.request.len() + stored.outcome.len()) as u64
}

/// Adds outcomes. Deferred.
pub fn insert_many(tx: &mut WriteTx, outcomes: &[(IdempotencyKey, StoredOutcome)], at: Timestamp) {
    let mut rows = Rows::default();
    for (key, stored) in outcomes {
        rows.row()
            .text(key.project.as_str())
            .text(&key.caller)
            .text(&key.key)
            .text(&stored.request)
            .text(&stored.outcome)
            .integer(at.0);
    }
    tx.defer_rows(INSERT, rows);
}

/// Raises the running totals of callers, or lowers them. Deferred.
pub fn add_sizes<'a>(tx: &mut WriteTx, changes: impl IntoIterator<Item = (&'a Caller, i64)>) {
    let mut rows = Rows::default();
    for ((project, caller), change) in changes {
        rows.row().text(project.as_str()).text(caller).integer(change);
    }
    tx.defer_rows(ADD_SIZES, rows);
}

/// Deletes at most `limit` outcomes of times from `from` to `until`, the oldest first. Returns the time of the last one if there
/// may be more.
///
/// # Errors
/// A database failure.
pub async fn delete_old(
    tx: &mut WriteTx,
    from: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Option<Timestamp>> {
    let rows = tx.query(DELETE_OLD, [from.0.into(), until.0.into(), (limit as i64).into()]).await?;
    let (mut freed, mut last): (HashMap<Caller, i64>, _) = (HashMap::new(), from);
    for row in &rows {
        let caller = (ProjectId::from_stored(&row.try_get_by_index::<String>(0)?), row.try_get_by_index(1)?);
        last = last.max(Timestamp(row.try_get_by_index(2)?));
        *freed.entry(caller).or_default() -= row.try_get_by_index::<i64>(3)?;
    }
    // In one order on every node, so that two of them can't deadlock.
    let mut freed: Vec<_> = freed.iter().map(|(caller, change)| (caller, *change)).collect();
    freed.sort();
    add_sizes(tx, freed);
    Ok((rows.len() == limit).then_some(last))
}
