//! The reader and writer of one TCP connection, with its deadlines.
//!
//! actix bounds the head of the first request only, and knows neither keys nor how many sockets there are. So the HTTP
//! server reads and writes through this module.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::{
    handle::SocketHandle,
    limits::Sockets,
    refusal::{ArrivingHead, answer, find_refusal},
    state::Fate,
};
use crate::shares::MinimumRate;

/// How long the head of a request may take, from its first byte; that of the first request from the connection on.
const HEAD: Duration = Duration::from_secs(10);
/// How long a socket may stay idle between two requests.
const IDLE: Duration = Duration::from_secs(75);
/// The same while sockets are scarce.
const IDLE_IN_A_CROWD: Duration = Duration::from_secs(2);
/// How long a peer may take to read the last bytes after the end was decided.
const LAST_BYTES: Duration = Duration::from_secs(10);
const TOO_LATE: (&str, &str) =
    ("INVALID_BODY", "the head of the request did not come within 10 seconds; send it at once");
const NO_ROOM: (&str, &str) = ("OVERLOADED", "the server has too many connections; try again");

/// One TCP connection, as the HTTP server reads and writes it.
pub struct Socket {
    tcp: TcpStream,
    handle: SocketHandle,
    phase: Phase,
    /// The requests that had begun when the phase was last looked at.
    begun: u32,
    /// Whether bytes came since then.
    has_read: bool,
    /// Whether nothing more is read.
    has_ended: bool,
    /// Whether the peer doesn't take what is written.
    is_stuck: bool,
    /// The rate at which a stuck peer takes an answer.
    rate: Option<MinimumRate>,
    deadline: Option<Instant>,
    alarm: Option<Alarm>,
    waker: Option<Waker>,
    /// The head that is arriving, and the requests that had begun before it.
    head: (u32, ArrivingHead),
    /// The rest of an answer that takes the place of the parser's.
    answer: Option<Vec<u8>>,
}

/// The event that the server waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The rest of a request's head.
    Head,
    /// The answer to a request, or its body.
    Request,
    /// The next request.
    Idle,
    /// The last bytes to leave.
    Closing,
}

/// A timer that rings at the deadline or earlier. Deadlines move with every request, and moving a timer costs more than an
/// alarm that comes too early.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

/// The things that a socket may do now.
enum Verdict {
    Go,
    /// The peer is heard no more.
    End,
    Abort,
}

impl Socket {
    /// Takes a connection that was just accepted. If there is no room for it, it is told so and dropped.
    ///
    /// # Errors
    /// There is no room.
    pub fn open(tcp: TcpStream, sockets: &Arc<Sockets>) -> io::Result<(Self, Option<SocketAddr>)> {
        let peer = tcp.peer_addr().ok();
        let Some(handle) = SocketHandle::admit(sockets, peer.map(|peer| peer.ip())) else {
            // The peer may have sent a request that nobody reads; then it sees a connection that was reset.
            let allowed = sockets.allowed_origins.as_deref();
            let _ = tcp.try_write(&answer(
                "503 Service Unavailable",
                "retry-after: 1\r\n",
                NO_ROOM,
                allowed,
                None,
            ));
            return Err(io::Error::other("too many connections"));
        };
        let socket = Self {
            tcp,
            handle,
            phase: Phase::Head,
            begun: 0,
            has_read: false,
            has_ended: false,
            is_stuck: false,
            rate: None,
            deadline: Some(Instant::now() + HEAD),
            alarm: None,
            waker: None,
            head: Default::default(),
            answer: None,
        };
        Ok((socket, peer))
    }

    /// Returns the handle by which requests reach their socket.
    pub fn handle(&self) -> SocketHandle {
        self.handle.clone()
    }

