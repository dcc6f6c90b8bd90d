//! States of sign-ins with other providers that were used. A state is signed and not stored; only its use is.

use std::collections::HashSet;

use crate::{
    domain::Timestamp,
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

const FIND: Sql = Sql {
    sqlite: "SELECT hash FROM used_states WHERE hash IN (SELECT value FROM json_each(?1))",
    postgres: "SELECT hash FROM used_states WHERE hash = ANY(ARRAY(SELECT json_array_elements_text($1::json)))",
};
const PUT: RowsSql = RowsSql::same(
    "INSERT INTO used_states (hash, expires_at) SELECT column1, column2 FROM {rows} \
     WHERE column1 IS NOT NULL ON CONFLICT (hash) DO NOTHING",
);
/// Rows that another node deletes are skipped.
const DELETE_EXPIRED: Sql = Sql {
    sqlite: "DELETE FROM used_states WHERE hash IN (SELECT hash FROM used_states WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2) \
             RETURNING 1",
    postgres: "DELETE FROM used_states WHERE hash = ANY(ARRAY(SELECT hash FROM used_states WHERE expires_at <= $1 \
                   ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
};

/// Finds which of these states were used.
///
/// # Errors
/// A database failure.
pub async fn find_used(tx: &mut WriteTx, hashes: &HashSet<&str>) -> Result<Vec<String>> {
    let hashes: Vec<_> = hashes.iter().copied().collect();
    let rows = tx.query(FIND, [serde_json::Value::from(hashes).to_string().into()]).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Notes that states were used. Deferred.
pub fn put_many<'a>(tx: &mut WriteTx, states: impl IntoIterator<Item = (&'a String, &'a Timestamp)>) {
    let mut rows = Rows::default();
    for (hash, expires_at) in states {
        rows.row().text(hash).integer(expires_at.0);
    }
    tx.defer_rows(PUT, rows);
}

/// Deletes at most `limit` states that expired before a time, and returns whether there may be more.
///
/// # Errors
/// A database failure.
pub async fn delete_expired(tx: &mut WriteTx, before: Timestamp, limit: usize) -> Result<bool> {
    let rows = tx.query(DELETE_EXPIRED, [before.0.into(), (limit as i64).into()]).await?;
    Ok(rows.len() == limit)
}
