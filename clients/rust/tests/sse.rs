//! The parser of server-sent events against a plain reading of the standard, and against itself in pieces.

use std::{borrow::Cow, time::Duration};

use coir_client::sse::{Block, Parser};
use proptest::{collection::vec, prelude::*, sample::select};

/// Pieces of streams, chosen so that fields, line ends and halves of characters meet in all ways.
fn piece() -> impl Strategy<Value = &'static [u8]> {
    select(vec![
        b"data".as_slice(),
        b"data:",
        b"data: ",
        b"id: ",
        b"id",
        b"event:",
        b"retry: ",
        b": ",
        b"x",
        b"12",
        b" ",
        b"\0",
        b"\n",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\xef\xbb\xbf",
        b"\xef",
        b"\xc3\xa4",
        b"\xc3",
        b"\xff",
    ])
}

fn parse_in_pieces(stream: &[u8], cuts: &[usize], drain_each: bool) -> Vec<Block<'static>> {
    let mut parser = Parser::new();
    let mut blocks = Vec::new();
    let mut rest = stream;
    for cut in cuts {
        let (piece, after) = rest.split_at(cut % (rest.len() + 1));
        parser.push(piece);
        rest = after;
        while drain_each && let Some(block) = parser.next_block() {
            blocks.push(block.into_owned());
        }
    }
    parser.push(rest);
    while let Some(block) = parser.next_block() {
        blocks.push(block.into_owned());
    }
    blocks
}

/// Parses as the standard says, with the whole stream at hand.
fn parse_plainly(stream: &[u8]) -> Vec<Block<'static>> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    let mut bytes = stream.iter().peekable();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\n' => lines.push(std::mem::take(&mut line)),
            b'\r' => {
                bytes.next_if(|byte| **byte == b'\n');
                lines.push(std::mem::take(&mut line));
            }
            byte => line.push(byte),
        }
    }
    let mut blocks = Vec::new();
    let (mut block, mut is_empty) = (Block::default(), true);
    for line in lines {
        if line.is_empty() {
            if !is_empty {
                blocks.push(std::mem::take(&mut block));
            }
            is_empty = true;
            continue;
        }
        is_empty = false;
        let line = String::from_utf8_lossy(&line).into_owned();
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match name {
            "data" => {
                let before = block.data.take().map(|data| format!("{data}\n")).unwrap_or_default();
                block.data = Some(Cow::Owned(before + &value));
            }
            "event" => block.event = Some(value).filter(|name| !name.is_empty()).map(Cow::Owned),
            "id" if !value.contains('\0') => block.id = Some(Cow::Owned(value)),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                block.retry = value.parse().ok().map(Duration::from_millis).or(block.retry);
            }
            "" => block.comment = Some(Cow::Owned(value)),
            _ => {}
        }
    }
    blocks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_places_of_the_cuts_never_change_the_blocks(pieces in vec(piece(), 0..60), cuts in vec(0..20_usize, 0..40), drain_each: bool) {
        let stream = pieces.concat();
        let expected = parse_plainly(&stream);
        prop_assert_eq!(parse_in_pieces(&stream, &[], false), expected.clone());
        prop_assert_eq!(parse_in_pieces(&stream, &cuts, drain_each), expected.clone());
        prop_assert_eq!(parse_in_pieces(&stream, &vec![1; stream.len()], drain_each), expected);
    }
}
