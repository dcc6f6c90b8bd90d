//! One returning client: it asks for what it missed, and keeps account of what it gets.

use std::rc::Rc;

use serde_json::json;

use super::account::find_documents;
use super::plan::{Plan, Request, Shared};
use crate::stream::websocket::push_text;
use crate::stream::{EventStream, Message, StreamError, Transport, sse_request};

/// A connection and its place among the accounts.
pub struct ReturningClient {
    shared: Rc<Shared>,
    index: usize,
    events: EventStream,
    /// Whether the message came that a snapshot is complete.
    is_ready: bool,
}

impl ReturningClient {
    /// Connects as client `index` and asks; the answer is yet to be read.
    pub async fn open(shared: Rc<Shared>, index: usize) -> Result<Self, StreamError> {
        let plan = &shared.plan;
        let events = match plan.transport_of(index) {
            Transport::Ws => EventStream::open_websocket(&plan.site, &opening_messages(plan)).await?,
            Transport::Sse => EventStream::open_sse(&plan.site, &opening_request(plan)).await?,
        };
        Ok(Self { shared, index, events, is_ready: false })
    }

    /// Reads until the client has everything that it missed.
    pub async fn catch_up(&mut self) -> Result<(), StreamError> {
        while !self.is_caught_up() {
            self.read_once().await?;
        }
        Ok(())
    }

    /// Reads until the connection ends, and returns why it ended.
    pub async fn follow(&mut self) -> StreamError {
        loop {
            if let Err(error) = self.read_once().await {
                return error;
            }
        }
    }

    fn is_caught_up(&self) -> bool {
        let Plan { rooms, request, .. } = &self.shared.plan;
        match request {
            Request::Cursor { until, .. } => {
                self.shared.received.borrow().accounts[self.index].reaches(rooms, &[*until])
            }
            Request::Snapshot => self.is_ready,
        }
    }

    async fn read_once(&mut self) -> Result<(), StreamError> {
        let Self { shared, index, events, is_ready } = self;
        let mut take = |text: &[u8]| {
            match kind(text) {
                b"event" | b"snapshot" => {
                    let account = &mut shared.received.borrow_mut().accounts[*index];
                    find_documents(text, |writer, serial| account.record(&shared.plan.rooms, writer, serial));
                }
                b"ready" => *is_ready = true,
                b"subscribed" | b"progress" => {}
                _ => return Err(StreamError::Refused(String::from_utf8_lossy(text).into_owned())),
            }
            Ok(())
        };
        let on_message = |message: Message<'_>| match message {
            Message::Text(text) => take(text),
            Message::Block(block) => block.data.map_or(Ok(()), |data| take(data.as_bytes())),
        };
        let bytes = events.read_once(&shared.scratch, on_message).await?;
        shared.received.borrow_mut().bytes += bytes as u64;
        Ok(())
    }
}

/// Returns the `type` of a message, which is its first member. Parsing all of it would take time from the server.
fn kind(text: &[u8]) -> &[u8] {
    let rest = text.strip_prefix(b"{\"type\":\"").unwrap_or_default();
    rest.split(|&byte| byte == b'"').next().unwrap_or_default()
}

/// Makes the messages `auth`, and `subscribe` with an `id`.
fn opening_messages(plan: &Plan) -> Vec<u8> {
    let mut subscribe = json!({ "type": "subscribe", "id": "r", "collection": plan.site.collection });
    if let Some(filters) = plan.filters() {
        subscribe["filters"] = filters;
    }
    match &plan.request {
        Request::Cursor { cursor, .. } => subscribe["since"] = json!(cursor),
        Request::Snapshot => subscribe["snapshot"] = json!(true),
    }
    let mut out = Vec::new();
    for message in [json!({ "type": "auth", "token": plan.site.key }), subscribe] {
        push_text(&mut out, &message.to_string());
    }
    out
}

fn opening_request(plan: &Plan) -> Vec<u8> {
    let filters = plan.filters().map(|filters| filters.to_string());
    let mut query: Vec<_> = filters.iter().map(|filters| ("filters", filters.as_str())).collect();
    match &plan.request {
        Request::Cursor { cursor, .. } => {
            sse_request(&plan.site, &query, &format!("last-event-id: {cursor}\r\n"))
        }
        Request::Snapshot => {
            query.push(("snapshot", "true"));
            sse_request(&plan.site, &query, "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_its_kind() {
        let cases = [
            (r#"{"type":"event","id":"r"}"#, "event"),
            (r#"{"type":"ready"}"#, "ready"),
            (r#"{"document":{"type":"event"}}"#, ""),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }
}
