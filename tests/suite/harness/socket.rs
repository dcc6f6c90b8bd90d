//! A WebSocket client.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::CloseFrame},
};

/// Everything that is waited for comes within this time, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

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

    /// Sends a message as JSON.
    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Sends a text frame as it is.
    pub async fn send_text(&mut self, text: &str) {
        self.inner.send(Message::text(text)).await.unwrap();
    }

    /// Says who is asking. The server is silent about it; [`TestSocket::settle`] tells when it has taken effect.
    pub async fn authenticate(&mut self, key: &str) {
        self.send(json!({ "type": "auth", "token": key })).await;
    }

    /// Watches a collection, and waits until the server has understood.
    pub async fn subscribe(&mut self, collection: &str, filters: Value) {
        self.send(json!({ "type": "subscribe", "collection": collection, "filters": filters })).await;
        self.settle().await;
    }

    /// Waits until the server has handled everything that was sent: messages are handled in order. Fails on any message
    /// but the pong.
    pub async fn settle(&mut self) {
        self.send(json!({ "type": "ping" })).await;
        assert_eq!(self.next().await, json!({ "type": "pong" }));
    }

    /// The next text message.
    pub async fn next(&mut self) -> Value {
        match self.next_frame().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text message, but {other:?}"),
        }
    }

    /// The close frame, which must be the next thing.
    pub async fn next_close(&mut self) -> CloseFrame {
        match self.next_frame().await {
            Message::Close(Some(frame)) => frame,
            other => panic!("no close frame, but {other:?}"),
        }
    }

    /// The next frame that is no ping or pong.
    pub async fn next_frame(&mut self) -> Message {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.inner.next()).await.expect("nothing came");
            match frame.expect("the connection was cut").expect("the connection failed") {
                Message::Ping(_) | Message::Pong(_) => {}
                frame => return frame,
            }
        }
    }
}
