//! Streams of users where this node doesn't know whether their sessions have ended: the log has a gap, or an entry of a newer node.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Signed, sign_up,
    streams::{socket, sse},
};
use crate::harness::{TestApp, TestSocket, TestStream, on_both_databases};

/// The streams of a user that no gap in the log ends by itself, since they have cursors or no subscription.
struct Hardy {
    sockets: Vec<TestSocket>,
    stream: TestStream,
}

impl Hardy {
    async fn open(app: &TestApp, user: &Signed) -> Self {
        let mut sockets = vec![socket(app, &user.access).await, socket(app, &user.access).await];
        let answer = sockets[0].subscribe_named("posts", "posts", json!({})).await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        sockets[1].settle().await;
        let mut stream = TestStream::open(sse(app, &user.access, "posts")).await;
        stream.opened().await;
        Self { sockets, stream }
    }

    /// All of them end, and nothing that was written since comes.
    async fn must_end(mut self, codes: [u16; 2]) {
        for socket in &mut self.sockets {
            let close = loop {
                match socket.next_frame().await {
                    Message::Close(close) => break close.unwrap(),
                    other => {
                        let message: Value = serde_json::from_str(other.to_text().unwrap()).unwrap();
                        assert_ne!(message["type"], "event", "{message}");
                    }
                }
            };
            assert!(codes.contains(&u16::from(close.code)), "{close:?}");
        }
        while let Some(block) = self.stream.try_next_block().await {
            assert!(!block.data.is_some_and(|data| data.contains("\"event\"")));
        }
    }
}

/// Deletes the sessions of a user as another node did whose control entry this one can't read.
fn deletion_of(user: &Signed) -> String {
    format!("DELETE FROM sessions WHERE user_id = '{}'", user.id)
}

on_both_databases! {
    async fn a_gap_in_the_log_ends_the_streams_of_users_that_it_leaves_open(app: &TestApp) {
        app.create("posts", json!({})).await;
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let (of_ada, of_bob) = (Hardy::open(app, &ada).await, Hardy::open(app, &bob).await);
        let gap = format!(
            "BEGIN; {}; DELETE FROM changes; \
             UPDATE heads SET head = head + 1000, head_at = head_at + 1, floor = head + 1000, floor_at = head_at + 1, \
                              control = head + 1000, bytes = 0; COMMIT",
            deletion_of(&ada)
        );
        app.sql().await.execute(&gap).await;
        of_ada.must_end([1008, 1013]).await;
        of_bob.must_end([1013, 1013]).await;
    }

    async fn an_entry_of_a_newer_node_ends_the_streams_of_users(app: &TestApp) {
        app.create("posts", json!({})).await;
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let (of_ada, of_bob) = (Hardy::open(app, &ada).await, Hardy::open(app, &bob).await);
        let entry = format!(
            "BEGIN; {}; \
             INSERT INTO changes (project_id, sequence, at, size, control) \
             SELECT project_id, head + 1, head_at + 1, 400, '{{\"type\":\"sharded\"}}' FROM heads; \
             UPDATE heads SET control = head + 1, control_at = head_at + 1, bytes = bytes + 100, head = head + 1, head_at = head_at + 1; \
             COMMIT",
            deletion_of(&ada)
        );
        app.sql().await.execute(&entry).await;
        app.create("posts", json!({ "late": true })).await;
        of_ada.must_end([1008, 1013]).await;
        of_bob.must_end([1013, 1013]).await;
    }
}
