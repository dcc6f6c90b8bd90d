//! What a subscriber that is told where it stands makes of it: a named subscription, or an SSE stream.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Block, sequence_of};

/// The set of documents as its messages tell it. Every message must fit on those before it.
#[derive(Debug, Default)]
pub struct Replica {
    /// Each document's `data`, `createdAt`, and `version` where that is shown, by id.
    pub documents: BTreeMap<String, Value>,
    /// From where to go on; `None` where only a snapshot helps.
    pub cursor: Option<String>,
    /// How many events came.
    pub events: usize,
    /// How many snapshots were complete.
    pub snapshots: usize,
    /// How often it was told to start anew.
    pub resyncs: usize,
    is_in_snapshot: bool,
}

impl Replica {
    /// The place that its view is as of.
    pub fn sequence(&self) -> Option<i64> {
        self.cursor.as_deref().map(sequence_of)
    }

    /// Begins anew where nothing complete is known: a stream that was cut inside a snapshot.
    pub fn reconnect(&mut self) {
        if self.cursor.is_none() {
            self.begin_snapshot();
        }
    }

    /// Takes a block of an event stream.
    pub fn take_block(&mut self, block: &Block) {
        let mut message = if block.data.is_some() { block.json() } else { json!({ "type": "progress" }) };
        if let Some(id) = block.id.as_ref().filter(|id| !id.is_empty()) {
            message["cursor"] = json!(id);
        } else if block.data.is_none() {
            return;
        }
        self.take(&message);
    }

    /// Takes a message of a named subscription.
    pub fn take(&mut self, message: &Value) {
        match message["type"].as_str().unwrap() {
            "subscribed" | "resync" => {
                self.resyncs += usize::from(message["type"] == "resync");
                if message.get("cursor").is_some() {
                    self.advance(message);
                } else {
                    self.begin_snapshot();
                }
            }
            "snapshot" => {
                assert!(self.is_in_snapshot && message.get("cursor").is_none(), "{message}");
                for document in message["documents"].as_array().unwrap() {
                    let (id, document) = shown(document);
                    assert_eq!(self.documents.insert(id, document), None, "twice: {message}");
                }
            }
            "ready" => {
                assert!(std::mem::replace(&mut self.is_in_snapshot, false), "{message}");
                self.snapshots += 1;
                self.advance(message);
            }
            "progress" => self.advance(message),
            "event" => {
                self.events += 1;
                if self.is_in_snapshot {
                    assert!(message.get("cursor").is_none(), "a cursor in a snapshot: {message}");
                } else {
                    let before = self.sequence();
                    self.advance(message);
                    assert!(self.sequence() > before, "again: {message}");
                }
                self.apply(message);
            }
            _ => panic!("{message}"),
        }
    }

    fn begin_snapshot(&mut self) {
        self.documents.clear();
        self.cursor = None;
        self.is_in_snapshot = true;
    }

    fn advance(&mut self, message: &Value) {
        assert!(!self.is_in_snapshot, "a cursor in a snapshot: {message}");
        let cursor = message["cursor"].as_str().unwrap_or_else(|| panic!("no cursor: {message}"));
        assert!(
            self.sequence() <= Some(sequence_of(cursor)),
            "out of order: {message}, after {:?}",
            self.sequence()
        );
        self.cursor = Some(cursor.to_owned());
    }

    fn apply(&mut self, event: &Value) {
        let (id, document) = shown(&event["document"]);
        let kind = event["event"].as_str().unwrap();
        let before = match kind {
            "deleted" => self.documents.remove(&id),
            _ => self.documents.insert(id, document.clone()),
        };
        assert_eq!(before.is_some(), kind != "created", "missed or twice: {event}, before it {before:?}");
        let reasons: &[&str] = match kind {
            "created" => &["written", "entered"],
            "updated" => &["written"],
            _ => &["left", "removed"],
        };
        if let Some(reason) = event["reason"].as_str() {
            assert!(reasons.contains(&reason), "{event}");
        }
        // Each write of a document that stays is an event, so that its versions show whether one was missed.
        if let Some((before, version)) = before.as_ref().zip(document["version"].as_u64()) {
            let next = if kind == "deleted" { 0 } else { 1 };
            assert_eq!(
                before["version"].as_u64().unwrap() + next,
                version,
                "missed: {event}, before it {before}"
            );
            assert_eq!(before["createdAt"], document["createdAt"], "{event}");
        }
    }
}

/// What of a document is kept, in lists and messages alike.
pub fn shown(document: &Value) -> (String, Value) {
    let mut kept = json!({ "data": document["data"], "createdAt": document["createdAt"] });
    if let Some(version) = document.get("version") {
        kept["version"] = version.clone();
    }
    (document["id"].as_str().unwrap().to_owned(), kept)
}
