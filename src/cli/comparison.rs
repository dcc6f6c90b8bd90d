//! The comparison of `coir verify`: its view against the query's result from another read.

use std::time::{Duration, Instant};

use coir_client::{Client, Content, Cursor, Document, Documents, Error, EventStream, Replica, Subscribe};
use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use reqwest::Url;
use serde::Deserialize;

/// The query's result at one position of the log.
pub(super) struct Reference {
    pub(super) sequence: u64,
    pub(super) documents: Documents,
}

/// Where references are read.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) http: reqwest::Client,
    pub(super) key: String,
    pub(super) list_url: Url,
    pub(super) client: Client,
    pub(super) wanted: Subscribe,
}

/// A comparison that has begun.
pub(super) enum Comparison {
    /// The reference is being read.
    Reading(BoxFuture<'static, Result<Reference, Error>>),
    /// The view has yet to come as far as the reference.
    Waiting(Reference, Instant),
}

/// The outcome of a comparison.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Same,
    Different(String),
    /// The view has begun anew meanwhile, behind the reference.
    Missed,
    /// The view has not come as far as the reference in time.
    Late,
    /// The view may still come as far.
    Open,
}

impl Comparison {
    /// Begins to read a reference.
    pub(super) fn begin(source: Source) -> Self {
        Self::Reading(async move { source.read().await }.boxed())
    }

    /// Waits for the reference, if it is being read; `None` at once if not.
    pub(super) fn reading(
        comparison: &mut Option<Self>,
    ) -> OptionFuture<&mut BoxFuture<'static, Result<Reference, Error>>> {
        match comparison {
            Some(Self::Reading(reading)) => Some(reading).into(),
            _ => None.into(),
        }
    }
}

impl Reference {
    /// Compares the view with this, if it has come as far. `since` is when it began to wait for that.
    pub(super) fn compare(&self, view: &Replica, since: Instant, patience: Duration) -> Outcome {
        let is_now = view.is_complete() && are_same(view.documents(), &self.documents);
        match view.documents_at(self.sequence) {
            _ if is_now => Outcome::Same,
            Some(then) if are_same(&then, &self.documents) => Outcome::Same,
            Some(then) => Outcome::Different(difference(&then, &self.documents)),
            None if !view.may_reach(self.sequence) => Outcome::Missed,
            None if since.elapsed() > patience => Outcome::Late,
            None => Outcome::Open,
        }
    }
}

/// A list as the server answers it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    data: Vec<Document>,
    cursor: Option<Cursor>,
    next_cursor: Option<String>,
}

/// An error as the server answers it.
#[derive(Deserialize)]
struct Failure {
    error: Refusal,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

impl Source {
    /// Reads the list if it is one page; else another snapshot, because pages are read at different positions of the log.
    async fn read(&self) -> Result<Reference, Error> {
        match self.read_list().await? {
            Some(reference) => Ok(reference),
            None => self.read_snapshot().await,
        }
    }

    async fn read_list(&self) -> Result<Option<Reference>, Error> {
        let cut = |error: reqwest::Error| Error::Cut(error.without_url().to_string());
        let answer = self.http.get(self.list_url.clone()).bearer_auth(&self.key).send().await.map_err(cut)?;
        let body = answer.bytes().await.map_err(cut)?;
        // A stream would wait for the collection.
        if let Ok(Failure { error }) = serde_json::from_slice(&body)
            && error.code == "INVALID_COLLECTION"
        {
            return Err(Error::Refused { code: error.code, message: error.message });
        }
        // Any other error says nothing that the snapshot doesn't say as well.
        let Ok(List { data, cursor, next_cursor: None }) = serde_json::from_slice(&body) else {
            return Ok(None);
        };
        let Some(sequence) = cursor.and_then(|cursor| cursor.sequence()) else { return Ok(None) };
        let documents = data.into_iter().map(|document| (document.id.clone(), document)).collect();
        Ok(Some(Reference { sequence, documents }))
    }

