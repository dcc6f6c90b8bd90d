//! Which part of a result is wanted, and in which order.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::domain::{Document, DocumentId, Timestamp};

/// A part of a sorted result. The sort is by creation time and then by id, both in one direction.
#[derive(Clone, Debug)]
pub struct Page {
    /// Oldest or newest first.
    pub direction: Direction,
    /// At most this many documents.
    pub limit: u64,
    /// So many are left out first.
    pub offset: u64,
    /// Only what comes after this place.
    pub after: Option<Place>,
}

/// Which end of a sort comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// A place in a sorted result: the sort keys of the last document that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its creation time.
    pub created_at: Timestamp,
    /// Its id.
    pub id: DocumentId,
}

/// What is inside a page cursor's text.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "o")]
    direction: Direction,
    #[serde(rename = "k")]
    created_at: i64,
    #[serde(rename = "i")]
    id: String,
}

impl Page {
    /// The cursor text from which the page after `last` goes on.
    pub fn cursor_after(&self, last: &Document) -> String {
        let wire = Wire { direction: self.direction, created_at: last.created_at.0, id: last.id.to_string() };
        // An enum, an integer and a string are always JSON.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
    }
}

impl Place {
    /// Reads a page cursor; `None` if the text is none, or one of the other direction.
    pub fn parse(text: &str, direction: Direction) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        (wire.direction == direction)
            .then(|| DocumentId::parse(&wire.id).ok())?
            .map(|id| Self { created_at: Timestamp(wire.created_at), id })
    }
}
