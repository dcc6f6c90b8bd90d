//! The part of RFC 6455 that a subscriber needs: the upgrade, masked frames out, unmasked frames in.

use crate::http::Site;

/// The key may be any 16 bytes in base64; the server's answer to it is not checked.
const UPGRADE: &str = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: Y29pci1iZW5jaC1jbGllbg==\r\n";
/// RFC 6455 §5.3 asks for an unpredictable key, to protect proxies. There is none between this client and its server.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// A frame from the server.
#[derive(Debug, PartialEq)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Close(Option<u16>),
    /// A pong, or binary data.
    Other,
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FrameError {
    #[error("the server sent a masked frame")]
    Masked,
    #[error("the server sent a frame with reserved bits")]
    Reserved,
    #[error("the server sent a message in fragments, which this client cannot read")]
    Fragmented,
}

/// Cuts the bytes of a socket into frames, and keeps the part of a frame whose rest is still to come.
#[derive(Default)]
pub struct FrameDecoder {
    pending: Vec<u8>,
}

/// Makes the request that opens `/realtime`. The key is sent again in the `auth` message, as the protocol asks.
pub fn upgrade_request(site: &Site) -> Vec<u8> {
    site.get("/realtime", UPGRADE)
}

/// Appends a masked text frame.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    push_frame(out, 0x1, text.as_bytes());
}

/// Appends a masked pong that answers a ping.
pub fn push_pong(out: &mut Vec<u8>, payload: &[u8]) {
    push_frame(out, 0xa, payload);
}

impl FrameDecoder {
    /// Takes the next bytes and hands over each frame that is now complete.
    pub fn feed(&mut self, bytes: &[u8], mut on_frame: impl FnMut(Frame<'_>)) -> Result<(), FrameError> {
        if self.pending.is_empty() {
            let used = split_frames(bytes, &mut on_frame)?;
            self.pending.extend_from_slice(&bytes[used..]);
        } else {
            self.pending.extend_from_slice(bytes);
            let used = split_frames(&self.pending, &mut on_frame)?;
            self.pending.drain(..used);
        }
        Ok(())
    }
}

/// Hands over the complete frames at the start of `bytes` and returns how many bytes they took.
fn split_frames(bytes: &[u8], on_frame: &mut impl FnMut(Frame<'_>)) -> Result<usize, FrameError> {
    let mut at = 0;
    while let Some((frame, used)) = parse_frame(&bytes[at..])? {
        on_frame(frame);
        at += used;
    }
    Ok(at)
}

fn parse_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(FrameError::Reserved);
    }
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    let (is_final, opcode) = (first & 0x80 != 0, first & 0x0f);
    if !is_final || opcode == 0x0 {
        return Err(FrameError::Fragmented);
    }
    let (header_bytes, payload_bytes): (usize, usize) = match second {
        126 => match rest.first_chunk() {
            Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (10, u64::from_be_bytes(*length) as usize),
            None => return Ok(None),
        },
        length => (2, usize::from(length)),
    };
    let end = header_bytes.saturating_add(payload_bytes);
    let Some(payload) = bytes.get(header_bytes..end) else { return Ok(None) };
    let frame = match opcode {
        0x1 => Frame::Text(payload),
        0x8 => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        0x9 => Frame::Ping(payload),
        _ => Frame::Other,
    };
    Ok(Some((frame, end)))
}

fn push_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ ..126 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(parts: &[&[u8]]) -> Result<Vec<usize>, FrameError> {
        let mut decoder = FrameDecoder::default();
        let mut lengths = Vec::new();
        for part in parts {
            decoder.feed(part, |frame| {
                if let Frame::Text(text) = frame {
                    lengths.push(text.len());
                }
            })?;
        }
        Ok(lengths)
    }

    #[test]
    fn frames_are_found_wherever_the_reads_cut_them() {
        let mut bytes = vec![0x81, 2, b'h', b'i', 0x81, 126, 1, 44];
        bytes.extend([b'x'; 300]);
        bytes.extend([0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend([b'y'; 65_536]);
        for cut in (0..320).chain([bytes.len() - 1]) {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(texts(&[first, second]), Ok(vec![2, 300, 65_536]), "cut at {cut}");
        }
    }

    #[test]
    fn frames_that_break_the_protocol_are_refused() {
        assert_eq!(texts(&[&[0x81, 0x82, 0, 0, 0, 0, 0, 0]]), Err(FrameError::Masked));
        assert_eq!(texts(&[&[0xc1, 0]]), Err(FrameError::Reserved));
        assert_eq!(texts(&[&[0x01, 0]]), Err(FrameError::Fragmented));
    }

    #[test]
    fn control_frames_are_told_apart() {
        let cases: [(&[u8], Frame<'_>); 4] = [
            (&[0x89, 1, b'p'], Frame::Ping(b"p")),
            (&[0x88, 2, 3, 245], Frame::Close(Some(1013))),
            (&[0x88, 0], Frame::Close(None)),
            (&[0x8a, 0], Frame::Other),
        ];
        for (bytes, frame) in cases {
            assert_eq!(parse_frame(bytes), Ok(Some((frame, bytes.len()))));
        }
    }

    #[test]
    fn an_outgoing_text_is_masked() {
        let mut out = Vec::new();
        push_text(&mut out, &"a".repeat(200));
        assert_eq!(&out[..8], &[0x81, 0xfe, 0, 200, 0x5a, 0xa5, 0x3c, 0xc3]);
        let unmasked: Vec<u8> =
            out[8..].iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(unmasked, [b'a'; 200]);
    }
}
