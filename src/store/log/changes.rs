//! Entries of the change log: how they are appended, and read after a position.

use std::{collections::HashMap, fmt::Write, sync::Arc};

use sea_orm::{ConnectionTrait, QueryResult};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    domain::{
        Change, CollectionId, Control, Data, Document, DocumentId, Entry, LogEnds, Position, ProjectId,
        Timestamp, cursor::Cursor,
    },
    store::{
        Result, Sql, StoreError, WriteTx,
        db::rows::{Rows, RowsSql},
        log::ends::{self, read_log_ends},
    },
};

const APPEND: RowsSql = RowsSql::same(
    "INSERT INTO changes (project_id, sequence, at, size, collection_id, document_id, before, after, control) \
     SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9 FROM {rows} \
     WHERE column1 IS NOT NULL",
);

/// The entries of one collection and the control entries of its project, both after a sequence.
macro_rules! one_collection {
    () => {
        "SELECT * FROM (SELECT sequence, size FROM changes WHERE collection_id = $5 AND sequence > $2 \
                        ORDER BY sequence LIMIT $3) AS a \
         UNION ALL \
         SELECT * FROM (SELECT sequence, size FROM changes WHERE project_id = $1 AND collection_id IS NULL \
                        AND sequence > $2 ORDER BY sequence LIMIT $3) AS b"
    };
}

/// Every entry of a project after a sequence.
macro_rules! whole_project {
    () => {
        "SELECT sequence, size FROM changes WHERE project_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3"
    };
}

/// A page of the log: at most $3 entries, and none that begins after $4 bytes of memory. The log ends come from the same
/// statement, so a reader notices entries that were pruned meanwhile; and so does the time of the entry at $2, by which it
/// notices that the log is another one.
macro_rules! read_page {
    ($entries:expr) => {
        concat!(
            "WITH entry AS (",
            $entries,
            "), page AS (SELECT sequence FROM (SELECT sequence, SUM(size) OVER (ORDER BY sequence) - size AS preceding \
             FROM entry) AS s WHERE preceding < $4 ORDER BY sequence LIMIT $3) \
             SELECT h.project_id, h.epoch, h.head, h.head_at, h.floor, h.floor_at, h.control, h.control_at, \
                    c.sequence, c.at, c.collection_id, c.document_id, c.before, c.after, c.control AS entry_control, \
                    (SELECT at FROM changes WHERE project_id = $1 AND sequence = $2) AS begins_at \
             FROM heads AS h LEFT JOIN (SELECT changes.* FROM page JOIN changes ON changes.project_id = $1 \
                  AND changes.sequence = page.sequence) AS c ON TRUE \
             WHERE h.project_id = $1 ORDER BY c.sequence"
        )
    };
}

const READ_COLLECTION: Sql = Sql::same(read_page!(one_collection!()));
const READ_PROJECT: Sql = Sql::same(read_page!(whole_project!()));
/// The documents after the changes with the sequences $2, as far as the log has them, unless the entries take more than $3 bytes
/// of memory in all.
const READ_IMAGES: Sql = Sql {
    sqlite: "WITH k AS (SELECT value AS sequence FROM json_each(?2)), \
                  total AS (SELECT SUM(c.size) AS bytes FROM k CROSS JOIN changes AS c \
                            WHERE c.project_id = ?1 AND c.sequence = k.sequence) \
             SELECT c.sequence, c.document_id, c.after FROM k CROSS JOIN changes AS c \
             WHERE c.project_id = ?1 AND c.sequence = k.sequence AND (SELECT bytes FROM total) <= ?3",
    postgres: "WITH k AS MATERIALIZED (SELECT v::bigint AS sequence FROM json_array_elements_text($2::json) AS t(v)), \
                    total AS (SELECT SUM(c.size) AS bytes FROM k JOIN changes AS c \
                              ON c.project_id = $1 AND c.sequence = k.sequence) \
               SELECT c.sequence, c.document_id, c.after FROM k JOIN changes AS c \
               ON c.project_id = $1 AND c.sequence = k.sequence WHERE (SELECT bytes FROM total) <= $3",
};
const FIND_TIME: Sql = Sql::same("SELECT at FROM changes WHERE project_id = $1 AND sequence = $2");

