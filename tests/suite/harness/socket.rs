//! A WebSocket client.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::CloseFrame},
};

/// How long a test waits for anything before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the event that a subscription without `id` gets about a document, which a write has returned.
pub fn event(collection: &str, kind: &str, document: &Value) -> Value {
    let document =
        json!({ "id": document["id"], "data": document["data"], "createdAt": document["createdAt"] });
    json!({ "type": "event", "collection": collection, "event": kind, "document": document })
}

/// An open WebSocket to `/realtime`. Pings are answered while it is read.
pub struct TestSocket {
    pub inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl TestSocket {
    /// Connects; `request` is a URL, or a request with headers.
    pub async fn connect(request: impl IntoClientRequest + Unpin) -> Self {
        let (inner, response) = connect_async(request).await.unwrap();
        assert_eq!(response.status(), 101);
        Self { inner }
    }

    /// Connects; `None` if the server is gone.
    pub async fn try_connect(url: &str) -> Option<Self> {
        Some(Self { inner: connect_async(url).await.ok()?.0 })
    }

    /// Returns the next text message; `None` once the connection has ended, also if it was cut.
    pub async fn try_next(&mut self) -> Option<Value> {
        let next = async {
            loop {
                match self.inner.next().await? {
                    Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("nothing came")
    }

    /// Sends a message. Returns false if the server is gone.
    pub async fn try_send(&mut self, message: Value) -> bool {
        self.inner.send(Message::text(message.to_string())).await.is_ok()
    }

    /// Begins a subscription with an id and returns the answer.
    pub async fn subscribe_named(&mut self, id: &str, collection: &str, mut members: Value) -> Value {
        members["type"] = json!("subscribe");
        members["id"] = json!(id);
        members["collection"] = json!(collection);
        self.send(members).await;
        self.next().await
    }

    /// Sends a message as JSON.
    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Sends a text frame as it is.
    pub async fn send_text(&mut self, text: &str) {
        self.inner.send(Message::text(text)).await.unwrap();
    }

    /// Authenticates. The server doesn't answer; [`TestSocket::settle`] waits until it has taken effect.
    pub async fn authenticate(&mut self, key: &str) {
        self.send(json!({ "type": "auth", "token": key })).await;
    }

    /// Subscribes to a collection and waits until that has taken effect.
    pub async fn subscribe(&mut self, collection: &str, filters: Value) {
        self.send(json!({ "type": "subscribe", "collection": collection, "filters": filters })).await;
        self.settle().await;
    }

    /// Waits until the server has handled everything that was sent, because it handles messages in order. Fails on any message
    /// but the pong.
    pub async fn settle(&mut self) {
        self.send(json!({ "type": "ping" })).await;
        assert_eq!(self.next().await, json!({ "type": "pong" }));
    }

    /// Returns the next text message as JSON.
    pub async fn next(&mut self) -> Value {
        serde_json::from_str(&self.next_text().await).unwrap()
    }

    /// Returns the next text message as it is.
    pub async fn next_text(&mut self) -> String {
        match self.next_frame().await {
            Message::Text(text) => text.to_string(),
            other => panic!("no text message, but {other:?}"),
        }
    }

    /// Returns the code and the `id` of the next message, which must be an error with a sentence.
    pub async fn next_error(&mut self) -> (String, Option<Value>) {
        let error = self.next().await;
        assert_eq!(error["type"], "error", "{error}");
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{error}");
        (error["code"].as_str().unwrap().to_owned(), error.get("id").cloned())
    }

    /// Returns the close frame, which must come next.
    pub async fn next_close(&mut self) -> CloseFrame {
        match self.next_frame().await {
            Message::Close(Some(frame)) => frame,
            other => panic!("no close frame, but {other:?}"),
        }
    }

    /// Returns the next frame that is neither a ping nor a pong.
    pub async fn next_frame(&mut self) -> Message {
        let next = async {
            loop {
                let frame = self.inner.next().await;
                match frame.expect("the connection was cut").expect("the connection failed") {
                    Message::Ping(_) | Message::Pong(_) => {}
                    frame => return frame,
                }
            }
        };
        // Pings keep coming, so a time limit for each frame would never be reached.
        tokio::time::timeout(PATIENCE, next).await.expect("nothing came")
    }
}
