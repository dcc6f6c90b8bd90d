//! Server-sent events: an incremental parser from bytes to [`Block`]s.
//!
//! It follows the [event stream format] of the HTML standard. One thing differs: a block without `data` is returned as well,
//! because a Coir server sends such blocks to move the cursor of an idle stream.
//!
//! [event stream format]: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

use std::{borrow::Cow, ops::Range, time::Duration};

const BOM: &[u8] = b"\xef\xbb\xbf";
/// An empty buffer gives back the memory above this. Most blocks are smaller, so it is rarely allocated again.
const KEPT_BYTES: usize = 64 * 1024;

/// One block of an event stream: the lines before an empty line.
///
/// ```
/// use coir_client::sse::Parser;
///
/// let mut parser = Parser::new();
/// parser.push(b"id: 7\ndata: first line\nda");
/// assert_eq!(parser.next_block(), None); // the empty line is still to come
/// parser.push(b"ta: second line\n\n");
/// let block = parser.next_block().expect("the block is complete");
/// assert_eq!(block.id.as_deref(), Some("7"));
/// assert_eq!(block.data.as_deref(), Some("first line\nsecond line"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block<'a> {
    /// The last event id from here on. An empty one clears the id that was set before; `None` leaves it as it is.
    pub id: Option<Cow<'a, str>>,
    /// The event's name; `None` for the default name, `message`.
    pub event: Option<Cow<'a, str>>,
    /// The values of all `data` lines, joined by line feeds.
    pub data: Option<Cow<'a, str>>,
    /// How long to wait before connecting again after the stream was cut.
    pub retry: Option<Duration>,
    /// The last comment line.
    pub comment: Option<Cow<'a, str>>,
}

impl Block<'_> {
    /// Copies what the block borrows from its parser.
    pub fn into_owned(self) -> Block<'static> {
        let own = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Block {
            id: own(self.id),
            event: own(self.event),
            data: own(self.data),
            retry: self.retry,
            comment: own(self.comment),
        }
    }
}

/// Cuts the bytes of an event stream into blocks, wherever the reads have cut them.
///
/// Each byte is copied once, into the parser's buffer, and scanned once; a block borrows from that buffer. The buffer has no
/// limit of its own: a caller who doesn't trust the server checks [`Parser::buffered_bytes`].
#[derive(Debug, Default)]
pub struct Parser {
    buffer: Vec<u8>,
    /// Where the current block begins. The bytes before it are done with.
    block: usize,
    /// Where the current line begins.
    line: usize,
    /// How far the current line has been scanned for its end.
    scanned: usize,
    draft: Draft,
    state: State,
    /// The last line ended in CR, so an LF that follows belongs to the same line end.
    is_after_cr: bool,
    /// The byte order mark at the start of the stream, if any, was skipped.
    is_past_bom: bool,
}

/// Whether the draft belongs to the current block or to the one that was returned last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Reading,
    Returned,
}

/// The fields of a block, as ranges from the block's beginning.
#[derive(Debug, Default)]
struct Draft {
    has_lines: bool,
    id: Option<Range<usize>>,
    event: Option<Range<usize>>,
    data: Option<Range<usize>>,
    /// All of `data`, if it has several lines.
    joined: Option<Vec<u8>>,
    retry: Option<Duration>,
    comment: Option<Range<usize>>,
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that came from the server.
    pub fn push(&mut self, bytes: &[u8]) {
        self.discard_done();
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete block; `None` until more bytes are pushed.
    ///
    /// A block that the end of the stream leaves incomplete is never returned, as the standard asks.
    pub fn next_block(&mut self) -> Option<Block<'_>> {
        self.finish_returned();
        loop {
            let line = self.next_line()?;
            if !line.is_empty() {
                self.read_line(line);
            } else if !self.draft.has_lines {
                self.block = self.line;
            } else {
                self.state = State::Returned;
                return Some(self.draft.render(&self.buffer[self.block..]));
            }
        }
    }

    /// Returns how many bytes wait for the rest of their block, or to be asked for.
    pub fn buffered_bytes(&self) -> usize {
        match self.state {
            State::Reading => self.buffer.len() - self.block,
            State::Returned => self.buffer.len() - self.line,
        }
    }

