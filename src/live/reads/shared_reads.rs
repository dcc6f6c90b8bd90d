//! What several wait for is read once: a thousand subscriptions that fell behind together, or came back together after a
//! restart, want the same pages of the log.
//!
//! A page that others wait for goes to them as well. One that isn't the log's end will never be another: it is kept for a
//! while for those who come later.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    domain::{Change, CollectionId, LogEnds, Position, ProjectId},
    store::log::changes::LogPage,
};

type Place = (ProjectId, CollectionId);

/// What kept pages may take together, in bytes of memory; the oldest go first.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// How long a page is kept. If the database is put back meanwhile, it is as if it had been sent before.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// Who waits for which page of the log.
#[derive(Default)]
pub(super) struct SharedReads(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    requests: HashMap<Place, Vec<Request>>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
}

/// A page that was read a moment ago, and is not the log's end.
struct Kept {
    place: Place,
    after: Position,
    end: u64,
    page: Arc<LogPage>,
    bytes: usize,
    read_at: Instant,
}

struct Request {
    number: u64,
    after: Position,
    answer: oneshot::Sender<Arc<LogPage>>,
}

/// One who waits; no more when dropped.
pub(super) struct Wait<'a> {
    shared: &'a SharedReads,
    place: Place,
    number: u64,
    after: Position,
    answer: oneshot::Receiver<Arc<LogPage>>,
}

/// When a read began.
#[derive(Clone, Copy)]
pub(super) struct Begun(u64);

impl SharedReads {
    /// Begins to wait for what comes after `after`.
    pub(super) fn wait(&self, place: Place, after: Position) -> Wait<'_> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.lock();
        if let Some(page) = waiting.find_kept(&place, after) {
            // It waits for nothing: the page is there.
            let _ = sender.send(page);
            return Wait { shared: self, place, number: waiting.take_number(), after, answer };
        }
        let number = waiting.take_number();
        let request = Request { number, after, answer: sender };
        waiting.requests.entry(place.clone()).or_default().push(request);
        Wait { shared: self, place, number, after, answer }
    }

    /// Forgets the pages that are kept.
    pub(super) fn forget_kept(&self) {
        let mut waiting = self.lock();
        waiting.kept.clear();
        waiting.kept_bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn find_kept(&mut self, place: &Place, after: Position) -> Option<Arc<LogPage>> {
        while self.kept.front().is_some_and(|kept| kept.read_at.elapsed() > KEPT_FOR) {
            self.drop_oldest();
        }
        let has =
            |kept: &&Kept| kept.place == *place && (kept.after.sequence..kept.end).contains(&after.sequence);
        self.kept.iter().find(has).map(|kept| kept.page.clone())
    }

    fn keep(&mut self, kept: Kept) {
        self.kept_bytes += kept.bytes;
        self.kept.push_back(kept);
        while self.kept_bytes > KEPT_BYTES {
            self.drop_oldest();
        }
    }

    /// Forgets what is beyond the end of its log: the database was put back.
    fn drop_lost(&mut self, ends: &LogEnds) {
        self.kept.retain(|kept| {
            kept.place.0 != ends.project
                || kept.page.ends.epoch == ends.epoch && kept.end <= ends.last.sequence
        });
        self.kept_bytes = self.kept.iter().map(|kept| kept.bytes).sum();
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.kept_bytes -= oldest.bytes;
        }
    }
}

