//! Sessions of users. A session that ended has no row.

use std::collections::HashSet;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult};

use entity::session;

use crate::{
    domain::{
        DocumentId, KeyId, ProjectId, Session, SessionId, Timestamp, UserKey, refreshes::RecentRefreshes,
    },
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// A row for each session that is asked for by id ($2) or by its user ($3).
const GET_MANY: Sql = Sql {
    sqlite: "SELECT id, user_id, method, created_at, signed_in_at, used_at, expires_at, generation, token_hash, device, address, key_id, recent \
             FROM sessions WHERE project_id = ?1 AND (id IN (SELECT value FROM json_each(?2)) \
                              OR user_id IN (SELECT value FROM json_each(?3)))",
    postgres: "SELECT id, user_id, method, created_at, signed_in_at, used_at, expires_at, generation, token_hash, device, address, key_id, recent \
               FROM sessions WHERE project_id = $1 AND (id = ANY(ARRAY(SELECT json_array_elements_text($2::json))) \
                                OR user_id = ANY(ARRAY(SELECT json_array_elements_text($3::json))))",
};
const FIND_THERE: Sql = Sql {
    sqlite: "SELECT id FROM sessions WHERE id IN (SELECT value FROM json_each(?1))",
    postgres: "SELECT id FROM sessions WHERE id = ANY(ARRAY(SELECT json_array_elements_text($1::json)))",
};
const PUT: RowsSql = RowsSql::same(
    "INSERT INTO sessions (id, project_id, user_id, method, created_at, signed_in_at, used_at, expires_at, generation, \
                           token_hash, device, address, key_id, recent) \
     SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11, column12, \
            column13, column14 \
     FROM {rows} WHERE column1 IS NOT NULL ON CONFLICT (id) DO UPDATE \
     SET signed_in_at = excluded.signed_in_at, used_at = excluded.used_at, expires_at = excluded.expires_at, \
         generation = excluded.generation, token_hash = excluded.token_hash, device = excluded.device, \
         address = excluded.address, key_id = excluded.key_id, recent = excluded.recent",
);
const DELETE: RowsSql = RowsSql {
    sqlite: "DELETE FROM sessions WHERE id IN (SELECT column1 FROM {rows})",
    postgres: "DELETE FROM sessions USING {rows} WHERE id = column1",
};
/// Rows that another node deletes are skipped.
const DELETE_EXPIRED: Sql = Sql {
    sqlite: "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2) \
             RETURNING 1",
    postgres: "DELETE FROM sessions WHERE id = ANY(ARRAY(SELECT id FROM sessions WHERE expires_at <= $1 \
                   ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
};

/// Finds a session by its id, expired or not.
///
/// # Errors
/// A database failure.
pub async fn find(db: &impl ConnectionTrait, id: &SessionId) -> Result<Option<Session>> {
    Ok(session::Entity::find_by_id(id.as_str()).one(db).await?.map(to_session))
}

/// Lists the sessions of a user, the last used first.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait, user: &UserKey) -> Result<Vec<Session>> {
    let rows = session::Entity::find()
        .filter(session::Column::ProjectId.eq(user.project.as_str()))
        .filter(session::Column::UserId.eq(user.user.as_str()))
        .order_by_desc(session::Column::UsedAt)
        .order_by_desc(session::Column::Id)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(to_session).collect())
}

/// Reads the sessions of a project that have one of these ids, and those of these users, in no order.
///
/// # Errors
/// A database failure.
pub async fn get_many(
    tx: &mut WriteTx,
    project: &ProjectId,
    ids: &[&SessionId],
    users: &[&DocumentId],
) -> Result<Vec<Session>> {
    let ids: Vec<_> = ids.iter().map(|id| id.as_str()).collect();
    let users: Vec<_> = users.iter().map(|id| id.as_str()).collect();
    let list = |texts: Vec<&str>| serde_json::Value::from(texts).to_string();
    let values = [project.as_str().into(), list(ids).into(), list(users).into()];
    tx.query(GET_MANY, values).await?.iter().map(|row| from_row(project, row)).collect()
}

