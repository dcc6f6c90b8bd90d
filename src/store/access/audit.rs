//! Security events.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use entity::audit;

use crate::{
    domain::{DocumentId, KeyId, ProjectId, Timestamp, audit::AuditEntry},
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// The entries of a project that are wanted. A member that is `None` is not looked at.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    pub event: Option<String>,
    pub user: Option<String>,
    pub address: Option<String>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// Only entries that are older than the one with this id.
    pub after: Option<String>,
    pub limit: u64,
}

const INSERT: RowsSql = RowsSql::same(
    "INSERT INTO audit (id, project_id, event, user_id, by_user, by_key, address, device, count, details, at) \
     SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11 \
     FROM {rows} WHERE column1 IS NOT NULL",
);
/// Rows that another node deletes are skipped.
const DELETE_OLD: Sql = Sql {
    sqlite: "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at <= ?1 ORDER BY at LIMIT ?2) RETURNING 1",
    postgres: "DELETE FROM audit WHERE id = ANY(ARRAY(SELECT id FROM audit WHERE at <= $1 \
                   ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
};

/// Lists entries, the newest first.
///
/// # Errors
/// A database failure.
pub async fn list(
    db: &impl ConnectionTrait,
    project: &ProjectId,
    query: &AuditQuery,
) -> Result<Vec<AuditEntry>> {
    let AuditQuery { event, user, address, since, until, after, limit } = query;
    let mut select = audit::Entity::find()
        .filter(audit::Column::ProjectId.eq(project.as_str()))
        .order_by_desc(audit::Column::Id);
    for (column, wanted) in
        [(audit::Column::Event, event), (audit::Column::UserId, user), (audit::Column::Address, address)]
    {
        if let Some(wanted) = wanted {
            select = select.filter(column.eq(wanted.as_str()));
        }
    }
    if let Some(since) = since {
        select = select.filter(audit::Column::At.gte(since.0));
    }
    if let Some(until) = until {
        select = select.filter(audit::Column::At.lt(until.0));
    }
    if let Some(after) = after {
        select = select.filter(audit::Column::Id.lt(after.as_str()));
    }
    let rows = select.limit(*limit).all(db).await?;
    Ok(rows.into_iter().map(to_entry).collect())
}

/// Adds entries. Deferred.
pub fn insert_many(tx: &mut WriteTx, entries: &[AuditEntry]) {
    let mut rows = Rows::default();
    for entry in entries {
        rows.row()
            .text(&entry.id)
            .text(entry.project.as_str())
            .text(&entry.event)
            .optional_text(entry.user.as_ref().map(DocumentId::as_str))
            .optional_text(entry.by_user.as_ref().map(DocumentId::as_str))
            .optional_text(entry.by_key.as_ref().map(KeyId::as_str))
            .optional_text(entry.address.as_deref())
            .optional_text(entry.device.as_deref())
            .integer(i64::try_from(entry.count).unwrap_or(i64::MAX))
            .optional_text(entry.details.as_ref().map(ToString::to_string))
            .integer(entry.at.0);
    }
    tx.defer_rows(INSERT, rows);
}

/// Deletes at most `limit` entries from before a time, and returns whether there may be more.
///
/// # Errors
/// A database failure.
pub async fn delete_old(tx: &mut WriteTx, before: Timestamp, limit: usize) -> Result<bool> {
    let rows = tx.query(DELETE_OLD, [before.0.into(), (limit as i64).into()]).await?;
    Ok(rows.len() == limit)
}

fn to_entry(row: audit::Model) -> AuditEntry {
    AuditEntry {
        id: row.id,
        project: ProjectId::from_stored(&row.project_id),
        event: row.event,
        user: row.user_id.as_deref().map(DocumentId::from_stored),
        by_user: row.by_user.as_deref().map(DocumentId::from_stored),
        by_key: row.by_key.as_deref().map(KeyId::from_stored),
        address: row.address,
        device: row.device,
        count: u64::try_from(row.count).unwrap_or(0),
        details: row.details.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        at: Timestamp(row.at),
    }
}