impl Wait<'_> {
    /// The page that another one has read.
    pub(super) async fn page(&mut self) -> Arc<LogPage> {
        match (&mut self.answer).await {
            Ok(page) => page,
            // Its other end is in the list until it is used or this is dropped.
            Err(_) => std::future::pending().await,
        }
    }

    /// Notes that the read begins. Only who waits by now is answered with it: to one who asks later, it is old news.
    pub(super) fn begin(&self) -> Begun {
        Begun(self.shared.lock().next)
    }

    /// Answers everyone for whom this page is what a read of its own would be, or a part of that. Where the log ends, only who
    /// waited when the read began.
    pub(super) fn share(&self, begun: Begun, page: &Arc<LogPage>) {
        let mut waiting = self.shared.lock();
        waiting.drop_lost(&page.ends);
        let end = page.entries.last().map_or(0, |change| change.position.sequence);
        if !page.is_last {
            waiting.keep(Kept {
                place: self.place.clone(),
                after: self.after,
                end,
                page: page.clone(),
                bytes: page.entries.iter().map(|change| Change::weight(change)).sum(),
                read_at: Instant::now(),
            });
        }
        let Some(requests) = waiting.requests.get_mut(&self.place) else { return };
        let fits = |request: &mut Request| {
            request.number != self.number
                && request.after.sequence >= self.after.sequence
                && if page.is_last { request.number < begun.0 } else { request.after.sequence < end }
        };
        for request in requests.extract_if(.., fits) {
            // Whoever hangs up meanwhile needs no page.
            let _ = request.answer.send(page.clone());
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waiting = self.shared.lock();
        if let Some(requests) = waiting.requests.get_mut(&self.place) {
            requests.retain(|request| request.number != self.number);
            if requests.is_empty() {
                waiting.requests.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{Change, Control, Entry, Timestamp, cursor::Epoch};

    fn at(sequence: u64) -> Position {
        Position { sequence, at: Timestamp(0) }
    }

    /// A page after `after`, up to and with `last`.
    fn page(project: &ProjectId, (after, last): (u64, u64), is_last: bool) -> Arc<LogPage> {
        let change = |sequence| {
            let entry = Entry::Control(Control::KeyRevoked { key: String::new() });
            Arc::new(Change { project: project.clone(), position: at(sequence), entry })
        };
        let ends =
            LogEnds { project: project.clone(), epoch: Epoch(1), first: at(0), last: at(last), control: 0 };
        Arc::new(LogPage { ends, entries: (after + 1..=last).map(change).collect(), is_last })
    }

    async fn has_answer(wait: &mut Wait<'_>) -> bool {
        tokio::time::timeout(Duration::ZERO, wait.page()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_for_those_who_waited_for_a_part_of_it_when_its_read_began() {
        let (shared, project) = (SharedReads::default(), ProjectId::generate());
        let place = (project.clone(), CollectionId::from_stored("c"));
        let other_place = (project.clone(), CollectionId::from_stored("d"));
        for (why, after, is_last, expected) in [
            ("the same part", 10, false, true),
            ("a part of it", 19, false, true),
            ("it begins after that", 9, false, false),
            ("it ends before that", 20, false, false),
            ("the log ends where it ends", 20, true, true),
        ] {
            // Nothing is kept from before.
            tokio::time::advance(2 * KEPT_FOR).await;
            let reader = shared.wait(place.clone(), at(10));
            let mut wait = shared.wait(place.clone(), at(after));
            let mut other = shared.wait(other_place.clone(), at(after));
            let begun = reader.begin();
            let mut late = shared.wait(place.clone(), at(after));
            reader.share(begun, &page(&project, (10, 20), is_last));
            assert_eq!(has_answer(&mut wait).await, expected, "{why}");
            assert!(!has_answer(&mut other).await, "another collection: {why}");
            let is_late = expected && !is_last;
            assert_eq!(
                has_answer(&mut late).await,
                is_late,
                "of the end it may know what the read didn't see: {why}"
            );
        }
        assert!(shared.lock().requests.is_empty(), "who is gone doesn't wait");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_is_not_the_end_is_kept_for_a_while() {
        let (shared, project) = (SharedReads::default(), ProjectId::generate());
        let place = (project.clone(), CollectionId::from_stored("c"));
        let read = |after, last, is_last| {
            let reader = shared.wait(place.clone(), at(after));
            reader.share(reader.begin(), &page(&project, (after, last), is_last));
        };
        let has = async |after| has_answer(&mut shared.wait(place.clone(), at(after))).await;
        read(10, 20, false);
        read(20, 25, true);
        for (after, expected) in [(9, false), (10, true), (19, true), (20, false)] {
            assert_eq!(has(after).await, expected, "{after}");
        }
        tokio::time::advance(KEPT_FOR / 2).await;
        assert!(has(10).await);
        read(5, 8, true);
        assert!(!has(10).await, "the log ends before it now");
        read(10, 20, false);
        shared.forget_kept();
        assert!(!has(10).await, "nobody is left to keep it for");
        read(10, 20, false);
        tokio::time::advance(2 * KEPT_FOR).await;
        assert!(!has(10).await, "it is old");
        assert!(shared.lock().kept.is_empty());
    }
}