/// The column of a page at which its entries begin, after the log ends.
const SEQUENCE_COLUMN: usize = ends::COLUMNS.len();
/// The column with the time of the entry after which a page begins.
const BEGINS_AT_COLUMN: usize = SEQUENCE_COLUMN + 7;

/// A page of a log, in order.
#[derive(Clone, Debug)]
pub struct LogPage {
    /// The ends of the log, read together with the entries.
    pub ends: LogEnds,
    /// Entries after the position that was asked for.
    pub entries: Vec<Arc<Change>>,
    /// Whether the page reaches the log's end.
    pub is_last: bool,
    /// The position after which it begins. `None` if the log has nothing at the sequence that was asked for: it was pruned, or
    /// is beyond the end.
    pub begin: Option<Position>,
}

impl LogPage {
    /// Whether the log has another entry at a position, as far as this page shows it: commits were lost, and their sequences
    /// used again.
    pub fn contradicts(&self, position: Position) -> bool {
        let is_other = |known: Position| known.sequence == position.sequence && known != position;
        let place = self.entries.partition_point(|change| change.position.sequence < position.sequence);
        self.begin.is_some_and(is_other)
            || self.entries.get(place).is_some_and(|change| is_other(change.position))
    }

    /// Whether an entry of a document can't be read.
    pub fn has_unreadable(&self) -> bool {
        self.entries.iter().any(|change| matches!(change.entry, Entry::Unreadable { .. }))
    }
}

/// The size of a page.
#[derive(Clone, Copy, Debug)]
pub struct PageSize {
    /// The most entries.
    pub entries: usize,
    /// The page ends with the entry that reaches this many bytes, by [`Change::weight`].
    pub bytes: usize,
}

/// The image of a document in the log.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Image<'a> {
    created_at: i64,
    updated_at: i64,
    version: u64,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The estimated size of an entry beside its texts. Migrations and `retention` have the same number in SQL.
const ENTRY_BYTES: usize = 100;

/// Appends entries, whose sequences follow the log ends that this transaction has locked. Deferred. Returns by how many bytes
/// each project's log grows, for [`ends::advance`].
///
/// # Errors
/// None in practice: a control entry is always valid JSON.
pub fn append_many(tx: &mut WriteTx, changes: &[Arc<Change>]) -> Result<HashMap<ProjectId, u64>> {
    let mut rows = Rows::default();
    let mut grown: HashMap<ProjectId, u64> = HashMap::new();
    for change in changes {
        let row = rows
            .row()
            .text(change.project.as_str())
            .integer(change.position.sequence as i64)
            .integer(change.position.at.0)
            .integer(change.weight() as i64);
        let texts = match &change.entry {
            Entry::Document { collection, before, after } => {
                let id = after.as_ref().or(before.as_ref()).map(|document| document.id.as_str());
                let images = [before, after].map(|image| image.as_deref().map(image_text));
                let texts = images.iter().flatten().map(String::len).sum::<usize>();
                let [before, after] = images;
                row.text(collection.as_str())
                    .optional_text(id)
                    .optional_text(before)
                    .optional_text(after)
                    .null();
                texts
            }
            Entry::Control(control) => {
                let control =
                    serde_json::to_string(control).map_err(|err| StoreError::custom(err.to_string()))?;
                let texts = control.len();
                row.null().null().null().null().text(control);
                texts
            }
            // Nobody makes such an entry.
            Entry::Unreadable { .. } => return Err(corrupt(change.position, &"it is not known")),
        };
        *grown.entry(change.project.clone()).or_default() += (ENTRY_BYTES + texts) as u64;
    }
    tx.defer_rows(APPEND, rows);
    Ok(grown)
}

