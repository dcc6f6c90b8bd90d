//! Streams that find the end of their session or key by themselves, where the node has not heard of it: what tells the node is left out
//! here, and it stays so.

use serde_json::json;

use super::{
    keys::run,
    sign_up,
    streams::{socket, sse},
};
use crate::harness::{TestApp, TestStream, on_each_database, path_with};

/// The stream shows nothing of after its end, says why it ends, and ends. What it had not sent before is dropped.
async fn must_end(mut stream: TestStream) {
    loop {
        let next = stream.next_event().await;
        assert!(!next.json().to_string().contains("late"), "{next:?}");
        if next.event.as_deref() == Some("error") {
            assert_eq!(next.json()["code"], "UNAUTHORIZED");
            break;
        }
    }
    assert_eq!(stream.try_next_block().await, None);
}

on_each_database! {
    async fn a_stream_that_reads_the_log_ends_where_the_log_says_so(database) {
        let app = TestApp::start(database).await;
        app.create("posts", json!({})).await;
        let mut ids = Vec::new();
        let mut users = Vec::new();
        let mut sql = app.sql().await;
        for name in ["ada", "bob", "eve"] {
            let user = sign_up(&app, &format!("{name}@example.com")).await;
            ids.extend(sql.texts(&format!("SELECT id FROM sessions WHERE user_id = '{}'", user.id)).await);
            users.push(user);
        }
        let key = run(&app, &["keys", "create", "publishable"]).await;
        let other = run(&app, &["keys", "create", "publishable"]).await;
        let cursor = app.get("/collections/posts").await.body["cursor"].as_str().unwrap().to_owned();
        app.create("posts", json!({ "n": 1 })).await;
        let eve = app.post(&format!("/users/{}/logout", users[2].id), json!({})).await;
        assert_eq!(eve.status, 200);
        run(&app, &["keys", "revoke", &other]).await;
        app.create("posts", json!({ "late": true })).await;
        let app = app.restart().await;
        // The entries say now that the sessions of Ada and Bob have ended, and the other key. No relay looks at them again.
        let id_of = |key: &str| format!("SELECT id FROM api_keys WHERE prefix = '{}'", &key[..key.len().min(11)]);
        let (key_id, other_id) = (sql.texts(&id_of(&key)).await.remove(0), sql.texts(&id_of(&other)).await.remove(0));
        for (from, to) in [(format!("\"{}\"", ids[2]), format!("\"{}\",\"{}\"", ids[0], ids[1])), (other_id, key_id)] {
            let change = format!("UPDATE changes SET control = REPLACE(control, '{from}', '{to}') WHERE control LIKE '%{from}%'");
            sql.execute(&change).await;
        }
        let path = path_with("posts", &[("since", &cursor)]);
        let by_key = TestStream::open(sse(&app, &key, &path)).await;
        // The end of the sessions comes first in the log, and is nothing to the key.
        must_end(by_key).await;
        let mut of_bob = socket(&app, &users[1].access).await;
        must_end(TestStream::open(sse(&app, &users[0].access, &path)).await).await;
        of_bob.send(json!({ "type": "subscribe", "collection": "posts", "id": "s", "since": cursor })).await;
        let mut shown = Vec::new();
        while let Some(message) = of_bob.try_next().await {
            shown.push(message.to_string());
        }
        assert!(shown.iter().all(|message| !message.contains("late")), "{shown:?}");
        assert!(shown.iter().any(|message| message.contains("UNAUTHORIZED")), "{shown:?}");
        drop(sql);
        app.stop_without_looking().await;
    }

    async fn a_snapshot_begins_only_for_a_session_that_goes_on(database) {
        let app = TestApp::start(database).await;
        app.create("posts", json!({ "late": true })).await;
        let ada = sign_up(&app, "ada@example.com").await;
        let mut socket = socket(&app, &ada.access).await;
        socket.settle().await;
        app.sql().await.execute(&format!("DELETE FROM sessions WHERE user_id = '{}'", ada.id)).await;
        socket.send(json!({ "type": "subscribe", "collection": "posts", "id": "t", "snapshot": true })).await;
        while let Some(message) = socket.try_next().await {
            assert!(!message.to_string().contains("late"), "{message}");
        }
        app.stop().await;
    }
}
