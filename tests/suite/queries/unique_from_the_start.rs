//! A unique index that is declared together with a new collection holds from the first write on.

use futures_util::future;
use serde_json::{Value, json};

use crate::harness::on_both_databases;

fn members() -> Value {
    json!({ "name": "members", "indexes": [{ "fields": ["email"], "unique": true }] })
}

on_both_databases! {
    async fn a_new_collection_has_its_unique_index_when_its_creation_is_answered(app: &TestApp) {
        let created = app.post("/collections", members()).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.data()["indexes"][0]["state"], "ready", "{created:?}");
        let writes = (0..8).map(|_| app.post("/collections/members", json!({ "email": "one@example.com" })));
        let answers = future::join_all(writes).await;
        let accepted = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(accepted, 1, "{answers:?}");
    }

    /// Nobody has to wait for the answer to the creation.
    async fn no_write_slips_in_before_the_unique_index_of_a_new_collection_is_built(app: &TestApp) {
        let other = app.start_second_node().await;
        let writes = (0..40).map(|n| {
            let node = if n % 2 == 0 { app } else { &other };
            async move {
                // Until the collection is there, this would create it without an index.
                let path = format!("/collections/members/{n}");
                loop {
                    let answer = node.get("/collections/members").await;
                    if answer.status == 200 {
                        break;
                    }
                }
                loop {
                    let answer = node.put(&path, json!({ "email": "one@example.com" })).await;
                    match answer.status.as_u16() {
                        201 => return true,
                        409 => return false,
                        503 => assert!(answer.headers.contains_key("Retry-After"), "{answer:?}"),
                        _ => panic!("{answer:?}"),
                    }
                }
            }
        });
        let (created, accepted) =
            future::join(app.post("/collections", members()), future::join_all(writes)).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.data()["indexes"][0]["state"], "ready", "{created:?}");
        assert_eq!(accepted.into_iter().filter(|is_accepted| *is_accepted).count(), 1);
        other.stop().await;
    }
}
