//! Counts and latencies, and how they are printed.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// How much of the body of a refusal is printed.
const SHOWN_BODY_BYTES: usize = 200;

/// Whether everything went well. It decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Clean,
    Failures,
}

impl Verdict {
    /// Returns `Clean` if both are.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Clean { other } else { self }
    }
}

/// Durations, recorded to three significant digits.
pub struct Latencies(Histogram<u64>);

/// The counts of a load or a reference.
#[derive(Default)]
pub struct Tally {
    /// The time from the start to the last answer.
    pub elapsed: Duration,
    latencies: Latencies,
    body_bytes: usize,
    /// Answers with an unexpected status: how many of each, and the first body.
    refused: BTreeMap<u16, (u64, String)>,
    /// Requests without an answer, by reason.
    broken: BTreeMap<String, u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        // A microsecond to two minutes, in nanoseconds.
        Self(Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("the bounds are in order"))
    }
}

impl Latencies {
    /// Adds one duration.
    pub fn record_nanos(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Returns how many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the duration that this part of them did not exceed, in nanoseconds; 0 if there are none.
    pub fn quantile_nanos(&self, part: f64) -> u64 {
        self.0.value_at_quantile(part)
    }

    /// Returns `p50 1.23 ms · …`: three quantiles and the maximum.
    pub fn summary(&self) -> String {
        if self.0.is_empty() {
            return "none".to_owned();
        }
        let quantile = |name: &str, q: f64| format!("{name} {:.2} ms", self.quantile_nanos(q) as f64 / 1e6);
        [quantile("p50", 0.5), quantile("p90", 0.9), quantile("p99", 0.99), quantile("max", 1.0)].join(" · ")
    }
}

impl Tally {
    /// Adds an answer with the expected status.
    pub fn record(&mut self, latency: Duration, body_bytes: usize) {
        self.latencies.record_nanos(latency.as_nanos() as u64);
        self.body_bytes += body_bytes;
    }

    /// Adds an answer with another status.
    pub fn record_refused(&mut self, status: u16, body: &[u8]) {
        let first = || {
            let shown = &body[..body.len().min(SHOWN_BODY_BYTES)];
            (0, String::from_utf8_lossy(shown).into_owned())
        };
        self.refused.entry(status).or_insert_with(first).0 += 1;
    }

    /// Adds a request that got no answer.
    pub fn record_broken(&mut self, reason: String) {
        *self.broken.entry(reason).or_default() += 1;
    }

    /// Returns the expected answers per second.
    pub fn rate(&self) -> f64 {
        per_second(self.latencies.count(), self.elapsed)
    }

    /// Returns the 99th percentile of the expected answers' latencies, in nanoseconds.
    pub fn p99_nanos(&self) -> u64 {
        self.latencies.quantile_nanos(0.99)
    }

    /// Returns `Clean` if there were answers and all had the expected status.
    pub fn verdict(&self) -> Verdict {
        let clean = self.refused.is_empty() && self.broken.is_empty() && self.latencies.count() > 0;
        if clean { Verdict::Clean } else { Verdict::Failures }
    }

    /// Prints rate and latency in one line.
    pub fn print_line(&self, name: &str) {
        let (count, seconds) = (grouped(self.latencies.count()), self.elapsed.as_secs_f64());
        println!(
            "{name:<18}{:>9} /s   ({count} in {seconds:.1} s)   {}",
            grouped_rate(self.rate()),
            self.latencies.summary()
        );
    }

    /// Prints the mean size of an expected answer's body.
    pub fn print_body_size(&self) {
        println!(
            "{:<18}{:>9} bytes per body",
            "",
            grouped(self.body_bytes as u64 / self.latencies.count().max(1))
        );
    }

    /// Prints what failed, or that nothing did.
    pub fn print_failures(&self) {
        if self.refused.is_empty() && self.broken.is_empty() {
            println!("{:<18}{:>9}", "failures", 0);
        }
        for (status, (count, body)) in &self.refused {
            println!("{:<18}{:>9}   first: {body}", format!("status {status}"), grouped(*count));
        }
        for (reason, count) in &self.broken {
            println!("{:<18}{:>9}   {reason}", "no answer", grouped(*count));
        }
    }
}

/// Returns `count` per second of `elapsed`; 0 if no time has passed.
pub fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}

/// Formats a rate without its fraction: `12,345`.
pub fn grouped_rate(rate: f64) -> String {
    grouped(rate.round() as u64)
}

/// Formats a number in groups of three digits: `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_load_without_an_answer_is_a_failure() {
        let mut tally = Tally::default();
        assert_eq!(tally.verdict(), Verdict::Failures);
        tally.record(Duration::from_millis(1), 2);
        assert_eq!(tally.verdict(), Verdict::Clean);
        tally.record_refused(429, b"{}");
        assert_eq!(tally.verdict(), Verdict::Failures);
    }
}
