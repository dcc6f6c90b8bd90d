//! The loop that every live stream runs in, whatever it is about.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::Instant;

use super::{
    connection::Connection,
    conversation::{Conversation, Dialect, End},
    pace::Pace,
};
use crate::{api::sockets::SocketHandle, hub::Outbox, wire::CloseCode};

/// How long a client may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// How long a peer may take to answer a close frame.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long a peer may take to read the last frames.
const LAST_FRAMES: Duration = Duration::from_secs(10);
/// A message of more bytes takes a while to read, after which everyone else on this thread has a turn.
const LONG: usize = 4096;
/// A peer that gives no sign of life for this many heartbeats is taken for gone.
const SILENT_HEARTBEATS: u32 = 3;

/// Something that came in from a client.
pub enum Incoming {
    /// A text message.
    Text(String),
    /// A message that is not text.
    Binary,
    /// A frame to be written back as it is: the answer to a ping.
    Answer(Bytes),
    /// A frame that is no message, but shows that the peer is there.
    SignOfLife,
    /// The peer has sent its close frame, or has gone.
    Goodbye,
    /// The peer broke the rules of the transport, and can't be understood any more.
    Breach(CloseCode, &'static str),
}

/// One live stream and the loop that serves it. Lives on one worker thread, in one task.
pub struct Session<C> {
    connection: Rc<Connection>,
    conversation: C,
    pace: Pace,
    last_heard: Instant,
    last_taken: u64,
    farewell: Farewell,
}

/// The part that the peer takes in the end of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// It can answer the server's close frame.
    Open,
    /// It has said goodbye already.
    Said,
    /// It can't be understood any more.
    Broken,
}

impl<C: Conversation + Dialect> Session<C> {
    /// Makes a session whose client may talk as fast as it likes, as long as it reads the answers.
    pub fn new(connection: Rc<Connection>, conversation: C) -> Self {
        Self::paced(connection, conversation, Pace::unlimited())
    }

    /// Makes a session whose client may talk at a pace, because others hear what it says.
    pub fn paced(connection: Rc<Connection>, conversation: C, pace: Pace) -> Self {
        Self {
            connection,
            conversation,
            pace,
            last_heard: Instant::now(),
            last_taken: 0,
            farewell: Farewell::Open,
        }
    }

    /// Serves the connection until its peer is gone, it breaks a rule, or the server stops. Then closes it.
    pub async fn run(mut self, incoming: impl Stream<Item = Incoming>) {
        let (outbox, socket) = (self.connection.outbox.clone(), self.connection.socket.clone());
        let mut unfinished = Unfinished { outbox, socket, is_over: false };
        let mut incoming = std::pin::pin!(incoming);
        let end = self.serve(&mut incoming).await;
        let Self { connection, conversation, farewell, .. } = self;
        let close = connection.form.close(end.code, end.reason);
        let (outbox, socket, hears) =
            (connection.outbox.clone(), connection.socket.clone(), connection.form.hears());
        // The last frames and the end are one step, since a queue that is full, or closed for a revoked key, takes no other
        // frames.
        outbox.seal(end.last.into_iter().chain(close));
        // It counts no more, and is served no more.
        drop((conversation, connection));
        if hears && farewell == Farewell::Open {
            tokio::select! {
                // A peer that doesn't answer has had the time to read why.
                _ = tokio::time::timeout(GOODBYE, said_goodbye(&mut incoming)) => {}
                () = outbox.gone() => {}
            }
        }
        outbox.finish();
        // RFC 6455 §7.1.1: after both close frames, the server closes TCP at once. What a broken peer still sends is read for
        // a while instead: if it weren't, TCP would throw away the close frame.
        if hears && farewell != Farewell::Broken {
            socket.end();
        }
        if tokio::time::timeout(LAST_FRAMES, outbox.gone()).await.is_err() {
            socket.abort();
        }
        unfinished.is_over = true;
    }

