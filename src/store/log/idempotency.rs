//! Outcomes of writes with an `Idempotency-Key`. They are stored in the transaction of the write.

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

/// The outcome that is stored for a key.
#[derive(Clone, Debug)]
pub struct StoredOutcome {
    /// The hash of the request.
    pub request: String,
    /// The outcome as JSON text.
    pub outcome: String,
}

/// An outcome that was found, and the place of its key among those that were asked for.
pub struct OutcomeAt {
    pub place: usize,
    /// `None` if it is beyond the bound.
    pub stored: Option<StoredOutcome>,
}

/// The outcome is NULL if those before it, in the order of the keys, reach $3 bytes.
const GET_MANY: Sql = Sql {
    sqlite: "SELECT place, request, CASE WHEN preceding < ?3 THEN outcome END FROM ( \
                 SELECT k.key AS place, i.request, i.outcome, \
                        SUM(LENGTH(i.outcome)) OVER (ORDER BY k.key) - LENGTH(i.outcome) AS preceding \
                 FROM json_each(?1) AS k CROSS JOIN idempotency AS i \
                 WHERE i.project_id = k.value ->> 0 AND i.caller = k.value ->> 1 AND i.key = k.value ->> 2 \
                 AND i.created_at > ?2)",
    postgres: "SELECT place, request, CASE WHEN preceding < $3 THEN outcome END FROM ( \
                   SELECT k.place - 1 AS place, i.request, i.outcome, \
                          SUM(LENGTH(i.outcome)) OVER (ORDER BY k.place) - LENGTH(i.outcome) AS preceding \
                   FROM json_array_elements($1::json) WITH ORDINALITY AS k(v, place) \
                   JOIN idempotency AS i ON i.project_id = k.v ->> 0 AND i.caller = k.v ->> 1 AND i.key = k.v ->> 2 \
                   WHERE i.created_at > $2) AS found",
};
// An expired outcome may still be stored. It is replaced.
const INSERT: RowsSql = RowsSql {
    sqlite: "INSERT INTO idempotency (project_id, caller, key, request, outcome, created_at) \
             SELECT column1, column2, column3, column4, column5, column6 FROM {rows} \
             WHERE column1 IS NOT NULL ON CONFLICT (project_id, caller, key) DO UPDATE \
             SET request = excluded.request, outcome = excluded.outcome, created_at = excluded.created_at",
    postgres: "INSERT INTO idempotency (project_id, caller, key, request, outcome, created_at) \
               SELECT v ->> 0, v ->> 1, v ->> 2, v ->> 3, v ->> 4, (v ->> 5)::bigint \
               FROM json_array_elements($1::json) AS t(v) ON CONFLICT (project_id, caller, key) DO UPDATE \
               SET request = excluded.request, outcome = excluded.outcome, created_at = excluded.created_at",
};
const DELETE_OLD: Sql = Sql::same("DELETE FROM idempotency WHERE created_at <= $1");

/// Reads outcomes that are younger than `since`. An outcome after those that reach `max_bytes` is found but not read.
///
/// # Errors
/// A database failure.
pub async fn get_many(
    tx: &mut WriteTx,
    keys: &[IdempotencyKey],
    since: Timestamp,
    max_bytes: usize,
) -> Result<Vec<OutcomeAt>> {
    let mut asked = Rows::default();
    for key in keys {
        asked.row().text(key.project.as_str()).text(&key.caller).text(&key.key);
    }
    let rows =
        tx.query(GET_MANY, [asked.to_json().into(), since.0.into(), (max_bytes as i64).into()]).await?;
    rows.iter()
        .map(|row| {
            let request = row.try_get_by_index(1)?;
            let outcome = row.try_get_by_index::<Option<String>>(2)?;
            let stored = outcome.map(|outcome| StoredOutcome { request, outcome });
            Ok(OutcomeAt { place: row.try_get_by_index::<i64>(0)? as usize, stored })
        })
        .collect()
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

/// Deletes outcomes from `until` or before. Deferred.
pub fn delete_old(tx: &mut WriteTx, until: Timestamp) {
    tx.defer(DELETE_OLD, [until.0.into()]);
}
