//! A client with one subscription, which notes what it hears.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use coir_client::{Content, Message};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::{Dice, TestApp, TestSocket, TestStream};

/// How a client listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Without an id. It takes its own place from time to time.
    Plain,
    Named,
    NamedView,
    Sse,
    SseView,
}

impl Mode {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Named, Self::NamedView, Self::Sse, Self::SseView];

    pub fn is_view(self) -> bool {
        matches!(self, Self::NamedView | Self::SseView)
    }
}

/// What becomes of the rights of whoever listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing happens to them.
    Stays,
    /// They are the same for other reasons, which may be told as a change.
    MayChange,
    Changes,
    /// Nothing is left to read.
    Loses,
    /// The key or the session ends.
    Ends,
}

enum Line {
    Socket(TestSocket),
    Stream(TestStream),
}

pub struct Listener {
    pub mode: Mode,
    pub heard: Vec<(Instant, Message)>,
    line: Line,
    collection: String,
}

/// What a listener must know of the run to come to an end.
pub struct Course {
    pub fate: Fate,
    /// The last document that it is told of, if it is told of any.
    pub target: Option<String>,
    /// True when everything was written.
    pub written: watch::Receiver<bool>,
    /// The listeners with the fate to end that are still open.
    pub doomed: Arc<AtomicUsize>,
    pub dice: Dice,
}

impl Listener {
    /// Opens a subscription, and waits until it has begun.
    pub async fn open(
        app: &TestApp,
        (key, user): (&str, Option<&str>),
        collection: &str,
        mode: Mode,
    ) -> Self {
        let line = match mode {
            Mode::Sse | Mode::SseView => {
                let query = if mode == Mode::SseView { "?snapshot=true" } else { "" };
                let path = format!("/realtime/sse/{collection}{query}");
                let request = app.request_as(user.unwrap_or(key), Method::GET, &path);
                let request = if user.is_some() { request.header("x-api-key", key) } else { request };
                let mut stream = TestStream::open(request).await;
                stream.opened().await;
                Line::Stream(stream)
            }
            _ => {
                let mut socket = app.anonymous_socket().await;
                let mut auth = json!({ "type": "auth", "token": key });
                if let Some(user) = user {
                    auth["user"] = json!(user);
                }
                socket.send(auth).await;
                match mode {
                    Mode::Plain => socket.subscribe(collection, json!({})).await,
                    _ => {
                        let members = json!({ "snapshot": mode == Mode::NamedView });
                        let mut message = socket.subscribe_named("s", collection, members).await;
                        while mode == Mode::NamedView && message["type"] != "ready" {
                            message = socket.next().await;
                        }
                    }
                }
                Line::Socket(socket)
            }
        };
        Self { mode, heard: Vec::new(), line, collection: collection.to_owned() }
    }

    /// Returns the next message; `None` at the end of the connection.
    async fn next(&mut self) -> Option<Message> {
        let message = match &mut self.line {
            Line::Socket(socket) => Message::from_json(&socket.try_next().await?.to_string()).unwrap(),
            Line::Stream(stream) => loop {
                if let Some(message) = stream.try_next_block().await?.message() {
                    break message;
                }
            },
        };
        self.heard.push((Instant::now(), message.clone()));
        Some(message)
    }

    async fn say(&mut self, message: Value) {
        if let Line::Socket(socket) = &mut self.line {
            // If the connection is gone, the next read says so.
            socket.try_send(message).await;
        }
    }

    /// Listens until everything has come that will come.
    pub async fn follow(mut self, mut course: Course) -> Self {
        let (mut has_target, mut is_in_snapshot) = (false, false);
        loop {
            let Some(message) = self.next().await else {
                if course.fate == Fate::Ends {
                    course.doomed.fetch_sub(1, Ordering::SeqCst);
                }
                return self;
            };
            let is_target = |id: &String| course.target.as_ref() == Some(id);
            let mut is_over = false;
            match &message.content {
                Content::Event(event) => has_target |= is_target(&event.document.id),
                Content::Snapshot(documents) => {
                    is_in_snapshot = true;
                    has_target |= documents.iter().any(|document| is_target(&document.id));
                }
                Content::Ready => is_in_snapshot = false,
                Content::Resync { .. } => {
                    (has_target, is_in_snapshot, is_over) =
                        (false, self.mode.is_view(), self.mode == Mode::Named);
                }
                Content::Error { code, .. } => {
                    is_over = code == "FORBIDDEN" && matches!(self.line, Line::Socket(_))
                }
                _ => {}
            }
            if has_target && !is_in_snapshot {
                return self;
            }
            if is_over {
                return self.listen_in_vain(&mut course).await;
            }
            if self.mode == Mode::Plain
                && matches!(message.content, Content::Event(_))
                && course.dice.under(3) == 0
            {
                self.say(json!({ "type": "subscribe", "collection": self.collection })).await;
            }
        }
    }

    /// The subscription has ended, and the connection goes on. Notes what still comes when everything was written.
    async fn listen_in_vain(mut self, course: &mut Course) -> Self {
        course.written.wait_for(|is_written| *is_written).await.unwrap();
        self.say(json!({ "type": "ping" })).await;
        while self.next().await.is_some_and(|message| message.content != Content::Pong) {}
        self
    }
}
