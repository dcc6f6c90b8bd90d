//! The rows of declared indexes, and the database's own indexes, which are built and dropped in the background.

use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QueryResult};

use entity::index;

use crate::{
    domain::{CollectionId, DocumentId, IndexId, ProjectId, Timestamp},
    query::index_definition::{Index, IndexDefinition, IndexState},
    store::{
        Db, ReadConnection, Result, Sql, StoreError, WriteTx,
        db::{
            postgres::settings::Purpose,
            rows::{Rows, RowsSql},
        },
        documents::{one, table::TABLE},
        sql::index::{find_duplicates, find_too_long, statements},
    },
};

/// As `building`, and no document of the collection is written until then.
const AWAITED: &str = "awaited";
const BUILDING: &str = "building";
const READY: &str = "ready";
const FAILED: &str = "failed";
/// The index is no longer declared, but the database still has its own.
const REMOVED: &str = "removed";

const LIST: Sql = Sql::same(
    "SELECT id, collection_id, fields, is_unique, state, error FROM indexes \
     WHERE project_id = $1 AND state <> 'removed' ORDER BY id",
);
const COUNT: Sql = Sql::same("SELECT COUNT(*) FROM indexes WHERE state <> 'removed'");
const INSERT: RowsSql = RowsSql::same(
    "INSERT INTO indexes (id, project_id, collection_id, fields, is_unique, state, created_at) \
     SELECT column1, column2, column3, column4, column5, column6, column7 FROM {rows} \
     WHERE column1 IS NOT NULL",
);
const SET_STATE: Sql = Sql::same("UPDATE indexes SET state = $2, error = $3 WHERE id = $1");
const REMOVE_ALL: Sql = Sql::same("UPDATE indexes SET state = 'removed' WHERE collection_id = $1");
const FORGET: Sql = Sql::same("DELETE FROM indexes WHERE id = $1 AND state = 'removed'");

const FORGET_STATISTICS: Sql = Sql::same("DELETE FROM sqlite_stat1 WHERE idx = $1");
const SET_STATISTICS: Sql =
    Sql::same("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('documents', $1, $2)");

/// An arbitrary number that must be the same in every version of Coir: the holder of this advisory lock builds and drops indexes.
const INDEX_LOCK: i64 = 0x0043_4f49_5222;

/// An index to build or to drop in the background.
pub struct IndexTask {
    pub project: ProjectId,
    pub collection: CollectionId,
    pub index: Index,
    /// Whether the index is to be dropped and not built.
    pub is_removed: bool,
}

/// Lists the declared indexes of a project, in the order of their declaration.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait, project: &ProjectId) -> Result<Vec<(CollectionId, Index)>> {
    let rows = db.query_all_raw(LIST.bind(db.get_database_backend(), [project.as_str().into()])).await?;
    rows.iter().map(read_index).collect()
}

/// Lists like [`list`], in a write transaction.
///
/// # Errors
/// A database failure.
pub async fn list_locked(tx: &mut WriteTx, project: &ProjectId) -> Result<Vec<(CollectionId, Index)>> {
    let rows = tx.query(LIST, [project.as_str().into()]).await?;
    rows.iter().map(read_index).collect()
}

/// Counts the declared indexes of all projects.
///
/// # Errors
/// A database failure.
pub async fn count(tx: &mut WriteTx) -> Result<usize> {
    let rows = tx.query(COUNT, []).await?;
    Ok(rows.first().map_or(Ok(0), |row| row.try_get_by_index::<i64>(0))? as usize)
}

/// Adds indexes that are to be built. Deferred.
pub fn insert_many(tx: &mut WriteTx, indexes: &[(ProjectId, CollectionId, Index)], at: Timestamp) {
    let mut rows = Rows::default();
    for (project, collection, index) in indexes {
        rows.row()
            .text(index.id.as_str())
            .text(project.as_str())
            .text(collection.as_str())
            .text(serde_json::Value::from(index.definition.names.clone()).to_string())
            .integer(index.definition.unique.into())
            .text(word_of(&index.state))
            .integer(at.0);
    }
    tx.defer_rows(INSERT, rows);
}

/// Writes the state of an index. `None` marks it as no longer declared. Deferred.
pub fn set_state(tx: &mut WriteTx, id: &IndexId, state: Option<&IndexState>) {
    let word = state.map_or(REMOVED, word_of);
    let error = match state {
        Some(IndexState::Failed(why)) => Some(why.clone()),
        _ => None,
    };
    tx.defer(SET_STATE, [id.as_str().into(), word.into(), error.into()]);
}

