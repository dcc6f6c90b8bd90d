//! Judges what a subscription without an id has heard.

use coir_client::{Content, EventKind};

use super::{
    judge::{Findings, Judge, kind_of},
    rules::{Bound, Wanted},
    subscriber::{Said, Sub},
};

/// What is known of a subscription without an id.
#[derive(Default)]
struct Plain {
    /// The filters that it may have.
    wanted: Vec<Wanted>,
    /// How many requests have not been handled.
    unanswered: usize,
    /// The log ended here when the last one was known to have been handled.
    settled: u64,
    /// The last control entry of which the server had heard when the last one was asked for.
    heard: u64,
    told: u64,
    has_begun: bool,
    is_over: bool,
    /// Whether it is not known if it goes on.
    is_unknown: bool,
}

impl Judge<'_> {
    /// A subscription without an id is never told where it is. What it is told of a change must come of rights of the time from the change
    /// until it hears of it, or of something later.
    pub(super) fn judge_plain(&self, sub: &Sub) -> Findings {
        let mut findings = Findings::default();
        let last = self.record.past.len() as u64 - 1;
        let mut plain: Option<Plain> = None;
        for (said, end) in &sub.said {
            match said {
                Said::Asked { wanted, heard, .. } => {
                    plain.take_if(|plain| plain.is_over);
                    let current = plain.get_or_insert_with(|| Plain { told: *end, ..Plain::default() });
                    current.wanted.push(*wanted);
                    current.heard = if current.unanswered == 0 { *heard } else { current.heard.min(*heard) };
                    current.unanswered += 1;
                }
                Said::Pong => {
                    let Some(current) = plain.as_mut() else { continue };
                    current.unanswered -= 1;
                    current.settled = *end;
                    if current.unanswered == 0 && !current.is_unknown {
                        current.wanted.drain(..current.wanted.len() - 1);
                    }
                }
                Said::Cut => plain = None,
                Said::Message(message) => {
                    let current = plain.as_mut().expect("it was asked for");
                    assert!(!current.is_over, "{message:?} comes after its end; {}", self.tell(sub));
                    match &message.content {
                        Content::Event(event) => {
                            findings.events += 1;
                            let found = self.find(event);
                            let is_late = self.ended_at.is_some_and(|ended_at| found >= ended_at);
                            assert!(!is_late && found <= *end, "{event:?} comes too late");
                            assert!(found > current.told, "{event:?} comes again; {}", self.tell(sub));
                            self.check_silence(sub, current, found - 1, *end);
                            let is_right = self.could_be(current, found, *end, Some(event.kind));
                            assert!(is_right, "no rights explain {event:?} at {found}; {}", self.tell(sub));
                            (current.told, current.has_begun) = (found, true);
                        }
                        Content::Error { code, .. } => {
                            findings.forbidden += 1;
                            assert_eq!(code, "FORBIDDEN");
                            // One that takes the place of another one has the rights of which the server has heard.
                            let from = if current.unanswered > 0 { current.heard } else { current.told };
                            let bounds = self.bounds(from.min(*end)..=*end);
                            assert!(
                                bounds.iter().any(Bound::is_void),
                                "there was something: {}",
                                self.tell(sub)
                            );
                            // If another one was to take its place, it may go on.
                            current.is_unknown = current.unanswered > 0 || current.is_unknown;
                            current.is_over = !current.is_unknown;
                        }
                        other => panic!("an unexpected message {other:?}"),
                    }
                }
            }
        }
        if let Some(current) = plain.filter(|plain| self.is_connected && !plain.is_over && !plain.is_unknown)
        {
            self.check_silence(sub, &current, last, last);
            let bounds = self.bounds(last..=last);
            assert!(!bounds[0].is_void(), "nothing may be read, and it was not told; {}", self.tell(sub));
        }
        findings
    }

    /// Fails if it must have been told of a change up to a sequence.
    fn check_silence(&self, sub: &Sub, plain: &Plain, until: u64, end: u64) {
        if plain.is_unknown {
            return;
        }
        for sequence in
            self.record.steps.range(plain.told + 1..until.max(plain.told) + 1).map(|(sequence, _)| *sequence)
        {
            // It may have begun later.
            let is_before = !plain.has_begun && sequence <= plain.settled || plain.unanswered > 0;
            let is_right =
                is_before || sequence <= plain.settled || self.could_be(plain, sequence, end, None);
            assert!(is_right, "it is not told of {sequence}; {}", self.tell(sub));
        }
    }

    fn could_be(&self, plain: &Plain, sequence: u64, end: u64, kind: Option<EventKind>) -> bool {
        let step = self.step(sequence);
        let is_it = |bound: &Bound| {
            plain
                .wanted
                .iter()
                .any(|wanted| kind_of(step, |post| wanted.admits(post) && bound.admits(post)) == kind)
        };
        self.bounds(sequence..=end).iter().any(is_it)
    }
}
