//! One connection of server-sent events.

use std::{fmt, time::Duration};

use reqwest::{Response, StatusCode, header};
use serde::Deserialize;

use crate::{Client, Error, Message, Subscribe, sse::Parser};

/// A larger block is refused. The server's pages are far smaller.
const MAX_BLOCK_BYTES: usize = 64 * 1024 * 1024;
/// An idle stream sends something every 15 seconds. After four of these the server is taken for gone.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection of server-sent events: a subscription until it is cut. [`Client::watch`] connects again by itself.
pub struct EventStream {
    response: Response,
    parser: Parser,
}

pub(crate) fn http_client() -> Result<reqwest::Client, Error> {
    let client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT);
    client.build().map_err(|error| Error::Http(error.to_string()))
}

impl EventStream {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server would refuse again; [`Error::Unavailable`] if trying later may help.
    pub async fn open(client: &Client, wanted: &Subscribe) -> Result<Self, Error> {
        let mut url = client.url(&["realtime", "sse", &wanted.collection]);
        let parameters = wanted.to_parameters();
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let request =
            client.http().get(url).bearer_auth(client.key()).header(header::ACCEPT, "text/event-stream");
        let request = match &wanted.since {
            Some(cursor) => request.header("Last-Event-ID", cursor.as_str()),
            None => request,
        };
        let response = request.send().await.map_err(|error| Error::Unavailable(describe(error)))?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(Self { response, parser: Parser::new() });
        }
        let body = response.text().await.map_err(|error| Error::Cut(describe(error)))?;
        Err(refusal(status, &body))
    }

    /// Returns the next message; `None` at the end of the stream. Can be dropped while it waits without losing anything.
    ///
    /// # Errors
    /// [`Error::Cut`] if the connection broke; [`Error::InvalidMessage`] or [`Error::TooLarge`] if the server broke the protocol.
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            while let Some(block) = self.parser.next_block() {
                if let Some(message) = Message::from_block(&block)? {
                    return Ok(Some(message));
                }
            }
            if self.parser.buffered_bytes() > MAX_BLOCK_BYTES {
                return Err(Error::TooLarge(MAX_BLOCK_BYTES));
            }
            match self.response.chunk().await.map_err(|error| Error::Cut(describe(error)))? {
                Some(chunk) => self.parser.push(&chunk),
                None => return Ok(None),
            }
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("status", &self.response.status()).finish_non_exhaustive()
    }
}

/// The error with its causes, and without the URL, whose parameters may hold data.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[derive(Deserialize)]
struct Answer {
    error: AnswerError,
}

#[derive(Deserialize)]
struct AnswerError {
    code: String,
    message: String,
    /// What to do, where the message is fixed.
    hint: Option<String>,
}

impl AnswerError {
    fn into_parts(self) -> (String, String) {
        let message = match self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message,
        };
        (self.code, message)
    }
}

fn refusal(status: StatusCode, body: &str) -> Error {
    let is_final = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
    match serde_json::from_str(body).map(|answer: Answer| answer.error.into_parts()) {
        Ok((code, message)) if is_final => Error::Refused { code, message },
        Ok((code, message)) => Error::Unavailable(format!("{code}: {message}")),
        Err(_) if status.is_server_error() => Error::Unavailable(format!("the server answered {status}")),
        Err(_) => Error::UnexpectedAnswer(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_stream_is_an_error_that_says_whether_to_come_back() {
        let body = r#"{"success":false,"error":{"code":"C","message":"m"}}"#;
        let with_hint = r#"{"success":false,"error":{"code":"C","message":"m","hint":"h"}}"#;
        let cases = [
            (StatusCode::UNAUTHORIZED, body, false, "C: m"),
            (StatusCode::UNAUTHORIZED, with_hint, false, "C: m; h"),
            (StatusCode::SERVICE_UNAVAILABLE, body, true, "C: m"),
            (StatusCode::TOO_MANY_REQUESTS, body, true, "C: m"),
            (StatusCode::BAD_GATEWAY, "<html>", true, "the server answered 502 Bad Gateway"),
            (
                StatusCode::NOT_FOUND,
                "<html>",
                false,
                "the server answered 404 Not Found; is this a Coir server?",
            ),
        ];
        for (status, body, is_transient, expected) in cases {
            let error = refusal(status, body);
            assert_eq!(
                (error.is_transient(), error.to_string().as_str()),
                (is_transient, expected),
                "{status}"
            );
        }
    }
}
