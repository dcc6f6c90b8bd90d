//! A record of a file: its line, its id if it has one, and its data as text, so that what is sent is what stands there.

use std::borrow::Cow;

/// The most records and bytes of one request. A record that is larger has a request of its own.
const BATCH_RECORDS: usize = 100;
const BATCH_BYTES: usize = 1 << 20;

/// One document to be.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// The line on which it begins in the file, from 1. Several may begin on one line.
    pub(super) line: usize,
    /// Which record of the file it is, from 1.
    pub(super) number: usize,
    /// The id under which it is written; `None` lets the server draw one.
    pub(super) id: Option<String>,
    /// A JSON object.
    pub(super) data: Cow<'a, str>,
}

/// Divides records into what one request may have, in their order.
pub(super) fn batches<'r, 'a>(records: &'r [Record<'a>]) -> Vec<&'r [Record<'a>]> {
    let mut batches = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (place, record) in records.iter().enumerate() {
        let is_full = place - first == BATCH_RECORDS || bytes + record.data.len() > BATCH_BYTES;
        if is_full && place > first {
            batches.push(&records[first..place]);
            (first, bytes) = (place, 0);
        }
        bytes += record.data.len();
    }
    if first < records.len() {
        batches.push(&records[first..]);
    }
    batches
}
