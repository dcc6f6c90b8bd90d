//! The collection to watch, and how to watch it.

use std::time::Duration;

use serde_json::Value;

use crate::{Client, Cursor, Messages, Replica, Subscribe, View, backoff::Backoff};

/// How a stream is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Server-sent events: plain HTTP, which every proxy passes on.
    #[cfg(feature = "sse")]
    Sse,
    /// WebSocket.
    #[cfg(feature = "websocket")]
    WebSocket,
}

/// A collection to be watched, made by [`Client::watch`]. Say what you want, then take [`Watch::view`] or [`Watch::messages`].
#[derive(Clone, Debug)]
#[must_use = "nothing is watched before `view` or `messages` is called"]
pub struct Watch {
    pub(crate) client: Client,
    pub(crate) wanted: Subscribe,
    pub(crate) transport: Transport,
    pub(crate) backoff: Backoff,
}

impl Watch {
    pub(crate) fn new(client: Client, wanted: Subscribe) -> Self {
        #[cfg(feature = "sse")]
        let transport = Transport::Sse;
        #[cfg(not(feature = "sse"))]
        let transport = Transport::WebSocket;
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        Self { client, wanted, transport, backoff }
    }

    /// Only documents that match these filters, such as `{"genre": "Fantasy", "year__gte": 1968}`.
    pub fn filters(mut self, filters: Value) -> Self {
        self.wanted = self.wanted.filters(filters);
        self
    }

    /// Only documents that match this term too, written as in a URL: `term("year__gte", "1968")`. For server-sent events only.
    pub fn term(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.wanted = self.wanted.term(name, value);
        self
    }

    /// First the documents that match, then what changes. With [`Watch::since`], only if the changes since then are lost.
    pub fn snapshot(mut self) -> Self {
        self.wanted = self.wanted.snapshot();
        self
    }

    /// Changes after this position.
    pub fn since(mut self, cursor: impl Into<Option<Cursor>>) -> Self {
        self.wanted = self.wanted.since(cursor);
        self
    }

    /// Uses this transport. The default is server-sent events.
    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// How long to wait before connecting again: `first` after the first failure, twice as long after each that follows, up
    /// to `longest`. The default is 1 and 30 seconds. Each pause is shortened by up to half, by chance.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = Backoff::new(first, longest);
        self
    }

    /// A stream of messages that connects again after each cut and resumes.
    pub fn messages(self) -> Messages {
        Messages::new(self)
    }

    /// A view of the query's result, kept up to date. It begins with a snapshot.
    pub fn view(self) -> View {
        self.view_from(Replica::new())
    }

    /// A view that goes on from what a replica holds, such as one that was stored. It takes a snapshot if changes were lost.
    pub fn view_from(self, replica: Replica) -> View {
        let messages = self.snapshot().since(replica.cursor().cloned()).messages();
        View::new(messages, replica)
    }
}
