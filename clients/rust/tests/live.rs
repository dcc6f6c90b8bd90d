//! Streams over real connections to a server that is a script: what is sent, and what is made of it after a cut.
#![allow(clippy::unwrap_used)]
#![cfg(all(feature = "sse", feature = "websocket"))]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use coir_client::{Change, Client, Content, Error, Misfit, Transport, Update, View, Watch};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{WebSocketStream, tungstenite};

/// A server that listens on loopback, and a client's wish to watch `books` on it.
async fn start() -> (TcpListener, Watch) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), "sk_key").unwrap();
    let watch = client.watch("books").backoff(Duration::from_millis(1), Duration::from_millis(10));
    (listener, watch)
}

/// A cursor of the form that servers give out.
fn cursor(sequence: u64) -> String {
    let mut bytes = [0; 33];
    bytes[0] = 1;
    bytes[13..21].copy_from_slice(&sequence.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The next request's head, and its connection.
async fn accept(listener: &TcpListener) -> (String, TcpStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap().to_lowercase(), stream)
}

async fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn snapshot(id: &str) -> String {
    let message = json!({ "type": "snapshot", "documents": [{ "id": id, "data": {}, "createdAt": "now" }] });
    format!("event: snapshot\ndata: {message}\n\n")
}

fn event(sequence: u64, kind: &str, id: &str) -> String {
    let document = json!({ "id": id, "data": { "sequence": sequence }, "createdAt": "now" });
    let message = json!({ "type": "event", "collection": "books", "event": kind, "document": document });
    format!("id: {}\ndata: {message}\n\n", cursor(sequence))
}

fn ready(sequence: u64) -> String {
    format!("id: {}\nevent: ready\ndata: {{\"type\":\"ready\"}}\n\n", cursor(sequence))
}

async fn next_until(view: &mut View, is_it: impl Fn(&Change) -> bool) {
    while !is_it(&view.next().await.unwrap()) {}
}

#[tokio::test]
async fn a_view_resumes_at_its_cursor_and_begins_a_cut_snapshot_anew() {
    let (listener, watch) = start().await;
    let server = async {
        let (head, mut stream) = accept(&listener).await;
        assert!(
            head.starts_with(
                "get /realtime/sse/books?filters=%7b%22year%22%3a1968%7d&snapshot=true http/1.1"
            ),
            "{head}"
        );
        assert!(head.contains("authorization: bearer sk_key") && !head.contains("last-event-id"), "{head}");
        answer(&mut stream, "200 OK", &format!("retry: 1000\n\n{}", snapshot("lost"))).await;
        drop(stream);
        let (head, mut stream) = accept(&listener).await;
        assert!(!head.contains("last-event-id"), "{head}");
        answer(
            &mut stream,
            "200 OK",
            &format!("{}{}: heartbeat\nid: {}\n\n", snapshot("a"), ready(5), cursor(7)),
        )
        .await;
        drop(stream);
        let (mut head, mut stream) = accept(&listener).await;
        assert!(head.contains(&format!("last-event-id: {}", cursor(7)).to_lowercase()), "{head}");
        answer(&mut stream, "503 Service Unavailable", r#"{"error":{"code":"OVERLOADED","message":"busy"}}"#)
            .await;
        drop(stream);
        (head, stream) = accept(&listener).await;
        assert!(head.contains("last-event-id"), "{head}");
        answer(&mut stream, "200 OK", &event(8, "updated", "a")).await;
        stream
    };
    let client = async {
        let mut view = watch.filters(json!({ "year": 1968 })).view();
        next_until(&mut view, |change| *change == Change::Completed).await;
        assert_eq!(view.documents().keys().collect::<Vec<_>>(), ["a"]);
        next_until(&mut view, |change| matches!(change, Change::Updated { .. })).await;
        assert_eq!(view.documents()["a"].data["sequence"], 8);
        assert!(view.is_complete());
        assert_eq!(view.replica().sequence(), Some(8));
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn a_refusal_ends_a_view_and_a_misfit_begins_it_anew() {
    let (listener, watch) = start().await;
    let server = async {
        let (_, mut stream) = accept(&listener).await;
        answer(&mut stream, "200 OK", &format!("{}{}{}", snapshot("a"), ready(5), event(6, "created", "a")))
            .await;
        let (head, mut stream) = accept(&listener).await;
        assert!(!head.contains("last-event-id"), "{head}");
        answer(&mut stream, "401 Unauthorized", r#"{"error":{"code":"UNAUTHORIZED","message":"no"}}"#).await;
    };
    let client = async {
        let mut view = watch.view();
        next_until(&mut view, |change| *change == Change::Completed).await;
        let misfit = view.next().await.unwrap_err();
        assert!(matches!(misfit, Error::Misfit(Misfit::AlreadyThere { .. })), "{misfit}");
        assert_eq!(view.next().await.unwrap_err().to_string(), "UNAUTHORIZED: no");
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn dropping_the_wait_for_a_message_loses_nothing() {
    let (listener, watch) = start().await;
    let server = async {
        let (_, mut stream) = accept(&listener).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        let text = format!("{}{}{}", snapshot("a"), ready(5), event(6, "updated", "a"));
        answer(&mut stream, "200 OK", "").await;
        for bytes in text.as_bytes().chunks(20) {
            stream.write_all(bytes).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stream
    };
    let client = async {
        let mut view = watch.view();
        let mut drops = 0;
        while view.replica().sequence() != Some(6) {
            match tokio::time::timeout(Duration::from_millis(1), view.next()).await {
                Ok(change) => drop(change.unwrap()),
                Err(_) => drops += 1,
            }
        }
        assert!(drops > 10, "{drops}");
        // Only one connection was made.
        assert!(tokio::time::timeout(Duration::from_millis(20), listener.accept()).await.is_err());
    };
    tokio::join!(server, client);
}

async fn accept_socket(listener: &TcpListener) -> (Value, WebSocketStream<TcpStream>) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let message = socket.next().await.unwrap().unwrap();
    (serde_json::from_str(message.to_text().unwrap()).unwrap(), socket)
}

async fn send(socket: &mut WebSocketStream<TcpStream>, message: Value) {
    socket.send(tungstenite::Message::text(message.to_string())).await.unwrap();
}

#[tokio::test]
async fn a_socket_resumes_and_subscribes_anew_after_a_resync() {
    let (listener, watch) = start().await;
    let server = async {
        let (message, mut socket) = accept_socket(&listener).await;
        let expected =
            json!({ "type": "subscribe", "id": "watch", "collection": "books", "since": cursor(3) });
        assert_eq!(message, expected);
        send(
            &mut socket,
            json!({ "type": "subscribed", "id": "watch", "collection": "books", "cursor": cursor(3) }),
        )
        .await;
        send(&mut socket, json!({ "type": "progress", "id": "watch", "cursor": cursor(9) })).await;
        drop(socket);
        let (message, mut socket) = accept_socket(&listener).await;
        assert_eq!(message["since"], cursor(9));
        send(
            &mut socket,
            json!({ "type": "resync", "id": "watch", "code": "CURSOR_EXPIRED", "cursor": cursor(20) }),
        )
        .await;
        let (message, mut socket) = accept_socket(&listener).await;
        assert_eq!(message.get("since"), None);
        // Too much was asked for, and the client comes back.
        let busy = json!({ "type": "error", "id": "watch", "code": "RATE_LIMITED", "message": "too many" });
        send(&mut socket, busy).await;
        let (_, mut socket) = accept_socket(&listener).await;
        send(&mut socket, json!({ "type": "error", "id": "watch", "code": "FORBIDDEN", "message": "no" }))
            .await;
    };
    let client = async {
        let mut messages =
            watch.since(coir_client::Cursor::from(cursor(3))).over(Transport::WebSocket).messages();
        let mut seen = Vec::new();
        let refused = loop {
            match messages.next().await {
                Ok(Update::Message(message)) => seen.push(message.content),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(refused.to_string(), "FORBIDDEN: no");
        assert!(
            matches!(&seen[..], [Content::Subscribed { .. }, Content::Progress, Content::Resync { .. }]),
            "{seen:?}"
        );
    };
    tokio::join!(server, client);
}
