//! Empties removed collections: deletes their documents, a part at a time, and then the collection.
//!
//! Each part holds the row of its collection, so that of several nodes one works on a collection. The row goes with the last
//! document.

use crate::{
    domain::{CollectionId, DocumentId},
    store::{Db, StoreError, collections::rows, documents::writes, log::changes::PageSize},
};

/// Bytes of documents, in memory, that one transaction deletes.
const SWEEP_BYTES: usize = 4 * 1024 * 1024;

/// A removed collection, and the last document of it that was deleted.
pub(super) type Emptying = (CollectionId, Option<DocumentId>);

/// The result of deleting documents of removed collections.
pub(super) enum Swept {
    /// Some were deleted, up to this one.
    Some(Emptying),
    /// The collection is gone, or its beginning is to be looked at again.
    Collection,
    /// There is no removed collection.
    Nothing,
    /// Another process is deleting the documents that are left.
    Busy,
}

/// Deletes some documents of the collection that is being emptied, or of another removed one.
pub(super) async fn sweep_removed(
    db: &Db,
    emptying: Option<Emptying>,
    rows: usize,
) -> Result<Swept, StoreError> {
    let mut tx = db.begin_write().await?;
    let locked = match &emptying {
        Some((collection, _)) => rows::lock_removed(&mut tx, Some(collection)).await?,
        None => None,
    };
    let (collection, after) = match (locked, emptying) {
        (Some(collection), Some((_, after))) => (collection, after),
        _ => match rows::lock_removed(&mut tx, None).await? {
            Some(collection) => (collection, None),
            None => {
                let is_any_left = rows::has_removed(&mut tx).await?;
                tx.rollback().await?;
                return Ok(if is_any_left { Swept::Busy } else { Swept::Nothing });
            }
        },
    };
    let size = PageSize { entries: rows, bytes: SWEEP_BYTES };
    let last = writes::delete_some(&mut tx, &collection, after.as_ref(), size).await?;
    let is_gone = last.is_none() && rows::delete(&mut tx, &collection).await?;
    tx.commit().await?;
    Ok(match last {
        Some(last) => Swept::Some((collection, Some(last))),
        None if is_gone || after.is_some() => Swept::Collection,
        // A process that doesn't lock the row, of an older version, has not committed its part yet.
        None => Swept::Busy,
    })
}
