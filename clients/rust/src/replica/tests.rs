//! A replica takes messages, and refuses messages that don't fit.

use serde_json::json;

use super::*;
use crate::cursor::tests::cursor;

fn document(id: &str, n: u64) -> Document {
    Document {
        id: id.to_owned(),
        data: json!({ "n": n }),
        created_at: "now".to_owned(),
        updated_at: None,
        version: Some(n),
    }
}

fn message(sequence: Option<u64>, content: Content) -> Message {
    Message { subscription: None, cursor: sequence.map(cursor), content }
}

fn event(sequence: impl Into<Option<u64>>, kind: EventKind, id: &str, n: u64) -> Message {
    let event = Event { collection: "posts".to_owned(), kind, reason: None, document: document(id, n) };
    message(sequence.into(), Content::Event(event))
}

fn created(sequence: impl Into<Option<u64>>, id: &str, n: u64) -> Message {
    event(sequence, EventKind::Created, id, n)
}

fn updated(sequence: impl Into<Option<u64>>, id: &str, n: u64) -> Message {
    event(sequence, EventKind::Updated, id, n)
}

fn deleted(sequence: impl Into<Option<u64>>, id: &str, n: u64) -> Message {
    event(sequence, EventKind::Deleted, id, n)
}

fn snapshot(ids: &[&str]) -> Message {
    message(None, Content::Snapshot(ids.iter().map(|id| document(id, 1)).collect()))
}

fn ready(sequence: u64) -> Message {
    message(Some(sequence), Content::Ready)
}

fn progress(sequence: u64) -> Message {
    message(Some(sequence), Content::Progress)
}

fn resync(sequence: Option<u64>) -> Message {
    message(sequence, Content::Resync { code: "CURSOR_EXPIRED".to_owned(), message: String::new() })
}

fn subscribed(sequence: Option<u64>) -> Message {
    message(sequence, Content::Subscribed { collection: "posts".to_owned() })
}

/// A view of documents `a` and `b` at sequence 5.
fn ready_replica() -> Replica {
    let mut replica = Replica::new();
    replica.reconnect();
    replica.apply(snapshot(&["a", "b"])).unwrap();
    replica.apply(ready(5)).unwrap();
    replica
}

fn ids(replica: &Replica) -> Vec<&str> {
    replica.documents().keys().map(String::as_str).collect()
}

#[test]
fn a_snapshot_and_the_events_after_it_make_the_view() {
    let mut replica = Replica::new();
    assert_eq!(replica.reconnect(), Change::None);
    assert_eq!(replica.apply(snapshot(&["a"])), Ok(Change::Loaded(1)));
    assert_eq!(replica.apply(snapshot(&["b", "c"])), Ok(Change::Loaded(2)));
    assert_eq!(replica.apply(updated(None, "b", 2)), Ok(Change::Updated { before: document("b", 1) }));
    assert!(!replica.is_complete() && replica.cursor().is_none());
    assert_eq!(replica.apply(ready(5)), Ok(Change::Completed));
    assert!(replica.is_complete());
    assert_eq!(replica.apply(created(6, "d", 1)), Ok(Change::Created("d".to_owned())));
    assert_eq!(replica.apply(deleted(8, "a", 1)), Ok(Change::Deleted(document("a", 1))));
    assert_eq!(replica.apply(progress(8)), Ok(Change::None));
    assert_eq!(replica.apply(progress(12)), Ok(Change::None));
    assert_eq!((ids(&replica), replica.sequence()), (vec!["b", "c", "d"], Some(12)));
    assert_eq!(replica.counts(), Counts { events: 3, snapshots: 1, resyncs: 0 });
}

#[test]
fn a_new_connection_goes_on_at_the_cursor_and_drops_half_a_snapshot() {
    let mut replica = ready_replica();
    assert_eq!(replica.reconnect(), Change::None);
    assert_eq!(replica.apply(subscribed(Some(5))), Ok(Change::None));
    replica.apply(created(6, "c", 1)).unwrap();
    assert_eq!(replica.apply(resync(None)), Ok(Change::Cleared));
    replica.apply(snapshot(&["d"])).unwrap();
    assert_eq!(replica.reconnect(), Change::Cleared);
    replica.apply(snapshot(&["d"])).unwrap();
    // Another history of the log may be shorter.
    assert_eq!(replica.apply(ready(2)), Ok(Change::Completed));
    assert_eq!((ids(&replica), replica.sequence()), (vec!["d"], Some(2)));
}

