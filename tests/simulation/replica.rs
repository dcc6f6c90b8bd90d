//! A client's view of one subscription. Every message must fit those before it.

use std::collections::{BTreeMap, VecDeque};

use coir_client::{Change, Content, Cursor, Document, Message};

/// How many messages a failure shows.
const RECENT: usize = 30;

/// A replica, with the last messages at hand for the reader of a failure.
#[derive(Default)]
pub struct Replica {
    view: coir_client::Replica,
    recent: VecDeque<String>,
}

impl Replica {
    pub fn view(&self) -> &coir_client::Replica {
        &self.view
    }

    /// Where to resume; `None` if only a snapshot helps.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.view.cursor()
    }

    /// Prepares for a new connection, which resumes at the cursor if there is one.
    pub fn connect(&mut self) {
        self.view.reconnect();
        self.note("--- connected".to_owned());
    }

    /// Takes a message and fails if it doesn't fit.
    pub fn take(&mut self, message: Message) {
        self.note(summary(&message));
        match &message.content {
            Content::Resync { .. } => self.require(message.cursor.is_none(), "a resync without a snapshot"),
            Content::Error { .. } | Content::Pong | Content::Other(_) => self.fail("an unexpected message"),
            _ => {}
        }
        match self.view.apply(message) {
            Err(misfit) => self.fail(&misfit.to_string()),
            // Each write counts in its document, so that a missed one shows.
            Ok(Change::Updated { before }) => {
                let next = written(&before) + 1 == written(&self.view.documents()[&before.id]);
                self.require(next, "an event was missed");
            }
            Ok(_) => {}
        }
    }

    /// Fails unless the view has exactly these documents, of which `documents` has the data as text.
    pub fn compare(&self, documents: &BTreeMap<String, String>, last: u64) {
        self.require(self.view.is_complete(), "in the middle of a snapshot at the end");
        let text = |(id, document): (&String, &Document)| (id.clone(), document.data.to_string());
        let view: BTreeMap<_, _> = self.view.documents().iter().map(text).collect();
        if view != *documents {
            let (view, model) = (short(&view), short(documents));
            self.fail(&format!("at sequence {last} the view is {view:?}, and the model is {model:?}"));
        }
    }

    fn note(&mut self, message: String) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(message);
    }

    fn require(&self, is_so: bool, otherwise: &str) {
        if !is_so {
            self.fail(otherwise);
        }
    }

    fn fail(&self, why: &str) -> ! {
        let recent: Vec<_> = self.recent.iter().map(String::as_str).collect();
        panic!("{why}; the last messages:\n{}", recent.join("\n"));
    }
}

fn written(document: &Document) -> u64 {
    document.data["written"].as_u64().expect("every document counts its writes")
}

/// A message without the members that only make it large.
fn summary(message: &Message) -> String {
    let show = |document: &Document| {
        let Document { id, data, .. } = document;
        format!("{id} {}/{} written {}", data["group"], data["n"], data["written"])
    };
    let what = match &message.content {
        Content::Event(event) => format!("event {:?}: {}", event.kind, show(&event.document)),
        Content::Snapshot(documents) => {
            format!("snapshot: {}", documents.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    };
    let at = message.cursor.as_ref().map(|cursor| cursor.sequence().expect("a cursor of the server"));
    format!("{what}, at {at:?}")
}

fn short(documents: &BTreeMap<String, String>) -> BTreeMap<&str, String> {
    documents.iter().map(|(id, data)| (id.as_str(), data.chars().take(60).collect())).collect()
}
