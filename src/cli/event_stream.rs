//! A client of server-sent events, as `coir verify` needs it.

use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

use super::answer::describe;

/// An open event stream.
pub(super) struct EventStream {
    response: Response,
    bytes: Vec<u8>,
}

/// What stands between two empty lines.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Block {
    /// Empty is none, and clears the one that was there.
    pub(super) id: Option<String>,
    /// `None` is an event without a name.
    pub(super) event: Option<String>,
    /// Null if there is none.
    pub(super) data: Value,
}

/// Why a stream could not be opened, or was cut.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The server said so: it will say so again.
    #[error("{0}")]
    Refused(String),
    /// The server can't be reached, is too busy, or what it sent was cut off.
    #[error("{0}")]
    Cut(String),
}

impl From<reqwest::Error> for StreamError {
    fn from(err: reqwest::Error) -> Self {
        Self::Cut(err.without_url().to_string())
    }
}

impl EventStream {
    /// Opens a stream, after `last_event_id` if there is one.
    pub(super) async fn open(
        client: &Client,
        url: &Url,
        key: &str,
        last_event_id: Option<&str>,
    ) -> Result<Self, StreamError> {
        let mut request = client.get(url.clone()).bearer_auth(key);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(Self { response, bytes: Vec::new() });
        }
        let message = describe(status, &response.text().await.unwrap_or_default());
        let is_final = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        Err(if is_final { StreamError::Refused(message) } else { StreamError::Cut(message) })
    }

    /// The next block; `None` at the end of the stream. Can be dropped at the await.
    pub(super) async fn next(&mut self) -> Result<Option<Block>, StreamError> {
        loop {
            if let Some(block) = self.take_block()? {
                return Ok(Some(block));
            }
            match self.response.chunk().await? {
                Some(chunk) => self.bytes.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    fn take_block(&mut self) -> Result<Option<Block>, StreamError> {
        let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\n\n") else { return Ok(None) };
        let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
        parse_block(&String::from_utf8_lossy(&block)).map(Some)
    }
}

fn parse_block(text: &str) -> Result<Block, StreamError> {
    let mut block = Block::default();
    for line in text.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => block.id = Some(value.to_owned()),
            "event" => block.event = Some(value.to_owned()),
            "data" => {
                block.data = serde_json::from_str(value)
                    .map_err(|err| StreamError::Refused(format!("an event is no JSON: {err}")))?;
            }
            // Comments, `retry`, and what a later version may add.
            _ => {}
        }
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_block_is_read_by_its_fields() {
        let block = parse_block(": heartbeat\nid: abc\nevent: ready\ndata: {\"n\":1}\nretry: 5\n\n").unwrap();
        let expected =
            Block { id: Some("abc".to_owned()), event: Some("ready".to_owned()), data: json!({ "n": 1 }) };
        assert_eq!(block, expected);
        assert_eq!(parse_block("id: \n\n").unwrap().id.as_deref(), Some(""), "an empty id is one");
        assert!(parse_block("data: {\n\n").is_err());
    }
}
