//! One open stream of events: its handshake, the messages or lines that it brings, the pongs that it owes.

use std::cell::RefCell;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{Head, HttpError, Site};
use crate::sse::{LineDecoder, StreamError};
use crate::websocket::{Frame, FrameDecoder, FrameError, push_pong, upgrade_request};

/// Why a subscriber could not begin, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the server answered {0}: {1}")]
    Status(u16, String),
    #[error("the server refused the subscription: {0}")]
    Refused(String),
    #[error("the server closed the connection, code {0:?}")]
    Closed(Option<u16>),
    #[error("no sign in time that the subscription is effective")]
    Timeout,
}

/// What a stream brings.
pub enum Message<'a> {
    /// A WebSocket message.
    Text(&'a [u8]),
    /// A line of server-sent events.
    Line(&'a [u8]),
}

/// A connection and what is read from it.
pub struct EventStream {
    stream: TcpStream,
    decoder: Decoder,
    /// What came together with the response's head.
    early: Vec<u8>,
    /// Pongs to be written.
    replies: Vec<u8>,
}

enum Decoder {
    Ws(FrameDecoder),
    Sse(LineDecoder),
}

impl EventStream {
    /// Opens a WebSocket and sends these frames.
    pub async fn open_websocket(site: &Site, frames: &[u8]) -> Result<Self, SubscribeError> {
        let (mut stream, _, early) = open(site, &upgrade_request(site), 101).await?;
        stream.write_all(frames).await?;
        Ok(Self { stream, decoder: Decoder::Ws(FrameDecoder::default()), early, replies: Vec::new() })
    }

    /// Opens a stream of server-sent events with a whole request.
    pub async fn open_sse(site: &Site, request: &[u8]) -> Result<Self, SubscribeError> {
        let (stream, head, early) = open(site, request, 200).await?;
        let decoder = Decoder::Sse(LineDecoder::new(head.body));
        Ok(Self { stream, decoder, early, replies: Vec::new() })
    }

    /// Waits until something can be read and hands over what is whole; an error of `on_message` ends the stream. Returns
    /// how many bytes were read. `scratch` is what all streams of a thread read into, one after the other.
    pub async fn read_once(
        &mut self,
        scratch: &RefCell<Vec<u8>>,
        mut on_message: impl FnMut(Message<'_>) -> Result<(), SubscribeError>,
    ) -> Result<usize, SubscribeError> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            return self.decode(&early, &mut on_message);
        }
        self.stream.readable().await?;
        let bytes = self.read_ready(&mut scratch.borrow_mut(), &mut on_message)?;
        if !self.replies.is_empty() {
            self.stream.write_all(&self.replies).await?;
            self.replies.clear();
        }
        Ok(bytes)
    }

    fn read_ready(
        &mut self,
        scratch: &mut [u8],
        on_message: &mut impl FnMut(Message<'_>) -> Result<(), SubscribeError>,
    ) -> Result<usize, SubscribeError> {
        match self.stream.try_read(scratch) {
            Ok(0) => Err(SubscribeError::Closed(None)),
            Ok(bytes) => self.decode(&scratch[..bytes], on_message),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn decode(
        &mut self,
        bytes: &[u8],
        on_message: &mut impl FnMut(Message<'_>) -> Result<(), SubscribeError>,
    ) -> Result<usize, SubscribeError> {
        let mut outcome = Ok(());
        let mut hand_over = |message: Message<'_>| {
            if outcome.is_ok() {
                outcome = on_message(message);
            }
        };
        let mut closed = None;
        match &mut self.decoder {
            Decoder::Ws(frames) => frames.feed(bytes, |frame| match frame {
                Frame::Text(text) => hand_over(Message::Text(text)),
                Frame::Ping(payload) => push_pong(&mut self.replies, payload),
                Frame::Close(code) => closed = Some(SubscribeError::Closed(code)),
                Frame::Other => {}
            })?,
            Decoder::Sse(lines) => lines.feed(bytes, |line| hand_over(Message::Line(line)))?,
        }
        outcome?;
        closed.map_or(Ok(bytes.len()), Err)
    }
}

/// Connects, sends the request, and returns the stream, the response's head and what came behind it.
async fn open(
    site: &Site,
    request: &[u8],
    status: u16,
) -> Result<(TcpStream, Head, Vec<u8>), SubscribeError> {
    let mut stream = site.server.open_stream().await?;
    stream.write_all(request).await?;
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(HttpError::Closed.into());
        }
        let Some(head) = Head::parse(&bytes)? else { continue };
        let rest = bytes.split_off(head.bytes);
        if head.status == status {
            return Ok((stream, head, rest));
        }
        return Err(SubscribeError::Status(head.status, String::from_utf8_lossy(&rest).into_owned()));
    }
}
