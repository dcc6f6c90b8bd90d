//! One client that comes back: asks for what it missed, and keeps account of what it gets.

use std::rc::Rc;

use serde_json::json;

use crate::account::find_documents;
use crate::event_stream::{EventStream, Message, SubscribeError};
use crate::returners::{Plan, Return, Shared};
use crate::sse::stream_request;
use crate::subscribers::Transport;
use crate::websocket::push_text;

/// A connection and what its account is.
pub struct Returner {
    shared: Rc<Shared>,
    index: usize,
    events: EventStream,
    /// Whether the message came that a snapshot is complete.
    is_ready: bool,
}

impl Returner {
    /// Connects as client `index` and asks; what comes is yet to be read.
    pub async fn open(shared: Rc<Shared>, index: usize) -> Result<Self, SubscribeError> {
        let plan = &shared.plan;
        let events = match plan.transport_of(index) {
            Transport::Ws => EventStream::open_websocket(&plan.site, &opening_messages(plan)).await?,
            Transport::Sse => EventStream::open_sse(&plan.site, &opening_request(plan)).await?,
        };
        Ok(Self { shared, index, events, is_ready: false })
    }

    /// Reads until the client has everything that it missed.
    pub async fn catch_up(&mut self) -> Result<(), SubscribeError> {
        while !self.is_caught_up() {
            self.read_once().await?;
        }
        Ok(())
    }

    /// Reads until the connection ends, and returns why it did.
    pub async fn follow(&mut self) -> SubscribeError {
        loop {
            if let Err(error) = self.read_once().await {
                return error;
            }
        }
    }

    fn is_caught_up(&self) -> bool {
        let Plan { rooms, asks, .. } = &self.shared.plan;
        match asks {
            Return::Cursor { until, .. } => {
                self.shared.received.borrow().accounts[self.index].reaches(rooms, &[*until])
            }
            Return::Snapshot => self.is_ready,
        }
    }

    async fn read_once(&mut self) -> Result<(), SubscribeError> {
        let Self { shared, index, events, is_ready } = self;
        let take = |message: Message<'_>| {
            let text = match message {
                Message::Text(text) => text,
                Message::Line(line) => match line.strip_prefix(b"data:") {
                    Some(data) => data.trim_ascii_start(),
                    None => return Ok(()),
                },
            };
            match kind(text) {
                b"event" | b"snapshot" => {
                    let account = &mut shared.received.borrow_mut().accounts[*index];
                    find_documents(text, |writer, serial| account.record(&shared.plan.rooms, writer, serial));
                }
                b"ready" => *is_ready = true,
                b"subscribed" | b"progress" => {}
                _ => return Err(SubscribeError::Refused(String::from_utf8_lossy(text).into_owned())),
            }
            Ok(())
        };
        let bytes = events.read_once(&shared.scratch, take).await?;
        shared.received.borrow_mut().bytes += bytes as u64;
        Ok(())
    }
}

/// The `type` of a message, which is its first member.
fn kind(text: &[u8]) -> &[u8] {
    let rest = text.strip_prefix(b"{\"type\":\"").unwrap_or_default();
    rest.split(|&byte| byte == b'"').next().unwrap_or_default()
}

/// `auth`, and `subscribe` with an `id`.
fn opening_messages(plan: &Plan) -> Vec<u8> {
    let mut subscribe = json!({ "type": "subscribe", "id": "r", "collection": plan.site.collection });
    if let Some(filters) = plan.filters() {
        subscribe["filters"] = filters;
    }
    match &plan.asks {
        Return::Cursor { cursor, .. } => subscribe["since"] = json!(cursor),
        Return::Snapshot => subscribe["snapshot"] = json!(true),
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
    match &plan.asks {
        Return::Cursor { cursor, .. } => {
            stream_request(&plan.site, &query, &format!("last-event-id: {cursor}\r\n"))
        }
        Return::Snapshot => {
            query.push(("snapshot", "true"));
            stream_request(&plan.site, &query, "")
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
