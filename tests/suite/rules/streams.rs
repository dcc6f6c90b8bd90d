//! Rules about reading, on open streams: what they show, and what happens when rights change.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_user, set_rules};
use crate::{
    harness::{Database, PUBLISHABLE_KEY, TestApp, TestStream, on_both_databases},
    users::{
        sign_up,
        streams::{socket, sse},
    },
};

/// Writes a document as a server, and returns it.
async fn put(app: &TestApp, path: &str, data: Value) -> Value {
    app.put(path, data).await.data().clone()
}

on_both_databases! {
    async fn a_stream_shows_what_its_user_may_read(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        set_rules(app, "notes", json!({ "read": { "owner": "$user.id" } })).await;
        put(app, "/collections/notes/old", json!({ "owner": ada.id })).await;
        put(app, "/collections/notes/other", json!({ "owner": "bob" })).await;
        let mut plain = socket(app, &ada.access).await;
        plain.subscribe("notes", json!({})).await;
        let mut named = socket(app, &ada.access).await;
        named.subscribe_named("n", "notes", json!({ "snapshot": true })).await;
        let snapshot = named.next().await;
        let shown: Vec<_> = snapshot["documents"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
        assert_eq!(shown, ["old"]);
        assert_eq!(named.next().await["type"], "ready");
        let mut stream = TestStream::open(sse(app, &ada.access, "notes")).await;
        stream.opened().await;

        put(app, "/collections/notes/b", json!({ "owner": "bob" })).await;
        let mine = put(app, "/collections/notes/a", json!({ "owner": ada.id })).await;
        put(app, "/collections/notes/a", json!({ "owner": "bob" })).await;
        for events in [&[plain.next().await, plain.next().await], &[named.next().await, named.next().await],
            &[stream.next_event().await.json(), stream.next_event().await.json()]] {
            assert_eq!((&events[0]["document"]["id"], &events[0]["document"]["data"]), (&mine["id"], &mine["data"]));
            // What leaves the view is shown as it was when it could be read.
            assert_eq!((&events[1]["event"], &events[1]["document"]["data"]["owner"]), (&json!("deleted"), &json!(ada.id)), "{events:?}");
        }
        // A guest has no user, so that nothing matches.
        let mut guest = socket(app, PUBLISHABLE_KEY).await;
        guest.send(json!({ "type": "subscribe", "collection": "notes" })).await;
        assert_eq!(guest.next_error().await.0, "FORBIDDEN");
        let refused = app.send(sse(app, PUBLISHABLE_KEY, "notes")).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
    }

    async fn new_rules_take_effect_on_open_streams_at_once(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        set_rules(app, "posts", json!({ "read": true })).await;
        put(app, "/collections/posts/p", json!({ "public": true })).await;
        put(app, "/collections/posts/q", json!({ "public": false })).await;
        let mut plain = socket(app, &ada.access).await;
        plain.subscribe("posts", json!({})).await;
        let mut named = socket(app, &ada.access).await;
        named.subscribe_named("without", "posts", json!({})).await;
        let mut view = socket(app, &ada.access).await;
        view.subscribe_named("with", "posts", json!({ "snapshot": true })).await;
        assert_eq!(view.next().await["documents"].as_array().unwrap().len(), 2);
        assert_eq!(view.next().await["type"], "ready");
        let mut stream = TestStream::open(sse(app, &ada.access, "posts")).await;
        stream.opened().await;

        set_rules(app, "posts", json!({ "read": { "public": true } })).await;
        put(app, "/collections/posts/hidden", json!({ "public": false })).await;
        put(app, "/collections/posts/shown", json!({ "public": true })).await;
        assert_eq!(plain.next().await["document"]["id"], "shown");
        assert_eq!(stream.next_event().await.json()["document"]["id"], "shown");
        let resync = named.next().await;
        assert_eq!((&resync["type"], &resync["id"], &resync["code"]), (&json!("resync"), &json!("without"), &json!("RIGHTS_CHANGED")));
        let resync = view.next().await;
        assert_eq!((&resync["type"], &resync["code"]), (&json!("resync"), &json!("RIGHTS_CHANGED")));
        let mut shown = Vec::new();
        loop {
            let message = view.next().await;
            match message["type"].as_str().unwrap() {
                "snapshot" => shown.extend(message["documents"].as_array().unwrap().iter().map(|one| one["id"].clone())),
                "ready" => break,
                _ => panic!("{message}"),
            }
        }
        assert!(!shown.contains(&json!("q")) && !shown.contains(&json!("hidden")), "{shown:?}");
        put(app, "/collections/posts/last", json!({ "public": true })).await;
        loop {
            let message = view.next().await;
            assert_ne!(message["document"]["id"], "hidden");
            if message["document"]["id"] == "last" {
                break;
            }
        }

        // Rules that leave nothing end every subscription.
        assert_eq!(plain.next().await["document"]["id"], "last");
        assert_eq!(stream.next_event().await.json()["document"]["id"], "last");
        set_rules(app, "posts", json!({ "create": true })).await;
        put(app, "/collections/posts/after", json!({ "public": true })).await;
        assert_eq!(plain.next_error().await.0, "FORBIDDEN");
        assert_eq!(view.next_error().await, ("FORBIDDEN".to_owned(), Some(json!("with"))));
        let error = stream.next_event().await;
        assert_eq!((error.event.as_deref(), &error.json()["code"]), (Some("error"), &json!("FORBIDDEN")));
        assert_eq!(stream.try_next_block().await, None);
        // The one that was told to begin anew has ended with that, and gets nothing.
        named.settle().await;
    }

    async fn a_role_that_is_taken_away_ends_what_it_opened(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let role = async |roles: Value| {
            assert_eq!(app.patch(&format!("/users/{}", ada.id), json!({ "roles": roles })).await.status, 200);
        };
        set_rules(app, "reports", json!({ "read": { "$user.roles__array_contains": "moderator" } })).await;
        app.put("/collections/reports/first", json!({})).await;
        role(json!(["moderator"])).await;
        let mut plain = socket(app, &ada.access).await;
        plain.subscribe("reports", json!({})).await;
        let mut named = socket(app, &ada.access).await;
        named.subscribe_named("n", "reports", json!({})).await;
        let mut stream = TestStream::open(sse(app, &ada.access, "reports")).await;
        let cursor = stream.opened().await;
        put(app, "/collections/reports/a", json!({})).await;
        assert_eq!(plain.next().await["document"]["id"], "a");
        assert_eq!(named.next().await["document"]["id"], "a");
        assert_eq!(stream.next_event().await.json()["document"]["id"], "a");
        // Another change of the user changes no right.
        role(json!(["moderator", "editor"])).await;
        put(app, "/collections/reports/b", json!({})).await;
        assert_eq!(plain.next().await["document"]["id"], "b");
        assert_eq!(named.next().await["document"]["id"], "b");
        assert_eq!(stream.next_event().await.json()["document"]["id"], "b");

        role(json!([])).await;
        put(app, "/collections/reports/c", json!({})).await;
        assert_eq!(plain.next_error().await.0, "FORBIDDEN");
        assert_eq!(named.next_error().await, ("FORBIDDEN".to_owned(), Some(json!("n"))));
        assert_eq!(stream.next_event().await.json()["code"], "FORBIDDEN");
        assert_eq!(stream.try_next_block().await, None);
        // Whoever comes back with an old cursor has the rights of now.
        let resumed = app.send(sse(app, &ada.access, "reports").header("Last-Event-ID", cursor)).await;
        assert_eq!(resumed.error(), (403, "FORBIDDEN"));
    }

    /// A subscription takes the place of another one while rules change: it begins where the hub is.
    async fn a_subscription_that_is_replaced_follows_new_rules(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut guest = socket(app, PUBLISHABLE_KEY).await;
        guest.subscribe("posts", json!({})).await;
        for round in 0..30 {
            set_rules(app, "posts", json!({ "read": true })).await;
            for n in 0..10 {
                let filters = json!({ "n__lt": 1000 + n });
                guest.send(json!({ "type": "subscribe", "collection": "posts", "filters": filters })).await;
            }
            set_rules(app, "posts", json!({ "read": { "public": true } })).await;
            put(app, &format!("/collections/posts/hidden-{round}"), json!({ "n": 1, "public": false })).await;
            let shown = format!("shown-{round}");
            put(app, &format!("/collections/posts/{shown}"), json!({ "n": 1, "public": true })).await;
            assert_eq!(guest.next().await["document"]["id"], shown);
        }
    }

    /// Another user takes a socket over, with the same rights for other reasons.
    async fn whoever_takes_a_socket_over_loses_rights_of_their_own(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        for user in [&ada, &bob] {
            app.patch(&format!("/users/{}", user.id), json!({ "roles": ["mod"] })).await;
        }
        set_rules(app, "reports", json!({ "read": { "$user.roles__array_contains": "mod" } })).await;
        let mut watch = socket(app, &ada.access).await;
        watch.subscribe("reports", json!({})).await;
        watch.subscribe_named("n", "reports", json!({})).await;
        watch.authenticate(&bob.access).await;
        put(app, "/collections/reports/a", json!({})).await;
        assert_eq!(watch.next().await["document"]["id"], "a");
        assert_eq!(watch.next().await["document"]["id"], "a");
        app.patch(&format!("/users/{}", bob.id), json!({ "roles": [] })).await;
        put(app, "/collections/reports/b", json!({})).await;
        assert_eq!(watch.next_error().await.0, "FORBIDDEN");
        assert_eq!(watch.next_error().await.0, "FORBIDDEN");
    }

    /// The same, while the subscription still catches up for the one before.
    async fn whoever_takes_over_a_snapshot_under_way_has_rights_of_their_own(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let role = async |user: &str, roles: Value| {
            app.patch(&format!("/users/{user}"), json!({ "roles": roles })).await;
        };
        role(&ada.id, json!(["mod"])).await;
        set_rules(app, "reports", json!({ "read": { "$user.roles__array_contains": "mod" } })).await;
        for n in 0..5 {
            role(&bob.id, json!(["mod"])).await;
            let mut watch = socket(app, &ada.access).await;
            for id in ["a", "b", "c"] {
                watch.send(json!({ "type": "subscribe", "id": id, "collection": "reports", "snapshot": true })).await;
            }
            watch.authenticate(&bob.access).await;
            let mut ready = std::collections::HashSet::new();
            while ready.len() < 3 {
                let message = watch.next().await;
                if message["type"] == "ready" {
                    ready.insert(message["id"].clone());
                }
            }
            role(&bob.id, json!([])).await;
            put(app, &format!("/collections/reports/{n}"), json!({})).await;
            let mut ended = 0;
            while ended < 3 {
                let message = watch.next().await;
                assert_ne!(message["document"]["id"], json!(n.to_string()), "{message}");
                ended += usize::from(message["code"] == "FORBIDDEN");
            }
        }
    }

    /// Many snapshots on one socket, which goes away in their middle, hold up nobody else.
    async fn many_snapshots_of_a_guest_hold_up_nobody(app: &TestApp) {
        app.put("/collections/posts/a", json!({})).await;
        for round in 0..5 {
            let mut guest = socket(app, PUBLISHABLE_KEY).await;
            for n in 0..20 {
                guest.send(json!({ "type": "subscribe", "id": format!("s{n}"), "collection": "posts", "snapshot": true })).await;
            }
            if round % 2 == 0 {
                let mut ready = 0;
                while ready < 20 {
                    ready += usize::from(guest.next().await["type"] == "ready");
                }
            }
            drop(guest);
            assert_eq!(app.get("/collections").await.status, 200);
        }
    }

    async fn parameters_belong_to_one_subscription(app: &TestApp) {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        set_rules(app, "rooms", json!({ "read": { "inviteHash": "$paramHash.invite" } })).await;
        let mut watch = socket(app, PUBLISHABLE_KEY).await;
        watch.subscribe_named("r", "rooms", json!({ "params": { "invite": "abc" } })).await;
        watch.send(json!({ "type": "subscribe", "id": "s", "collection": "rooms" })).await;
        assert_eq!(watch.next_error().await, ("FORBIDDEN".to_owned(), Some(json!("s"))));
        watch.send(json!({ "type": "subscribe", "id": "s", "collection": "rooms", "params": [] })).await;
        assert_eq!(watch.next_error().await.0, "INVALID_BODY");
        let room = put(app, "/collections/rooms/a", json!({ "inviteHash": hash })).await;
        put(app, "/collections/rooms/b", json!({ "inviteHash": "0" })).await;
        assert_eq!(watch.next().await["document"]["data"], room["data"]);
        let request = sse(app, PUBLISHABLE_KEY, "rooms").header("X-Coir-Params", r#"{"invite":"abc"}"#);
        let mut stream = TestStream::open(request).await;
        stream.opened().await;
        let room = put(app, "/collections/rooms/c", json!({ "inviteHash": hash })).await;
        assert_eq!(stream.next_event().await.json()["document"]["data"], room["data"]);
        assert_eq!(watch.next().await["document"]["id"], "c");
        let wrong = sse(app, PUBLISHABLE_KEY, "rooms").header("X-Coir-Params", "x");
        assert_eq!(app.send(wrong).await.error(), (400, "INVALID_BODY"));
        // They are still known when the rules change.
        set_rules(app, "rooms", json!({ "read": { "inviteHash": "$paramHash.invite", "open": true } })).await;
        assert_eq!(watch.next().await["code"], "RIGHTS_CHANGED");
    }

    async fn a_subscription_that_waits_begins_with_the_rights_of_its_user(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let mut watch = socket(app, &ada.access).await;
        watch.subscribe_named("n", "notes", json!({})).await;
        app.post("/collections", json!({ "name": "notes", "rules": { "read": { "owner": "$user.id" } } })).await;
        put(app, "/collections/notes/b", json!({ "owner": "bob" })).await;
        put(app, "/collections/notes/a", json!({ "owner": ada.id })).await;
        assert_eq!(watch.next().await["document"]["id"], "a");
    }
}

/// A role and a rule that are taken away on one node end streams of another one.
#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_taken_away_on_another_node_are_gone() {
    let app = TestApp::start(Database::Postgres).await;
    let node = app.start_second_node().await;
    let ada = sign_up(&app, "ada@example.com").await;
    app.patch(&format!("/users/{}", ada.id), json!({ "roles": ["moderator"] })).await;
    set_rules(&app, "reports", json!({ "read": { "$user.roles__array_contains": "moderator" } })).await;
    set_rules(&app, "posts", json!({ "read": true })).await;
    let mut by_role = socket(&node, &ada.access).await;
    by_role.subscribe("reports", json!({})).await;
    let mut by_rule = socket(&node, &ada.access).await;
    by_rule.subscribe("posts", json!({})).await;
    app.patch(&format!("/users/{}", ada.id), json!({ "roles": [] })).await;
    put(&app, "/collections/reports/a", json!({})).await;
    set_rules(&app, "posts", json!({ "read": { "public": true } })).await;
    put(&app, "/collections/posts/hidden", json!({ "public": false })).await;
    put(&app, "/collections/posts/shown", json!({ "public": true })).await;
    assert_eq!(by_role.next_error().await.0, "FORBIDDEN");
    assert_eq!(by_rule.next().await["document"]["id"], "shown");
    let list = as_user(&node, &ada, Method::GET, "/collections/reports", Value::Null).await;
    assert_eq!(list.error(), (403, "FORBIDDEN"));
    drop((by_role, by_rule));
    node.stop().await;
    app.stop().await;
}
