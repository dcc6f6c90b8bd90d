//! The client's end of a connection: it reads, slowly at times, and is cut off.

use std::{future::poll_fn, rc::Rc, sync::Arc, time::Duration};

use coir_client::{Message, sse::Parser};
use futures_util::stream;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

use coir::{
    api::realtime::{
        Connection, Session,
        conversation::{Conversation, Dialect},
        pace::Pace,
        session::Incoming,
    },
    auth::{KeyKind, Principal, Scopes},
    domain::KeyId,
    wire::Form,
};

use crate::{
    counts::Counter,
    decoder::{Decoder, Said},
    dice::Dice,
    log,
    run::Phase,
    server::Server,
};

/// How a client is connected, again and again.
pub struct Link {
    pub dice: Dice,
    pub counter: Rc<Counter>,
    /// How slowly the client reads: how often in a thousand it stops for a while.
    pub stalls: u64,
    pub server: watch::Receiver<Rc<Server>>,
    pub phase: watch::Receiver<Phase>,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The client comes back.
    Cut,
    /// The simulation is over.
    Done,
}

/// The connection is of no use any more.
pub struct Unusable;

/// A message of the server.
pub enum Heard {
    /// From an event stream.
    Message(Message),
    /// From a WebSocket.
    Text(String),
}

/// The behaviour of a client on its connection.
pub trait Listener {
    /// Takes a message of the server.
    fn take(&mut self, heard: Heard) -> Result<(), Unusable>;

    /// The server has closed the connection.
    fn take_close(&mut self, _code: u16) {}

    /// When the client says something next.
    fn next_word_at(&self) -> Option<Instant> {
        None
    }

    /// Returns the messages that it says then. Called also in the quiet phase.
    fn words(&mut self, _phase: Phase) -> Vec<String> {
        Vec::new()
    }
}

/// One connection.
pub struct Peer {
    connection: Rc<Connection>,
    sender: mpsc::UnboundedSender<Incoming>,
    task: JoinHandle<()>,
}

impl Peer {
    /// Runs a session as a worker thread does.
    pub fn start(
        connection: Rc<Connection>,
        conversation: impl Conversation + Dialect + 'static,
        pace: Pace,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let incoming = stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<Incoming>| async {
            let message = receiver.recv().await?;
            Some((message, receiver))
        });
        let session = Session::paced(connection.clone(), conversation, pace);
        let task = tokio::task::spawn_local(session.run(incoming));
        Self { connection, sender, task }
    }

    pub fn say(&self, text: String) {
        // A session that has ended hears nothing.
        let _ = self.sender.send(Incoming::Text(text));
    }
}

impl Link {
    /// Opens a connection to the server as it is now.
    pub fn open(&mut self, form: Form) -> Rc<Connection> {
        let server = self.server.borrow_and_update().clone();
        Connection::open(server.parts(), form)
    }

    /// Waits a while before the next connection.
    pub async fn pause(&self) {
        tokio::time::sleep(self.dice.delay(800)).await;
    }

    /// Reads a connection until it is cut, or the simulation is over.
    pub async fn attend(&mut self, peer: Peer, listener: &mut impl Listener) -> Over {
        let lifetime = if self.dice.percent(70) { self.dice.delay(2500) } else { Duration::from_secs(60) };
        let mut cut = std::pin::pin!(tokio::time::sleep(lifetime));
        let mut decoder = match peer.connection.form {
            Form::Sse => Decoder::EventStream(Parser::new()),
            _ => Decoder::WebSocket(Vec::new()),
        };
        let outbox = peer.connection.outbox.clone();
        let over = loop {
            let phase = *self.phase.borrow_and_update();
            let next_word_at = listener.next_word_at();
            tokio::select! {
                biased;
                _ = self.server.changed() => {
                    // The process is gone, and everything in it.
                    peer.task.abort();
                    break Over::Cut;
                }
                _ = self.phase.changed() => {
                    if *self.phase.borrow() == Phase::Over {
                        break Over::Done;
                    }
                }
                () = &mut cut, if phase == Phase::Running => {
                    self.counter.cuts.set(self.counter.cuts.get() + 1);
                    break Over::Cut;
                }
                () = tokio::time::sleep_until(next_word_at.unwrap_or_else(Instant::now)), if next_word_at.is_some() => {
                    listener.words(phase).into_iter().for_each(|text| peer.say(text));
                }
                more = poll_fn(|context| outbox.poll_frame(context)) => match more {
                    None => break Over::Cut,
                    Some(more) => decoder.push(&more),
                },
            }
            if take_all(&mut decoder, &peer, listener).is_err() {
                break Over::Cut;
            }
            if phase == Phase::Running && self.dice.under(1000) < self.stalls {
                self.counter.stalls.set(self.counter.stalls.get() + 1);
                tokio::time::sleep(self.dice.delay(3000)).await;
            }
        };
        outbox.set_gone();
        over
    }
}

fn take_all(decoder: &mut Decoder, peer: &Peer, listener: &mut impl Listener) -> Result<(), Unusable> {
    while let Some(said) = decoder.next() {
        match said {
            Said::Close { code } => {
                listener.take_close(code);
                return Err(Unusable);
            }
            Said::Ping => {
                let _ = peer.sender.send(Incoming::SignOfLife);
            }
            Said::Message(message) => listener.take(Heard::Message(message))?,
            Said::Text(text) => listener.take(Heard::Text(text))?,
        }
    }
    Ok(())
}

impl Heard {
    /// Returns a message of a socket of the client libraries.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => serde_json::from_str(text).unwrap(),
            Self::Message(message) => panic!("this is no event stream: {message:?}"),
        }
    }
}

/// Returns the principal that every client is.
pub fn principal() -> Arc<Principal> {
    Arc::new(Principal {
        project: log::project(),
        key: KeyId::from_stored("key"),
        kind: KeyKind::Secret,
        scopes: Scopes::all(),
        limits: Default::default(),
        collection: None,
        user: None,
        params: Default::default(),
        seen: None,
    })
}
