//! Judges what a subscription has heard, by the history of the world.
//!
//! The filter of a subscription is what its principal's rights make of it. A message that brings it to a position must come of rights
//! of that position or later, and of no later ones than there were when the message came. So each message allows some rights, and
//! until a subscription begins anew there must be one answer that all of its messages allow, and by which exactly the changes that
//! it was told are events.

use std::{collections::BTreeMap, ops::RangeInclusive};

use coir_client::{Content, Event, EventKind, Message, Reason};

use coir::wire::Form;

use super::{
    rules::{Bound, Found, Past, Post, Rule, Wanted, Who},
    subscriber::{Said, Sub},
    world::{Record, Step},
};

/// The history, as one subscriber's rights see it.
pub struct Judge<'a> {
    pub record: &'a Record,
    pub who: Who,
    /// The sequence of the entry that ended its key or its session.
    pub ended_at: Option<u64>,
    /// Whether it was connected at the end.
    pub is_connected: bool,
}

/// What is counted of a subscription.
#[derive(Default)]
pub struct Findings {
    pub events: u64,
    pub resyncs: u64,
    pub forbidden: u64,
    pub snapshots: u64,
}

/// A part of a subscription's life, during which its rights are the same.
struct Segment {
    wanted: Wanted,
    /// The log ended here, or later, when its rights were asked for.
    asked: u64,
    /// The position from which on it is told every change; `None` before the snapshot is complete.
    begin: Option<u64>,
    /// The position up to which it was told every change.
    told: u64,
    /// The sequences from which, and up to which, rights are allowed, by the messages.
    windows: Vec<RangeInclusive<u64>>,
    events: BTreeMap<u64, Event>,
    /// The documents of the snapshot, with the changes that came in its middle, and the position that they are as of.
    view: BTreeMap<String, u64>,
    ready: Option<u64>,
    /// The images that the snapshot has shown, which must be readable.
    shown: Vec<u64>,
    /// The changes that came in the middle of the snapshot.
    inner: Vec<(u64, EventKind)>,
}

fn number(event: &Event) -> u64 {
    event.document.data["number"].as_u64().unwrap()
}

/// Returns what a change is to those who see these documents.
pub(super) fn kind_of(step: &Step, admits: impl Fn(&Post) -> bool) -> Option<EventKind> {
    let admits = |image: &Option<Post>| image.as_ref().is_some_and(&admits);
    match (admits(&step.before), admits(&step.after)) {
        (false, false) => None,
        (false, true) => Some(EventKind::Created),
        (true, true) => Some(EventKind::Updated),
        (true, false) => Some(EventKind::Deleted),
    }
}

impl Segment {
    fn new(wanted: Wanted, asked: u64, begin: Option<u64>) -> Self {
        Self {
            wanted,
            asked,
            begin,
            told: begin.unwrap_or(asked),
            windows: Vec::new(),
            events: BTreeMap::new(),
            view: BTreeMap::new(),
            ready: None,
            shown: Vec::new(),
            inner: Vec::new(),
        }
    }
}

