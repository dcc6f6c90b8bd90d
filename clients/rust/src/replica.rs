//! A view of a query, kept up to date by the messages of its subscription.

use std::collections::BTreeMap;

use crate::{Content, Cursor, Document, Event, EventKind, Message, history::History};

/// Documents by id.
pub type Documents = BTreeMap<String, Document>;

/// The set of documents that a subscription sees, as its messages tell it.
///
/// Feed it every message of one subscription, in order, and call [`Replica::reconnect`] before the first message of each
/// connection. When it [is complete](Replica::is_complete), it is the query's result at its [cursor](Replica::cursor). It
/// checks that each message fits those before it, and reports a [`Misfit`] if one was missed or came twice.
///
/// ```
/// use coir_client::{Change, Message, Replica};
///
/// let mut replica = Replica::new();
/// replica.reconnect();
/// let mut apply = |text| replica.apply(Message::from_json(text)?).map_err(Box::<dyn std::error::Error>::from);
/// apply(r#"{"type":"snapshot","documents":[{"id":"a","data":{"title":"Solaris"},"createdAt":"…"}]}"#)?;
/// apply(r#"{"type":"ready","cursor":"AUN1mHUA"}"#)?;
/// let change = apply(
///     r#"{"type":"event","collection":"books","event":"updated","cursor":"AUN1mHUB",
///         "document":{"id":"a","data":{"title":"Solaris","year":1961},"createdAt":"…"}}"#,
/// )?;
/// assert!(matches!(change, Change::Updated { before } if before.data["year"].is_null()));
/// assert_eq!(replica.documents()["a"].data["year"], 1961);
/// assert_eq!(replica.cursor().map(|cursor| cursor.as_str()), Some("AUN1mHUB"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Replica {
    documents: Documents,
    cursor: Option<Cursor>,
    phase: Phase,
    counts: Counts,
    history: Option<History>,
}

/// The state of a replica: whether its documents are the query's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing has come yet.
    #[default]
    New,
    /// A part of a snapshot.
    Snapshot,
    /// The query's result at the cursor.
    Complete,
    /// Changes were lost, and no snapshot made up for them.
    Stale,
}

/// How many messages a replica has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Snapshots that became complete.
    pub snapshots: u64,
    /// How often the server said that the view can't be brought up to date.
    pub resyncs: u64,
}

/// The change that a message made in a [`Replica`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Nothing; at most the cursor moved on.
    None,
    /// All documents were dropped, because a snapshot follows.
    Cleared,
    /// A page of the snapshot was added, with so many documents.
    Loaded(usize),
    /// The snapshot is complete.
    Completed,
    /// The document with this id was added.
    Created(String),
    /// A document was replaced.
    Updated {
        /// The document before the change. The replica has the new one under the same id.
        before: Document,
    },
    /// This document was removed.
    Deleted(Document),
    /// Changes were lost and no snapshot follows, so the view is no longer complete.
    Stale,
}

/// A message that doesn't fit those before it: something was missed, came twice, or came out of order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// A message came again, or before an earlier one.
    #[error("change {sequence} came after change {last}")]
    OutOfOrder {
        /// The sequence in the message's cursor.
        sequence: u64,
        /// The sequence in the replica's cursor.
        last: u64,
    },
    /// A message lacks the cursor that its predecessors had.
    #[error("a message has no cursor")]
    NoCursor,
    /// A part of a snapshot has a cursor, which would let a client resume in the middle.
    #[error("a message in a snapshot has a cursor")]
    CursorInSnapshot,
    /// A page or `ready` came when no snapshot was expected.
    #[error("a part of a snapshot came outside a snapshot")]
    NotInSnapshot,
    /// A snapshot has a document twice.
    #[error("document `{id}` came twice in a snapshot")]
    TwiceInSnapshot {
        /// The document's id.
        id: String,
    },
    /// A document was created that the view has already.
    #[error("document `{id}` was created, but it was there already: an event was missed or came twice")]
    AlreadyThere {
        /// The document's id.
        id: String,
    },
    /// A document was updated or deleted that the view doesn't have.
    #[error(
        "document `{id}` was updated or deleted, but it was not there: an event was missed or came twice"
    )]
    NotThere {
        /// The document's id.
        id: String,
    },
    /// A document was updated to a version that is not later.
    #[error("document `{id}` was updated from version {before} to version {after}")]
    OldVersion {
        /// The document's id.
        id: String,
        /// The version that the view had.
        before: u64,
        /// The version that came.
        after: u64,
    },
}