fn image_text(document: &Document) -> String {
    let data = document.data.text();
    let mut text = String::with_capacity(data.len() + 128);
    // Writing to a string can't fail.
    let _ = write!(
        text,
        r#"{{"createdAt":{},"updatedAt":{},"version":{},"data":{data}}}"#,
        document.created_at.0, document.updated_at.0, document.version,
    );
    text
}

/// Reads the changes of a collection and the control entries of its project, after the sequence `after`. Returns `None` if
/// there is no such project.
///
/// # Errors
/// A database failure.
pub async fn read_collection(
    db: &impl ConnectionTrait,
    project: &ProjectId,
    collection: &CollectionId,
    after: u64,
    size: PageSize,
) -> Result<Option<LogPage>> {
    let values = [
        project.as_str().into(),
        (after as i64).into(),
        (size.entries as i64).into(),
        (size.bytes as i64).into(),
        collection.as_str().into(),
    ];
    let rows = db.query_all_raw(READ_COLLECTION.bind(db.get_database_backend(), values)).await?;
    read_page(project, &rows, after, size)
}

/// Reads like [`read_collection`], in a transaction that has locked the log end, so that the page is up to date.
///
/// # Errors
/// A database failure.
pub async fn read_collection_locked(
    tx: &mut WriteTx,
    project: &ProjectId,
    collection: &CollectionId,
    after: u64,
    size: PageSize,
) -> Result<Option<LogPage>> {
    let values = [
        project.as_str().into(),
        (after as i64).into(),
        (size.entries as i64).into(),
        (size.bytes as i64).into(),
        collection.as_str().into(),
    ];
    let rows = tx.query(READ_COLLECTION, values).await?;
    read_page(project, &rows, after, size)
}

/// Reads the entries of a project after the sequence `after`. Returns `None` if there is no such project.
///
/// # Errors
/// A database failure.
pub async fn read_project(
    db: &impl ConnectionTrait,
    project: &ProjectId,
    after: u64,
    size: PageSize,
) -> Result<Option<LogPage>> {
    let values = [
        project.as_str().into(),
        (after as i64).into(),
        (size.entries as i64).into(),
        (size.bytes as i64).into(),
    ];
    let rows = db.query_all_raw(READ_PROJECT.bind(db.get_database_backend(), values)).await?;
    read_page(project, &rows, after, size)
}

