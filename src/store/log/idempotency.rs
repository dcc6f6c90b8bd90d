//! Outcomes of writes with an `Idempotency-Key`, rows of the transaction that did the write.

use crate::{
    domain::{ProjectId, Timestamp},
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// Whose key: a client's key counts for one caller of one project.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The project.
    pub project: ProjectId,
    /// Id of the API key that asks.
    pub caller: String,
    /// The client's text.
    pub key: String,
}

/// What was done under a key.
#[derive(Clone, Debug)]
pub struct StoredOutcome {
    /// Hash of the request.
    pub request: String,
    /// The outcome, as JSON text.
    pub outcome: String,
}

/// The outcome is left out once those before it, in the order asked for, fill $3 bytes.
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
// An outcome that is too old to count may still be there: it is replaced.
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

/// Reads the outcomes that are younger than `since`, each with its place in `keys`. Once those before it come to `max_bytes`,
/// an outcome is only said to be there.
///
/// # Errors
/// The database's own.
pub async fn get_many(
    tx: &mut WriteTx,
    keys: &[IdempotencyKey],
    since: Timestamp,
    max_bytes: usize,
) -> Result<Vec<(usize, Option<StoredOutcome>)>> {
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
            Ok((row.try_get_by_index::<i64>(0)? as usize, stored))
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

/// Forgets outcomes as old as `until` or older. Deferred.
pub fn delete_old(tx: &mut WriteTx, until: Timestamp) {
    tx.defer(DELETE_OLD, [until.0.into()]);
}
