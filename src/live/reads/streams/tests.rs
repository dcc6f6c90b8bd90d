use super::*;
use crate::domain::{Control, Entry, LogEnds, Timestamp, cursor::Epoch};

fn at(sequence: u64) -> Position {
    Position { sequence, at: Timestamp(0) }
}

/// The page after a sequence, up to and with `last`, of a log that ends there or later.
fn page(project: &str, (after, last): (u64, u64), end: u64) -> Option<Arc<Held<LogPage>>> {
    let project = ProjectId::from_stored(project);
    let change = |sequence| {
        let entry = Entry::Control(Control::KeyRevoked { key: String::new() });
        Arc::new(Change { project: project.clone(), position: at(sequence), entry })
    };
    let entries = (after + 1..=last).map(change).collect();
    let ends =
        LogEnds { project: project.clone(), epoch: Epoch(1), first: at(0), last: at(end), control: at(0) };
    let page = LogPage { ends, entries, is_last: last == end, begin: Some(at(after)) };
    Some(Arc::new(Held { page, _memory: None }))
}

#[test]
fn a_log_page_covers_every_position_that_it_goes_on_from() {
    for (why, end, after, expected) in [
        ("it begins after that", 30, 9, false),
        ("the same", 30, 10, true),
        ("a part of it", 30, 19, true),
        ("it ends there, and the log goes on", 30, 20, false),
        ("the log ends there, too", 20, 20, true),
    ] {
        let page = page("p", (10, 20), end);
        assert_eq!(page.covers(&at(10), &at(after)), expected, "{why}");
        assert_eq!(page.is_immutable(), end == 30, "{why}");
    }
    assert!(!None::<Arc<Held<LogPage>>>.covers(&at(0), &at(0)), "there is no such project");
}

#[test]
fn a_log_that_ends_before_a_page_contradicts_it() {
    let older = page("p", (10, 20), 30);
    assert!(page("p", (5, 8), 8).contradicts(&older));
    assert!(!page("p", (20, 25), 25).contradicts(&older));
    assert!(!page("another", (5, 8), 8).contradicts(&older));
}
