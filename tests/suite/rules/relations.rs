//! Rules that ask other collections: a team through its members.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, as_user, ids, set_rules};
use crate::{
    harness::{Database, PUBLISHABLE_KEY, TestApp, TestStream, on_both_databases},
    users::{
        Signed, sign_up,
        streams::{socket, sse},
    },
};

/// Creates `members`, and `posts`, which the members of a post's team read and write.
async fn make_teams(app: &TestApp) {
    assert_eq!(app.post("/collections", json!({ "name": "members" })).await.status, 201);
    let team =
        json!({ "team__in": { "$from": "members", "select": "team", "where": { "user": "$user.id" } } });
    let rules = json!({ "let": { "team": team }, "read": "@team", "create": "@team", "update": "@team", "delete": "@team" });
    set_rules(app, "posts", rules).await;
}

async fn join(app: &TestApp, user: &Signed, team: &str) {
    let path = format!("/collections/members/{}-{team}", user.id);
    assert_eq!(app.put(&path, json!({ "user": user.id, "team": team })).await.status, 201);
}

async fn leave(app: &TestApp, user: &Signed, team: &str) {
    assert_eq!(app.delete(&format!("/collections/members/{}-{team}", user.id)).await.status, 200);
}

on_both_databases! {
    async fn a_member_reads_and_writes_what_belongs_to_the_team(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        make_teams(app).await;
        join(app, &ada, "red").await;
        join(app, &ada, "green").await;
        join(app, &bob, "blue").await;
        for (id, team) in [("r", json!("red")), ("b", json!("blue")), ("n", Value::Null)] {
            app.put(&format!("/collections/posts/{id}"), json!({ "team": team })).await;
        }
        let list = async |user: &Signed| {
            let answer = as_user(app, user, Method::GET, "/collections/posts", Value::Null).await;
            ids(&answer).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!((list(&ada).await, list(&bob).await), (vec!["r".to_owned()], vec!["b".to_owned()]));
        let guest = as_guest(app, Method::GET, "/collections/posts", Value::Null).await;
        assert_eq!(guest.error(), (403, "FORBIDDEN"));
        let put = async |user: &Signed, id: &str, team: &str| {
            let path = format!("/collections/posts/{id}");
            as_user(app, user, Method::PUT, &path, json!({ "team": team })).await.status.as_u16()
        };
        assert_eq!(put(&ada, "new", "green").await, 201);
        assert_eq!(put(&bob, "other", "green").await, 403);
        assert_eq!(put(&bob, "new", "blue").await, 404);
        assert_eq!(put(&ada, "new", "blue").await, 403);
        leave(app, &ada, "green").await;
        assert_eq!(put(&ada, "new", "green").await, 404);
        assert_eq!(put(&ada, "newer", "green").await, 403);
        leave(app, &ada, "red").await;
        let nothing = as_user(app, &ada, Method::GET, "/collections/posts", Value::Null).await;
        assert_eq!(nothing.error(), (403, "FORBIDDEN"));
    }

    async fn a_transaction_sees_the_memberships_that_it_makes(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        make_teams(app).await;
        let own = json!({ "user": "$user.id" });
        set_rules(app, "members", json!({ "read": own, "create": own, "update": own, "delete": own })).await;
        let transact = async |operations: Value| {
            as_user(app, &ada, Method::POST, "/transactions", json!({ "operations": operations })).await
        };
        let member = json!({ "op": "create", "collection": "members", "id": "m", "data": { "user": ada.id, "team": "red" } });
        let post = json!({ "op": "replace", "collection": "posts", "id": "p", "data": { "team": "red" } });
        let resign = json!({ "op": "delete", "collection": "members", "id": "m" });
        assert_eq!(transact(json!([post, member])).await.error().0, 403);
        let answer = transact(json!([member, post])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(transact(json!([resign, post])).await.error().0, 404);
        assert_eq!(transact(json!([post, resign])).await.status, 200);
        assert_eq!(transact(json!([post])).await.error().0, 404);
    }

    /// A member writes while the membership comes and goes: no write happens after the end of the membership.
    async fn a_write_is_judged_by_the_memberships_of_its_moment(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        make_teams(app).await;
        let writes = async |n: usize| {
            let path = format!("/collections/posts/{n}");
            as_user(app, &ada, Method::PUT, &path, json!({ "team": "red" })).await.status.as_u16()
        };
        for round in 0..5 {
            join(app, &ada, "red").await;
            let end = async {
                leave(app, &ada, "red").await;
                1
            };
            let (statuses, _) = tokio::join!(join_all((0..20).map(|n| writes(round * 20 + n))), end);
            assert!(statuses.iter().all(|status| [201, 403].contains(status)), "{statuses:?}");
            assert_eq!(writes(1000).await, 403);
        }
        let mut sql = app.sql().await;
        // A member's entry in the log, and then the posts that were written under it.
        let ends = sql.integers("SELECT sequence FROM changes WHERE document_id LIKE '%-red' ORDER BY sequence").await;
        let posts = sql.integers("SELECT sequence FROM changes WHERE collection_id IS NOT NULL AND document_id NOT LIKE '%-red' ORDER BY sequence").await;
        assert_eq!(ends.len(), 10);
        for pair in ends.chunks(2).zip(ends.chunks(2).skip(1)) {
            let between = pair.0[1]..pair.1[0];
            assert!(!posts.iter().any(|post| between.contains(post)), "{between:?} {posts:?}");
        }
    }

    async fn a_membership_that_ends_is_gone_from_open_streams(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        make_teams(app).await;
        for user in [&ada, &bob] {
            join(app, user, "red").await;
        }
        join(app, &ada, "blue").await;
        let mut plain = socket(app, &ada.access).await;
        plain.subscribe("posts", json!({})).await;
        let mut named = socket(app, &ada.access).await;
        named.subscribe_named("n", "posts", json!({ "snapshot": true })).await;
        assert_eq!((named.next().await["type"].clone(), named.next().await["type"].clone()), (json!("snapshot"), json!("ready")));
        let mut stream = TestStream::open(sse(app, &ada.access, "posts")).await;
        stream.opened().await;
        let mut other = socket(app, &bob.access).await;
        other.subscribe("posts", json!({})).await;
        let put = async |id: &str, team: &str| app.put(&format!("/collections/posts/{id}"), json!({ "team": team })).await;
        put("r1", "red").await;
        put("b1", "blue").await;
        for id in ["r1", "b1"] {
            assert_eq!(plain.next().await["document"]["id"], id);
            assert_eq!(named.next().await["document"]["id"], id);
            assert_eq!(stream.next_event().await.json()["document"]["id"], id);
        }
        assert_eq!(other.next().await["document"]["id"], "r1");

        leave(app, &ada, "red").await;
        put("r2", "red").await;
        put("b2", "blue").await;
        assert_eq!(plain.next().await["document"]["id"], "b2");
        assert_eq!(stream.next_event().await.json()["document"]["id"], "b2");
        assert_eq!(named.next().await["code"], "RIGHTS_CHANGED");
        let snapshot = named.next().await;
        let shown: Vec<_> = snapshot["documents"].as_array().unwrap().iter().map(|one| one["data"]["team"].clone()).collect();
        assert!(!shown.is_empty() && shown.iter().all(|team| team == "blue"), "{snapshot}");
        assert_eq!(other.next().await["document"]["id"], "r2");
        // And one that begins is there at once.
        join(app, &ada, "green").await;
        put("g1", "green").await;
        assert_eq!(plain.next().await["document"]["id"], "g1");
        assert_eq!(stream.next_event().await.json()["document"]["id"], "g1");
        leave(app, &ada, "green").await;
        leave(app, &ada, "blue").await;
        put("b3", "blue").await;
        assert_eq!(plain.next_error().await.0, "FORBIDDEN");
        assert_eq!(stream.next_event().await.json()["code"], "FORBIDDEN");
    }

    async fn a_collection_that_rules_ask_keeps_its_name(app: &TestApp) {
        make_teams(app).await;
        let settings = "/collections/members/settings";
        assert_eq!(app.patch(settings, json!({ "name": "others" })).await.error(), (409, "CONFLICT"));
        assert_eq!(app.delete("/collections/members").await.error(), (409, "CONFLICT"));
        assert_eq!(app.delete("/collections/posts").await.status, 200);
        assert_eq!(app.patch(settings, json!({ "name": "others" })).await.status, 200);
        let own = json!({ "team__in": { "$from": "others", "select": "team" } });
        set_rules(app, "others", json!({ "read": own })).await;
        assert_eq!(app.patch("/collections/others/settings", json!({ "name": "more" })).await.error().0, 409);
        assert_eq!(app.delete("/collections/others").await.status, 200);
    }

    async fn a_relation_is_checked_when_it_is_set(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        for (relation, part) in [
            (json!({ "$from": "nobody", "select": "team" }), "`nobody`"),
            (json!({ "$from": "posts", "selct": "team" }), "`select`"),
            (json!({ "$from": "posts", "select": "team", "where": { "at__lt": "$now" } }), "$now"),
        ] {
            let rules = json!({ "rules": { "read": { "team__in": relation } } });
            let answer = app.patch("/collections/posts/settings", rules.clone()).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{rules}");
            assert!(answer.body["error"]["message"].as_str().unwrap().contains(part), "{answer:?}");
        }
    }

    /// Values of every type, in a set that is nested in another one, and the opposite.
    async fn sets_hold_values_of_every_type(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let values = json!(["a", "A", 1, 1.5, -0.0, true, false, [1, "x"], { "k": 1 }, "", "1", 9007199254740993_i64, "é\u{301}"]);
        for (n, value) in values.as_array().unwrap().iter().enumerate() {
            app.put(&format!("/collections/allowed/{n}"), json!({ "value": value, "group": n % 2 })).await;
            app.put(&format!("/collections/things/{n}"), json!({ "value": value })).await;
        }
        app.put("/collections/allowed/none", json!({ "group": 0 })).await;
        app.put("/collections/things/none", json!({})).await;
        app.put("/collections/groups/g", json!({ "user": ada.id, "group": 0 })).await;
        let groups = json!({ "$from": "groups", "select": "group", "where": { "user": "$user.id" } });
        let allowed = json!({ "$from": "allowed", "select": "value", "where": { "group__in": groups } });
        set_rules(app, "things", json!({ "read": { "value__in": allowed } })).await;
        let list = as_user(app, &ada, Method::GET, "/collections/things?limit=100", Value::Null).await;
        let mut found: Vec<_> = ids(&list).into_iter().map(|id| id.parse::<usize>().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, [0, 2, 4, 6, 8, 10, 12]);
        set_rules(app, "things", json!({ "read": { "value__notin": allowed } })).await;
        let list = as_user(app, &ada, Method::GET, "/collections/things?limit=100", Value::Null).await;
        let mut found = ids(&list);
        found.sort_unstable();
        assert_eq!(found, ["1", "11", "3", "5", "7", "9", "none"]);
        // It is not certain in which groups a guest would be, so nothing counts as not allowed.
        for path in ["/collections/things", "/collections/things/1"] {
            let guest = as_guest(app, Method::GET, path, Value::Null).await;
            assert_eq!(guest.error(), (403, "FORBIDDEN"));
        }
    }

    async fn a_set_with_too_many_values_is_refused_with_a_sentence(app: &TestApp) {
        let members: Vec<_> = (0..10_001).map(|n| json!({ "team": n })).collect();
        for part in members.chunks(1000) {
            let answer = app.post("/collections/members/batch", json!({ "documents": part })).await;
            assert_eq!(answer.status, 201, "{answer:?}");
        }
        let rules = json!({ "team__in": { "$from": "members", "select": "team" } });
        set_rules(app, "posts", json!({ "read": rules, "create": rules })).await;
        let list = as_guest(app, Method::GET, "/collections/posts", Value::Null).await;
        assert_eq!(list.error(), (403, "FORBIDDEN"));
        assert!(list.body["error"]["message"].as_str().unwrap().contains("10,000 values"), "{list:?}");
        let write = as_guest(app, Method::POST, "/collections/posts", json!({ "team": 1 })).await;
        assert_eq!(write.error(), (403, "FORBIDDEN"));
        let mut guest = socket(app, PUBLISHABLE_KEY).await;
        guest.send(json!({ "type": "subscribe", "collection": "posts" })).await;
        assert_eq!(guest.next_error().await.0, "FORBIDDEN");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_that_ends_on_another_node_is_gone() {
    let app = TestApp::start(Database::Postgres).await;
    let node = app.start_second_node().await;
    let ada = sign_up(&app, "ada@example.com").await;
    make_teams(&app).await;
    join(&app, &ada, "red").await;
    join(&app, &ada, "blue").await;
    let mut watch = socket(&node, &ada.access).await;
    watch.subscribe("posts", json!({})).await;
    leave(&app, &ada, "red").await;
    app.put("/collections/posts/hidden", json!({ "team": "red" })).await;
    app.put("/collections/posts/shown", json!({ "team": "blue" })).await;
    assert_eq!(watch.next().await["document"]["id"], "shown");
    let write = as_user(&node, &ada, Method::PUT, "/collections/posts/x", json!({ "team": "red" })).await;
    assert_eq!(write.error().0, 403);
    drop(watch);
    node.stop().await;
    app.stop().await;
}
