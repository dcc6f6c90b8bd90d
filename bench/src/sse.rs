//! The little of Server-Sent Events that a subscriber needs: the request, chunks, lines.

use crate::http::{Body, Site};

/// Why a stream could not be read.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum StreamError {
    #[error("the stream's chunks are malformed")]
    MalformedChunk,
}

/// Cuts what is read from the socket into lines; keeps the part of one that has not all arrived.
pub struct LineDecoder {
    framing: Framing,
    pending: Vec<u8>,
}

/// Where in the transfer coding the next byte stands (RFC 9112 §7.1).
enum Framing {
    /// No coding: the stream ends when the connection does.
    Plain,
    /// In the line with a chunk's size; what follows a semicolon is ignored.
    Size { bytes: usize, in_extension: bool },
    /// In a chunk, with this much of it to come.
    Data(usize),
    /// In the line end after a chunk.
    AfterData,
    /// Past the last chunk.
    Ended,
}

/// The request that opens the stream of the site's collection, with these parameters, of ASCII only, and lines of
/// `headers` that each end in CRLF.
pub fn stream_request(site: &Site, query: &[(&str, &str)], headers: &str) -> Vec<u8> {
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

impl LineDecoder {
    /// A decoder for a response whose body ends like this.
    pub fn new(body: Body) -> Self {
        let framing = match body {
            Body::Chunked => Framing::Size { bytes: 0, in_extension: false },
            Body::Sized(_) | Body::UntilClose => Framing::Plain,
        };
        Self { framing, pending: Vec::new() }
    }

    /// Takes the next bytes and hands over each line that is now whole, without its end.
    pub fn feed(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(&[u8])) -> Result<(), StreamError> {
        while let Some((&byte, after)) = bytes.split_first() {
            self.framing = match self.framing {
                Framing::Plain => {
                    split_lines(&mut self.pending, bytes, &mut on_line);
                    return Ok(());
                }
                Framing::Ended => return Ok(()),
                Framing::Data(left) => {
                    let (data, rest) = bytes.split_at(left.min(bytes.len()));
                    split_lines(&mut self.pending, data, &mut on_line);
                    bytes = rest;
                    self.framing = if data.len() == left {
                        Framing::AfterData
                    } else {
                        Framing::Data(left - data.len())
                    };
                    continue;
                }
                Framing::AfterData => match byte {
                    b'\r' => Framing::AfterData,
                    b'\n' => Framing::Size { bytes: 0, in_extension: false },
                    _ => return Err(StreamError::MalformedChunk),
                },
                Framing::Size { bytes, in_extension } => match (byte, char::from(byte).to_digit(16)) {
                    (b'\n', _) if bytes == 0 => Framing::Ended,
                    (b'\n', _) => Framing::Data(bytes),
                    (b'\r', _) => Framing::Size { bytes, in_extension },
                    (b';', _) => Framing::Size { bytes, in_extension: true },
                    _ if in_extension => Framing::Size { bytes, in_extension },
                    (_, Some(digit)) if bytes < usize::MAX >> 4 => {
                        Framing::Size { bytes: bytes << 4 | digit as usize, in_extension }
                    }
                    _ => return Err(StreamError::MalformedChunk),
                },
            };
            bytes = after;
        }
        Ok(())
    }
}

fn split_lines(pending: &mut Vec<u8>, mut bytes: &[u8], on_line: &mut impl FnMut(&[u8])) {
    while let Some(length) = bytes.iter().position(|&byte| byte == b'\n') {
        let (line, rest) = (&bytes[..length], &bytes[length + 1..]);
        if pending.is_empty() {
            on_line(line.trim_ascii_end());
        } else {
            pending.extend_from_slice(line);
            on_line(pending.trim_ascii_end());
            pending.clear();
        }
        bytes = rest;
    }
    pending.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(body: Body, parts: &[&[u8]]) -> Result<Vec<String>, StreamError> {
        let mut decoder = LineDecoder::new(body);
        let mut lines = Vec::new();
        for part in parts {
            decoder.feed(part, |line| lines.push(String::from_utf8_lossy(line).into_owned()))?;
        }
        Ok(lines)
    }

    #[test]
    fn lines_are_found_wherever_chunks_and_reads_cut_them() {
        let bytes = b"a\r\nid: 1\ndata\r\n3;x=y\r\n: {\r\n5\r\n}\n\n: \r\n0\r\n\r\n";
        let expected = Ok(["id: 1", "data: {}", ""].map(str::to_owned).to_vec());
        for cut in 0..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(lines(Body::Chunked, &[first, second]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_stream_without_chunks_is_lines_at_once() {
        let expected = Ok(vec!["id: 1".to_owned(), "data: 2".to_owned()]);
        assert_eq!(lines(Body::UntilClose, &[b"id: 1\r\nda", b"ta: 2\n"]), expected);
    }

    #[test]
    fn a_chunk_size_that_is_no_number_is_refused() {
        assert_eq!(lines(Body::Chunked, &[b"data: 1\n"]), Err(StreamError::MalformedChunk));
    }
}
