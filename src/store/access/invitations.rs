//! Invitations, and sign-ups that are to be confirmed. One that was accepted has no row.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect};

use entity::invitation;

use crate::{
    domain::{Email, Invitation, ProjectId, Timestamp, UserData},
    store::{
        Result, Sql, StoreError, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// The most invitations that a list shows.
const MAX_LISTED: u64 = 1000;
/// A row for each invitation with one of these hashes ($2), or to one of these addresses ($3).
const GET_MANY: Sql = Sql {
    sqlite: "SELECT id, hash, email, is_sign_up, roles, profile, created_at, expires_at FROM invitations \
             WHERE project_id = ?1 AND password IS NULL AND (hash IN (SELECT value FROM json_each(?2)) \
                                     OR email IN (SELECT value FROM json_each(?3)))",
    postgres: "SELECT id, hash, email, is_sign_up, roles, profile, created_at, expires_at FROM invitations \
               WHERE project_id = $1 AND password IS NULL AND (hash = ANY(ARRAY(SELECT json_array_elements_text($2::json))) \
                                       OR email = ANY(ARRAY(SELECT json_array_elements_text($3::json))))",
};
const INSERT: RowsSql = RowsSql::same(
    "INSERT INTO invitations (id, project_id, hash, email, is_sign_up, roles, profile, created_at, expires_at) \
     SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9 FROM {rows} \
     WHERE column1 IS NOT NULL",
);
const DELETE: RowsSql = RowsSql {
    sqlite: "DELETE FROM invitations WHERE hash IN (SELECT column1 FROM {rows})",
    postgres: "DELETE FROM invitations USING {rows} WHERE hash = column1",
};
/// Rows that another node deletes are skipped.
const DELETE_EXPIRED: Sql = Sql {
    sqlite: "DELETE FROM invitations WHERE id IN (SELECT id FROM invitations WHERE expires_at <= ?1 \
             ORDER BY expires_at LIMIT ?2) RETURNING 1",
    postgres: "DELETE FROM invitations WHERE id = ANY(ARRAY(SELECT id FROM invitations WHERE expires_at <= $1 \
                   ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
};

/// Finds one by the hash of its token, expired or not.
///
/// # Errors
/// A database failure.
pub async fn find(db: &impl ConnectionTrait, project: &ProjectId, hash: &str) -> Result<Option<Invitation>> {
    let found = invitation::Entity::find()
        .filter(invitation::Column::ProjectId.eq(project.as_str()))
        .filter(invitation::Column::Hash.eq(hash))
        .filter(invitation::Column::Password.is_null())
        .one(db)
        .await?;
    found.map(to_invitation).transpose()
}

/// Lists the invitations of a project, without sign-ups, the newest first.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait, project: &ProjectId) -> Result<Vec<Invitation>> {
    let rows = invitation::Entity::find()
        .filter(invitation::Column::ProjectId.eq(project.as_str()))
        .filter(invitation::Column::Password.is_null())
        .filter(invitation::Column::IsSignUp.eq(0))
        .order_by_desc(invitation::Column::CreatedAt)
        .order_by_desc(invitation::Column::Id)
        .limit(MAX_LISTED)
        .all(db)
        .await?;
    rows.into_iter().map(to_invitation).collect()
}

/// Reads those of a project that have one of these hashes, and those to one of these addresses, in no order.
///
/// # Errors
/// A database failure.
pub async fn get_many(
    tx: &mut WriteTx,
    project: &ProjectId,
    hashes: &[&str],
    emails: &[&Email],
) -> Result<Vec<Invitation>> {
    let emails: Vec<_> = emails.iter().map(|email| email.as_str()).collect();
    let list = |texts: &[&str]| serde_json::Value::from(texts.to_vec()).to_string();
    let values = [project.as_str().into(), list(hashes).into(), list(&emails).into()];
    tx.query(GET_MANY, values).await?.iter().map(|row| from_row(project, row)).collect()
}

/// Writes new ones. Deferred.
pub fn insert_many<'a>(tx: &mut WriteTx, invitations: impl IntoIterator<Item = &'a Invitation>) {
    let mut rows = Rows::default();
    for invitation in invitations {
        rows.row()
            .text(&invitation.id)
            .text(invitation.project.as_str())
            .text(&invitation.hash)
            .text(invitation.email.as_str())
            .integer(invitation.is_sign_up.into())
            .text(serde_json::Value::from(invitation.user.roles.clone()).to_string())
            .text(serde_json::Value::from(invitation.user.profile.clone()).to_string())
            .integer(invitation.created_at.0)
            .integer(invitation.expires_at.0);
    }
    tx.defer_rows(INSERT, rows);
}

/// Deletes those whose tokens have these hashes. Deferred.
pub fn delete_many<'a>(tx: &mut WriteTx, hashes: impl IntoIterator<Item = &'a String>) {
    let mut rows = Rows::default();
    for hash in hashes {
        rows.row().text(hash);
    }
    tx.defer_rows(DELETE, rows);
}

/// Deletes at most `limit` that expired before a time, and returns whether there may be more.
///
/// # Errors
/// A database failure.
pub async fn delete_expired(tx: &mut WriteTx, before: Timestamp, limit: usize) -> Result<bool> {
    let rows = tx.query(DELETE_EXPIRED, [before.0.into(), (limit as i64).into()]).await?;
    Ok(rows.len() == limit)
}

fn to_invitation(row: invitation::Model) -> Result<Invitation> {
    let unread = |_| StoreError::custom("an invitation can't be read by this version");
    let user = UserData {
        roles: serde_json::from_str(&row.roles).map_err(unread)?,
        profile: serde_json::from_str(&row.profile).map_err(unread)?,
        ..UserData::default()
    };
    Ok(Invitation {
        id: row.id,
        project: ProjectId::from_stored(&row.project_id),
        hash: row.hash,
        email: Email::from_stored(&row.email),
        is_sign_up: row.is_sign_up != 0,
        user,
        created_at: Timestamp(row.created_at),
        expires_at: Timestamp(row.expires_at),
    })
}

fn from_row(project: &ProjectId, row: &QueryResult) -> Result<Invitation> {
    to_invitation(invitation::Model {
        id: row.try_get_by_index(0)?,
        project_id: project.to_string(),
        hash: row.try_get_by_index(1)?,
        email: row.try_get_by_index(2)?,
        password: None,
        is_sign_up: row.try_get_by_index(3)?,
        roles: row.try_get_by_index(4)?,
        profile: row.try_get_by_index(5)?,
        created_at: row.try_get_by_index(6)?,
        expires_at: row.try_get_by_index(7)?,
    })
}
