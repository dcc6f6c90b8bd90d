//! What several wait for is read once: a thousand subscriptions that fell behind together, or came back together after a
//! restart, want the same pages of the log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{
    domain::{CollectionId, Position, ProjectId},
    store::changes::LogPage,
};

type Place = (ProjectId, CollectionId);

/// Who waits for which page of the log.
#[derive(Default)]
pub(super) struct SharedReads(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    requests: HashMap<Place, Vec<Request>>,
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
        let number = waiting.next;
        waiting.next += 1;
        let request = Request { number, after, answer: sender };
        waiting.requests.entry(place.clone()).or_default().push(request);
        Wait { shared: self, place, number, after, answer }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Answers everyone who waited when the read began, and for whom this page is what a read of its own would be, or a
    /// part of that.
    pub(super) fn share(&self, begun: Begun, page: &Arc<LogPage>) {
        let mut waiting = self.shared.lock();
        let Some(requests) = waiting.requests.get_mut(&self.place) else { return };
        let end = page.entries.last().map(|change| change.position.sequence);
        let fits = |request: &mut Request| {
            request.number < begun.0
                && request.number != self.number
                && request.after.sequence >= self.after.sequence
                && (page.is_last || end.is_some_and(|end| request.after.sequence < end))
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
    use crate::{
        domain::{Change, Control, Entry, Timestamp},
        query::cursor::Epoch,
        store::heads::Head,
    };

    fn at(sequence: u64) -> Position {
        Position { sequence, at: Timestamp(0) }
    }

    /// A page after `after`, up to and with `last`.
    fn page(project: &ProjectId, (after, last): (u64, u64), is_last: bool) -> Arc<LogPage> {
        let change = |sequence| {
            let entry = Entry::Control(Control::KeyRevoked { key: String::new() });
            Arc::new(Change { project: project.clone(), position: at(sequence), entry })
        };
        let head =
            Head { project: project.clone(), epoch: Epoch(1), head: at(last), floor: at(0), control: 0 };
        Arc::new(LogPage { head, entries: (after + 1..=last).map(change).collect(), is_last })
    }

    async fn has_answer(wait: &mut Wait<'_>) -> bool {
        tokio::time::timeout(Duration::ZERO, wait.page()).await.is_ok()
    }

    #[tokio::test]
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
            let reader = shared.wait(place.clone(), at(10));
            let mut wait = shared.wait(place.clone(), at(after));
            let mut other = shared.wait(other_place.clone(), at(after));
            let begun = reader.begin();
            let mut late = shared.wait(place.clone(), at(after));
            reader.share(begun, &page(&project, (10, 20), is_last));
            assert_eq!(has_answer(&mut wait).await, expected, "{why}");
            assert!(!has_answer(&mut other).await, "another collection: {why}");
            assert!(!has_answer(&mut late).await, "it may know of what the read didn't see: {why}");
        }
        assert!(shared.lock().requests.is_empty(), "who is gone doesn't wait");
    }
}