    async fn serve(&mut self, incoming: &mut (impl Stream<Item = Incoming> + Unpin)) -> End {
        let connection = self.connection.clone();
        let outbox = &connection.outbox;
        let mut heartbeat = tokio::time::interval(connection.realtime.heartbeat);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        heartbeat.reset();
        let deadline = tokio::time::sleep_until(connection.opened + INTRODUCTION);
        let mut deadline = std::pin::pin!(deadline);
        let mut stop = connection.realtime.stop.clone();
        let mut is_open = true;
        loop {
            if outbox.is_gone() {
                return End::new(CloseCode::Normal, "");
            }
            if let Some(reason) = outbox.close_reason() {
                return self.conversation.closed(reason);
            }
            // A client that talks too fast is read later. Its own sends then wait (back-pressure), and nothing is lost.
            let pause = self.pace.pause();
            // In one order, so that the simulation can repeat a run: rare events first, and last what a peer can always have
            // ready.
            let step = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Err(End::new(CloseCode::Away, "the server stops")),
                () = &mut deadline, if !self.conversation.is_known() => Err(self.conversation.late()),
                _ = heartbeat.tick() => self.beat(),
                () = outbox.changed() => Ok(()),
                // If it is dropped, the next call goes on where this one was.
                news = self.conversation.serve() => self.conversation.react(news).await,
                () = tokio::time::sleep(pause), if !pause.is_zero() => Ok(()),
                // Answers count as well: while the queue is full, no more messages are read.
                message = incoming.next(), if is_open && pause.is_zero() && outbox.has_room() => match message {
                    Some(message) => {
                        let is_long = matches!(&message, Incoming::Text(text) if text.len() > LONG);
                        let heard = self.hear(message).await;
                        if is_long {
                            tokio::task::yield_now().await;
                        }
                        heard
                    }
                    None => {
                        is_open = false;
                        Ok(())
                    }
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn hear(&mut self, message: Incoming) -> Result<(), End> {
        self.last_heard = Instant::now();
        match message {
            Incoming::Goodbye => {
                self.farewell = Farewell::Said;
                Err(End::new(CloseCode::Normal, ""))
            }
            Incoming::Breach(code, reason) => {
                self.farewell = Farewell::Broken;
                Err(End::new(code, reason))
            }
            Incoming::SignOfLife => Ok(()),
            Incoming::Answer(frame) => {
                self.pace.count();
                self.connection.outbox.send(frame);
                Ok(())
            }
            Incoming::Binary => self.conversation.hear_binary(),
            Incoming::Text(text) => {
                self.pace.count();
                self.conversation.hear(text).await
            }
        }
    }

    /// Writes a heartbeat, and ends the connection if the peer gives no sign of life.
    fn beat(&mut self) -> Result<(), End> {
        let outbox = &self.connection.outbox;
        let taken = outbox.taken();
        let has_taken = std::mem::replace(&mut self.last_taken, taken) != taken;
        let is_alive = if self.connection.form.hears() {
            // While the queue is full, nothing is heard. While it isn't, the peer answers pings.
            has_taken && !outbox.has_room()
        } else {
            has_taken || outbox.is_empty()
        };
        if is_alive {
            self.last_heard = Instant::now();
        }
        // Until the client has said who it is, the deadline for that ends the connection.
        let is_silent = self.last_heard.elapsed() > SILENT_HEARTBEATS * self.connection.realtime.heartbeat;
        if is_silent && self.conversation.is_known() {
            return Err(End::new(CloseCode::Away, "no sign of life"));
        }
        let cursor = self.conversation.beat();
        // A full queue needs no heartbeat.
        outbox.push(self.connection.form.heartbeat(cursor.as_deref()));
        outbox.wake_body();
        Ok(())
    }
}

/// Cuts the connection if its session panics. Its peer would wait for events otherwise, and now it comes back.
struct Unfinished {
    outbox: Rc<Outbox>,
    socket: SocketHandle,
    is_over: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_over {
            self.outbox.finish();
            self.socket.abort();
        }
    }
}

/// Reads on until the peer has sent its close frame, or is gone.
async fn said_goodbye(incoming: &mut (impl Stream<Item = Incoming> + Unpin)) {
    while let Some(message) = incoming.next().await {
        if matches!(message, Incoming::Goodbye) {
            return;
        }
    }
}