    /// Says what the socket may do. `is_reading` is false while an answer may be under way, into which nothing else must be
    /// written.
    fn judge(&mut self, context: &mut Context<'_>, is_reading: bool) -> Verdict {
        self.listen(context);
        match self.handle.state.fate() {
            Fate::None => {}
            Fate::End if self.handle.state.is_busy() => {
                // That decision has used the waker up, and another one may follow.
                self.waker = None;
                self.listen(context);
            }
            Fate::End => self.begin_closing(),
            Fate::Abort => return self.abort(),
        }
        if self.is_late(context) {
            if self.rate.as_mut().is_some_and(MinimumRate::next_window) {
                self.deadline = self.rate.as_ref().map(MinimumRate::ends_at);
                self.set_alarm(context);
                return Verdict::Go;
            }
            if self.rate.is_some() || self.phase == Phase::Closing || !is_reading {
                return self.abort();
            }
            if self.phase == Phase::Head && !self.is_stuck {
                // If it doesn't fit, the peer gets no answer.
                let allowed = self.handle.sockets.allowed_origins.as_deref();
                let origin = self.head.1.origin();
                let _ = self.tcp.try_write(&answer("408 Request Timeout", "", TOO_LATE, allowed, origin));
            }
            self.begin_closing();
            self.set_alarm(context);
        }
        if self.phase == Phase::Closing { Verdict::End } else { Verdict::Go }
    }

    /// Takes note of bytes that came, if they belong to a head.
    fn note_head(&mut self, bytes: &[u8]) {
        let state = &self.handle.state;
        if state.is_busy() {
            return;
        }
        if self.head.0 != state.begun() {
            self.head = (state.begun(), ArrivingHead::default());
        }
        self.head.1.note(bytes);
    }

    /// Writes the answer that takes the place of the parser's, if `bytes` end with that; and before it, what they begin with. `None`
    /// if they have none.
    fn poll_answer(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.answer.is_none() {
            // While an answer is under way, the bytes are its.
            if self.handle.state.is_busy() {
                return None;
            }
            let refusal = find_refusal(bytes)?;
            if refusal.begin > 0 {
                return Some(Pin::new(&mut self.tcp).poll_write(context, &bytes[..refusal.begin]));
            }
            let allowed = self.handle.sockets.allowed_origins.as_deref();
            tracing::debug!("the HTTP parser has refused a request");
            self.answer = Some(self.head.1.answer(refusal, allowed));
        }
        let answer = self.answer.as_mut()?;
        while !answer.is_empty() {
            match Pin::new(&mut self.tcp).poll_write(context, answer) {
                Poll::Ready(Ok(written)) => drop(answer.drain(..written)),
                other => return Some(other),
            }
        }
        self.answer = None;
        Some(Poll::Ready(Ok(bytes.len())))
    }

    /// Gives up. What a stuck peer doesn't take is thrown away.
    fn abort(&self) -> Verdict {
        if self.is_stuck {
            // Otherwise the kernel would go on trying.
            let _ = self.tcp.set_zero_linger();
        }
        Verdict::Abort
    }

    fn begin_closing(&mut self) {
        if self.phase != Phase::Closing {
            self.phase = Phase::Closing;
            self.rate = None;
            self.deadline = Some(Instant::now() + LAST_BYTES);
        }
    }

    /// Looks what the server waits for now. The HTTP server has done all it can, and what it wrote has left or is stuck.
    fn settle(&mut self, context: &mut Context<'_>) {
        let state = &self.handle.state;
        if !state.is_known() && state.waits_since() == 0 {
            state.set_waits_since(self.handle.sockets.now());
        }
        let (begun, is_busy) = (state.begun(), state.is_busy());
        let (had_begun, has_read) =
            (std::mem::replace(&mut self.begun, begun), std::mem::take(&mut self.has_read));
        match self.phase {
            Phase::Closing => {}
            _ if is_busy => {
                self.phase = Phase::Request;
                if self.is_stuck && state.is_measured() {
                    self.rate.get_or_insert_with(MinimumRate::begin);
                } else {
                    self.rate = None;
                }
                self.deadline = self.rate.as_ref().map(MinimumRate::ends_at);
            }
            phase if phase == Phase::Request || begun != had_begun => {
                self.phase = Phase::Idle;
                self.rate = None;
                let idle =
                    if self.handle.sockets.is_crowded(&self.handle.state) { IDLE_IN_A_CROWD } else { IDLE };
                self.deadline = Some(Instant::now() + idle);
            }
            Phase::Idle if has_read => {
                self.phase = Phase::Head;
                self.deadline = Some(Instant::now() + HEAD);
            }
            _ => {}
        }
        self.set_alarm(context);
    }