    async fn read_snapshot(&self) -> Result<Reference, Error> {
        let mut stream = EventStream::open(&self.client, &self.wanted).await?;
        let mut view = Replica::new();
        view.reconnect();
        while let Some(message) = stream.next().await? {
            if let Content::Error { code, message } = message.content {
                return Err(Error::Refused { code, message });
            }
            view.apply(message)?;
            if let (true, Some(sequence)) = (view.is_complete(), view.sequence()) {
                return Ok(Reference { sequence, documents: view.into_documents() });
            }
        }
        Err(Error::Cut("the server ended it".to_owned()))
    }
}

/// Compares what lists, snapshots and events all show of a document.
fn is_same(one: &Document, other: &Document) -> bool {
    one.data == other.data && one.created_at == other.created_at
}

fn are_same(one: &Documents, other: &Documents) -> bool {
    let is_same = |((id, one), (other_id, other))| id == other_id && is_same(one, other);
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}

/// Says in which documents a view differs from a reference, and names the first of them.
fn difference(view: &Documents, reference: &Documents) -> String {
    let missing = reference.keys().filter(|id| !view.contains_key(*id));
    let surplus = view.keys().filter(|id| !reference.contains_key(*id));
    let changed = view
        .iter()
        .filter(|(id, document)| reference.get(*id).is_some_and(|other| !is_same(other, document)));
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
    use serde_json::json;

    use super::*;
    use crate::domain::{self, Position, ProjectId, Timestamp, cursor::Epoch};

    fn documents(all: &[(&str, u64)]) -> Documents {
        let document = |&(id, n): &(&str, u64)| Document {
            id: id.to_owned(),
            data: json!({ "n": n }),
            created_at: "now".to_owned(),
            updated_at: None,
            version: Some(n),
        };
        all.iter().map(|each| (each.0.to_owned(), document(each))).collect()
    }

    #[test]
    fn a_difference_names_its_documents() {
        let reference = documents(&[("a", 1), ("b", 2), ("c", 3)]);
        let cases = [
            (documents(&[("b", 2), ("c", 3)]), "1 missing (a)"),
            (documents(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]), "1 too many (d)"),
            (documents(&[("a", 1), ("b", 3), ("d", 3)]), "1 missing (c), 1 too many (d), 1 different (b)"),
        ];
        for (view, expected) in cases {
            assert!(!are_same(&view, &reference), "{expected}");
            assert_eq!(difference(&view, &reference), expected);
        }
    }

    #[test]
    fn versions_and_update_times_are_not_compared_because_not_every_event_has_them() {
        let reference = documents(&[("a", 1)]);
        let mut view = reference.clone();
        view.values_mut().for_each(|document| document.version = None);
        assert!(are_same(&view, &reference));
    }

    #[test]
    fn a_view_that_is_ahead_is_compared_as_it_was() {
        let then = documents(&[("a", 1)]);
        let cursor = |sequence| {
            let position = Position { sequence, at: Timestamp(1) };
            domain::cursor::Cursor { epoch: Epoch(1), position }.encode(&ProjectId::from_stored("p"))
        };
        let mut view = Replica::with_documents(then.clone().into_values(), Some(Cursor::from(cursor(5))));
        view.start_history();
        let event = json!({
            "type": "event", "collection": "posts", "event": "deleted", "cursor": cursor(7),
            "document": then["a"],
        });
        let reference = |sequence, documents| Reference { sequence, documents };
        let compare = |view: &Replica, reference: Reference| {
            reference.compare(view, Instant::now(), Duration::from_secs(60))
        };
        assert_eq!(compare(&view, reference(7, documents(&[]))), Outcome::Open);
        let message = coir_client::Message::from_json(&event.to_string()).unwrap();
        view.apply(message).unwrap();
        assert_eq!(compare(&view, reference(6, then)), Outcome::Same);
        assert_eq!(compare(&view, reference(7, documents(&[]))), Outcome::Same);
        let different = Outcome::Different("1 missing (b)".to_owned());
        assert_eq!(compare(&view, reference(7, documents(&[("b", 1)]))), different);
        assert_eq!(compare(&view, reference(4, documents(&[("b", 1)]))), Outcome::Missed);
    }
}
