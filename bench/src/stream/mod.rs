//! One open stream of events: its handshake, the messages that come, and the pongs that go back.
//!
//! [`chunked`] and [`websocket`] take the framing off; server-sent events are then parsed by `coir-client`. All of it works on
//! reused buffers, because on one machine the generator takes its processor time from the server.

mod chunked;
pub mod websocket;

use std::cell::RefCell;
use std::io;

use clap::ValueEnum;
use coir_client::sse::{Block, Parser};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{Head, HttpError, Site};
use chunked::{ChunkDecoder, ChunkError};
use websocket::{Frame, FrameDecoder, FrameError, push_pong, upgrade_request};

/// The size of the buffer into which all streams of a thread read, one after the other.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// How clients are connected.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Transport {
    /// WebSocket
    Ws,
    /// Server-sent events
    Sse,
}

/// Why a stream could not begin, or ended too early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error("the server answered {0}: {1}")]
    Status(u16, String),
    #[error("the server refused the subscription: {0}")]
    Refused(String),
    #[error("the server closed the connection, code {0:?}")]
    Closed(Option<u16>),
    #[error("the server did not confirm the subscription in time")]
    Timeout,
}

/// A message of either transport.
pub enum Message<'a> {
    /// The text of a WebSocket message.
    Text(&'a [u8]),
    /// A block of server-sent events.
    Block(Block<'a>),
}

/// A connection and the part of a message that has come so far.
pub struct EventStream {
    stream: TcpStream,
    decoder: Decoder,
    /// Bytes that came together with the response's head.
    early: Vec<u8>,
    /// Pongs to be written.
    replies: Vec<u8>,
}

enum Decoder {
    Ws(FrameDecoder),
    Sse(ChunkDecoder, Parser),
}

impl EventStream {
    /// Opens a WebSocket and sends these frames.
    pub async fn open_websocket(site: &Site, frames: &[u8]) -> Result<Self, StreamError> {
        let (mut stream, _, early) = open(site, &upgrade_request(site), 101).await?;
        stream.write_all(frames).await?;
        Ok(Self { stream, decoder: Decoder::Ws(FrameDecoder::default()), early, replies: Vec::new() })
    }

    /// Opens a stream of server-sent events. `request` is a whole one, such as [`sse_request`] makes.
    pub async fn open_sse(site: &Site, request: &[u8]) -> Result<Self, StreamError> {
        let (stream, head, early) = open(site, request, 200).await?;
        let decoder = Decoder::Sse(ChunkDecoder::new(head.body), Parser::new());
        Ok(Self { stream, decoder, early, replies: Vec::new() })
    }

    /// Sends frames.
    pub async fn send(&mut self, frames: &[u8]) -> Result<(), StreamError> {
        Ok(self.stream.write_all(frames).await?)
    }

    /// Waits for bytes, hands over each message that is now complete, and returns how many bytes were read.
    ///
    /// An error of `on_message` ends the stream. `scratch` holds [`SCRATCH_BYTES`] and is shared by the streams of a thread.
    pub async fn read_once(
        &mut self,
        scratch: &RefCell<Vec<u8>>,
        mut on_message: impl FnMut(Message<'_>) -> Result<(), StreamError>,
    ) -> Result<usize, StreamError> {
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
        on_message: &mut impl FnMut(Message<'_>) -> Result<(), StreamError>,
    ) -> Result<usize, StreamError> {
        match self.stream.try_read(scratch) {
            Ok(0) => Err(StreamError::Closed(None)),
            Ok(bytes) => self.decode(&scratch[..bytes], on_message),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn decode(
        &mut self,
        bytes: &[u8],
        on_message: &mut impl FnMut(Message<'_>) -> Result<(), StreamError>,
    ) -> Result<usize, StreamError> {
        match &mut self.decoder {
            Decoder::Ws(frames) => {
                let (mut outcome, mut closed) = (Ok(()), None);
                frames.feed(bytes, |frame| match frame {
                    Frame::Text(text) if outcome.is_ok() => outcome = on_message(Message::Text(text)),
                    Frame::Ping(payload) => push_pong(&mut self.replies, payload),
                    Frame::Close(code) => closed = Some(StreamError::Closed(code)),
                    Frame::Text(_) | Frame::Other => {}
                })?;
                outcome?;
                closed.map_or(Ok(bytes.len()), Err)
            }
            Decoder::Sse(chunks, parser) => {
                chunks.feed(bytes, |data| parser.push(data))?;
                while let Some(block) = parser.next_block() {
                    on_message(Message::Block(block))?;
                }
                Ok(bytes.len())
            }
        }
    }
}

/// Makes the request for the event stream of the site's collection. The parameters are ASCII, and each line of `headers` ends
/// in CRLF.
pub fn sse_request(site: &Site, query: &[(&str, &str)], headers: &str) -> Vec<u8> {
    let mut path = format!("/realtime/sse/{}", site.collection);
    for (place, (name, value)) in query.iter().enumerate() {
        path.push_str(&format!("{}{name}=", if place == 0 { '?' } else { '&' }));
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    site.get(&path, &format!("accept: text/event-stream\r\n{headers}"))
}

/// Connects, sends the request, and returns the stream, the response's head and the bytes after it.
async fn open(site: &Site, request: &[u8], status: u16) -> Result<(TcpStream, Head, Vec<u8>), StreamError> {
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
        return Err(StreamError::Status(head.status, String::from_utf8_lossy(&rest).into_owned()));
    }
}
