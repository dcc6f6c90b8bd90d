//! Refuses frames that are too large, before they are buffered.
//!
//! actix-ws compares a frame with its limit only after the whole announced frame has arrived in memory. A peer that announces
//! 2^40 bytes would fill the memory before it has said who it is. So this module follows the frame headers (RFC 6455, section
//! 5.2) in front of actix-ws. It also refuses reserved bits, which actix-ws reports in the same way as invalid UTF-8.

use std::{cell::Cell, pin::Pin, rc::Rc};

use actix_web::{FromRequest, HttpRequest, dev::Payload, error::PayloadError, web};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// The largest message, in one frame or in fragments.
pub const MAX_MESSAGE: u64 = 64 * 1024;
/// The most fragments that a message may have.
const MAX_FRAGMENTS: u32 = 64;

/// The reason why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The frame or its message is too large, or the message has too many fragments.
    TooBig,
    /// The frame uses bits that only an extension may use, and no extension was agreed on.
    ReservedBits,
}

/// Follows the frame headers of one connection.
#[derive(Default)]
struct Guard {
    /// The header so far: 2 bytes, at most 8 of length, 4 of mask.
    head: [u8; 14],
    have: usize,
    /// Payload bytes still to come.
    skip: u64,
    /// Bytes so far of the message that is being sent in fragments.
    message: u64,
    fragments: u32,
}

impl Guard {
    /// Follows the next bytes, until a header announces a frame that must not come in.
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Breach> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len() as u64);
                self.skip -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == header_length(&self.head[..self.have]) {
                self.begin_frame()?;
                self.have = 0;
            }
        }
        Ok(())
    }

    fn begin_frame(&mut self) -> Result<(), Breach> {
        if self.head[0] & 0x70 != 0 {
            return Err(Breach::ReservedBits);
        }
        let (is_final, opcode) = (self.head[0] & 0x80 != 0, self.head[0] & 0x0f);
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let length = match self.head[1] & 0x7f {
            126 => number(&self.head[2..4]),
            127 => number(&self.head[2..10]),
            short => u64::from(short),
        };
        self.skip = length;
        // Control frames may come between fragments. They don't belong to the message.
        if opcode >= 8 {
            return if length <= MAX_MESSAGE { Ok(()) } else { Err(Breach::TooBig) };
        }
        if opcode != 0 {
            (self.message, self.fragments) = (0, 0);
        }
        self.message = self.message.saturating_add(length);
        self.fragments += 1;
        if self.message > MAX_MESSAGE || self.fragments > MAX_FRAGMENTS {
            return Err(Breach::TooBig);
        }
        if is_final {
            (self.message, self.fragments) = (0, 0);
        }
        Ok(())
    }
}

/// Returns how long the header is that begins with these bytes. While that isn't known, it is more than there are.
fn header_length(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask
}

/// Puts a guard in front of a request's payload. The cell says which breach was refused. The stream ends there.
pub async fn guarded(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<(web::Payload, Rc<Cell<Option<Breach>>>), actix_web::Error> {
    let breach = Rc::new(Cell::new(None));
    let found = breach.clone();
    let mut guard = Guard::default();
    let stream = payload.map(move |part| {
        let part = part?;
        if found.get().is_none() {
            found.set(guard.feed(&part).err());
        }
        match found.get() {
            Some(_) => Err(PayloadError::Overflow),
            None => Ok(part),
        }
    });
    // A `web::Payload` has no constructor, but it can be extracted from a payload that has.
    let stream: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(stream);
    let mut payload = Payload::Stream { payload: stream };
    Ok((web::Payload::from_request(request, &mut payload).await?, breach))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u8, announced: u64, sent: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match announced {
            0..=125 => bytes.push(mask | announced as u8),
            126..=0xffff => {
                bytes.push(mask | 126);
                bytes.extend((announced as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend(announced.to_be_bytes());
            }
        }
        if masked {
            bytes.extend([1, 2, 3, 4]);
        }
        bytes.extend(vec![0xff; sent]);
        bytes
    }

    #[test]
    fn a_frame_that_is_too_large_is_refused_at_its_header() {
        const TEXT: u8 = 0x81;
        for (why, bytes, passes) in [
            ("the largest message", frame(TEXT, MAX_MESSAGE, MAX_MESSAGE as usize, true), true),
            ("one byte more", frame(TEXT, MAX_MESSAGE + 1, 0, true), false),
            ("a terabyte", frame(TEXT, 1 << 40, 0, true), false),
            ("the most that can be written", frame(TEXT, u64::MAX, 0, false), false),
            ("a huge ping", frame(0x89, 1 << 40, 0, true), false),
            (
                "64 fragments",
                [
                    vec![frame(0x01, 1, 1, true)],
                    vec![frame(0x00, 1, 1, true); 62],
                    vec![frame(0x80, 1, 1, true)],
                ]
                .concat()
                .concat(),
                true,
            ),
            (
                "65 fragments",
                [vec![frame(0x01, 0, 0, true)], vec![frame(0x00, 0, 0, true); 64]].concat().concat(),
                false,
            ),
            (
                "fragments too large together",
                [frame(0x01, 40_000, 40_000, true), frame(0x80, 40_000, 0, true)].concat(),
                false,
            ),
            (
                "pings between fragments don't count",
                [
                    vec![frame(0x01, 1, 1, true)],
                    vec![frame(0x89, 100, 100, true); 100],
                    vec![frame(0x80, 1, 1, true)],
                ]
                .concat()
                .concat(),
                true,
            ),
            ("messages one after the other", vec![frame(TEXT, 60_000, 60_000, true); 10].concat(), true),
        ] {
            let expected = if passes { Ok(()) } else { Err(Breach::TooBig) };
            assert_eq!(Guard::default().feed(&bytes), expected, "{why}");
        }
    }

    #[test]
    fn reserved_bits_are_refused() {
        for bit in [0x40, 0x20, 0x10] {
            assert_eq!(Guard::default().feed(&frame(0x81 | bit, 2, 2, true)), Err(Breach::ReservedBits));
        }
    }

    proptest! {
        /// The guard's answer doesn't depend on how the bytes are cut.
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(
            frames in prop::collection::vec((prop::sample::select(vec![0x01_u8, 0x00, 0x80, 0x81, 0x89]), 0..70_000_u64, any::<bool>()), 1..6),
            cuts in prop::collection::vec(1..5000_usize, 1..50),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(first, length, masked)| frame(*first, *length, *length as usize, *masked)).collect();
            let whole = Guard::default().feed(&bytes);
            let mut guard = Guard::default();
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            let mut passes = Ok(());
            while !rest.is_empty() && passes.is_ok() {
                let cut = (*cuts.next().unwrap()).min(rest.len());
                passes = guard.feed(&rest[..cut]);
                rest = &rest[cut..];
            }
            prop_assert_eq!(passes, whole);
        }
    }
}
