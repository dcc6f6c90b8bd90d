//! The outcome of a mutation.

use std::sync::Arc;

use crate::{
    domain::{
        Collection, CollectionId, CollectionName, Document, DocumentId, DocumentStamp, ProjectSettings,
        SecondFactor, Session, cursor::Cursor,
    },
    store::access::keys::StoredKey,
};

/// The outcome of a committed mutation.
#[derive(Clone, Debug)]
pub struct Committed {
    /// One for each operation.
    pub outcomes: Vec<Outcome>,
    /// The position of its last change; the last position of the log if it changed nothing.
    pub cursor: Cursor,
}

/// The outcome of one operation.
#[derive(Clone, Debug)]
pub enum Outcome {
    Document {
        collection: CollectionName,
        document: Arc<Document>,
        /// Whether it was created.
        is_new: bool,
        /// The sequence of its change.
        sequence: u64,
    },
    /// A document was written, but its data is left out: the minimal form of [`Outcome::Document`].
    WithoutData {
        collection: CollectionName,
        stamp: DocumentStamp,
        /// Whether it was created.
        is_new: bool,
        /// The sequence of its change, where the log has the data as long as it keeps the entry.
        sequence: u64,
    },
    Deleted {
        collection: CollectionName,
        id: DocumentId,
    },
    /// The document to delete did not exist, which is no error.
    Absent {
        id: DocumentId,
    },
    /// The collection after the operation.
    Collection(Arc<Collection>),
    Removed {
        collection: CollectionId,
    },
    Revoked,
    /// The key that was made, or the key after its change.
    Key(Arc<StoredKey>),
    /// The settings of the project after the operation.
    Settings(Arc<ProjectSettings>),
    /// A user is signed in, in this session.
    SignedIn {
        user: Arc<Document>,
        session: Arc<Session>,
    },
    /// A refresh token was used that had been replaced, so its session was ended.
    Stolen {
        session: Arc<Session>,
    },
    SessionsEnded {
        count: usize,
    },
    /// The first factor of a user is proven. This second one is asked for, and a ticket was noted.
    SecondFactor(SecondFactor),
    /// A code that was presented is wrong, which was counted.
    WrongCode,
    /// A sign-up was noted, whose address another user has.
    EmailTaken,
    /// It changed something that is not shown.
    Done,
    ClockAccepted,
}

impl Committed {
    /// Leaves out the data of every document: the minimal form.
    pub fn without_data(mut self) -> Self {
        for outcome in &mut self.outcomes {
            if let Outcome::Document { collection, document, is_new, sequence } = outcome {
                let (collection, stamp) = (collection.clone(), document.stamp());
                *outcome = Outcome::WithoutData { collection, stamp, is_new: *is_new, sequence: *sequence };
            }
        }
        self
    }

    /// Returns whether the data of a document is left out.
    pub fn lacks_data(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::WithoutData { .. }))
    }
}
