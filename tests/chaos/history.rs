//! What was done to the nodes, and when: printed if a run fails.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

pub struct History {
    begun: Instant,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    lines: Vec<String>,
    counts: BTreeMap<&'static str, usize>,
    longest: BTreeMap<&'static str, Duration>,
}

impl History {
    pub fn new() -> Self {
        Self { begun: Instant::now(), told: Mutex::default() }
    }

    /// Adds a line, with the time.
    pub fn note(&self, line: impl Display) {
        let line = format!("{:9.3} s  {line}", self.begun.elapsed().as_secs_f64());
        self.change(|told| told.lines.push(line));
    }

    /// Counts something that happened.
    pub fn count(&self, name: &'static str) {
        self.change(|told| *told.counts.entry(name).or_default() += 1);
    }

    /// Keeps the longest time that something took.
    pub fn took(&self, name: &'static str, time: Duration) {
        self.change(|told| {
            let longest = told.longest.entry(name).or_default();
            *longest = time.max(*longest);
        });
    }

    /// Everything in one text.
    pub fn lines(&self) -> String {
        self.change(|told| told.lines.join("\n"))
    }

    /// The counts and the longest times in one line.
    pub fn sums(&self) -> String {
        self.change(|told| {
            let counts = told.counts.iter().map(|(name, count)| format!("{count} {name}"));
            let times = told.longest.iter().map(|(name, time)| format!("{name} at most {time:.1?}"));
            counts.chain(times).collect::<Vec<_>>().join(", ")
        })
    }

    /// A panic elsewhere must not hide the history.
    fn change<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