impl Replica {
    /// A view of which nothing is known: a snapshot will fill it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A view of a query whose result is known: no documents at first, or those that a list showed.
    ///
    /// `cursor` is where the result was read; the subscription must resume there. It may be `None` if the subscription begins
    /// before the first document is written.
    pub fn with_documents(documents: impl IntoIterator<Item = Document>, cursor: Option<Cursor>) -> Self {
        let documents = documents.into_iter().map(|document| (document.id.clone(), document)).collect();
        Self { documents, cursor, phase: Phase::Complete, ..Self::default() }
    }

    /// The documents by id. Before [`Replica::is_complete`], some may be missing.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// Returns the documents by id.
    pub fn into_documents(self) -> Documents {
        self.documents
    }

    /// Where to resume; `None` if only a new snapshot helps.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// The sequence of the last change that the view includes; `None` without a cursor that can be read.
    pub fn sequence(&self) -> Option<u64> {
        self.cursor.as_ref().and_then(Cursor::sequence)
    }

    /// Whether the documents are the query's result: not in the middle of a snapshot, and no change was lost.
    pub fn is_complete(&self) -> bool {
        self.phase == Phase::Complete
    }

    /// How many messages came.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Prepares for the first message of a new connection, which must resume at [`Replica::cursor`].
    ///
    /// Without a cursor the documents are dropped, because the server then begins with a new snapshot.
    pub fn reconnect(&mut self) -> Change {
        if self.cursor.is_some() { Change::None } else { self.begin_snapshot() }
    }

    /// Forgets the cursor and drops the documents, so that the next connection must begin with a snapshot. The counts stay.
    pub fn restart(&mut self) -> Change {
        self.begin_snapshot()
    }

    /// Takes a message.
    ///
    /// # Errors
    /// [`Misfit`] if the message doesn't fit those before it. The replica has applied it all the same, so that one slip is
    /// reported once; only a new snapshot makes the view right again.
    pub fn apply(&mut self, message: Message) -> Result<Change, Misfit> {
        let Message { cursor, content, .. } = message;
        match content {
            Content::Subscribed { .. } => self.begin(cursor),
            Content::Resync { .. } => Ok(self.resync(cursor)),
            Content::Snapshot(documents) => self.load(cursor, documents),
            Content::Ready => self.complete(cursor),
            Content::Event(event) => self.apply_event(cursor, event),
            Content::Progress => self.advance(cursor, Order::MayStay).map(|()| Change::None),
            Content::Error { .. } | Content::Pong | Content::Other(_) => Ok(Change::None),
        }
    }

    /// From now on, remembers what each event replaces, so that [`Replica::documents_at`] can tell how the view was.
    ///
    /// Memory grows with every event until [`Replica::stop_history`]; a new snapshot ends it, too.
    pub fn start_history(&mut self) {
        self.history = self.sequence().filter(|_| self.is_complete()).map(History::new);
    }

    /// Ends what [`Replica::start_history`] began.
    pub fn stop_history(&mut self) {
        self.history = None;
    }

    /// Returns the documents as they were after the change with this sequence.
    ///
    /// `None` if the view hasn't come so far, or if that was before its history.
    pub fn documents_at(&self, sequence: u64) -> Option<Documents> {
        let history = self.history.as_ref()?;
        if self.sequence()? < sequence { None } else { history.rewind(&self.documents, sequence) }
    }

    /// Whether [`Replica::documents_at`] can return this sequence now or later.
    pub fn may_reach(&self, sequence: u64) -> bool {
        self.history.as_ref().is_some_and(|history| history.since() <= sequence)
    }

    fn begin_snapshot(&mut self) -> Change {
        let change = if self.documents.is_empty() { Change::None } else { Change::Cleared };
        self.documents.clear();
        self.cursor = None;
        self.phase = Phase::Snapshot;
        self.history = None;
        change
    }

    fn begin(&mut self, cursor: Option<Cursor>) -> Result<Change, Misfit> {
        if cursor.is_none() {
            return Ok(self.begin_snapshot());
        }
        if self.phase == Phase::New {
            self.phase = Phase::Complete;
        }
        self.advance(cursor, Order::MayStay).map(|()| Change::None)
    }

    /// The order of cursors starts anew: the next one may belong to another history of the log.
    fn resync(&mut self, cursor: Option<Cursor>) -> Change {
        self.counts.resyncs += 1;
        if cursor.is_none() {
            return self.begin_snapshot();
        }
        self.cursor = cursor;
        self.phase = Phase::Stale;
        self.history = None;
        Change::Stale
    }

