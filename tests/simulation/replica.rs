//! What a client makes of what it is told. Every message must fit on those before it.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// A client's view of one subscription.
#[derive(Default)]
pub struct Replica {
    /// Data by id.
    pub documents: BTreeMap<String, String>,
    /// From where to go on; `None` where only a snapshot helps.
    pub cursor: Option<String>,
    pub events: u64,
    pub snapshots: u64,
    pub resyncs: u64,
    is_in_snapshot: bool,
    /// The last messages, for the one who reads of a failure.
    recent: Vec<String>,
}

impl Replica {
    /// A connection was made, with the cursor if there is one.
    pub fn connect(&mut self) {
        if self.cursor.is_none() {
            self.begin_snapshot();
        }
        self.note("--- connected".to_owned());
    }

    pub fn take(&mut self, message: &Value) {
        self.note(summary(message));
        match message["type"].as_str().unwrap() {
            "subscribed" | "resync" => {
                self.resyncs += u64::from(message["type"] == "resync");
                match message["cursor"].as_str() {
                    Some(cursor) => self.advance(cursor, false),
                    None => self.begin_snapshot(),
                }
            }
            "snapshot" => {
                self.require(self.is_in_snapshot, "a page outside of a snapshot");
                for document in message["documents"].as_array().unwrap() {
                    let old = self.documents.insert(id_of(document), document["data"].to_string());
                    self.require(old.is_none(), "a document twice in a snapshot");
                }
            }
            "ready" => {
                self.require(self.is_in_snapshot, "ready outside of a snapshot");
                self.is_in_snapshot = false;
                self.snapshots += 1;
                self.advance(message["cursor"].as_str().unwrap(), false);
            }
            "progress" => self.advance(message["cursor"].as_str().unwrap(), false),
            "event" => {
                self.events += 1;
                match message["cursor"].as_str() {
                    Some(cursor) => self.advance(cursor, true),
                    None => self.require(self.is_in_snapshot, "an event without a cursor"),
                }
                self.apply(message);
            }
            _ => self.fail("a message of no known type"),
        }
    }

    /// Fails unless the view is this.
    pub fn compare(&self, documents: &BTreeMap<String, String>, last: u64) {
        self.require(!self.is_in_snapshot, "in the middle of a snapshot at the end");
        if self.documents != *documents {
            let (view, model) = (short(&self.documents), short(documents));
            self.fail(&format!("at sequence {last} the view is {view:?}, and the model is {model:?}"));
        }
    }

    fn begin_snapshot(&mut self) {
        self.documents.clear();
        self.cursor = None;
        self.is_in_snapshot = true;
    }

    fn advance(&mut self, cursor: &str, is_event: bool) {
        self.require(!self.is_in_snapshot, "a cursor in a snapshot");
        let (old, new) = (self.cursor.as_deref().map(sequence_of), sequence_of(cursor));
        let in_order = old.is_none_or(|old| if is_event { old < new } else { old <= new });
        self.require(in_order, "again, or out of order");
        self.cursor = Some(cursor.to_owned());
    }

    fn apply(&mut self, event: &Value) {
        let id = id_of(&event["document"]);
        let before = match event["event"].as_str().unwrap() {
            "deleted" => self.documents.remove(&id),
            _ => self.documents.insert(id, event["document"]["data"].to_string()),
        };
        self.require(before.is_some() == (event["event"] != "created"), "an event was missed or came twice");
        // Each write counts in its document, so that one that was missed shows.
        if let Some(before) = before.filter(|_| event["event"] == "updated") {
            let before: Value = serde_json::from_str(&before).unwrap();
            let written = |data: &Value| data["written"].as_u64().unwrap();
            let next = written(&event["document"]["data"]) == written(&before) + 1;
            self.require(next, "an event was missed");
        }
    }

    fn note(&mut self, message: String) {
        if self.recent.len() == 30 {
            self.recent.remove(0);
        }
        self.recent.push(message);
    }

    fn require(&self, is_so: bool, otherwise: &str) {
        if !is_so {
            self.fail(otherwise);
        }
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}; the last messages:\n{}", self.recent.join("\n"));
    }
}

/// A message without what only makes it large.
fn summary(message: &Value) -> String {
    let documents = message["documents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = message.get("document");
    let documents: Vec<_> = documents
        .iter()
        .chain(one)
        .map(|document| {
            let data = &document["data"];
            format!("{} {}/{} written {}", document["id"], data["group"], data["n"], data["written"])
        })
        .collect();
    let at = message["cursor"].as_str().map(sequence_of);
    format!("{} {} at {at:?}: {documents:?}", message["type"], message["event"])
}

fn id_of(document: &Value) -> String {
    document["id"].as_str().unwrap().to_owned()
}

fn short(documents: &BTreeMap<String, String>) -> BTreeMap<&str, String> {
    documents.iter().map(|(id, data)| (id.as_str(), data.chars().take(60).collect())).collect()
}

pub fn sequence_of(cursor: &str) -> u64 {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap();
    u64::from_be_bytes(bytes[13..21].try_into().unwrap())
}
