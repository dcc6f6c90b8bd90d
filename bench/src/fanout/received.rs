//! The events that the subscribers received, and how late.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::report::Latencies;

/// The member of a document that says when it was sent. It is searched from the end: a server that sorts members puts it
/// behind the long `pad`.
const SENT: &[u8] = b"\"sent\":";

/// The counts of the subscribers.
pub struct Received {
    /// Events by subscriber.
    pub counts: Vec<u64>,
    /// From a document's `sent` to when its event was read.
    pub latencies: Latencies,
    /// When the last event was read, from the epoch.
    pub last_event: Duration,
    /// How many messages were not events of this run, and the first of them.
    pub others: (u64, String),
    /// Subscribers whose connection ended, by reason.
    pub ended: BTreeMap<String, u64>,
}

impl Received {
    pub fn new(subscribers: usize) -> Self {
        Self {
            counts: vec![0; subscribers],
            latencies: Latencies::default(),
            last_event: Duration::ZERO,
            others: (0, String::new()),
            ended: BTreeMap::new(),
        }
    }

    /// Counts a message that subscriber `index` read at `now`. A subscriber that stalled says nothing about latency.
    pub fn record(&mut self, index: usize, is_stalled: bool, now: Duration, message: &[u8]) {
        let Some(sent) = find_sent(message) else {
            if self.others.0 == 0 {
                self.others.1 = String::from_utf8_lossy(message).into_owned();
            }
            self.others.0 += 1;
            return;
        };
        self.counts[index] += 1;
        if !is_stalled {
            self.latencies.record_nanos((now.as_nanos() as u64).saturating_sub(sent));
        }
        self.last_event = now;
    }
}

/// Returns when the document of an event was sent, in nanoseconds from the epoch; `None` if the message is no such event.
fn find_sent(message: &[u8]) -> Option<u64> {
    let start = find_last(message, SENT)? + SENT.len();
    let digits = message[start..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.clone().next()?;
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Returns where `part` stands last in `text`.
pub fn find_last(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).rposition(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_sending_is_found_in_an_event() {
        let cases = [
            (r#"{"document":{"data":{"pad":"x","room":1,"sent":1234}}}"#, Some(1234), "sorted members"),
            (r#"{"data":{"sent":7,"pad":"x"}}"#, Some(7), "members in another order"),
            (r#"{"type":"error","code":"OVERLOADED"}"#, None, "not an event"),
            (r#"{"sent":"x"}"#, None, "not a number"),
        ];
        for (message, sent, why) in cases {
            assert_eq!(find_sent(message.as_bytes()), sent, "{why}");
        }
    }
}
