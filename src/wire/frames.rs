//! WebSocket frames of a server: never masked, and never in fragments (RFC 6455, section 5).

use bytes::{BufMut, Bytes, BytesMut};

/// Close codes (RFC 6455, section 7.4, and the registry that it set up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The client closed the connection.
    Normal = 1000,
    /// The server stops, or the peer gives no sign of life.
    Away = 1001,
    /// The bytes are not WebSocket.
    Protocol = 1002,
    /// A text frame is not UTF-8.
    InvalidData = 1007,
    /// The client did not authenticate in time, or is no longer allowed.
    NotAllowed = 1008,
    /// A message is larger than it may be.
    TooBig = 1009,
    /// The client should reconnect: there are too many connections, or missed changes can't be sent any more.
    TryAgain = 1013,
}

/// Encodes a text frame.
pub fn text_frame(text: &[u8]) -> Bytes {
    let mut frame = frame_header(text.len(), text.len());
    frame.put_slice(text);
    frame.freeze()
}

/// Returns the header of a text frame whose payload has `length` bytes, with room for `room` bytes of it.
pub fn frame_header(length: usize, room: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(10 + room);
    frame.put_u8(0x81);
    match length {
        0..=125 => frame.put_u8(length as u8),
        126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame
}

/// Encodes a close frame.
pub fn close_frame(code: CloseCode, reason: &str) -> Bytes {
    // RFC 6455, section 5.5: a control frame's payload fits in 125 bytes; ours are short sentences.
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    let mut frame = BytesMut::with_capacity(4 + reason.len());
    frame.put_u8(0x88);
    frame.put_u8(2 + reason.len() as u8);
    frame.put_u16(code as u16);
    frame.put_slice(reason);
    frame.freeze()
}

/// Returns an empty ping, which every client library answers by itself (RFC 6455, section 5.5.2).
pub fn ping_frame() -> Bytes {
    Bytes::from_static(&[0x89, 0])
}

/// Encodes the answer to a ping with this payload (RFC 6455, section 5.5.3).
pub fn pong_frame(payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(125)];
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    frame.put_u8(0x8a);
    frame.put_u8(payload.len() as u8);
    frame.put_slice(payload);
    frame.freeze()
}