impl Judge<'_> {
    /// Returns every answer that rights may have had, where what they depend on was read at some moments between two sequences.
    pub(super) fn bounds(&self, window: RangeInclusive<u64>) -> Vec<Bound> {
        let past = &self.record.past[*window.start() as usize..=*window.end() as usize];
        let mut rules: Vec<_> = past.iter().map(|past| past.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        let user_of = |past: &Past| self.who.user.and_then(|user| past.users.get(user)).cloned();
        let mut users: Vec<_> = past.iter().map(user_of).collect();
        users.sort_unstable();
        users.dedup();
        let mut members: Vec<_> = past.iter().map(|past| &past.members).collect();
        members.dedup();
        let mut blocked: Vec<_> = past.iter().map(|past| &past.blocked).collect();
        blocked.dedup();
        let mut bounds = Vec::new();
        for rule in rules {
            for user in users.iter().map(Option::as_ref) {
                for (place, members_) in members.iter().enumerate() {
                    let later =
                        if rule == Rule::Colleagues { &members[place..] } else { &members[place..=place] };
                    for later_members in later {
                        let bind = |blocked| {
                            rule.bind(self.who, Found { user, members: members_, later_members, blocked })
                        };
                        bounds.extend(blocked.iter().map(|blocked| bind(blocked)));
                    }
                }
            }
        }
        bounds.sort_unstable();
        bounds.dedup();
        bounds
    }

    pub(super) fn step(&self, sequence: u64) -> &Step {
        &self.record.steps[&sequence]
    }

    /// Finds the change that an event is about.
    pub(super) fn find(&self, event: &Event) -> u64 {
        let number = number(event);
        let shown = |step: &Step| match event.kind {
            EventKind::Deleted => step.before.clone(),
            _ => step.after.clone(),
        };
        let is_it = |step: &&Step| {
            step.id == event.document.id && shown(step).is_some_and(|post| post.number == number)
        };
        let found = self.record.steps.iter().find(|(_, step)| is_it(step));
        *found.unwrap_or_else(|| panic!("nothing like {event:?} has happened")).0
    }

    /// Returns the sequences during which a document had an image: from its writing to the next one.
    fn life_of(&self, id: &str, number: u64) -> (u64, u64, &Post) {
        let has = |image: &Option<Post>| image.as_ref().is_some_and(|post| post.number == number);
        let of_it = || self.record.steps.iter().filter(|(_, step)| step.id == id);
        let (begin, step) = of_it().find(|(_, step)| has(&step.after)).expect("somebody wrote it");
        let end = of_it().find(|(_, step)| has(&step.before)).map_or(u64::MAX, |(sequence, _)| sequence - 1);
        (*begin, end, step.after.as_ref().unwrap())
    }

    /// Judges a subscription.
    pub fn judge(&self, sub: &Sub) -> Findings {
        match sub.form {
            Form::WebSocket => self.judge_plain(sub),
            _ => self.judge_positioned(sub),
        }
    }

    fn judge_positioned(&self, sub: &Sub) -> Findings {
        let mut findings = Findings::default();
        let mut segment: Option<Segment> = None;
        // Whether its client still hears of it on this connection.
        let mut is_open = false;
        for (said, end) in &sub.said {
            let message = match said {
                Said::Asked { since, wanted, .. } => {
                    segment = Some(Segment::new(*wanted, *end, *since));
                    is_open = true;
                    continue;
                }
                Said::Cut => {
                    if let Some(segment) = segment.take() {
                        self.close(sub, segment, None);
                    }
                    continue;
                }
                Said::Pong => continue,
                Said::Message(message) => message,
            };
            assert!(is_open, "{message:?} comes after its end");
            let current = segment.as_mut().expect("it was asked for");
            let position = message.cursor.as_ref().map(|cursor| cursor.sequence().unwrap());
            self.check_end(current, message, position);
            match &message.content {
                Content::Subscribed { .. } => {
                    // Before a snapshot has shown anything, rights may change without a word.
                    if let Some(position) = position {
                        current.allow(position.max(current.asked), *end);
                        (current.begin, current.told) = (Some(position), position);
                    }
                }
                Content::Snapshot(documents) => {
                    current.allow(current.asked, *end);
                    // A cursor that could not be resumed from has brought a snapshot after all.
                    current.begin = None;
                    findings.snapshots += 1;
                    for document in documents {
                        let number = document.data["number"].as_u64().unwrap();
                        let (begin, until, _) = self.life_of(&document.id, number);
                        let last = self.ended_at.unwrap_or(u64::MAX).min(*end);
                        assert!(begin <= last && until >= current.asked, "{document:?} is not of its time");
                        current.shown.push(number);
                        let before = current.view.insert(document.id.clone(), number);
                        assert!(before.is_none(), "{document:?} comes twice; {}", self.tell(sub));
                    }
                }
                Content::Ready => {
                    let position = position.unwrap();
                    current.allow(position, *end);
                    (current.begin, current.ready, current.told) = (Some(position), Some(position), position);
                }
                Content::Event(event) => {
                    findings.events += 1;
                    self.take_event(sub, current, (event, position), *end);
                }
                Content::Progress => {
                    let position = position.unwrap();
                    assert!(position >= current.told, "the position goes back: {message:?}");
                    // A stream begins with its position.
                    let is_first = current.begin.is_none();
                    current.begin = current.begin.or(Some(position));
                    current.allow(if is_first { position.max(current.asked) } else { position }, *end);
                    current.told = position;
                }
                Content::Resync { code, .. } => {
                    findings.resyncs += 1;
                    let (asked, wanted) = (current.asked, current.wanted);
                    let told = current.told.max(asked);
                    let closed = segment.take().unwrap();
                    if code == "RIGHTS_CHANGED" {
                        let bounds = self.bounds(asked.min(*end)..=*end);
                        assert!(bounds.len() > 1, "no right has changed: {message:?}, {bounds:?}");
                    } else {
                        let may_be_interrupted = sub.wants_snapshot && closed.begin.is_none();
                        assert!(
                            self.record.has_pruned || may_be_interrupted,
                            "nothing was pruned: {message:?}"
                        );
                    }
                    self.close(sub, closed, None);
                    is_open = sub.wants_snapshot || sub.form == Form::Sse;
                    let mut next = Segment::new(wanted, told.min(*end), position);
                    next.told = position.unwrap_or(told);
                    segment = Some(next);
                }
                Content::Error { code, message } => {
                    findings.forbidden += 1;
                    assert_eq!(code, "FORBIDDEN", "{message}");
                    let closed = segment.take().unwrap();
                    let bounds = self.bounds(closed.asked..=*end);
                    assert!(
                        bounds.iter().any(Bound::is_void),
                        "there was always something to read: {bounds:?}"
                    );
                    self.close(sub, closed, None);
                    is_open = false;
                }
                other => panic!("an unexpected message {other:?}"),
            }
        }
        if self.is_connected && is_open {
            let last = self.record.past.len() as u64 - 1;
            let segment = segment.expect("it is open");
            assert_eq!(segment.told, last, "it was not brought up to date; {}", self.tell(sub));
            self.close(sub, segment, Some(last));
        }
        findings
    }

    /// Fails if a message is one that nobody may hear after the end of the key or the session.
    fn check_end(&self, segment: &Segment, message: &Message, position: Option<u64>) {
        let Some(ended_at) = self.ended_at else { return };
        let is_data = matches!(message.content, Content::Event(_) | Content::Snapshot(_));
        let is_late = segment.asked >= ended_at || position.is_some_and(|position| position > ended_at);
        assert!(!(is_data && is_late), "{message:?} comes after the end at {ended_at}");
    }

    fn take_event(
        &self,
        sub: &Sub,
        current: &mut Segment,
        (event, position): (&Event, Option<u64>),
        end: u64,
    ) {
        let found = self.find(event);
        assert!(position.is_none_or(|position| position == found), "{event:?} is not at {position:?}");
        assert!(
            found <= end && self.ended_at.is_none_or(|ended_at| found < ended_at),
            "{event:?} comes too late"
        );
        let step = self.step(found);
        let reason = match event.kind {
            EventKind::Created if step.before.is_some() => Reason::Entered,
            EventKind::Created | EventKind::Updated => Reason::Written,
            EventKind::Deleted if step.after.is_some() => Reason::Left,
            EventKind::Deleted => Reason::Removed,
        };
        assert!(event.reason.is_none_or(|told| told == reason), "{event:?} has another reason");
        current.allow(found, end);
        if current.begin.is_some() {
            assert!(found > current.told, "{event:?} comes again, or out of order; {}", self.tell(sub));
            current.told = found;
            current.events.insert(found, event.clone());
            return;
        }
        current.inner.push((found, event.kind));
        match event.kind {
            EventKind::Deleted => current.view.remove(&event.document.id),
            _ => current.view.insert(event.document.id.clone(), number(event)),
        };
    }

    /// Fails unless there is an answer of rights that explains everything that was heard.
    fn close(&self, sub: &Sub, mut segment: Segment, last: Option<u64>) {
        if let Some(last) = last {
            segment.allow(last, last);
        }
        if sub.form == Form::Sse && !sub.wants_snapshot {
            return self.check_each(sub, &segment);
        }
        let Some(first) = segment.windows.first() else { return };
        let mut bounds = self.bounds(first.clone());
        bounds.retain(|bound| !bound.is_void());
        for window in &segment.windows[1..] {
            let allowed = self.bounds(window.clone());
            bounds.retain(|bound| allowed.contains(bound));
        }
        let why = bounds.iter().map(|bound| self.find_misfit(&segment, bound)).collect::<Option<Vec<_>>>();
        if let Some(why) = why {
            let windows = &segment.windows;
            panic!("no rights explain this: {bounds:?}, {why:?}; {windows:?}; {}", self.tell(sub));
        }
    }

    /// Fails unless there are rights for each change that explain what was heard of it. An event stream without a view is not told that
    /// its rights are others.
    fn check_each(&self, sub: &Sub, segment: &Segment) {
        let Some(begin) = segment.begin else { return };
        for (sequence, step) in self.record.steps.range(begin + 1..segment.told.max(begin) + 1) {
            let mut windows = segment.windows.iter();
            let end = windows
                .find(|window| window.start() >= sequence)
                .map_or(segment.told, |window| *window.end());
            let mut bounds = self.bounds(*sequence..=end);
            bounds.retain(|bound| !bound.is_void());
            let told = segment.events.get(sequence).map(|event| event.kind);
            let admits = |bound: &Bound, post: &Post| segment.wanted.admits(post) && bound.admits(post);
            let is_right = bounds.iter().any(|bound| kind_of(step, |post| admits(bound, post)) == told);
            assert!(is_right, "no rights explain {told:?} at {sequence}: {bounds:?}; {}", self.tell(sub));
        }
    }

    /// Returns what rights don't explain; `None` if they explain everything.
    fn find_misfit(&self, segment: &Segment, bound: &Bound) -> Option<String> {
        let admits = |post: &Post| segment.wanted.admits(post) && bound.admits(post);
        let all = &self.record.steps;
        let image = |number: &u64| {
            all.values().find_map(|step| step.after.as_ref().filter(|post| post.number == *number))
        };
        if let Some(number) = segment.shown.iter().find(|number| !image(number).is_some_and(admits)) {
            return Some(format!("image {number} was shown"));
        }
        if let Some((at, _)) =
            segment.inner.iter().find(|(at, kind)| kind_of(self.step(*at), admits) != Some(*kind))
        {
            return Some(format!("the change {at} in the middle of the snapshot"));
        }
        if let Some(ready) = segment.ready {
            let mut posts = BTreeMap::new();
            for step in all.range(..=ready).map(|(_, step)| step) {
                match step.after.as_ref().filter(|post| admits(post)) {
                    Some(post) => posts.insert(step.id.clone(), post.number),
                    None => posts.remove(&step.id),
                };
            }
            if posts != segment.view {
                return Some(format!("at {ready} the view is {:?}, and should be {posts:?}", segment.view));
            }
        }
        let begin = segment.begin?;
        let changes = all.range(begin + 1..segment.told.max(begin) + 1);
        for (sequence, step) in changes {
            let (told, expected) =
                (segment.events.get(sequence).map(|event| event.kind), kind_of(step, admits));
            if told != expected {
                return Some(format!("at {sequence} it was told {told:?}, and should be {expected:?}"));
            }
        }
        None
    }

    /// Returns what a subscription has heard, for the reader of a failure.
    pub(super) fn tell(&self, sub: &Sub) -> String {
        let mut text =
            format!("{:?}, {:?}, {:?}, snapshot: {}\n", self.who, sub.id, sub.form, sub.wants_snapshot);
        for (said, end) in &sub.said {
            let said = match said {
                Said::Message(message) => {
                    let at = message.cursor.as_ref().map(|cursor| cursor.sequence().unwrap());
                    match &message.content {
                        Content::Event(event) => format!("{:?} {} at {at:?}", event.kind, number(event)),
                        Content::Snapshot(all) => {
                            let all = all
                                .iter()
                                .map(|document| format!("{} {}", document.id, document.data["number"]));
                            format!("snapshot {:?}", all.collect::<Vec<_>>())
                        }
                        other => format!("{other:?} at {at:?}"),
                    }
                }
                other => format!("{other:?}"),
            };
            text.push_str(&format!("  [{end}] {said}\n"));
        }
        for (sequence, past) in self.record.past.iter().enumerate() {
            let user = self.who.user.and_then(|user| past.users.get(user));
            let members: Vec<_> = past.members.iter().map(|(user, team)| format!("{user}-{team}")).collect();
            let step = self.record.steps.get(&(sequence as u64));
            text.push_str(&format!(
                "  {sequence}: {:?} {user:?} {members:?} {:?} {step:?}\n",
                past.rule, past.blocked
            ));
        }
        text
    }
}

impl Segment {
    fn allow(&mut self, from: u64, until: u64) {
        assert!(from <= until, "it was told of {from}, when the log ended at {until}");
        self.windows.push(from..=until);
    }
}
