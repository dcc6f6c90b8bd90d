//! One WebSocket connection.

use std::{fmt, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        self,
        client::IntoClientRequest,
        http::{HeaderValue, StatusCode, header},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{Client, Error, Message, Subscribe};

/// The server pings every 15 seconds. After four of these without a sign of life it is taken for gone.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One WebSocket connection, which carries any number of subscriptions until it is cut. Pings of the server are answered
/// while it is read.
///
/// A subscription with an id has a snapshot and cursors; its messages have that id. [`Client::watch`] connects again by itself.
pub struct Socket {
    inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heard_at: Instant,
}

impl Socket {
    /// Connects, and shows the client's key.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::UnexpectedAnswer`] if the server would refuse again; [`Error::Unavailable`] if trying
    /// later may help.
    pub async fn connect(client: &Client) -> Result<Self, Error> {
        let mut url = client.url(&["realtime"]);
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        // `http` may become `ws`, so this never fails.
        let _ = url.set_scheme(scheme);
        let invalid = |_| Error::InvalidUrl(url.to_string());
        let mut request = url.as_str().into_client_request().map_err(invalid)?;
        let key = HeaderValue::from_str(&format!("Bearer {}", client.key()))
            .map_err(|_| Error::Unsupported("the key has a character that no HTTP header may have"))?;
        request.headers_mut().insert(header::AUTHORIZATION, key);
        let connected = timeout(CONNECT_TIMEOUT, connect_async(request)).await;
        let (inner, _) = connected
            .map_err(|_| Error::Unavailable("the server gave no answer".to_owned()))?
            .map_err(refusal)?;
        Ok(Self { inner, heard_at: Instant::now() })
    }

    /// Begins a subscription. If there is one with this id, or without id one to this collection, it is replaced.
    ///
    /// The answer is one of the next messages: `subscribed` or an error for a subscription with an id, nothing for one without.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a request that a WebSocket can't make; [`Error::Cut`] if the connection broke.
    pub async fn subscribe(&mut self, id: Option<&str>, wanted: &Subscribe) -> Result<(), Error> {
        self.send(wanted.to_message(id)?).await
    }

    /// Ends the subscription with this id.
    ///
    /// # Errors
    /// [`Error::Cut`] if the connection broke.
    pub async fn unsubscribe(&mut self, id: &str) -> Result<(), Error> {
        self.send(json!({ "type": "unsubscribe", "id": id })).await
    }

    /// Asks for a [`Pong`](crate::Content::Pong), which comes when the server has handled all that was sent before.
    ///
    /// # Errors
    /// [`Error::Cut`] if the connection broke.
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.send(json!({ "type": "ping" })).await
    }

    /// Returns the next message; `None` at the end of the connection. Can be dropped while it waits without losing anything.
    ///
    /// # Errors
    /// [`Error::Cut`] if the connection broke; [`Error::Refused`] if the server closed it because the key is no longer good;
    /// [`Error::InvalidMessage`] if the server broke the protocol.
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            let frame = timeout_at(self.heard_at + READ_TIMEOUT, self.inner.next()).await;
            let frame = frame.map_err(|_| Error::Cut("the server gave no sign of life".to_owned()))?;
            self.heard_at = Instant::now();
            match frame {
                Some(Ok(tungstenite::Message::Text(text))) => return Ok(Some(Message::from_json(&text)?)),
                Some(Ok(tungstenite::Message::Close(frame))) => {
                    return frame.map_or(Ok(None), |frame| Err(closed(&frame)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Error::Cut(error.to_string())),
                None => return Ok(None),
            }
        }
    }

    async fn send(&mut self, message: Value) -> Result<(), Error> {
        let sent = self.inner.send(tungstenite::Message::text(message.to_string())).await;
        sent.map_err(|error| Error::Cut(error.to_string()))
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// Why a handshake failed.
fn refusal(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Http(answer) => match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => Error::Unavailable("the server is too busy".to_owned()),
            status if status.is_server_error() => Error::Unavailable(format!("the server answered {status}")),
            status => Error::UnexpectedAnswer(status.to_string()),
        },
        error => Error::Unavailable(error.to_string()),
    }
}

/// Returns the error that a close frame means. RFC 6455, section 7.4: 1008 says that the client may not.
fn closed(frame: &CloseFrame) -> Error {
    match frame.code {
        CloseCode::Policy => {
            Error::Refused { code: "UNAUTHORIZED".to_owned(), message: frame.reason.to_string() }
        }
        code => Error::Cut(format!("close code {code} {}", frame.reason)),
    }
}