    /// Makes sure that the alarm rings at the deadline or earlier.
    fn set_alarm(&mut self, context: &mut Context<'_>) {
        let Some(deadline) = self.deadline else { return };
        let alarm = self
            .alarm
            .get_or_insert_with(|| Alarm { sleep: Box::pin(tokio::time::sleep_until(deadline)), at: None });
        if alarm.at.is_none_or(|at| at > deadline) {
            alarm.sleep.as_mut().reset(deadline);
            alarm.at = Some(deadline);
            // From now on it wakes this task, unless it is too late for that already.
            if alarm.sleep.as_mut().poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
        }
    }

    /// Whether the deadline is over.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let Some(alarm) = self.alarm.as_mut().filter(|alarm| alarm.at.is_some() && alarm.sleep.is_elapsed())
        else {
            return false;
        };
        alarm.at = None;
        let is_late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        if !is_late {
            self.set_alarm(context);
        }
        is_late
    }

    /// Makes sure that a decision about this socket wakes its task.
    fn listen(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.handle.state.waker.register(context.waker());
            self.waker = Some(context.waker().clone());
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.judge(context, true) {
            Verdict::Go => {}
            Verdict::End => {
                self.has_ended = true;
                return Poll::Ready(Ok(()));
            }
            Verdict::Abort => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.tcp).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = outcome {
            if buffer.filled().len() == before {
                self.has_ended = true;
                self.begin_closing();
            } else {
                self.has_read = true;
                self.note_head(&buffer.filled()[before..]);
                if !self.handle.state.is_known() {
                    self.handle.state.set_waits_since(0);
                }
            }
        }
        outcome
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Verdict::Abort = self.judge(context, false) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = match self.poll_answer(context, bytes) {
            Some(outcome) => outcome,
            None => Pin::new(&mut self.tcp).poll_write(context, bytes),
        };
        if let (Poll::Ready(Ok(written)), Some(rate)) = (&outcome, &mut self.rate) {
            rate.note(*written);
        }
        self.is_stuck = outcome.is_pending();
        if self.is_stuck {
            self.settle(context);
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Verdict::Abort = self.judge(context, false) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        // Nobody is there for an answer that is still under way. The server itself would wait for it to be complete.
        if self.has_ended && self.handle.state.is_busy() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.settle(context);
        // The kernel takes what is written at once.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.handle.sockets.leave(&self.handle.state);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener, task::yield_now};

    use super::*;
    use crate::api::sockets::SocketLimits;

    #[tokio::test]
    async fn a_writer_whose_peer_does_not_read_hears_of_every_decision() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let limits = SocketLimits { open: 10, unauthenticated: 10, unauthenticated_per_address: 10 };
        let sockets = Sockets::new(limits, None);
        let (mut socket, _) = Socket::open(tcp, &sockets).unwrap();
        let handle = socket.handle();
        let _request = handle.begin_request();
        let writer = tokio::spawn(async move { while socket.write_all(&[0; 1 << 16]).await.is_ok() {} });
        // On this one thread, the writer runs until it is stuck.
        for _ in 0..10_000 {
            yield_now().await;
        }
        handle.end();
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!writer.is_finished(), "the request is still in progress");
        handle.abort();
        tokio::time::timeout(Duration::from_secs(20), writer).await.expect("nobody woke the writer").unwrap();
        assert_eq!(sockets.open(), 0);
    }

    /// Returns whether the server gives up a request whose peer reads nothing.
    async fn is_given_up(is_measured: bool) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let limits = SocketLimits { open: 10, unauthenticated: 10, unauthenticated_per_address: 10 };
        let (mut socket, _) = Socket::open(tcp, &Sockets::new(limits, None)).unwrap();
        let request = socket.handle().begin_request();
        if is_measured {
            request.set_measured();
        }
        let writer = async move { while socket.write_all(&[0; 1 << 16]).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(3600), writer).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_a_known_length_must_be_taken_but_a_stream_waits_for_its_peer() {
        assert!(is_given_up(true).await);
        assert!(!is_given_up(false).await);
    }
}
