//! A collection as its events tell it, with what is needed to know how it was a moment ago.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::event_stream::Block;
use crate::domain::cursor::Cursor;

/// Documents by id; of each its data and its time of creation, which lists and events both show.
pub(super) type Documents = BTreeMap<String, Value>;

/// The view that a stream with a snapshot makes.
#[derive(Default)]
pub(super) struct View {
    documents: Documents,
    /// From where to go on; `None` where only a snapshot helps.
    pub(super) last_event_id: Option<String>,
    /// Place in the log of `last_event_id`.
    sequence: u64,
    is_ready: bool,
    /// What each event since [`View::remember`] replaced, newest last.
    history: Option<History>,
    /// Events that came.
    pub(super) events: u64,
    /// How often the server said that the view must start anew.
    pub(super) resyncs: u64,
}

struct History {
    since: u64,
    replaced: VecDeque<(u64, String, Option<Value>)>,
}

/// A message that does not fit on those before it: something was missed, or came twice.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub(super) struct Misfit(String);

impl View {
    /// How many documents it has.
    pub(super) fn len(&self) -> usize {
        self.documents.len()
    }

    /// The place in the log that it is as of; `None` in the middle of a snapshot.
    pub(super) fn sequence(&self) -> Option<u64> {
        self.is_ready.then_some(self.sequence)
    }

    /// A connection was opened. Without a cursor it begins with a snapshot.
    pub(super) fn connect(&mut self) {
        if self.last_event_id.is_none() {
            self.begin_snapshot();
        }
    }

    /// From now on it can say how it was.
    pub(super) fn remember(&mut self) {
        self.history = Some(History { since: self.sequence, replaced: VecDeque::new() });
    }

    /// It need not any more.
    pub(super) fn forget(&mut self) {
        self.history = None;
    }

    /// How it was at a place in the log; `None` if it isn't there yet, or that was before it began to remember.
    pub(super) fn at(&self, sequence: u64) -> Option<Documents> {
        let history = self.history.as_ref()?;
        if self.sequence()? < sequence || sequence < history.since {
            return None;
        }
        let mut documents = self.documents.clone();
        for (at, id, replaced) in history.replaced.iter().rev().take_while(|(at, ..)| *at > sequence) {
            debug_assert!(*at > sequence);
            match replaced {
                Some(document) => documents.insert(id.clone(), document.clone()),
                None => documents.remove(id),
            };
        }
        Some(documents)
    }

    /// Whether it may still come to say how it was there.
    pub(super) fn can_reach(&self, sequence: u64) -> bool {
        self.history.as_ref().is_some_and(|history| sequence >= history.since)
    }

    /// What it has.
    pub(super) fn into_documents(self) -> Documents {
        self.documents
    }

    /// Whether it is this now.
    pub(super) fn is(&self, documents: &Documents) -> bool {
        self.is_ready && self.documents == *documents
    }

    /// Takes a block.
    ///
    /// # Errors
    /// [`Misfit`]; the view has taken it all the same.
    pub(super) fn take(&mut self, block: &Block) -> Result<(), Misfit> {
        match block.event.as_deref() {
            Some("resync") => {
                self.resyncs += 1;
                self.begin_snapshot();
                Ok(())
            }
            Some("snapshot") => self.take_page(&block.data),
            Some("ready") => {
                self.is_ready = true;
                self.advance(block, false)
            }
            Some(_) => Ok(()),
            None if block.data.is_null() => self.advance(block, false),
            None => {
                self.events += 1;
                let order = self.advance(block, true);
                order.and(self.apply(&block.data))
            }
        }
    }

    fn begin_snapshot(&mut self) {
        self.documents.clear();
        self.last_event_id = None;
        self.is_ready = false;
        self.history = None;
    }

    fn take_page(&mut self, page: &Value) -> Result<(), Misfit> {
        for document in page["documents"].as_array().into_iter().flatten() {
            let (id, document) = shown(document);
            if self.documents.insert(id.clone(), document).is_some() {
                return Err(Misfit(format!("document {id} came twice in a snapshot")));
            }
        }
        Ok(())
    }

