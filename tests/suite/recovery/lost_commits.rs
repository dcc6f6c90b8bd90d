//! PostgreSQL loses commits that the servers announced, as after a failover to an asynchronous standby or a crash with
//! `COIR_DURABILITY=normal`, and new commits use their sequences again.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{
    Replica, TestApp, TestStream, app::config, list_all, postgres::Cluster, replica::shown,
};

/// How long a server may take to notice that the database is there again.
const NOTICE: Duration = Duration::from_secs(20);

/// How many changes are lost.
const LOST: usize = 6;

async fn control(cluster: &Arc<Cluster>, command: fn(&Cluster)) {
    let cluster = cluster.clone();
    tokio::task::spawn_blocking(move || command(&cluster)).await.unwrap();
}

async fn put(app: &TestApp, id: &str, data: Value) {
    let begun = Instant::now();
    while !app.put(&format!("/collections/posts/{id}"), data.clone()).await.status.is_success() {
        assert!(begun.elapsed() < NOTICE, "`{id}` can't be written");
    }
}

/// Each document's data and age, by id. Events don't show versions.
fn without_versions(mut documents: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    for document in documents.values_mut() {
        document.as_object_mut().unwrap().remove("version");
    }
    documents
}

/// A subscriber and what it sees.
struct Subscriber {
    stream: TestStream,
    view: Replica,
    resyncs: usize,
}

impl Subscriber {
    async fn open(app: &TestApp, path: &str) -> Self {
        Self { stream: app.stream(path, None).await, view: Replica::default(), resyncs: 0 }
    }

    /// Reads until the view has a document, and is complete.
    async fn read_until(&mut self, id: &str) {
        while self.view.cursor().is_none() || !self.view.view().documents().contains_key(id) {
            let block = self.stream.next_block().await;
            self.resyncs += usize::from(block.event.as_deref() == Some("resync"));
            self.view.take_block(&block);
        }
    }
}

/// Runs a database that loses [`LOST`] changes, after which others make `count` changes before the servers can see it again.
async fn lose_commits(count: usize) {
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
    let app = TestApp::start_on(config(&cluster.url()), None).await;
    let other = app.start_second_node().await;
    let nodes = [&app, &other];
    for n in 0..3 {
        put(&app, &format!("kept-{n}"), json!({ "n": n })).await;
    }
    control(&cluster, Cluster::stop).await;
    control(&cluster, Cluster::copy).await;
    control(&cluster, Cluster::start_again).await;
    put(&app, "kept-0", json!({ "n": "lost" })).await;

    // The filter has them all, but is not the same as none.
    let paths = ["/realtime/sse/posts?snapshot=true", "/realtime/sse/posts?snapshot=true&n__ne=-1"];
    let mut subscribers = Vec::new();
    for node in nodes {
        for path in paths {
            subscribers.push(Subscriber::open(node, path).await);
        }
    }
    for n in 0..LOST - 2 {
        put(&app, &format!("lost-{n}"), json!({ "n": n })).await;
    }
    app.delete("/collections/posts/kept-1").await;
    put(&app, "lost", json!({})).await;
    for subscriber in &mut subscribers {
        subscriber.read_until("lost").await;
    }
    let cursor = subscribers[0].view.cursor().unwrap().to_owned();
    control(&cluster, Cluster::stop).await;
    control(&cluster, Cluster::put_back).await;

    // Another server writes first, where these can't see it.
    let elsewhere = cluster.clone();
    let url = tokio::task::spawn_blocking(move || elsewhere.start_elsewhere()).await.unwrap();
    let third = TestApp::start_on(config(&url), None).await;
    for n in 0..count {
        put(&third, &format!("new-{n}"), json!({ "n": n })).await;
    }
    third.stop().await;
    control(&cluster, Cluster::stop).await;
    control(&cluster, Cluster::start_again).await;

    put(&app, "last", json!({})).await;
    let listed = list_all(&app.http, &app.url, "posts").await;
    let listed = without_versions(listed.values().map(shown).collect());
    assert_eq!(listed.len(), 3 + count + 1);
    for subscriber in &mut subscribers {
        subscriber.read_until("last").await;
        assert_eq!(without_versions(subscriber.view.documents()), listed);
        assert_eq!(subscriber.resyncs, 1);
    }
    for node in nodes {
        let mut anew = node.stream("/realtime/sse/posts", Some(&cursor)).await;
        assert_eq!(anew.next_event().await.json()["code"], "CURSOR_EXPIRED");
    }
    drop(subscribers);
    app.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_right_after_as_many_new_commits_as_were_lost() {
    lose_commits(LOST + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_right_after_more_new_commits_than_were_lost() {
    lose_commits(LOST + 10).await;
}

/// A lost control entry and a new one have the same sequence.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_lost_is_written_to_by_nobody() {
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
    let app = TestApp::start_on(config(&cluster.url()), None).await;
    control(&cluster, Cluster::stop).await;
    control(&cluster, Cluster::copy).await;
    control(&cluster, Cluster::start_again).await;
    put(&app, "lost", json!({})).await;
    control(&cluster, Cluster::stop).await;
    control(&cluster, Cluster::put_back).await;
    let elsewhere = cluster.clone();
    let url = tokio::task::spawn_blocking(move || elsewhere.start_elsewhere()).await.unwrap();
    let third = TestApp::start_on(config(&url), None).await;
    assert_eq!(third.put("/collections/others/new", json!({})).await.status, 201);
    third.stop().await;
    control(&cluster, Cluster::stop).await;
    control(&cluster, Cluster::start_again).await;

    put(&app, "new", json!({})).await;
    let listed = list_all(&app.http, &app.url, "posts").await;
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["new"]);
    let collections = app.get("/collections").await;
    let names: Vec<_> =
        collections.data().as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["others", "posts"]);
    // The server stops only if every document belongs to a collection.
    app.stop().await;
}