/// Finds which of these sessions have ended, in a write transaction.
///
/// # Errors
/// A database failure.
pub async fn find_ended(tx: &mut WriteTx, ids: &HashSet<SessionId>) -> Result<HashSet<SessionId>> {
    let texts: Vec<_> = ids.iter().map(SessionId::as_str).collect();
    let rows = tx.query(FIND_THERE, [serde_json::Value::from(texts).to_string().into()]).await?;
    let mut ended = ids.clone();
    for row in &rows {
        ended.remove(&SessionId::from_stored(&row.try_get_by_index::<String>(0)?));
    }
    Ok(ended)
}

/// Writes sessions, new ones and others. Deferred. The credentials of their users must be written before.
pub fn put_many<'a>(tx: &mut WriteTx, sessions: impl IntoIterator<Item = &'a Session>) {
    let mut rows = Rows::default();
    for session in sessions {
        rows.row()
            .text(session.id.as_str())
            .text(session.project.as_str())
            .text(session.user.as_str())
            .text(&*session.method)
            .integer(session.created_at.0)
            .integer(session.signed_in_at.0)
            .integer(session.used_at.0)
            .integer(session.expires_at.0)
            .integer(session.generation as i64)
            .text(&session.token_hash)
            .optional_text(session.device.as_deref())
            .optional_text(session.address.as_deref())
            .optional_text(session.key.as_ref().map(|key| key.as_str()))
            .optional_text(session.recent.to_stored());
    }
    tx.defer_rows(PUT, rows);
}

/// Deletes sessions. Deferred.
pub fn delete_many<'a>(tx: &mut WriteTx, ids: impl IntoIterator<Item = &'a SessionId>) {
    let mut rows = Rows::default();
    for id in ids {
        rows.row().text(id.as_str());
    }
    tx.defer_rows(DELETE, rows);
}

/// Deletes at most `limit` sessions that expired before `now`, and returns whether there may be more.
///
/// # Errors
/// A database failure.
pub async fn delete_expired(tx: &mut WriteTx, now: Timestamp, limit: usize) -> Result<bool> {
    let rows = tx.query(DELETE_EXPIRED, [now.0.into(), (limit as i64).into()]).await?;
    Ok(rows.len() == limit)
}

fn to_session(row: session::Model) -> Session {
    Session {
        id: SessionId::from_stored(&row.id),
        project: ProjectId::from_stored(&row.project_id),
        user: DocumentId::from_stored(&row.user_id),
        method: row.method.into(),
        created_at: Timestamp(row.created_at),
        signed_in_at: Timestamp(row.signed_in_at),
        used_at: Timestamp(row.used_at),
        expires_at: Timestamp(row.expires_at),
        generation: row.generation.unsigned_abs(),
        token_hash: row.token_hash,
        recent: RecentRefreshes::from_stored(row.recent.as_deref()),
        device: row.device,
        address: row.address,
        key: row.key_id.as_deref().map(KeyId::from_stored),
    }
}

fn from_row(project: &ProjectId, row: &QueryResult) -> Result<Session> {
    Ok(to_session(session::Model {
        id: row.try_get_by_index(0)?,
        project_id: project.to_string(),
        user_id: row.try_get_by_index(1)?,
        method: row.try_get_by_index(2)?,
        created_at: row.try_get_by_index(3)?,
        signed_in_at: row.try_get_by_index(4)?,
        used_at: row.try_get_by_index(5)?,
        expires_at: row.try_get_by_index(6)?,
        generation: row.try_get_by_index(7)?,
        token_hash: row.try_get_by_index(8)?,
        device: row.try_get_by_index(9)?,
        address: row.try_get_by_index(10)?,
        key_id: row.try_get_by_index(11)?,
        recent: row.try_get_by_index(12)?,
    }))
}
