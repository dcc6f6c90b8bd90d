//! The transfer coding of an event stream: chunks in, their data out.

use crate::http::Body;

/// The stream does not follow RFC 9112 §7.1.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("the stream's chunks are malformed")]
pub struct ChunkError;

/// Takes the chunks' framing off, wherever the reads have cut it.
pub struct ChunkDecoder(Framing);

/// Where in the transfer coding the next byte stands (RFC 9112 §7.1).
enum Framing {
    /// No coding: the stream ends when the connection does.
    Plain,
    /// In the line with a chunk's size; the part after a semicolon is ignored.
    Size { bytes: usize, in_extension: bool },
    /// In a chunk, with this many bytes to come.
    Data(usize),
    /// In the line end after a chunk.
    AfterData,
    /// Past the last chunk.
    Ended,
}

impl ChunkDecoder {
    /// A decoder for a response whose body ends like this.
    pub fn new(body: Body) -> Self {
        Self(match body {
            Body::Chunked => Framing::Size { bytes: 0, in_extension: false },
            Body::Sized(_) | Body::UntilClose => Framing::Plain,
        })
    }

    /// Takes the next bytes and hands over the data in them, in one or several pieces.
    pub fn feed(&mut self, mut bytes: &[u8], mut on_data: impl FnMut(&[u8])) -> Result<(), ChunkError> {
        while let Some((&byte, after)) = bytes.split_first() {
            self.0 = match self.0 {
                Framing::Plain => {
                    on_data(bytes);
                    return Ok(());
                }
                Framing::Ended => return Ok(()),
                Framing::Data(left) => {
                    let (data, rest) = bytes.split_at(left.min(bytes.len()));
                    on_data(data);
                    bytes = rest;
                    self.0 = match left - data.len() {
                        0 => Framing::AfterData,
                        left => Framing::Data(left),
                    };
                    continue;
                }
                Framing::AfterData => match byte {
                    b'\r' => Framing::AfterData,
                    b'\n' => Framing::Size { bytes: 0, in_extension: false },
                    _ => return Err(ChunkError),
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
                    _ => return Err(ChunkError),
                },
            };
            bytes = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(body: Body, parts: &[&[u8]]) -> Result<String, ChunkError> {
        let (mut decoder, mut data) = (ChunkDecoder::new(body), Vec::new());
        for part in parts {
            decoder.feed(part, |piece| data.extend_from_slice(piece))?;
        }
        Ok(String::from_utf8_lossy(&data).into_owned())
    }

    #[test]
    fn data_is_found_wherever_chunks_and_reads_cut_it() {
        let bytes = b"a\r\nid: 1\ndata\r\n3;x=y\r\n: {\r\n5\r\n}\n\n: \r\n0\r\n\r\n";
        let expected = Ok("id: 1\ndata: {}\n\n: ".to_owned());
        for cut in 0..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(data(Body::Chunked, &[first, second]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_body_without_chunks_is_data_as_it_is() {
        assert_eq!(
            data(Body::UntilClose, &[b"id: 1\r\nda", b"ta: 2\n"]),
            Ok("id: 1\r\ndata: 2\n".to_owned())
        );
    }

    #[test]
    fn a_chunk_size_that_is_not_a_number_is_refused() {
        assert_eq!(data(Body::Chunked, &[b"data: 1\n"]), Err(ChunkError));
    }
}