    fn load(&mut self, cursor: Option<Cursor>, documents: Vec<Document>) -> Result<Change, Misfit> {
        let count = documents.len();
        let mut twice = None;
        for document in documents {
            if let Some(old) = self.documents.insert(document.id.clone(), document) {
                twice = Some(Misfit::TwiceInSnapshot { id: old.id });
            }
        }
        self.expect_snapshot()?;
        match (cursor, twice) {
            (Some(_), _) => Err(Misfit::CursorInSnapshot),
            (None, Some(twice)) => Err(twice),
            (None, None) => Ok(Change::Loaded(count)),
        }
    }

    fn complete(&mut self, cursor: Option<Cursor>) -> Result<Change, Misfit> {
        let expected = self.expect_snapshot();
        self.phase = Phase::Complete;
        self.counts.snapshots += 1;
        if cursor.is_none() {
            return Err(Misfit::NoCursor);
        }
        self.advance(cursor, Order::MayStay)?;
        expected.map(|()| Change::Completed)
    }

    fn expect_snapshot(&mut self) -> Result<(), Misfit> {
        match self.phase {
            Phase::New | Phase::Snapshot => {
                self.phase = Phase::Snapshot;
                Ok(())
            }
            Phase::Complete | Phase::Stale => Err(Misfit::NotInSnapshot),
        }
    }

    fn apply_event(&mut self, cursor: Option<Cursor>, event: Event) -> Result<Change, Misfit> {
        self.counts.events += 1;
        let order = self.advance(cursor, Order::MustGrow);
        let Event { kind, document, .. } = event;
        let (id, version) = (document.id.clone(), document.version);
        let before = match kind {
            EventKind::Deleted => self.documents.remove(&id),
            EventKind::Created | EventKind::Updated => self.documents.insert(id.clone(), document),
        };
        if let Some((history, sequence)) =
            self.history.as_mut().zip(self.cursor.as_ref().and_then(Cursor::sequence))
        {
            history.record(sequence, id.clone(), before.clone());
        }
        order?;
        self.judge(kind, id, version, before)
    }

    /// Tells what an event changed, if it fits on what was there.
    fn judge(
        &self,
        kind: EventKind,
        id: String,
        version: Option<u64>,
        before: Option<Document>,
    ) -> Result<Change, Misfit> {
        match (kind, before) {
            (EventKind::Created, None) => Ok(Change::Created(id)),
            (EventKind::Updated, Some(before)) => match before.version.zip(version) {
                Some((old, new)) if new <= old => Err(Misfit::OldVersion { id, before: old, after: new }),
                _ => Ok(Change::Updated { before }),
            },
            (EventKind::Deleted, Some(before)) => Ok(Change::Deleted(before)),
            // A view that has lost changes expects no fit.
            (EventKind::Created, Some(before)) if self.phase == Phase::Stale => {
                Ok(Change::Updated { before })
            }
            (EventKind::Updated, None) if self.phase == Phase::Stale => Ok(Change::Created(id)),
            (EventKind::Deleted, None) if self.phase == Phase::Stale => Ok(Change::None),
            (EventKind::Created, Some(_)) => Err(Misfit::AlreadyThere { id }),
            (EventKind::Updated | EventKind::Deleted, None) => Err(Misfit::NotThere { id }),
        }
    }

    /// Moves the cursor on, and checks its order where both cursors can be read.
    fn advance(&mut self, cursor: Option<Cursor>, order: Order) -> Result<(), Misfit> {
        let Some(cursor) = cursor else {
            // On a subscription without an id, the messages of a WebSocket never have one.
            return if self.cursor.is_some() { Err(Misfit::NoCursor) } else { Ok(()) };
        };
        if self.phase == Phase::Snapshot {
            return Err(Misfit::CursorInSnapshot);
        }
        let sequences = self.sequence().zip(cursor.sequence());
        self.cursor = Some(cursor);
        match sequences {
            Some((last, sequence)) if sequence < last || (order == Order::MustGrow && sequence == last) => {
                Err(Misfit::OutOfOrder { sequence, last })
            }
            _ => Ok(()),
        }
    }
}

/// How the cursor of a message compares with the one before.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// An event has a sequence of its own.
    MustGrow,
    /// Other messages may repeat the position.
    MayStay,
}

#[cfg(test)]
mod tests;
