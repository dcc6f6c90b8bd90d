//! Mails that wait in the outbox, because the server has no SMTP server.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use entity::mail;

use crate::{
    domain::{Email, Mail, ProjectId, Timestamp},
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// The most mails of a project's outbox that are shown. Older ones give way when the next one comes.
pub const MAX_WAITING: u64 = 100;

const INSERT: RowsSql = RowsSql::same(
    "INSERT INTO mails (id, project_id, kind, recipient, subject, body, created_at) \
     SELECT column1, column2, column3, column4, column5, column6, column7 FROM {rows} WHERE column1 IS NOT NULL",
);
/// PostgreSQL may run it together with the insert, whose rows it then does not see.
const TRIM: Sql = Sql {
    sqlite: "DELETE FROM mails WHERE project_id = ?1 AND id NOT IN \
             (SELECT id FROM mails WHERE project_id = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2)",
    postgres: "DELETE FROM mails WHERE project_id = $1 AND id NOT IN \
               (SELECT id FROM mails WHERE project_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2)",
};
/// Rows that another node deletes are skipped.
const DELETE_OLD: Sql = Sql {
    sqlite: "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2) \
             RETURNING 1",
    postgres: "DELETE FROM mails WHERE id = ANY(ARRAY(SELECT id FROM mails WHERE created_at <= $1 \
                   ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
};

/// Lists the mails that wait in the outbox of a project, the newest first.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait, project: &ProjectId) -> Result<Vec<Mail>> {
    let rows = mail::Entity::find()
        .filter(mail::Column::ProjectId.eq(project.as_str()))
        .order_by_desc(mail::Column::CreatedAt)
        .order_by_desc(mail::Column::Id)
        .limit(MAX_WAITING)
        .all(db)
        .await?;
    let mail = |row: mail::Model| Mail {
        id: row.id,
        project: ProjectId::from_stored(&row.project_id),
        kind: row.kind,
        to: Email::from_stored(&row.recipient),
        subject: row.subject,
        text: row.body,
        created_at: Timestamp(row.created_at),
    };
    Ok(rows.into_iter().map(mail).collect())
}

/// Adds mails to the outboxes of their projects, where the oldest ones give way. Deferred.
pub fn insert_many(tx: &mut WriteTx, mails: &[Mail]) {
    let mut rows = Rows::default();
    let mut projects: Vec<&ProjectId> = Vec::new();
    for mail in mails {
        rows.row()
            .text(&mail.id)
            .text(mail.project.as_str())
            .text(&mail.kind)
            .text(mail.to.as_str())
            .text(&mail.subject)
            .text(&mail.text)
            .integer(mail.created_at.0);
        if !projects.contains(&&mail.project) {
            projects.push(&mail.project);
        }
    }
    tx.defer_rows(INSERT, rows);
    for project in projects {
        tx.defer(TRIM, [project.as_str().into(), (MAX_WAITING as i64).into()]);
    }
}

/// Deletes at most `limit` mails that were written before a time, and returns whether there may be more.
///
/// # Errors
/// A database failure.
pub async fn delete_old(tx: &mut WriteTx, before: Timestamp, limit: usize) -> Result<bool> {
    let rows = tx.query(DELETE_OLD, [before.0.into(), (limit as i64).into()]).await?;
    Ok(rows.len() == limit)
}
