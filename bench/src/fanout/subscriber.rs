//! One subscriber: it opens its stream, makes sure that the subscription is effective, and counts events.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::plan::{Plan, Shared};
use super::received::find_last;
use crate::http::Site;
use crate::stream::websocket::push_text;
use crate::stream::{EventStream, Message, StreamError, Transport, sse_request};

const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection and its part of the counts.
pub struct Subscriber {
    shared: Rc<Shared>,
    index: usize,
    events: EventStream,
    /// Whether the subscription is known to be effective.
    is_live: bool,
}

impl Subscriber {
    /// Connects as subscriber `index` and returns once its subscription is effective.
    pub async fn open(shared: Rc<Shared>, index: usize) -> Result<Self, StreamError> {
        timeout(OPEN_TIMEOUT, Self::subscribe(shared, index)).await.unwrap_or(Err(StreamError::Timeout))
    }

    /// Counts events until the connection ends, and returns why it ended.
    pub async fn follow(&mut self) -> StreamError {
        loop {
            if let Err(error) = self.read_once().await {
                return error;
            }
        }
    }

    async fn subscribe(shared: Rc<Shared>, index: usize) -> Result<Self, StreamError> {
        let Plan { site, transport, rooms, .. } = &shared.plan;
        let filters = rooms.map(|rooms| json!({ "room": index % rooms }));
        let events = match transport {
            Transport::Ws => EventStream::open_websocket(site, &opening_messages(site, filters)).await?,
            Transport::Sse => {
                let filters = filters.map(|filters| filters.to_string());
                let query: Vec<_> = filters.iter().map(|filters| ("filters", filters.as_str())).collect();
                EventStream::open_sse(site, &sse_request(site, &query, "")).await?
            }
        };
        let mut subscriber = Self { shared, index, events, is_live: false };
        while !subscriber.is_live {
            subscriber.read_once().await?;
        }
        Ok(subscriber)
    }

    /// Counts the messages of one read, all with the same time.
    async fn read_once(&mut self) -> Result<(), StreamError> {
        let Self { shared, index, events, is_live } = self;
        let is_stalled = shared.plan.is_stalled(*index);
        let mut now = None;
        let mut record = |message: &[u8]| {
            let now = *now.get_or_insert_with(|| shared.plan.epoch.elapsed());
            shared.received.borrow_mut().record(*index, is_stalled, now, message);
        };
        let take = |message: Message<'_>| {
            match message {
                Message::Text(text) if *is_live => record(text),
                Message::Text(text) if find_last(text, b"\"pong\"").is_some() => *is_live = true,
                // An event about somebody else's write, before this run's writes begin.
                Message::Text(text) if find_last(text, b"\"event\"").is_some() => {}
                Message::Text(text) => {
                    return Err(StreamError::Refused(String::from_utf8_lossy(text).into_owned()));
                }
                Message::Block(block) => {
                    *is_live |= block.id.is_some();
                    if let Some(data) = block.data.filter(|_| *is_live) {
                        record(data.as_bytes());
                    }
                }
            }
            Ok(())
        };
        events.read_once(&shared.scratch, take).await?;
        Ok(())
    }
}

/// Makes the messages `auth`, `subscribe` and `ping`. The server handles messages in order and says nothing about a
/// subscription that succeeds, so the `pong` is the sign that it is effective.
fn opening_messages(site: &Site, filters: Option<serde_json::Value>) -> Vec<u8> {
    let mut subscribe = json!({ "type": "subscribe", "collection": site.collection });
    if let Some(filters) = filters {
        subscribe["filters"] = filters;
    }
    let mut out = Vec::new();
    for message in [json!({ "type": "auth", "token": site.key }), subscribe, json!({ "type": "ping" })] {
        push_text(&mut out, &message.to_string());
    }
    out
}
