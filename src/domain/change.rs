//! The change log's entries, and places in it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CollectionId, Document, KeyId, ProjectId, Timestamp};

/// A place in a project's change log: after the entry with this sequence.
///
/// The time is that of the entry. It is compared on resume, so that a database which was put back by hand isn't
/// taken for the same history. Position 0 is the log's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// 1, 2, 3 …, without gaps, in commit order.
    pub sequence: u64,
    /// When that entry was written.
    pub at: Timestamp,
}

/// One committed entry of a project's change log.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose log.
    pub project: ProjectId,
    /// Where in it.
    pub position: Position,
    /// What happened.
    pub entry: Entry,
}

/// What an entry of the log says.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A document was written; at least one image is there.
    Document {
        /// Its collection.
        collection: CollectionId,
        /// The whole document before; `None` when it was made.
        before: Option<Arc<Document>>,
        /// The whole document after; `None` when it was deleted.
        after: Option<Arc<Document>>,
    },
    /// Who may see what was altered.
    Control(Control),
}

/// An entry of the log that alters who may see what, without images. Stored as JSON with the member `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Control {
    /// A collection was made.
    CollectionCreated {
        /// Its id.
        collection: String,
        /// Its name.
        name: String,
    },
    /// A collection has another name.
    CollectionRenamed {
        /// Its id.
        collection: String,
        /// The new name.
        name: String,
    },
    /// A collection has another schema, or none any more. Which one stands with the collection.
    SchemaChanged {
        /// Its id.
        collection: String,
    },
    /// A collection declares other indexes, or one of them is built, or could not be. Which they are stands in their table.
    IndexesChanged {
        /// Its id.
        collection: String,
    },
    /// A collection is gone, with all its documents; no entry is written for each of these.
    CollectionRemoved {
        /// Its id.
        collection: String,
    },
    /// A key is no longer good.
    KeyRevoked {
        /// Its id.
        key: String,
    },
}

impl Change {
    /// Roughly what it occupies in memory, in bytes: its images as they are parsed, and something for itself.
    pub fn weight(&self) -> usize {
        let image = |document: &Option<Arc<Document>>| document.as_ref().map_or(0, |d| d.data.weight() + 200);
        match &self.entry {
            Entry::Document { before, after, .. } => image(before) + image(after) + 100,
            Entry::Control(_) => 300,
        }
    }
}

impl Control {
    /// Whether indexes may have to be built or dropped.
    pub fn concerns_indexes(&self) -> bool {
        matches!(self, Self::IndexesChanged { .. } | Self::CollectionRemoved { .. })
    }

    /// The key that is no longer good, if one is.
    pub fn revoked_key(&self) -> Option<KeyId> {
        match self {
            Self::KeyRevoked { key } => Some(KeyId::from_stored(key)),
            _ => None,
        }
    }
}
