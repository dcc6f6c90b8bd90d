//! What one listener may have heard.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use coir_client::Content;

use super::{
    Act, Person,
    listener::{Fate, Listener, Mode},
    sees,
};

pub struct Judgement<'a> {
    pub act: Act,
    /// The sequence of the act's entry.
    pub at: i64,
    pub person: Person,
    pub fate: Fate,
    pub posts: &'a BTreeMap<String, (i64, String)>,
}

impl Judgement<'_> {
    fn may_read(&self, show: &str, is_after: bool) -> bool {
        self.act.closes() && !is_after || sees(self.person, show, is_after.then_some(self.act))
    }

    /// Returns the sequences in a range of what could be read all the time, or after the act.
    fn due(&self, range: std::ops::RangeInclusive<i64>, is_after: bool) -> BTreeSet<i64> {
        let posts = self.posts.values().filter(|(sequence, show)| {
            range.contains(sequence)
                && (is_after || self.may_read(show, false))
                && (!is_after || self.may_read(show, true))
        });
        posts.map(|(sequence, _)| *sequence).collect()
    }

    /// Checks what one listener has heard. Returns when it heard of the act, if it was told.
    pub fn check(&self, listener: &Listener) -> Option<Instant> {
        let what = || {
            let heard: Vec<_> = listener.heard.iter().map(|(_, message)| &message.content).collect();
            format!(
                "{:?} of {:?} ({:?}), act {:?} at {}, {:?}, {heard:?}",
                listener.mode, self.person, self.fate, self.act, self.at, self.posts
            )
        };
        // What came, and the view of one that began anew.
        let (mut got, mut view) = (BTreeSet::new(), BTreeSet::new());
        let (mut last, mut begun_anew, mut told) = (0, None, None);
        let (mut is_in_snapshot, mut is_over) = (false, false);
        for (at, message) in &listener.heard {
            match &message.content {
                Content::Event(event) => {
                    let (sequence, show) = &self.posts[&event.document.id];
                    assert!(!is_over, "an event comes after the end: {event:?}; {}", what());
                    let is_right = match self.fate {
                        Fate::Ends | Fate::Loses => *sequence < self.at && self.may_read(show, false),
                        _ => self.may_read(show, true) || *sequence < self.at && self.may_read(show, false),
                    };
                    assert!(is_right, "{event:?} at {sequence} may not be read; {}", what());
                    if is_in_snapshot {
                        view.insert(*sequence);
                        continue;
                    }
                    assert!(*sequence > last, "{event:?} comes again, or out of order; {}", what());
                    last = *sequence;
                    got.insert(last);
                }
                Content::Snapshot(documents) => {
                    for document in documents {
                        let (sequence, show) = &self.posts[&document.id];
                        assert!(self.may_read(show, true), "{document:?} may not be read; {}", what());
                        view.insert(*sequence);
                    }
                }
                Content::Ready => {
                    let position =
                        message.cursor.as_ref().and_then(|cursor| cursor.sequence()).unwrap() as i64;
                    assert_eq!(view, self.due(0..=position, true), "the snapshot at {position}; {}", what());
                    (is_in_snapshot, begun_anew, last) = (false, Some(position), position);
                    got.clear();
                }
                Content::Resync { code, .. } => {
                    assert_eq!(code, "RIGHTS_CHANGED");
                    assert!(matches!(self.fate, Fate::Changes | Fate::MayChange), "{}", what());
                    self.check_prefix(&got, what);
                    told = told.or(Some(*at));
                    view.clear();
                    (is_in_snapshot, is_over) = (listener.mode.is_view(), listener.mode == Mode::Named);
                }
                Content::Error { code, .. } => {
                    let expected = if self.fate == Fate::Ends { "UNAUTHORIZED" } else { "FORBIDDEN" };
                    assert!(code == expected && matches!(self.fate, Fate::Ends | Fate::Loses), "{}", what());
                    is_over = true;
                    told = told.or(Some(*at));
                }
                Content::Progress | Content::Pong | Content::Subscribed { .. } => {}
                other => panic!("{other:?} was not expected; {}", what()),
            }
        }
        match (self.fate, begun_anew) {
            (Fate::Ends | Fate::Loses, _) => {
                assert!(is_over, "it was not told; {}", what());
                self.check_prefix(&got, what);
            }
            (_, Some(position)) => {
                assert_eq!(got, self.due(position + 1..=i64::MAX, true), "since the snapshot; {}", what());
            }
            _ if is_over => {}
            (fate, None) => {
                let is_named = matches!(listener.mode, Mode::Named | Mode::NamedView | Mode::SseView);
                assert!(fate != Fate::Changes || !is_named, "it was not told; {}", what());
                let missing: Vec<_> = self.due(0..=i64::MAX, true).difference(&got).copied().collect();
                let missing: Vec<_> = missing
                    .into_iter()
                    .filter(|one| *one > self.at || self.due(*one..=*one, false).contains(one))
                    .collect();
                assert!(missing.is_empty(), "{missing:?} are missing; {}", what());
            }
        }
        told
    }

    /// Fails if something is missing before the last event that came.
    fn check_prefix(&self, got: &BTreeSet<i64>, what: impl Fn() -> String) {
        let Some(last) = got.last() else { return };
        assert_eq!(got, &self.due(0..=*last, false), "something is missing; {}", what());
    }
}
