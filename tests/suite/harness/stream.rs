//! A client of server-sent events that shows each block as it came.

use std::{borrow::Cow, pin::Pin, time::Duration};

use bytes::Bytes;
use coir_client::{Message, sse};
use futures_util::{Stream, StreamExt};
use reqwest::RequestBuilder;
use serde_json::Value;

use super::socket::PATIENCE;

/// An open event stream.
pub struct TestStream {
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    parser: sse::Parser,
    /// The bytes that the parser was given and has not returned as a block.
    raw: Vec<u8>,
    /// The id of the last block that had one, as a browser keeps it.
    pub last_event_id: Option<String>,
}

/// The lines before an empty line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry: Option<Duration>,
    pub comment: Option<String>,
}

impl Block {
    /// Returns the data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.data.as_ref().unwrap_or_else(|| panic!("no data: {self:?}"))).unwrap()
    }

    /// Returns the message that a client reads in the block, if any.
    pub fn message(&self) -> Option<Message> {
        let text = |field: &'_ Option<String>| field.clone().map(Cow::Owned);
        let block = sse::Block {
            id: text(&self.id),
            event: text(&self.event),
            data: text(&self.data),
            retry: self.retry,
            comment: text(&self.comment),
        };
        Message::from_block(&block).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Counts the lines that it takes to write each field once.
    fn lines(&self) -> usize {
        let fields = [
            self.id.is_some(),
            self.event.is_some(),
            self.data.is_some(),
            self.retry.is_some(),
            self.comment.is_some(),
        ];
        fields.into_iter().filter(|is_there| *is_there).count()
    }
}

impl From<sse::Block<'_>> for Block {
    fn from(block: sse::Block<'_>) -> Self {
        let text = |field: Option<Cow<'_, str>>| field.map(Cow::into_owned);
        Self {
            id: text(block.id),
            event: text(block.event),
            data: text(block.data),
            retry: block.retry,
            comment: text(block.comment),
        }
    }
}

impl TestStream {
    /// Sends the request, which must be answered with an event stream.
    pub async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self::of(response)
    }

    /// Takes the stream of an answer.
    pub fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        Self {
            chunks: Box::pin(response.bytes_stream()),
            parser: sse::Parser::new(),
            raw: Vec::new(),
            last_event_id: None,
        }
    }

    /// Returns the next block; `None` at the end of the stream, also if it was cut.
    pub async fn try_next_block(&mut self) -> Option<Block> {
        loop {
            if let Some(block) = self.parser.next_block() {
                let block = Block::from(block);
                self.check_lines(&block);
                if let Some(id) = &block.id {
                    self.last_event_id = Some(id.clone());
                }
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.chunks.next()).await.expect("nothing came");
            let chunk = chunk?.ok()?;
            self.parser.push(&chunk);
            self.raw.extend_from_slice(&chunk);
        }
    }

    /// Fails unless the server wrote each field once, on one line, and nothing that the parser ignored.
    fn check_lines(&mut self, block: &Block) {
        let end = self.raw.windows(2).position(|pair| pair == b"\n\n").expect("lines end with line feeds");
        let raw: Vec<u8> = self.raw.drain(..end + 2).collect();
        let text = std::str::from_utf8(&raw).expect("a block is UTF-8");
        assert_eq!(text.trim_end_matches('\n').split('\n').count(), block.lines(), "{text:?}");
    }

    /// Returns the next block.
    pub async fn next_block(&mut self) -> Block {
        self.try_next_block().await.expect("the stream has ended")
    }

    /// Returns the next block that has data.
    pub async fn next_event(&mut self) -> Block {
        let next = async {
            loop {
                let block = self.next_block().await;
                if block.data.is_some() {
                    return block;
                }
            }
        };
        // Heartbeats keep coming, so a time limit for each block would never be reached.
        tokio::time::timeout(PATIENCE, next).await.expect("no event came")
    }

    /// Reads up to the first `id:`, from which the stream is live, and returns it.
    pub async fn opened(&mut self) -> String {
        loop {
            if let Some(id) = self.next_block().await.id {
                return id;
            }
        }
    }
}
