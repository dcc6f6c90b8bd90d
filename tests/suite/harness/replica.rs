//! A subscriber's view of what it watches: on a named subscription, or an SSE stream.

use std::collections::BTreeMap;

use coir_client::{Change, Content, Counts, Cursor, Document, Event, EventKind, Message, Reason};
use serde_json::{Value, json};

use super::Block;

/// The set of documents as its messages tell it. A message that doesn't fit those before it fails the test.
#[derive(Debug, Default)]
pub struct Replica {
    view: coir_client::Replica,
}

impl Replica {
    /// A view of a collection that is known to be empty, so that it needs no snapshot.
    pub fn of_nothing() -> Self {
        Self { view: coir_client::Replica::with_documents([], None) }
    }

    /// The view itself.
    pub fn view(&self) -> &coir_client::Replica {
        &self.view
    }

    /// Each document's `data`, `createdAt`, and `version` where that is shown, by id.
    pub fn documents(&self) -> BTreeMap<String, Value> {
        let show = |(id, document): (&String, &Document)| (id.clone(), shown(&json!(document)).1);
        self.view.documents().iter().map(show).collect()
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.view.documents().len()
    }

    /// Where to resume; `None` if only a snapshot helps.
    pub fn cursor(&self) -> Option<&str> {
        self.view.cursor().map(Cursor::as_str)
    }

    /// The sequence of the last change that the view includes.
    pub fn sequence(&self) -> Option<i64> {
        self.view.sequence().map(|sequence| sequence as i64)
    }

    /// How many messages came.
    pub fn counts(&self) -> Counts {
        self.view.counts()
    }

    /// Forgets the cursor, so that the next connection begins with a snapshot.
    pub fn restart(&mut self) {
        self.view.restart();
    }

    /// Prepares for a new connection, which resumes at the cursor if there is one.
    pub fn reconnect(&mut self) {
        self.view.reconnect();
    }

    /// Takes a block of an event stream.
    pub fn take_block(&mut self, block: &Block) {
        if let Some(message) = block.message() {
            self.apply(message);
        }
    }

    /// Takes a message of a WebSocket.
    pub fn take(&mut self, message: &Value) {
        let parsed = Message::from_json(&message.to_string());
        self.apply(parsed.unwrap_or_else(|error| panic!("{error}: {message}")));
    }

    fn apply(&mut self, message: Message) {
        let cursor = message.cursor.as_ref();
        assert!(
            cursor.is_none_or(|cursor| cursor.sequence().is_some()),
            "no cursor of the server: {message:?}"
        );
        match &message.content {
            Content::Subscribed { .. } | Content::Snapshot(_) | Content::Event(_) => {}
            Content::Ready | Content::Progress => assert!(cursor.is_some(), "no cursor: {message:?}"),
            // All that resume here ask for a snapshot in case they can't.
            Content::Resync { .. } => assert!(cursor.is_none(), "no snapshot follows: {message:?}"),
            _ => panic!("not expected: {message:?}"),
        }
        let event = match &message.content {
            Content::Event(event) => Some(event.clone()),
            _ => None,
        };
        let text = match &message.content {
            Content::Snapshot(documents) => format!("a page of {} documents", documents.len()),
            content => format!("{content:?}"),
        };
        let change = self.view.apply(message).unwrap_or_else(|misfit| panic!("{misfit}: {text}"));
        if let Some(event) = event {
            check_event(&event, &change);
        }
    }
}

/// Checks what a client can't rely on, but a server must do.
fn check_event(event: &Event, change: &Change) {
    let reasons: &[Reason] = match event.kind {
        EventKind::Created => &[Reason::Written, Reason::Entered],
        EventKind::Updated => &[Reason::Written],
        EventKind::Deleted => &[Reason::Left, Reason::Removed],
    };
    assert!(event.reason.is_none_or(|reason| reasons.contains(&reason)), "{event:?}");
    let (before, writes) = match change {
        Change::Updated { before } => (before, 1),
        Change::Deleted(before) => (before, 0),
        _ => return,
    };
    assert_eq!(before.created_at, event.document.created_at, "{event:?}");
    // Each write of a document that stays is an event, so that its versions show whether one was missed.
    if let Some((before, after)) = before.version.zip(event.document.version) {
        assert_eq!(before + writes, after, "an event was missed before {event:?}");
    }
}

/// A document's id, and the members by which documents of lists and of messages are compared.
pub fn shown(document: &Value) -> (String, Value) {
    let mut kept = json!({ "data": document["data"], "createdAt": document["createdAt"] });
    if let Some(version) = document.get("version") {
        kept["version"] = version.clone();
    }
    (document["id"].as_str().unwrap().to_owned(), kept)
}
