//! A client of server-sent events.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::RequestBuilder;
use serde_json::Value;

use super::socket::PATIENCE;

/// An open event stream.
pub struct TestStream {
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    text: String,
    /// As a browser keeps it: the `id:` of the last block that had one.
    pub last_event_id: Option<String>,
}

/// What stands between two empty lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry: Option<String>,
    pub comment: Option<String>,
}

impl Block {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.data.as_ref().unwrap_or_else(|| panic!("no data: {self:?}"))).unwrap()
    }
}

impl TestStream {
    /// Sends the request, which must be answered with an event stream.
    pub async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { chunks: Box::pin(response.bytes_stream()), text: String::new(), last_event_id: None }
    }

    /// The stream of an answer that is one.
    pub fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        Self { chunks: Box::pin(response.bytes_stream()), text: String::new(), last_event_id: None }
    }

    /// The next block; `None` at the end of the stream, also when it was cut.
    pub async fn try_next_block(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = parse_block(&self.text[..end]);
                self.text.drain(..end + 2);
                if let Some(id) = &block.id {
                    self.last_event_id = Some(id.clone());
                }
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.chunks.next()).await.expect("nothing came");
            self.text
                .push_str(std::str::from_utf8(&chunk?.ok()?).expect("a block is cut between characters"));
        }
    }

    /// The next block.
    pub async fn next_block(&mut self) -> Block {
        self.try_next_block().await.expect("the stream has ended")
    }

    /// The next block that has data.
    pub async fn next_event(&mut self) -> Block {
        let next = async {
            loop {
                let block = self.next_block().await;
                if block.data.is_some() {
                    return block;
                }
            }
        };
        // Heartbeats come always, so each block is no proof that an event will.
        tokio::time::timeout(PATIENCE, next).await.expect("no event came")
    }

    /// Reads up to the first `id:`, from which on the stream is live, and returns it.
    pub async fn opened(&mut self) -> String {
        loop {
            if let Some(id) = self.next_block().await.id {
                return id;
            }
        }
    }
}

fn parse_block(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        let field = match name {
            "id" => &mut block.id,
            "event" => &mut block.event,
            "data" => &mut block.data,
            "retry" => &mut block.retry,
            "" => &mut block.comment,
            _ => panic!("no field of an event stream: {line:?}"),
        };
        assert!(field.replace(value).is_none(), "twice: {line:?}");
    }
    block
}