    fn finish_returned(&mut self) {
        if self.state == State::Returned {
            self.state = State::Reading;
            self.block = self.line;
            self.draft = Draft::default();
        }
    }

    /// Drops the blocks before the current one, once they are at least half of the buffer: so each byte is moved once at most.
    fn discard_done(&mut self) {
        self.finish_returned();
        if self.block * 2 < self.buffer.len() || self.block == 0 {
            return;
        }
        self.buffer.drain(..self.block);
        self.line -= self.block;
        self.scanned -= self.block;
        self.block = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(KEPT_BYTES);
        }
    }

    fn next_line(&mut self) -> Option<Range<usize>> {
        self.skip_bom()?;
        if self.is_after_cr {
            if *self.buffer.get(self.line)? == b'\n' {
                self.line += 1;
                self.scanned = self.line;
            }
            self.is_after_cr = false;
        }
        let Some(length) = memchr::memchr2(b'\n', b'\r', &self.buffer[self.scanned..]) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let line = self.line..self.scanned + length;
        self.is_after_cr = self.buffer[line.end] == b'\r';
        self.line = line.end + 1;
        self.scanned = self.line;
        Some(line)
    }

    /// Skips the byte order mark; `None` while it is not known whether there is one.
    fn skip_bom(&mut self) -> Option<()> {
        if !self.is_past_bom {
            let start = &self.buffer[..self.buffer.len().min(BOM.len())];
            if start == BOM {
                self.line = BOM.len();
                self.scanned = self.line;
                self.block = self.line;
            } else if BOM.starts_with(start) {
                return None;
            }
            self.is_past_bom = true;
        }
        Some(())
    }

    fn read_line(&mut self, line: Range<usize>) {
        let text = &self.buffer[line.clone()];
        let colon = memchr::memchr(b':', text);
        let name = &text[..colon.unwrap_or(text.len())];
        let mut start = colon.map_or(text.len(), |colon| colon + 1);
        start += usize::from(text.get(start) == Some(&b' '));
        let value = &text[start..];
        let range = line.start + start - self.block..line.end - self.block;
        let draft = &mut self.draft;
        draft.has_lines = true;
        match name {
            b"data" => draft.add_data(&self.buffer[self.block..], range),
            b"event" => draft.event = Some(range).filter(|range| !range.is_empty()),
            // The standard ignores an id with a NUL, which no HTTP header could carry.
            b"id" if memchr::memchr(0, value).is_none() => draft.id = Some(range),
            b"retry" => draft.retry = parse_retry(value).or(draft.retry),
            b"" => draft.comment = Some(range),
            // An unknown field is ignored.
            _ => {}
        }
    }
}

impl Draft {
    fn add_data(&mut self, block: &[u8], value: Range<usize>) {
        match self.data.clone() {
            None => self.data = Some(value),
            Some(first) => {
                let joined = self.joined.get_or_insert_with(|| block[first].to_vec());
                joined.push(b'\n');
                joined.extend_from_slice(&block[value]);
            }
        }
    }

    fn render<'a>(&'a self, block: &'a [u8]) -> Block<'a> {
        let text =
            |range: &Option<Range<usize>>| range.clone().map(|range| String::from_utf8_lossy(&block[range]));
        Block {
            id: text(&self.id),
            event: text(&self.event),
            data: self.joined.as_deref().map(String::from_utf8_lossy).or_else(|| text(&self.data)),
            retry: self.retry,
            comment: text(&self.comment),
        }
    }
}

