//! The request of a subscription.

use serde_json::{Value, json};

use crate::{Cursor, Error};

/// The request of a subscription: a collection, a filter, and where to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    pub(crate) collection: String,
    pub(crate) filters: Option<Value>,
    pub(crate) terms: Vec<(String, String)>,
    pub(crate) since: Option<Cursor>,
    pub(crate) is_with_snapshot: bool,
}

impl Subscribe {
    /// All documents of a collection, from now on.
    pub fn to(collection: impl Into<String>) -> Self {
        Self {
            collection: collection.into(),
            filters: None,
            terms: Vec::new(),
            since: None,
            is_with_snapshot: false,
        }
    }

    /// Only documents that match these filters, such as `{"genre": "Fantasy", "year__gte": 1968}`.
    pub fn filters(mut self, filters: Value) -> Self {
        self.filters = Some(filters);
        self
    }

    /// Only documents that match this term too, written as in a URL: `term("year__gte", "1968")`. For server-sent events only.
    pub fn term(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.terms.push((name.into(), value.into()));
        self
    }

    /// First the documents that match, then what changes. With [`Subscribe::since`], only if the changes since then are lost.
    pub fn snapshot(mut self) -> Self {
        self.is_with_snapshot = true;
        self
    }

    /// Changes after this position. Changes the place where the stream begins, and nothing else.
    pub fn since(mut self, cursor: impl Into<Option<Cursor>>) -> Self {
        self.since = cursor.into();
        self
    }

    /// The `subscribe` message of a WebSocket.
    #[cfg_attr(not(feature = "websocket"), expect(dead_code))]
    pub(crate) fn to_message(&self, id: Option<&str>) -> Result<Value, Error> {
        if !self.terms.is_empty() {
            return Err(Error::Unsupported("a WebSocket takes filters as JSON, not as terms of a URL"));
        }
        let mut message = json!({ "type": "subscribe", "collection": self.collection });
        if let Some(filters) = &self.filters {
            message["filters"] = filters.clone();
        }
        if let Some(id) = id {
            message["id"] = json!(id);
        } else if self.is_with_snapshot || self.since.is_some() {
            return Err(Error::Unsupported("a subscription without an id has no snapshot and can't resume"));
        }
        if self.is_with_snapshot {
            message["snapshot"] = json!(true);
        }
        if let Some(cursor) = &self.since {
            message["since"] = json!(cursor);
        }
        Ok(message)
    }

    /// The parameters of the URL of an event stream.
    #[cfg_attr(not(feature = "sse"), expect(dead_code))]
    pub(crate) fn to_parameters(&self) -> Vec<(String, String)> {
        let filters = self.filters.as_ref().map(|filters| ("filters".to_owned(), filters.to_string()));
        let snapshot = self.is_with_snapshot.then(|| ("snapshot".to_owned(), "true".to_owned()));
        self.terms.iter().cloned().chain(filters).chain(snapshot).collect()
    }
}

impl From<&str> for Subscribe {
    fn from(collection: &str) -> Self {
        Self::to(collection)
    }
}

impl From<String> for Subscribe {
    fn from(collection: String) -> Self {
        Self::to(collection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_said_in_the_way_of_each_transport() {
        let wanted =
            Subscribe::to("books").filters(json!({ "year": 1968 })).snapshot().since(Cursor::from("c"));
        let expected = json!({
            "type": "subscribe", "id": "s", "collection": "books", "filters": { "year": 1968 },
            "snapshot": true, "since": "c",
        });
        assert_eq!(wanted.to_message(Some("s")).unwrap(), expected);
        let parameter = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            parameter("genre", "Fantasy"),
            parameter("filters", r#"{"year":1968}"#),
            parameter("snapshot", "true"),
        ];
        assert_eq!(wanted.clone().term("genre", "Fantasy").to_parameters(), expected);
        assert!(wanted.to_message(None).is_err());
        assert!(Subscribe::to("books").term("a", "b").to_message(Some("s")).is_err());
        assert_eq!(
            Subscribe::to("books").to_message(None).unwrap(),
            json!({ "type": "subscribe", "collection": "books" })
        );
    }
}
