//! Codes that are good once. A code that was used has no row.

use sea_orm::{ConnectionTrait, EntityTrait, QueryResult};

use entity::code;

use crate::{
    domain::{AskedFrom, Code, DocumentId, Email, ProjectId, Purpose, Timestamp, UserKey},
    store::{
        Result, Sql, StoreError, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// A row for each code of these users ($2), or that was sent to one of these addresses ($3).
const GET_MANY: Sql = Sql {
    sqlite: "SELECT hash, user_id, purpose, email, digits_hash, tries, created_at, expires_at, other_tries, asked_from FROM codes \
             WHERE project_id = ?1 AND user_id IN (SELECT value FROM json_each(?2)) \
             UNION SELECT hash, user_id, purpose, email, digits_hash, tries, created_at, expires_at, other_tries, asked_from FROM codes \
             WHERE project_id = ?1 AND email IN (SELECT value FROM json_each(?3))",
    postgres: "SELECT hash, user_id, purpose, email, digits_hash, tries, created_at, expires_at, other_tries, asked_from FROM codes \
               WHERE project_id = $1 AND user_id = ANY(ARRAY(SELECT json_array_elements_text($2::json))) \
               UNION SELECT hash, user_id, purpose, email, digits_hash, tries, created_at, expires_at, other_tries, asked_from FROM codes \
               WHERE project_id = $1 AND email = ANY(ARRAY(SELECT json_array_elements_text($3::json)))",
};
const PUT: RowsSql = RowsSql::same(
    "INSERT INTO codes (hash, project_id, user_id, purpose, email, digits_hash, tries, created_at, expires_at, \
     other_tries, asked_from) \
     SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11 \
     FROM {rows} WHERE column1 IS NOT NULL \
     ON CONFLICT (hash) DO UPDATE SET tries = excluded.tries, other_tries = excluded.other_tries",
);
const DELETE: RowsSql = RowsSql {
    sqlite: "DELETE FROM codes WHERE hash IN (SELECT column1 FROM {rows})",
    postgres: "DELETE FROM codes USING {rows} WHERE hash = column1",
};
/// Rows that another node deletes are skipped.
const DELETE_EXPIRED: Sql = Sql {
    sqlite: "DELETE FROM codes WHERE hash IN (SELECT hash FROM codes WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2) \
             RETURNING 1",
    postgres: "DELETE FROM codes WHERE hash = ANY(ARRAY(SELECT hash FROM codes WHERE expires_at <= $1 \
                   ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
};

/// Finds a code by the hash of its token, expired or not.
///
/// # Errors
/// A database failure.
pub async fn find(db: &impl ConnectionTrait, hash: &str) -> Result<Option<Code>> {
    code::Entity::find_by_id(hash).one(db).await?.map(to_code).transpose()
}

/// Reads the codes of the users of a project that have one of these ids, and those that were sent to one of these addresses, in
/// no order.
///
/// # Errors
/// A database failure.
pub async fn get_many(
    tx: &mut WriteTx,
    project: &ProjectId,
    users: &[&DocumentId],
    emails: &[&Email],
) -> Result<Vec<Code>> {
    let users: Vec<_> = users.iter().map(|id| id.as_str()).collect();
    let emails: Vec<_> = emails.iter().map(|email| email.as_str()).collect();
    let list = |texts: Vec<&str>| serde_json::Value::from(texts).to_string();
    let values = [project.as_str().into(), list(users).into(), list(emails).into()];
    tx.query(GET_MANY, values).await?.iter().map(|row| from_row(project, row)).collect()
}

/// Writes codes, new ones and the tries of others. Deferred. The credentials of their users must be written before.
pub fn put_many<'a>(tx: &mut WriteTx, codes: impl IntoIterator<Item = &'a Code>) {
    let mut rows = Rows::default();
    for code in codes {
        rows.row()
            .text(&code.hash)
            .text(code.key.project.as_str())
            .text(code.key.user.as_str())
            .text(code.purpose.as_str())
            .optional_text(code.email.as_ref().map(Email::as_str))
            .optional_text(code.digits_hash.as_deref())
            .integer(code.tries.into())
            .integer(code.created_at.0)
            .integer(code.expires_at.0)
            .integer(code.other_tries.into())
            .optional_text(code.asked_from.as_ref().map(AskedFrom::as_str));
    }
    tx.defer_rows(PUT, rows);
}

/// Deletes codes by the hashes of their tokens. Deferred.
pub fn delete_many<'a>(tx: &mut WriteTx, hashes: impl IntoIterator<Item = &'a String>) {
    let mut rows = Rows::default();
    for hash in hashes {
        rows.row().text(hash);
    }
    tx.defer_rows(DELETE, rows);
}

/// Deletes at most `limit` codes that expired before a time, and returns whether there may be more.
///
/// # Errors
/// A database failure.
pub async fn delete_expired(tx: &mut WriteTx, before: Timestamp, limit: usize) -> Result<bool> {
    let rows = tx.query(DELETE_EXPIRED, [before.0.into(), (limit as i64).into()]).await?;
    Ok(rows.len() == limit)
}

fn to_code(row: code::Model) -> Result<Code> {
    let purpose = Purpose::parse(&row.purpose)
        .ok_or_else(|| StoreError::custom("a code has a purpose that this version does not know"))?;
    Ok(Code {
        hash: row.hash,
        key: UserKey {
            project: ProjectId::from_stored(&row.project_id),
            user: DocumentId::from_stored(&row.user_id),
        },
        purpose,
        email: row.email.as_deref().map(Email::from_stored),
        digits_hash: row.digits_hash,
        tries: u32::try_from(row.tries).unwrap_or(u32::MAX),
        other_tries: u32::try_from(row.other_tries).unwrap_or(u32::MAX),
        asked_from: row.asked_from.as_deref().map(AskedFrom::from_stored),
        created_at: Timestamp(row.created_at),
        expires_at: Timestamp(row.expires_at),
    })
}

fn from_row(project: &ProjectId, row: &QueryResult) -> Result<Code> {
    to_code(code::Model {
        hash: row.try_get_by_index(0)?,
        project_id: project.to_string(),
        user_id: row.try_get_by_index(1)?,
        purpose: row.try_get_by_index(2)?,
        email: row.try_get_by_index(3)?,
        digits_hash: row.try_get_by_index(4)?,
        tries: row.try_get_by_index(5)?,
        created_at: row.try_get_by_index(6)?,
        expires_at: row.try_get_by_index(7)?,
        other_tries: row.try_get_by_index(8)?,
        asked_from: row.try_get_by_index(9)?,
    })
}
