//! The subject of a stream, apart from the loop that the stream runs in.

use std::future::Future;

use bytes::Bytes;

use crate::{hub::CloseReason, wire::CloseCode};

/// How a connection ends.
pub struct End {
    /// The close code.
    pub code: CloseCode,
    /// The close reason, a short sentence.
    pub reason: &'static str,
    /// A last frame before the close frame.
    pub last: Option<Bytes>,
}

impl End {
    /// Ends with a close frame only.
    pub fn new(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason, last: None }
    }
}

/// The subject of a stream: hears what the client says, and serves it. There are three: the documented protocol, the watcher
/// of the client libraries, and their rooms.
pub trait Conversation {
    /// An event on the server's side, such as a subscription that has ended.
    type News;

    /// Handles a text message.
    ///
    /// # Errors
    /// How the connection ends.
    fn hear(&mut self, text: String) -> impl Future<Output = Result<(), End>>;

    /// Serves the client until there is news. Called again after each change of the outbox. Can be dropped at any await, and
    /// the next call goes on where this one was.
    fn serve(&mut self) -> impl Future<Output = Self::News>;

    /// Handles news. Unlike [`Conversation::serve`], it always runs to its end.
    ///
    /// # Errors
    /// How the connection ends.
    fn react(&mut self, news: Self::News) -> impl Future<Output = Result<(), End>>;

    /// Does what is due at each heartbeat. Returns a cursor if the heartbeat shows one.
    fn beat(&mut self) -> Option<String>;
}

/// How a door words what concerns the whole connection.
pub trait Dialect {
    /// Whether the client has said who it is. Until then it has 10 seconds.
    fn is_known(&self) -> bool;

    /// Returns the end of a client that has not said who it is in time.
    fn late(&self) -> End;

    /// Handles a binary message, which no conversation has.
    ///
    /// # Errors
    /// How the connection ends.
    fn hear_binary(&mut self) -> Result<(), End>;

    /// Returns the end of a connection that the hub has closed.
    fn closed(&self, reason: CloseReason) -> End;
}