fn word_of(state: &IndexState) -> &'static str {
    match state {
        IndexState::Awaited => AWAITED,
        IndexState::Building => BUILDING,
        IndexState::Ready => READY,
        IndexState::Failed(_) => FAILED,
    }
}

/// Marks all indexes of a collection as no longer declared. Deferred.
pub fn remove_all(tx: &mut WriteTx, collection: &CollectionId) {
    tx.defer(REMOVE_ALL, [collection.as_str().into()]);
}

/// Lists the indexes to build or drop, the oldest first. A row that this version can't read is left out.
///
/// # Errors
/// A database failure.
pub async fn list_tasks(db: &impl ConnectionTrait) -> Result<Vec<IndexTask>> {
    let rows = index::Entity::find()
        .filter(index::Column::State.is_in([AWAITED, BUILDING, REMOVED]))
        .order_by_asc(index::Column::Id)
        .all(db)
        .await?;
    let task = |row: index::Model| {
        let definition = read_definition(&row.fields, row.is_unique != 0)?;
        Ok(IndexTask {
            project: ProjectId::from_stored(&row.project_id),
            collection: CollectionId::from_stored(&row.collection_id),
            index: Index { id: IndexId::from_stored(&row.id), definition, state: IndexState::Building },
            is_removed: row.state == REMOVED,
        })
    };
    let readable = rows.into_iter().filter_map(|row| {
        let id = row.id.clone();
        let task: Result<IndexTask> = task(row);
        // One that only a newer version understands must not keep the others from being built.
        task.inspect_err(|err| {
            tracing::warn!(index = id, "the declaration of index {id} can't be read: {err}")
        })
        .ok()
    });
    Ok(readable.collect())
}

/// Builds the database's own indexes on SQLite, or drops them and deletes the row. No other write happens meanwhile. Indexes
/// that exist already are kept.
///
/// # Errors
/// A database failure, also a [unique violation](StoreError::is_unique_violation) if documents are duplicates.
pub async fn carry_out_sqlite(tx: &mut WriteTx, task: &IndexTask) -> Result<()> {
    for statement in statements(&task.index, &task.collection, TABLE, DbBackend::Sqlite) {
        tx.defer(FORGET_STATISTICS, [statement.name.as_str().into()]);
        if task.is_removed {
            tx.execute_plain(statement.drop).await?;
        } else {
            // The statistics come first, because creating the index makes every connection read the schema and them anew.
            tx.defer(SET_STATISTICS, [statement.name.into(), statement.statistics.into()]);
            tx.execute_plain(statement.create).await?;
        }
    }
    if task.is_removed {
        tx.defer(FORGET, [task.index.id.as_str().into()]);
    }
    Ok(())
}

/// A session of PostgreSQL that holds the lock for building indexes. Its statements have no time limit.
pub struct IndexSession(ReadConnection);

const LOCK: Sql = Sql::same("SELECT pg_try_advisory_lock($1)");
const IS_HALF_BUILT: Sql =
    Sql::same("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)");

impl IndexSession {
    /// Opens a session. Returns `None` on SQLite, or if another process holds the lock.
    ///
    /// # Errors
    /// A database failure.
    pub async fn open(db: &Db) -> Result<Option<Self>> {
        let Some(opener) = db.opener() else { return Ok(None) };
        // One session that is never replaced, because it owns the lock.
        let session = Self(ReadConnection::irreplaceable(opener.open(Purpose::Long).await?));
        if session.ask(LOCK, INDEX_LOCK.into()).await? {
            return Ok(Some(session));
        }
        session.close().await;
        Ok(None)
    }

    /// Builds the database's own indexes while writes go on, or drops them and deletes the row. A half-built index is built
    /// anew.
    ///
    /// # Errors
    /// A database failure, also a [unique violation](StoreError::is_unique_violation) if documents are duplicates. What was built is
    /// then dropped again.
    pub async fn carry_out(&self, task: &IndexTask) -> Result<()> {
        if task.is_removed {
            self.drop_all(task).await?;
            let forget = FORGET.bind(DbBackend::Postgres, [task.index.id.as_str().into()]);
            return Ok(self.0.execute_raw(forget).await.map(|_| ())?);
        }
        for statement in statements(&task.index, &task.collection, TABLE, DbBackend::Postgres) {
            if self.ask(IS_HALF_BUILT, statement.name.into()).await? {
                self.0.execute_unprepared(&statement.drop).await?;
            }
            if let Err(err) = self.0.execute_unprepared(&statement.create).await {
                let err = StoreError::from(err);
                if err.is_statement_error() {
                    self.drop_all(task).await?;
                }
                return Err(err);
            }
        }
        // The planner needs statistics of the new expressions.
        self.0.execute_unprepared(&format!("ANALYZE {TABLE}")).await?;
        Ok(())
    }

