//! Where a snapshot ends and live begins: whatever is written meanwhile is in the snapshot or comes as an event, never
//! both, never neither.
//!
//! Readers subscribe again and again with a snapshot while writers write without pause, and follow each subscription for
//! a while. What they hold at `ready`, and at their last cursor, must be what the acknowledged writes make of the
//! collection at just that place in the log. `COIR_TEST_SEAM_TRIALS` says how many trials; unset, 300.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{
    Dice, Replica, TestApp, dice, indexes::declare, on_both_databases, replica::shown, sequence_of,
};

const DOCUMENTS: usize = 500;
const GROUPS: usize = 3;
const WRITERS: usize = 6;
const READERS: usize = 8;

/// What is known of the log: by sequence, which document became what.
type History = Mutex<BTreeMap<i64, (String, Option<Value>)>>;

/// What a reader held at a place in the log.
struct Held {
    sequence: i64,
    group: Option<usize>,
    documents: BTreeMap<String, Value>,
}

/// What a reader got.
#[derive(Default)]
struct Counts {
    events: u64,
    /// Of these, between the first page and `ready`.
    seam: u64,
}

/// Writes any of the documents in any way, until it is told to stop.
async fn write(app: &TestApp, mut dice: Dice, history: &History, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let id = format!("{:04}", dice.under(DOCUMENTS));
        let group = dice.under(GROUPS);
        let body = json!({ "group": group, "also": group, "n": dice.under(1000) });
        let method = [Method::PUT, Method::PUT, Method::PATCH, Method::DELETE][dice.under(4)].clone();
        let request = app.request(method.clone(), &format!("/collections/posts/{id}")).json(&body);
        let answer = app.send(request).await;
        if answer.status == StatusCode::NOT_FOUND {
            continue;
        }
        assert!(answer.status.is_success(), "{answer:?}");
        let becomes = (method != Method::DELETE).then(|| shown(answer.data()).1);
        history.lock().unwrap().insert(sequence_of(answer.header("x-cursor")), (id, becomes));
    }
}

/// Subscribes with a snapshot again and again, and notes what it held.
async fn read(app: &TestApp, mut dice: Dice, trials: &AtomicUsize, held: &Mutex<Vec<Held>>) -> Counts {
    let (mut socket, mut counts) = (app.socket().await, Counts::default());
    while trials.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let group = Some(dice.under(GROUPS + 1)).filter(|group| *group < GROUPS);
        // An index finds the one, and not the other.
        let field = ["group", "also"][dice.under(2)];
        let filters = group.map_or(json!({}), |group| json!({ field: group }));
        let mut replica = Replica::default();
        replica.take(
            &socket.subscribe_named("s", "posts", json!({ "filters": filters, "snapshot": true })).await,
        );
        let note = |replica: &Replica| {
            let sequence = replica.sequence().unwrap();
            held.lock().unwrap().push(Held { sequence, group, documents: replica.documents() });
        };
        while replica.cursor().is_none() {
            replica.take(&socket.next().await);
        }
        counts.seam += replica.counts().events;
        note(&replica);
        let until = replica.counts().events + 1 + dice.under(30) as u64;
        while replica.counts().events < until {
            replica.take(&socket.next().await);
        }
        note(&replica);
        counts.events += replica.counts().events;
        assert_eq!((replica.counts().snapshots, replica.counts().resyncs), (1, 0));
        socket.send(json!({ "type": "unsubscribe", "id": "s" })).await;
        socket.send(json!({ "type": "ping" })).await;
        while socket.next().await["type"] != "pong" {}
    }
    counts
}

/// Compares what was held with what the writes made of the collection.
fn compare(history: &BTreeMap<i64, (String, Option<Value>)>, held: &mut [Held]) -> usize {
    held.sort_by_key(|held| held.sequence);
    let (mut now, mut writes) = (BTreeMap::new(), history.iter().peekable());
    for held in held.iter() {
        while let Some((_, (id, becomes))) = writes.next_if(|(sequence, _)| **sequence <= held.sequence) {
            match becomes {
                Some(document) => now.insert(id.clone(), document.clone()),
                None => now.remove(id),
            };
        }
        let mut expected = now.clone();
        expected.retain(|_, document| held.group.is_none_or(|group| document["data"]["group"] == group));
        assert_eq!(held.documents, expected, "at {} for group {:?}", held.sequence, held.group);
    }
    held.len()
}

async fn try_seam(app: &TestApp) {
    let trials = dice::setting("COIR_TEST_SEAM_TRIALS", 300);
    let mut dice = Dice::new(dice::seed("seam"));
    app.post("/collections", json!({ "name": "posts" })).await;
    declare(app, "posts", json!([{ "fields": ["group"] }])).await;
    let (history, left, held) = (History::default(), AtomicUsize::new(trials), Mutex::default());
    let is_over = Arc::new(AtomicBool::new(false));
    let writing =
        join_all((0..WRITERS).map(|_| write(app, dice.split(), &history, &is_over)).collect::<Vec<_>>());
    let mut dice = dice.clone();
    let readers: Vec<_> = (0..READERS).map(|_| read(app, dice.split(), &left, &held)).collect();
    let reading = async {
        let counts = join_all(readers).await;
        is_over.store(true, Ordering::Relaxed);
        counts.iter().fold((0, 0), |(events, seam), counts| (events + counts.events, seam + counts.seam))
    };
    let (_, (events, seam)) = tokio::join!(writing, reading);
    let history = history.into_inner().unwrap();
    let comparisons = compare(&history, &mut held.into_inner().unwrap());
    assert_eq!(comparisons, 2 * trials);
    eprintln!(
        "{trials} subscriptions with a snapshot while {} changes were written: {events} events, {seam} of them before \
         `ready`, {comparisons} views compared",
        history.len()
    );
}

on_both_databases! {
    async fn a_write_during_a_snapshot_is_in_it_or_comes_as_an_event(app: &TestApp) {
        try_seam(app).await;
    }
}
