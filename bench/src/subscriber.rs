//! One subscriber: opens its stream, makes sure that it is effective, counts events.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{Head, HttpError, Site};
use crate::sse::{LineDecoder, StreamError, stream_request};
use crate::subscribers::{Plan, Shared, Transport};
use crate::websocket::{Frame, FrameDecoder, FrameError, push_pong, push_text, upgrade_request};

const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The member of a document that says when it was sent. It is searched from the end: servers that sort members put
/// it behind the long `pad`.
const SENT: &[u8] = b"\"sent\":";

/// Why a subscriber could not begin, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the server answered {0}: {1}")]
    Status(u16, String),
    #[error("the server refused the subscription: {0}")]
    Refused(String),
    #[error("the server closed the connection, code {0:?}")]
    Closed(Option<u16>),
    #[error("no sign within {OPEN_TIMEOUT:?} that the subscription is effective")]
    Timeout,
}

/// A connection and what is read from it.
pub struct Subscriber {
    shared: Rc<Shared>,
    index: usize,
    stream: TcpStream,
    decoder: Decoder,
    /// Whether the subscription is known to be effective.
    is_live: bool,
    /// Pongs to be written.
    replies: Vec<u8>,
}

enum Decoder {
    Ws(FrameDecoder),
    Sse(LineDecoder),
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
        let (request, status) = match transport {
            Transport::Ws => (upgrade_request(site), 101),
            Transport::Sse => (stream_request(site, filters.as_ref().map(|f| f.to_string()).as_deref()), 200),
        };
        let mut stream = site.server.open_stream().await?;
        stream.write_all(&request).await?;
        let (head, rest) = read_head(&mut stream).await?;
        if head.status != status {
            return Err(SubscribeError::Status(head.status, String::from_utf8_lossy(&rest).into_owned()));
        }
        let decoder = match transport {
            Transport::Ws => {
                stream.write_all(&opening_messages(site, filters)).await?;
                Decoder::Ws(FrameDecoder::default())
            }
            Transport::Sse => Decoder::Sse(LineDecoder::new(head.body)),
        };
        let mut subscriber = Self { shared, index, stream, decoder, is_live: false, replies: Vec::new() };
        subscriber.take(&rest)?;
        while !subscriber.is_live {
            subscriber.read_once().await?;
        }
        Ok(subscriber)
    }

    async fn read_once(&mut self) -> Result<(), SubscribeError> {
        self.stream.readable().await?;
        self.read_ready()?;
        if !self.replies.is_empty() {
            self.stream.write_all(&self.replies).await?;
            self.replies.clear();
        }
        Ok(())
    }

    fn read_ready(&mut self) -> Result<(), SubscribeError> {
        let shared = Rc::clone(&self.shared);
        let mut scratch = shared.scratch.borrow_mut();
        match self.stream.try_read(&mut scratch) {
            Ok(0) => Err(SubscribeError::Closed(None)),
            Ok(bytes) => self.take(&scratch[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts what one read brought; all of it counts as read at the same moment.
    fn take(&mut self, bytes: &[u8]) -> Result<(), SubscribeError> {
        let now = self.shared.plan.epoch.elapsed();
        let is_stalled = self.shared.plan.is_stalled(self.index);
        let mut received = self.shared.received.borrow_mut();
        let mut end = None;
        match &mut self.decoder {
            Decoder::Ws(frames) => frames.feed(bytes, |frame| match frame {
                Frame::Text(text) if self.is_live => received.record(self.index, is_stalled, now, text),
                Frame::Text(text) if find_last(text, b"\"pong\"").is_some() => self.is_live = true,
                // An event for somebody else's write, before ours begin.
                Frame::Text(text) if find_last(text, b"\"event\"").is_some() => {}
                Frame::Text(text) => {
                    end = Some(SubscribeError::Refused(String::from_utf8_lossy(text).into_owned()))
                }
                Frame::Ping(payload) => push_pong(&mut self.replies, payload),
                Frame::Close(code) => end = end.take().or(Some(SubscribeError::Closed(code))),
                Frame::Other => {}
            })?,
            Decoder::Sse(lines) => lines.feed(bytes, |line| {
                if line.starts_with(b"id:") {
                    self.is_live = true;
                } else if line.starts_with(b"data:") && self.is_live {
                    received.record(self.index, is_stalled, now, line);
                }
            })?,
        }
        end.map_or(Ok(()), Err)
    }
}

/// Reads a response's head and returns it with what came behind it.
async fn read_head(stream: &mut TcpStream) -> Result<(Head, Vec<u8>), SubscribeError> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(HttpError::Closed.into());
        }
        if let Some(head) = Head::parse(&bytes)? {
            let rest = bytes.split_off(head.bytes);
            return Ok((head, rest));
        }
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
