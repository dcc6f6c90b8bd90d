//! Credentials of users: what is kept beside their documents.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryResult};

use entity::credential;

use crate::{
    domain::{Credentials, DocumentId, Email, PasswordHash, ProjectId, Timestamp, UserKey},
    store::{
        Result, Sql, StoreError, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// A row for each user that is asked for by id ($2) or by address ($3).
const GET_MANY: Sql = Sql {
    sqlite: "SELECT user_id, email, password, totp, created_at, has_mail_factor FROM credentials \
             WHERE project_id = ?1 AND user_id IN (SELECT value FROM json_each(?2)) \
             UNION SELECT user_id, email, password, totp, created_at, has_mail_factor FROM credentials \
             WHERE project_id = ?1 AND email IN (SELECT value FROM json_each(?3))",
    postgres: "SELECT user_id, email, password, totp, created_at, has_mail_factor FROM credentials \
               WHERE project_id = $1 AND user_id = ANY(ARRAY(SELECT json_array_elements_text($2::json))) \
               UNION SELECT user_id, email, password, totp, created_at, has_mail_factor FROM credentials \
               WHERE project_id = $1 AND email = ANY(ARRAY(SELECT json_array_elements_text($3::json)))",
};
const PUT: RowsSql = RowsSql::same(
    "INSERT INTO credentials (project_id, user_id, email, password, totp, created_at, has_mail_factor) \
     SELECT column1, column2, column3, column4, column5, column6, column7 FROM {rows} \
     WHERE column1 IS NOT NULL ON CONFLICT (project_id, user_id) DO UPDATE \
     SET email = excluded.email, password = excluded.password, totp = excluded.totp, \
         has_mail_factor = excluded.has_mail_factor",
);
const DELETE: RowsSql = RowsSql {
    sqlite: "DELETE FROM credentials WHERE (project_id, user_id) IN (SELECT column1, column2 FROM {rows})",
    postgres: "DELETE FROM credentials USING {rows} WHERE project_id = column1 AND user_id = column2",
};

/// Finds the credentials of a user by the address, in whatever spelling it is stored.
///
/// # Errors
/// A database failure.
pub async fn find_by_email(
    db: &impl ConnectionTrait,
    project: &ProjectId,
    email: &Email,
) -> Result<Option<Credentials>> {
    let spellings = email.spellings();
    let rows = credential::Entity::find()
        .filter(credential::Column::ProjectId.eq(project.as_str()))
        .filter(credential::Column::Email.is_in(spellings.iter().map(Email::as_str)))
        .all(db)
        .await?;
    // An older version may have made several accounts. The one of today's spelling has the address.
    let place =
        |row: &credential::Model| spellings.iter().position(|one| Some(one.as_str()) == row.email.as_deref());
    rows.into_iter().min_by_key(place).map(to_credentials).transpose()
}

/// Finds the credentials of a user.
///
/// # Errors
/// A database failure.
pub async fn find(db: &impl ConnectionTrait, key: &UserKey) -> Result<Option<Credentials>> {
    let id = (key.project.as_str().to_owned(), key.user.as_str().to_owned());
    credential::Entity::find_by_id(id).one(db).await?.map(to_credentials).transpose()
}

/// Reads the credentials of the users of a project that have one of these ids, or one of these addresses, in no order.
///
/// # Errors
/// A database failure.
pub async fn get_many(
    tx: &mut WriteTx,
    project: &ProjectId,
    users: &[&DocumentId],
    emails: &[&Email],
) -> Result<Vec<Credentials>> {
    let users: Vec<_> = users.iter().map(|id| id.as_str()).collect();
    let emails: Vec<_> = emails.iter().map(|email| email.as_str()).collect();
    let list = |texts: Vec<&str>| serde_json::Value::from(texts).to_string();
    let values = [project.as_str().into(), list(users).into(), list(emails).into()];
    tx.query(GET_MANY, values).await?.iter().map(|row| from_row(project, row)).collect()
}

/// Writes the credentials of users, new ones and others. Deferred. A unique violation if another user has an address.
pub fn put_many<'a>(tx: &mut WriteTx, credentials: impl IntoIterator<Item = &'a Credentials>) {
    let mut rows = Rows::default();
    for Credentials { key, email, password, totp, has_mail_factor, created_at } in credentials {
        // Texts and numbers can always be written.
        let totp = totp.as_ref().and_then(|totp| serde_json::to_string(totp).ok());
        rows.row()
            .text(key.project.as_str())
            .text(key.user.as_str())
            .optional_text(email.as_ref().map(Email::as_str))
            .optional_text(password.as_ref().map(PasswordHash::as_str))
            .optional_text(totp)
            .integer(created_at.0)
            .integer(i64::from(*has_mail_factor));
    }
    tx.defer_rows(PUT, rows);
}

/// Deletes the credentials of users. Deferred. Their sessions must be deleted before.
pub fn delete_many<'a>(tx: &mut WriteTx, users: impl IntoIterator<Item = &'a UserKey>) {
    let mut rows = Rows::default();
    for key in users {
        rows.row().text(key.project.as_str()).text(key.user.as_str());
    }
    tx.defer_rows(DELETE, rows);
}

fn to_credentials(row: credential::Model) -> Result<Credentials> {
    // A user whose second factor can't be read must not get in without it.
    let unread = |_| StoreError::custom("the second factor of a user can't be read by this version");
    let totp = row.totp.as_deref().map(serde_json::from_str).transpose().map_err(unread)?;
    Ok(Credentials {
        key: UserKey {
            project: ProjectId::from_stored(&row.project_id),
            user: DocumentId::from_stored(&row.user_id),
        },
        email: row.email.as_deref().map(Email::from_stored),
        password: row.password.as_deref().map(PasswordHash::from_text),
        totp,
        has_mail_factor: row.has_mail_factor != 0,
        created_at: Timestamp(row.created_at),
    })
}

fn from_row(project: &ProjectId, row: &QueryResult) -> Result<Credentials> {
    to_credentials(credential::Model {
        project_id: project.to_string(),
        user_id: row.try_get_by_index(0)?,
        email: row.try_get_by_index(1)?,
        password: row.try_get_by_index(2)?,
        totp: row.try_get_by_index(3)?,
        created_at: row.try_get_by_index(4)?,
        has_mail_factor: row.try_get_by_index(5)?,
    })
}
