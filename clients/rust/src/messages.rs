//! A stream of messages that survives its connections.

use std::{fmt, pin::Pin, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{Content, Cursor, Error, Message, Watch, backoff::Backoff, connection::Connection};

/// The messages of a subscription, over as many connections as it takes.
///
/// After a cut it connects again, and resumes at the cursor of the last message. A snapshot that was cut begins anew.
#[derive(Debug)]
pub struct Messages {
    watch: Watch,
    state: State,
    /// Where to resume.
    cursor: Option<Cursor>,
    backoff: Backoff,
}

/// The result of [`Messages::next`].
#[derive(Debug)]
pub enum Update {
    /// A connection was opened, which resumes at [`Messages::cursor`]. Without a cursor it begins anew.
    Connected,
    /// A message came.
    Message(Message),
    /// The connection was cut or could not be made. The next call waits and connects again.
    Disconnected {
        /// Why.
        reason: Error,
        /// How long the next call waits.
        pause: Duration,
    },
}

type Opening = Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send>>;

enum State {
    /// Not connected, until this time.
    Closed(Option<Instant>),
    /// Kept here, so that dropping the future of `next` doesn't begin it anew.
    Opening(Opening),
    Open(Connection),
}

impl Messages {
    pub(crate) fn new(watch: Watch) -> Self {
        Self { cursor: watch.wanted.since.clone(), backoff: watch.backoff, state: State::Closed(None), watch }
    }

    /// Where the stream would resume now. Store it to go on after a restart; `None` if only a new beginning helps.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Waits for the next message, or for a change of the connection. Can be dropped while it waits without losing anything.
    ///
    /// # Errors
    /// An error that coming back doesn't mend: the server refused, or broke the protocol. A further call connects again.
    pub async fn next(&mut self) -> Result<Update, Error> {
        loop {
            match &mut self.state {
                State::Closed(until) => {
                    if let Some(until) = until {
                        sleep_until(*until).await;
                    }
                    let Watch { client, wanted, transport, .. } = self.watch.clone();
                    let wanted = wanted.since(self.cursor.clone());
                    self.state = State::Opening(Box::pin(Connection::open(client, transport, wanted)));
                }
                State::Opening(opening) => match opening.await {
                    Ok(connection) => {
                        self.state = State::Open(connection);
                        return Ok(Update::Connected);
                    }
                    Err(error) => return self.close(error),
                },
                State::Open(connection) => match connection.next().await {
                    Ok(message) => return self.take(message),
                    Err(error) => return self.close(error),
                },
            }
        }
    }

    /// Cuts the connection. The next call of [`Messages::next`] connects again at once, and resumes.
    pub fn disconnect(&mut self) {
        self.state = State::Closed(None);
    }

    /// Cuts the connection and forgets the cursor, so that the stream begins anew.
    pub fn restart(&mut self) {
        self.cursor = None;
        self.disconnect();
    }

    fn take(&mut self, message: Message) -> Result<Update, Error> {
        self.backoff.reset();
        match &message.content {
            Content::Error { code, message } if !self.goes_on_after_errors() => {
                return self.close(if matches!(code.as_str(), "OVERLOADED" | "RATE_LIMITED") {
                    Error::Unavailable(format!("{code}: {message}"))
                } else {
                    Error::Refused { code: code.clone(), message: message.clone() }
                });
            }
            Content::Resync { .. } => {
                self.cursor = message.cursor.clone();
                if !self.goes_on_after_errors() && !self.watch.wanted.is_with_snapshot {
                    self.restart();
                }
            }
            Content::Subscribed { .. } => self.cursor = message.cursor.clone(),
            _ if message.cursor.is_some() => self.cursor = message.cursor.clone(),
            _ => {}
        }
        Ok(Update::Message(message))
    }

    /// An event stream ends by itself if an error is its last word. A WebSocket stays open without its subscription.
    fn goes_on_after_errors(&self) -> bool {
        #[cfg(feature = "sse")]
        return self.watch.transport == crate::Transport::Sse;
        #[cfg(not(feature = "sse"))]
        false
    }

    fn close(&mut self, error: Error) -> Result<Update, Error> {
        if !error.is_transient() {
            self.state = State::Closed(None);
            return Err(error);
        }
        let pause = self.backoff.fail();
        self.state = State::Closed(Some(Instant::now() + pause));
        Ok(Update::Disconnected { reason: error, pause })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed(_) => "Closed",
            Self::Opening(_) => "Opening",
            Self::Open(_) => "Open",
        })
    }
}