#[test]
fn violations_are_named() {
    let id = || "a".to_owned();
    let cases = [
        ("an event again", updated(5, "a", 2), Misfit::OutOfOrder { sequence: 5, last: 5 }),
        ("progress that goes back", progress(4), Misfit::OutOfOrder { sequence: 4, last: 5 }),
        ("an event without a cursor", updated(None, "a", 2), Misfit::NoCursor),
        ("a document created twice", created(6, "a", 2), Misfit::AlreadyThere { id: id() }),
        ("an unknown document updated", updated(6, "c", 2), Misfit::NotThere { id: "c".to_owned() }),
        ("an unknown document deleted", deleted(6, "c", 2), Misfit::NotThere { id: "c".to_owned() }),
        ("a version again", updated(6, "a", 1), Misfit::OldVersion { id: id(), before: 1, after: 1 }),
        ("a page after `ready`", snapshot(&["c"]), Misfit::NotInSnapshot),
        ("`ready` again", ready(6), Misfit::NotInSnapshot),
    ];
    for (why, message, expected) in cases {
        let mut replica = ready_replica();
        assert_eq!(replica.apply(message), Err(expected), "{why}");
    }
}

#[test]
fn a_snapshot_has_no_cursor_and_each_document_once() {
    let mut replica = Replica::new();
    replica.reconnect();
    assert_eq!(replica.apply(snapshot(&["a", "a"])), Err(Misfit::TwiceInSnapshot { id: "a".to_owned() }));
    assert_eq!(replica.apply(created(6, "b", 1)), Err(Misfit::CursorInSnapshot));
    let page = Message { cursor: Some(cursor(6)), ..snapshot(&["c"]) };
    assert_eq!(replica.apply(page), Err(Misfit::CursorInSnapshot));
    assert_eq!(replica.apply(message(None, Content::Ready)), Err(Misfit::NoCursor));
}

#[test]
fn a_message_that_does_not_fit_is_applied_all_the_same() {
    let mut replica = ready_replica();
    replica.apply(created(6, "a", 2)).unwrap_err();
    assert_eq!((replica.documents()["a"].version, replica.sequence()), (Some(2), Some(6)));
    assert!(replica.apply(updated(7, "a", 3)).is_ok());
}

#[test]
fn a_view_that_lost_changes_is_stale_until_a_snapshot() {
    let mut replica = ready_replica();
    assert_eq!(replica.apply(resync(Some(2))), Ok(Change::Stale));
    assert_eq!(replica.apply(created(3, "a", 2)), Ok(Change::Updated { before: document("a", 1) }));
    assert_eq!(replica.apply(updated(4, "c", 2)), Ok(Change::Created("c".to_owned())));
    assert_eq!(replica.apply(deleted(5, "z", 2)), Ok(Change::None));
    assert_eq!(replica.apply(progress(4)), Err(Misfit::OutOfOrder { sequence: 4, last: 5 }));
    assert!(!replica.is_complete());
    replica.apply(resync(None)).unwrap();
    replica.apply(ready(9)).unwrap();
    assert!(replica.is_complete());
}

#[test]
fn a_view_whose_documents_are_known_needs_no_snapshot() {
    let mut replica = Replica::with_documents([document("a", 1)], Some(cursor(5)));
    assert!(replica.is_complete());
    replica.reconnect();
    assert!(replica.apply(updated(6, "a", 2)).is_ok());

    // A WebSocket subscription without an id has no cursors.
    let mut replica = Replica::with_documents([], None);
    replica.apply(created(None, "a", 1)).unwrap();
    replica.apply(deleted(None, "a", 1)).unwrap();
    assert_eq!(replica.apply(deleted(None, "a", 1)), Err(Misfit::NotThere { id: "a".to_owned() }));
}

#[test]
fn a_view_tells_how_it_was_since_its_history_began() {
    let mut replica = ready_replica();
    replica.apply(updated(6, "a", 2)).unwrap();
    replica.start_history();
    let then = replica.documents().clone();
    replica.apply(updated(7, "a", 3)).unwrap();
    replica.apply(created(9, "c", 1)).unwrap();
    replica.apply(deleted(10, "a", 3)).unwrap();
    assert_eq!(replica.documents_at(6), Some(then));
    assert_eq!(replica.documents_at(8).unwrap()["a"].version, Some(3));
    assert_eq!(replica.documents_at(9).unwrap().len(), 3);
    assert_eq!(replica.documents_at(10).as_ref(), Some(replica.documents()));
    assert_eq!((replica.documents_at(11), replica.documents_at(5)), (None, None));
    assert!(replica.may_reach(11) && !replica.may_reach(5));
    replica.apply(resync(None)).unwrap();
    assert!(!replica.may_reach(11));
}
