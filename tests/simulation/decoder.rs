//! Decodes a connection's bytes.

use coir_client::{Message, sse::Parser};

/// Cuts the bytes of a connection into what the server says.
pub enum Decoder {
    EventStream(Parser),
    WebSocket(Vec<u8>),
}

/// A message of the server.
pub enum Said {
    /// A block of an event stream.
    Message(Message),
    /// A text frame of a WebSocket.
    Text(String),
    Ping,
    Close {
        code: u16,
    },
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::EventStream(parser) => parser.push(bytes),
            Self::WebSocket(buffer) => buffer.extend_from_slice(bytes),
        }
    }

    /// Returns what the server says next; `None` until more bytes come.
    pub fn next(&mut self) -> Option<Said> {
        match self {
            Self::EventStream(parser) => {
                while let Some(block) = parser.next_block() {
                    if let Some(message) = Message::from_block(&block).unwrap() {
                        return Some(Said::Message(message));
                    }
                }
                None
            }
            Self::WebSocket(buffer) => take_frame(buffer),
        }
    }
}

/// Takes a frame of a WebSocket. A server doesn't mask its frames, and ours sends each message in one.
fn take_frame(bytes: &mut Vec<u8>) -> Option<Said> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, header) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        length => (usize::from(length), 2),
    };
    if bytes.len() < header + length {
        return None;
    }
    let frame: Vec<u8> = bytes.drain(..header + length).collect();
    Some(match first {
        0x81 => {
            let text = std::str::from_utf8(&frame[header..]).unwrap();
            Said::Text(text.to_owned())
        }
        0x89 => Said::Ping,
        0x88 => Said::Close { code: u16::from_be_bytes([frame[header], frame[header + 1]]) },
        _ => panic!("a frame of an unknown kind: {first:x}"),
    })
}