/// Reads the documents as the changes with these sequences left them. A change that the log no longer has is left out. Reads
/// nothing if all of them take more than `max_bytes`, by `Change::weight`.
///
/// # Errors
/// A database failure.
pub async fn read_images(
    db: &impl ConnectionTrait,
    project: &ProjectId,
    sequences: &[u64],
    max_bytes: usize,
) -> Result<HashMap<u64, Arc<Document>>> {
    let values = [
        project.as_str().into(),
        serde_json::Value::from(sequences).to_string().into(),
        (max_bytes as i64).into(),
    ];
    let mut images = HashMap::new();
    for row in db.query_all_raw(READ_IMAGES.bind(db.get_database_backend(), values)).await? {
        let sequence = row.try_get_by_index::<i64>(0)? as u64;
        let (id, after): (Option<String>, Option<String>) =
            (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let (Some(id), Some(after)) = (id, after) else { continue };
        let position = Position { sequence, at: Timestamp::default() };
        let image =
            read_image(&DocumentId::from_stored(&id), &after).map_err(|err| corrupt(position, &err))?;
        images.insert(sequence, image);
    }
    Ok(images)
}

/// Whether the log can be read on from a cursor. It must be of the same history, neither pruned nor beyond the end, and the
/// entry there must be the one that the cursor was made at.
///
/// # Errors
/// A database failure.
pub async fn holds_cursor(db: &impl ConnectionTrait, ends: &LogEnds, cursor: &Cursor) -> Result<bool> {
    let position = cursor.position;
    if cursor.epoch != ends.epoch || position.sequence < ends.first.sequence {
        return Ok(false);
    }
    if position.sequence == ends.first.sequence {
        return Ok(position.at == ends.first.at);
    }
    let values = [ends.project.as_str().into(), (position.sequence as i64).into()];
    let row = db.query_one_raw(FIND_TIME.bind(db.get_database_backend(), values)).await?;
    Ok(match row {
        Some(row) => row.try_get_by_index::<i64>(0)? == position.at.0,
        None => false,
    })
}

fn read_page(
    project: &ProjectId,
    rows: &[QueryResult],
    after: u64,
    size: PageSize,
) -> Result<Option<LogPage>> {
    let Some(first) = rows.first() else { return Ok(None) };
    let ends = read_log_ends(first, 0)?;
    let begins_at: Option<i64> = first.try_get_by_index(BEGINS_AT_COLUMN)?;
    let begin = match begins_at {
        Some(at) => Some(Position { sequence: after, at: Timestamp(at) }),
        // The entry itself is pruned.
        None => Some(ends.first).filter(|first| first.sequence == after),
    };
    let mut entries = Vec::with_capacity(rows.len());
    let mut bytes = 0;
    for row in rows {
        if row.try_get_by_index::<Option<i64>>(SEQUENCE_COLUMN)?.is_some() {
            let change = read_change(project, row)?;
            // The weight is the size that was stored with the entry.
            bytes += change.weight();
            entries.push(change);
        }
    }
    // What this version can't read may have ended the page by its size.
    let is_known = |change: &Arc<Change>| {
        !matches!(change.entry, Entry::Unreadable { .. } | Entry::Control(Control::Unknown))
    };
    let is_last = entries.len() < size.entries && bytes < size.bytes && entries.iter().all(is_known);
    Ok(Some(LogPage { ends, entries, is_last, begin }))
}

/// Reads an entry from the columns that begin with `sequence`.
fn read_change(project: &ProjectId, row: &QueryResult) -> Result<Arc<Change>> {
    let text = |at: usize| row.try_get_by_index::<Option<String>>(SEQUENCE_COLUMN + at);
    let position = Position {
        sequence: row.try_get_by_index::<i64>(SEQUENCE_COLUMN)? as u64,
        at: Timestamp(row.try_get_by_index::<i64>(SEQUENCE_COLUMN + 1)?),
    };
    let (before, after, control) = (text(4)?, text(5)?, text(6)?);
    // One entry that can't be read must not keep the others from being read.
    let entry = match (control, text(2)?) {
        (None, Some(collection)) => {
            let collection = CollectionId::from_stored(&collection);
            let read = |id: Option<String>| {
                let id = DocumentId::from_stored(&id.ok_or("no document")?);
                let image = |text: Option<String>| text.map(|text| read_image(&id, &text)).transpose();
                Ok::<_, String>((image(before)?, image(after)?))
            };
            match read(text(3)?) {
                Ok((before, after)) => Entry::Document { collection, before, after },
                Err(why) => {
                    tracing::debug!("{}", corrupt(position, &why));
                    Entry::Unreadable { collection }
                }
            }
        }
        (control, _) => {
            let control = serde_json::from_str(&control.unwrap_or_default());
            Entry::Control(control.unwrap_or(Control::Unknown))
        }
    };
    Ok(Arc::new(Change { project: project.clone(), position, entry }))
}

fn read_image(id: &DocumentId, text: &str) -> std::result::Result<Arc<Document>, String> {
    let image: Image<'_> = serde_json::from_str(text).map_err(|err| err.to_string())?;
    let data = Data::from_stored(image.data.get().to_owned()).map_err(|err| err.to_string())?;
    Ok(Arc::new(Document {
        id: id.clone(),
        data,
        created_at: Timestamp(image.created_at),
        updated_at: Timestamp(image.updated_at),
        version: image.version,
    }))
}

fn corrupt(position: Position, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::custom(format!("entry {} of the change log can't be read: {why}", position.sequence))
}