    /// Returns the connection, for reads.
    pub fn connection(&self) -> &ReadConnection {
        &self.0
    }

    /// Closes the session, which releases the lock.
    pub async fn close(self) {
        if let Some(session) = self.0.take_session() {
            session.close().await;
        }
    }

    async fn drop_all(&self, task: &IndexTask) -> Result<()> {
        for statement in statements(&task.index, &task.collection, TABLE, DbBackend::Postgres) {
            self.0.execute_unprepared(&statement.drop).await?;
        }
        Ok(())
    }

    /// Returns the single boolean that a statement returns. No row is false.
    async fn ask(&self, sql: Sql, value: sea_orm::Value) -> Result<bool> {
        let row = self.0.query_one_raw(sql.bind(DbBackend::Postgres, [value])).await?;
        Ok(row.map(|row| row.try_get_by_index::<bool>(0)).transpose()?.unwrap_or(false))
    }
}

/// Finds a stored string that is too long for an index. Returns a message for the owner of the index.
///
/// # Errors
/// A database failure.
pub async fn find_too_long_text(db: &ReadConnection, task: &IndexTask) -> Result<Option<String>> {
    let IndexTask { collection, index, .. } = task;
    let Some(select) = find_too_long(index, collection, db.get_database_backend()) else { return Ok(None) };
    let Some(row) = db.query_one(&select).await? else { return Ok(None) };
    let id = DocumentId::from_stored(&row.try_get_by_index::<String>(0)?);
    let document = one::find(db, collection, &id).await?;
    let found = document.as_ref().and_then(|document| index.definition.find_too_long(document));
    Ok(found.map(|found| format!("document `{id}`, field `{}`: {}", found.field, found.why)))
}

/// Finds stored documents that are duplicates in a unique index. Returns a message for the owner of the index, or `None` if
/// there are none any more.
///
/// # Errors
/// A database failure.
pub async fn find_duplicate_values(db: &ReadConnection, task: &IndexTask) -> Result<Option<String>> {
    let IndexTask { collection, index, .. } = task;
    let select = find_duplicates(index, collection, db.get_database_backend());
    let Some(row) = db.query_one(&select).await? else { return Ok(None) };
    let count: i64 = row.try_get_by_index(0)?;
    let [one, other] = [row.try_get_by_index::<String>(1)?, row.try_get_by_index::<String>(2)?];
    let document = one::find(db, collection, &DocumentId::from_stored(&one)).await?;
    let values = document.iter().flat_map(|document| {
        let fields = index.definition.fields.iter();
        fields.filter_map(|term| Some(format!("`{}` = {}", term.field, term.field.value_in(document)?)))
    });
    let values = values.collect::<Vec<_>>().join(" and ");
    Ok(Some(format!("{count} documents have {values}, such as `{one}` and `{other}`")))
}

/// Reads the columns of [`LIST`].
fn read_index(row: &QueryResult) -> Result<(CollectionId, Index)> {
    let text = |column| row.try_get_by_index::<String>(column);
    let state = match text(4)?.as_str() {
        AWAITED => IndexState::Awaited,
        READY => IndexState::Ready,
        FAILED => IndexState::Failed(row.try_get_by_index::<Option<String>>(5)?.unwrap_or_default()),
        _ => IndexState::Building,
    };
    let definition = read_definition(&text(2)?, row.try_get_by_index::<i64>(3)? != 0)?;
    let index = Index { id: IndexId::from_stored(&text(0)?), definition, state };
    Ok((CollectionId::from_stored(&text(1)?), index))
}

fn read_definition(fields: &str, unique: bool) -> Result<IndexDefinition> {
    let names = serde_json::from_str(fields).map_err(|err| StoreError::custom(err.to_string()))?;
    IndexDefinition::parse(names, unique).map_err(|err| StoreError::custom(err.to_string()))
}
