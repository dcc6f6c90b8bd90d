//! A change log that goes back under a running server, as after a failover that lost commits. Streams get a resync and
//! continue.

use serde_json::json;

use crate::harness::{TestApp, on_both_databases};

/// Takes every commit after the first document of a log away.
async fn put_back(app: &TestApp) {
    let mut sql = app.sql().await;
    sql.execute("DELETE FROM documents WHERE id <> '0'").await;
    sql.execute("DELETE FROM changes WHERE sequence > 2").await;
    sql.execute("UPDATE heads SET head = 2, head_at = (SELECT at FROM changes WHERE sequence = 2)").await;
}

on_both_databases! {
    async fn a_stream_gets_a_resync_when_the_log_goes_back_and_then_the_new_changes(app: &TestApp) {
        for n in 0..3 {
            app.put(&format!("/collections/posts/{n}"), json!({})).await;
        }
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        let lost = stream.opened().await;
        let mut socket = app.socket().await;
        socket.subscribe("posts", json!({})).await;

        put_back(app).await;
        let resync = stream.next_event().await;
        assert_eq!((resync.event.as_deref(), &resync.json()["code"]), (Some("resync"), &json!("CURSOR_EXPIRED")));
        assert_eq!(u16::from(socket.next_close().await.code), 1013);
        // The new change reuses the sequence of a lost change.
        app.put("/collections/posts/new", json!({})).await;
        assert_eq!(stream.next_event().await.json()["document"]["id"], "new");

        let mut anew = app.stream("/realtime/sse/posts", Some(&lost)).await;
        assert_eq!(anew.next_event().await.json()["code"], "CURSOR_EXPIRED");
    }

    /// The hub still has the lost changes when the stream comes back.
    async fn a_stream_that_learns_first_that_the_log_went_back_gets_no_lost_change_after_its_resync(app: &TestApp) {
        for n in 0..3 {
            app.put(&format!("/collections/posts/{n}"), json!({})).await;
        }
        let lost = app.stream("/realtime/sse/posts", None).await.opened().await;
        put_back(app).await;
        let (mut stream, mut with_snapshot) = tokio::join!(
            app.stream("/realtime/sse/posts", Some(&lost)),
            app.stream("/realtime/sse/posts?snapshot=true", Some(&lost)),
        );
        for stream in [&mut stream, &mut with_snapshot] {
            assert_eq!(stream.next_event().await.json()["code"], "CURSOR_EXPIRED");
        }
        let snapshot = with_snapshot.next_event().await.json();
        assert_eq!(snapshot["documents"][0]["id"], "0", "{snapshot}");
        assert_eq!(with_snapshot.next_event().await.event.as_deref(), Some("ready"));
        app.put("/collections/posts/new", json!({})).await;
        for (name, stream) in [("plain", &mut stream), ("snapshot", &mut with_snapshot)] {
            assert_eq!(stream.next_event().await.json()["document"]["id"], "new", "{name}");
        }
    }
}
