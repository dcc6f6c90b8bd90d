//! One subscriber: opens its stream, makes sure that it is effective, counts events.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::event_stream::{EventStream, Message, SubscribeError};
use crate::http::Site;
use crate::sse::stream_request;
use crate::subscribers::{Plan, Shared, Transport};
use crate::websocket::push_text;

const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The member of a document that says when it was sent. It is searched from the end: servers that sort members put
/// it behind the long `pad`.
const SENT: &[u8] = b"\"sent\":";

/// A connection and what is counted of it.
pub struct Subscriber {
    shared: Rc<Shared>,
    index: usize,
    events: EventStream,
    /// Whether the subscription is known to be effective.
    is_live: bool,
}

impl Subscriber {
    /// Connects as subscriber `index` and returns once its subscription is effective.
    pub async fn open(shared: Rc<Shared>, index: usize) -> Result<Self, SubscribeError> {
        timeout(OPEN_TIMEOUT, Self::subscribe(shared, index)).await.unwrap_or(Err(SubscribeError::Timeout))
    }

    /// Counts events until the connection ends, and returns why it did.
    pub async fn follow(&mut self) -> SubscribeError {
        loop {
            if let Err(error) = self.read_once().await {
                return error;
            }
        }
    }

    async fn subscribe(shared: Rc<Shared>, index: usize) -> Result<Self, SubscribeError> {
        let Plan { site, transport, rooms, .. } = &shared.plan;
        let filters = rooms.map(|rooms| json!({ "room": index % rooms }));
        let events = match transport {
            Transport::Ws => EventStream::open_websocket(site, &opening_messages(site, filters)).await?,
            Transport::Sse => {
                let filters = filters.map(|filters| filters.to_string());
                let query: Vec<_> = filters.iter().map(|filters| ("filters", filters.as_str())).collect();
                EventStream::open_sse(site, &stream_request(site, &query, "")).await?
            }
        };
        let mut subscriber = Self { shared, index, events, is_live: false };
        while !subscriber.is_live {
            subscriber.read_once().await?;
        }
        Ok(subscriber)
    }

    /// Counts what one read brought; all of it counts as read at the same moment.
    async fn read_once(&mut self) -> Result<(), SubscribeError> {
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
                // An event for somebody else's write, before ours begin.
                Message::Text(text) if find_last(text, b"\"event\"").is_some() => {}
                Message::Text(text) => {
                    return Err(SubscribeError::Refused(String::from_utf8_lossy(text).into_owned()));
                }
                Message::Line(line) if line.starts_with(b"id:") => *is_live = true,
                Message::Line(line) if line.starts_with(b"data:") && *is_live => record(line),
                Message::Line(_) => {}
            }
            Ok(())
        };
        events.read_once(&shared.scratch, take).await?;
        Ok(())
    }
}

/// `auth`, `subscribe` and a `ping`: messages are handled in order, so its `pong` says that the subscription is
/// effective, which the server else is silent about.
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

/// When the document of an event was sent, in nanoseconds from the epoch; `None` if `message` is no such event.
pub fn find_sent(message: &[u8]) -> Option<u64> {
    let start = find_last(message, SENT)? + SENT.len();
    let digits = message[start..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.clone().next()?;
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn find_last(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).rposition(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_sending_is_found_in_an_event() {
        let cases = [
            (r#"{"document":{"data":{"pad":"x","room":1,"sent":1234}}}"#, Some(1234), "sorted members"),
            (r#"data: {"data":{"sent":7,"pad":"x"}}"#, Some(7), "members in another order"),
            (r#"{"type":"error","code":"OVERLOADED"}"#, None, "no event"),
            (r#"{"sent":"x"}"#, None, "no number"),
        ];
        for (message, sent, why) in cases {
            assert_eq!(find_sent(message.as_bytes()), sent, "{why}");
        }
    }
}