/// Reads a number of milliseconds, which has digits only.
fn parse_retry(value: &[u8]) -> Option<Duration> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(
        id: Option<&'static str>,
        event: Option<&'static str>,
        data: Option<&'static str>,
    ) -> Block<'static> {
        Block {
            id: id.map(Cow::from),
            event: event.map(Cow::from),
            data: data.map(Cow::from),
            ..Block::default()
        }
    }

    fn parse(stream: &[u8]) -> Vec<Block<'static>> {
        let mut parser = Parser::new();
        parser.push(stream);
        std::iter::from_fn(|| parser.next_block().map(Block::into_owned)).collect()
    }

    #[test]
    fn a_block_is_read_by_the_rules_of_the_standard() {
        let cases: [(&str, &[u8], Block<'static>); 15] = [
            ("all fields", b"id: a\nevent: e\ndata: d\n\n", block(Some("a"), Some("e"), Some("d"))),
            ("a space after the colon is optional", b"data:d\n\n", block(None, None, Some("d"))),
            ("only one space is dropped", b"data:  d \n\n", block(None, None, Some(" d "))),
            ("a value may have colons", b"data: a: b\n\n", block(None, None, Some("a: b"))),
            (
                "data lines are joined",
                b"data: a\nid: 1\ndata: bcdefghijk\ndata\n\n",
                block(Some("1"), None, Some("a\nbcdefghijk\n")),
            ),
            (
                "the last of other fields counts",
                b"id: a\nid: b\nevent: c\nevent: d\n\n",
                block(Some("b"), Some("d"), None),
            ),
            ("an empty id is an id", b"id: \n\n", block(Some(""), None, None)),
            ("a field needs no colon", b"id\ndata\n\n", block(Some(""), None, Some(""))),
            ("an id with a NUL is ignored", b"id: a\nid: b\0c\n\n", block(Some("a"), None, None)),
            ("an empty name is the default name", b"event: a\nevent:\n\n", block(None, None, None)),
            ("an unknown field is ignored", b"data: a\nDATA: b\nx: y\n\n", block(None, None, Some("a"))),
            ("CR ends a line", b"id: a\rdata: d\r\r", block(Some("a"), None, Some("d"))),
            ("CRLF ends a line", b"id: a\r\ndata: d\r\n\r\n", block(Some("a"), None, Some("d"))),
            ("bytes that are not UTF-8 are replaced", b"data: \xff\n\n", block(None, None, Some("\u{fffd}"))),
            ("a byte order mark is skipped", b"\xef\xbb\xbfdata: d\n\n", block(None, None, Some("d"))),
        ];
        for (why, stream, expected) in cases {
            assert_eq!(parse(stream), [expected], "{why}");
        }
    }

    #[test]
    fn comments_and_retry_are_returned() {
        let expected = Block { comment: Some(Cow::from("heartbeat")), ..block(Some("a"), None, None) };
        assert_eq!(parse(b": heartbeat\nid: a\n\n"), [expected]);
        let cases: [(&[u8], Option<u64>, &str); 4] = [
            (b"retry: 1000\n\n", Some(1000), "a number"),
            (b"retry: 1e3\n\n", None, "not only digits"),
            (b"retry: +1\n\n", None, "a sign"),
            (b"retry\n\n", None, "nothing"),
        ];
        for (stream, milliseconds, why) in cases {
            assert_eq!(parse(stream)[0].retry, milliseconds.map(Duration::from_millis), "{why}");
        }
    }

    #[test]
    fn empty_lines_alone_are_no_block_and_an_incomplete_block_is_not_returned() {
        assert_eq!(parse(b"\n\r\n\r\rdata: a\n\n\n\ndata: b\n"), [block(None, None, Some("a"))]);
        assert_eq!(parse(b"\xef\xbb"), []);
        assert_eq!(
            parse(b"\n\xef\xbb\xbfdata: a\n\n"),
            [block(None, None, None)],
            "a mark that is not at the start"
        );
    }

    #[test]
    fn a_block_that_is_complete_is_returned_before_the_next_byte_comes() {
        assert_eq!(parse(b"data: a\r\n\r"), [block(None, None, Some("a"))]);
    }

    #[test]
    fn the_buffer_holds_what_is_incomplete_and_no_more() {
        let mut parser = Parser::new();
        for _ in 0..100 {
            parser.push(&[b"data: ".as_slice(), &[b'x'; 10_000], b"\n\nda"].concat());
            assert!(parser.next_block().is_some());
            assert_eq!(parser.buffered_bytes(), 2);
            assert!(parser.next_block().is_none());
            parser.push(b"ta: y\n\n");
            assert!(parser.next_block().is_some());
            assert!(parser.buffer.len() < 30_000);
        }
        parser.push(&[b"data: ".as_slice(), &[b'x'; 1_000_000], b"\n\n"].concat());
        assert!(parser.next_block().is_some());
        parser.push(b"");
        assert!(parser.buffer.capacity() <= KEPT_BYTES);
    }
}