    fn advance(&mut self, block: &Block, is_event: bool) -> Result<(), Misfit> {
        let Some(id) = block.id.as_ref().filter(|id| !id.is_empty()) else { return Ok(()) };
        let Some(sequence) = Cursor::peek(id) else { return Err(Misfit(format!("`{id}` is no cursor"))) };
        let goes_on = self.last_event_id.is_none()
            || if is_event { self.sequence < sequence } else { self.sequence <= sequence };
        let old = std::mem::replace(&mut self.sequence, sequence);
        self.last_event_id = Some(id.clone());
        if goes_on { Ok(()) } else { Err(Misfit(format!("change {sequence} came after change {old}"))) }
    }

    fn apply(&mut self, event: &Value) -> Result<(), Misfit> {
        let (id, document) = shown(&event["document"]);
        let kind = event["event"].as_str().unwrap_or_default();
        let replaced = match kind {
            "deleted" => self.documents.remove(&id),
            _ => self.documents.insert(id.clone(), document),
        };
        let fits = replaced.is_some() == (kind != "created");
        if let Some(history) = &mut self.history {
            history.replaced.push_back((self.sequence, id.clone(), replaced));
        }
        if fits {
            return Ok(());
        }
        let was = if kind == "created" { "there already" } else { "not there" };
        Err(Misfit(format!("document {id} was `{kind}` and was {was}: an event was missed, or came twice")))
    }
}

/// What of a document is compared.
pub(super) fn shown(document: &Value) -> (String, Value) {
    let id = document["id"].as_str().unwrap_or_default().to_owned();
    (id, json!({ "data": document["data"], "createdAt": document["createdAt"] }))
}

/// The ids in which two sets differ, as far as they can be shown.
pub(super) fn difference(view: &Documents, other: &Documents) -> String {
    let missing = other.keys().filter(|id| !view.contains_key(*id));
    let surplus = view.keys().filter(|id| !other.contains_key(*id));
    let changed = view.iter().filter(|(id, document)| other.get(*id).is_some_and(|other| other != *document));
    let show = |what: &str, ids: Vec<&String>| {
        let shown = ids.iter().take(5).map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
        (!ids.is_empty()).then(|| format!("{} {what} ({shown})", ids.len()))
    };
    let parts = [
        show("missing", missing.collect()),
        show("too many", surplus.collect()),
        show("different", changed.map(|(id, _)| id).collect()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Position, ProjectId, Timestamp, cursor::Epoch};

    fn block(event: Option<&str>, sequence: u64, data: Value) -> Block {
        let cursor = Cursor { epoch: Epoch(1), position: Position { sequence, at: Timestamp(1) } };
        Block { id: Some(cursor.encode(&ProjectId::from_stored("p"))), event: event.map(str::to_owned), data }
    }

    fn event(kind: &str, id: &str, n: u64) -> Value {
        json!({ "event": kind, "document": { "id": id, "data": { "n": n }, "createdAt": "now" } })
    }

    #[test]
    fn a_view_knows_how_it_was_and_what_does_not_fit() {
        let mut view = View::default();
        view.connect();
        view.take(&block(Some("ready"), 5, json!({}))).unwrap();
        view.take(&block(None, 6, event("created", "a", 1))).unwrap();
        view.remember();
        let then = view.at(6).unwrap();
        view.take(&block(None, 7, event("updated", "a", 2))).unwrap();
        view.take(&block(None, 9, event("created", "b", 1))).unwrap();
        view.take(&block(None, 10, event("deleted", "a", 2))).unwrap();
        assert_eq!(view.at(6), Some(then));
        assert_eq!(view.at(8).unwrap()["a"]["data"]["n"], 2);
        assert_eq!(view.at(9).unwrap().len(), 2);
        assert!(view.at(11).is_none() && view.at(5).is_none());
        for (why, misfit) in [
            ("again", block(None, 10, event("updated", "b", 2))),
            ("made twice", block(None, 11, event("created", "b", 3))),
            ("not there", block(None, 12, event("updated", "c", 3))),
        ] {
            assert!(view.take(&misfit).is_err(), "{why}");
        }
    }
}
