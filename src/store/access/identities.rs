//! Users' identities at other providers of sign-ins.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult};

use entity::identity;

use crate::{
    domain::{DocumentId, Email, Identity, IdentityKey, ProjectId, Timestamp, UserKey},
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// A row for each identity with one of these subjects ($2), at whatever provider, or of one of these users ($3).
const GET_MANY: Sql = Sql {
    sqlite: "SELECT subject, issuer, user_id, provider, email, created_at FROM identities \
             WHERE project_id = ?1 AND subject IN (SELECT value FROM json_each(?2)) \
             UNION SELECT subject, issuer, user_id, provider, email, created_at FROM identities \
             WHERE project_id = ?1 AND user_id IN (SELECT value FROM json_each(?3))",
    postgres: "SELECT subject, issuer, user_id, provider, email, created_at FROM identities \
               WHERE project_id = $1 AND subject = ANY(ARRAY(SELECT json_array_elements_text($2::json))) \
               UNION SELECT subject, issuer, user_id, provider, email, created_at FROM identities \
               WHERE project_id = $1 AND user_id = ANY(ARRAY(SELECT json_array_elements_text($3::json)))",
};
const PUT: RowsSql = RowsSql::same(
    "INSERT INTO identities (project_id, subject, issuer, user_id, provider, email, created_at) \
     SELECT column1, column2, column3, column4, column5, column6, column7 FROM {rows} \
     WHERE column1 IS NOT NULL ON CONFLICT (project_id, subject, issuer) DO UPDATE \
     SET user_id = excluded.user_id, provider = excluded.provider, email = excluded.email",
);
const DELETE: RowsSql = RowsSql {
    sqlite: "DELETE FROM identities WHERE (project_id, subject, issuer) IN (SELECT column1, column2, column3 FROM {rows})",
    postgres: "DELETE FROM identities USING {rows} WHERE project_id = column1 AND subject = column2 AND issuer = column3",
};

/// Finds an identity.
///
/// # Errors
/// A database failure.
pub async fn find(db: &impl ConnectionTrait, key: &IdentityKey) -> Result<Option<Identity>> {
    let id = (key.project.as_str().to_owned(), key.subject.to_string(), key.issuer.to_string());
    Ok(identity::Entity::find_by_id(id).one(db).await?.map(to_identity))
}

/// Lists the identities of a user, the oldest first.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait, user: &UserKey) -> Result<Vec<Identity>> {
    let rows = identity::Entity::find()
        .filter(identity::Column::ProjectId.eq(user.project.as_str()))
        .filter(identity::Column::UserId.eq(user.user.as_str()))
        .order_by_asc(identity::Column::CreatedAt)
        .order_by_asc(identity::Column::Issuer)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(to_identity).collect())
}

/// Reads the identities of a project with one of these subjects, and those of these users, in no order.
///
/// # Errors
/// A database failure.
pub async fn get_many(
    tx: &mut WriteTx,
    project: &ProjectId,
    subjects: &[&str],
    users: &[&DocumentId],
) -> Result<Vec<Identity>> {
    let users: Vec<_> = users.iter().map(|id| id.as_str()).collect();
    let list = |texts: Vec<&str>| serde_json::Value::from(texts).to_string();
    let values = [project.as_str().into(), list(subjects.to_vec()).into(), list(users).into()];
    tx.query(GET_MANY, values).await?.iter().map(|row| from_row(project, row)).collect()
}

/// Writes identities. Deferred. The credentials of their users must be written before.
pub fn put_many<'a>(tx: &mut WriteTx, identities: impl IntoIterator<Item = &'a Identity>) {
    let mut rows = Rows::default();
    for Identity { key, user, provider, email, created_at } in identities {
        rows.row()
            .text(key.project.as_str())
            .text(&*key.subject)
            .text(&*key.issuer)
            .text(user.as_str())
            .text(&**provider)
            .optional_text(email.as_ref().map(Email::as_str))
            .integer(created_at.0);
    }
    tx.defer_rows(PUT, rows);
}

/// Deletes identities. Deferred.
pub fn delete_many<'a>(tx: &mut WriteTx, keys: impl IntoIterator<Item = &'a IdentityKey>) {
    let mut rows = Rows::default();
    for key in keys {
        rows.row().text(key.project.as_str()).text(&*key.subject).text(&*key.issuer);
    }
    tx.defer_rows(DELETE, rows);
}

fn to_identity(row: identity::Model) -> Identity {
    Identity {
        key: IdentityKey {
            project: ProjectId::from_stored(&row.project_id),
            issuer: row.issuer.into(),
            subject: row.subject.into(),
        },
        user: DocumentId::from_stored(&row.user_id),
        provider: row.provider.into(),
        email: row.email.as_deref().map(Email::from_stored),
        created_at: Timestamp(row.created_at),
    }
}

fn from_row(project: &ProjectId, row: &QueryResult) -> Result<Identity> {
    Ok(to_identity(identity::Model {
        project_id: project.to_string(),
        subject: row.try_get_by_index(0)?,
        issuer: row.try_get_by_index(1)?,
        user_id: row.try_get_by_index(2)?,
        provider: row.try_get_by_index(3)?,
        email: row.try_get_by_index(4)?,
        created_at: row.try_get_by_index(5)?,
    }))
}
