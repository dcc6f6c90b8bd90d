//! Transactions over several collections: all or nothing, for the database and for subscribers.

use futures_util::future;
use serde_json::{Value, json};

use crate::harness::{TestApp, indexes::declare, list_all, on_both_databases, sequence_of};

async fn transact(app: &TestApp, operations: Value) -> crate::harness::Answer {
    app.post("/transactions", json!({ "operations": operations })).await
}

async fn keys(app: &TestApp, collection: &str) -> Vec<Value> {
    let mut keys: Vec<_> = list_all(&app.http, &app.url, collection)
        .await
        .into_values()
        .map(|document| document["data"]["key"].clone())
        .collect();
    keys.sort_by_key(Value::to_string);
    keys
}

/// Creates the collection `posts`, where the field `key` is unique.
async fn make_unique(app: &TestApp) {
    assert_eq!(app.post("/collections", json!({ "name": "posts" })).await.status, 201);
    let indexes = declare(app, "posts", json!([{ "fields": ["key"], "unique": true }])).await;
    assert_eq!(indexes[0]["state"], "ready", "{indexes:?}");
}

on_both_databases! {
    async fn operations_are_done_in_order_over_several_collections(app: &TestApp) {
        app.put("/collections/accounts/a", json!({ "balance": 10 })).await;
        app.put("/collections/accounts/b", json!({ "balance": 0 })).await;
        app.put("/collections/orders/old", json!({ "n": 1 })).await;
        let answer = transact(app, json!([
            { "op": "update", "collection": "accounts", "id": "a", "data": { "$inc": { "balance": -7 } }, "ifVersion": 1 },
            { "op": "update", "collection": "accounts", "id": "b", "data": { "$inc": { "balance": 7 } } },
            { "op": "create", "collection": "ledger", "data": { "amount": 7 } },
            { "op": "create", "collection": "ledger", "id": "mine", "data": { "amount": 7 } },
            { "op": "update", "collection": "ledger", "id": "mine", "data": { "seen": true }, "ifVersion": 1 },
            { "op": "replace", "collection": "orders", "id": "old", "data": { "n": 2 }, "ifVersion": 1 },
            { "op": "replace", "collection": "orders", "id": "new", "data": { "n": 3 }, "ifVersion": 0 },
            { "op": "delete", "collection": "orders", "id": "old", "ifVersion": 2 },
        ])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let results = answer.data().as_array().unwrap();
        let brief: Vec<_> = results.iter().map(|result| (&result["collection"], &result["version"], &result["data"])).collect();
        assert_eq!(brief, [
            (&json!("accounts"), &json!(2), &json!({ "balance": 3 })),
            (&json!("accounts"), &json!(2), &json!({ "balance": 7 })),
            (&json!("ledger"), &json!(1), &json!({ "amount": 7 })),
            (&json!("ledger"), &json!(1), &json!({ "amount": 7 })),
            (&json!("ledger"), &json!(2), &json!({ "amount": 7, "seen": true })),
            (&json!("orders"), &json!(2), &json!({ "n": 2 })),
            (&json!("orders"), &json!(1), &json!({ "n": 3 })),
            (&json!("orders"), &Value::Null, &Value::Null),
        ]);
        assert_eq!(results[7], json!({ "id": "old", "collection": "orders" }));
        assert_eq!(app.get("/collections/ledger/mine").await.data(), &results[4]);
        assert_eq!(app.get("/collections/orders/old").await.error(), (404, "DOCUMENT_NOT_FOUND"));
        // The log had entries for two collections and three documents. The transaction adds a collection and eight changes.
        assert_eq!(sequence_of(answer.header("X-Cursor")), 5 + 9);
        assert_eq!(answer.header("X-Cursor"), app.get("/collections/orders").await.body["cursor"]);
    }

    async fn a_failing_operation_undoes_the_transaction_and_is_named(app: &TestApp) {
        app.put("/collections/posts/a", json!({ "n": 1, "text": "x" })).await;
        let before = app.get("/collections/posts").await.body["cursor"].clone();
        for (why, operation, error) in [
            ("another version", json!({ "op": "update", "collection": "posts", "id": "a", "data": {}, "ifVersion": 1 }), (412, "PRECONDITION_FAILED")),
            ("the document exists", json!({ "op": "replace", "collection": "posts", "id": "a", "data": {}, "ifVersion": 0 }), (412, "PRECONDITION_FAILED")),
            ("the document does not exist", json!({ "op": "replace", "collection": "posts", "id": "b", "data": {}, "ifVersion": 1 }), (412, "PRECONDITION_FAILED")),
            ("another version", json!({ "op": "delete", "collection": "posts", "id": "a", "ifVersion": 7 }), (412, "PRECONDITION_FAILED")),
            ("the id is taken", json!({ "op": "create", "collection": "posts", "id": "a", "data": {} }), (409, "CONFLICT")),
            ("the id is taken by this transaction", json!({ "op": "create", "collection": "fresh", "id": "f", "data": {} }), (409, "CONFLICT")),
            ("an operator that does not fit", json!({ "op": "update", "collection": "posts", "id": "a", "data": { "$inc": { "text": 1 } } }), (409, "CONFLICT")),
            ("a missing document", json!({ "op": "update", "collection": "posts", "id": "b", "data": {} }), (404, "DOCUMENT_NOT_FOUND")),
            ("a missing document", json!({ "op": "delete", "collection": "posts", "id": "b" }), (404, "DOCUMENT_NOT_FOUND")),
            ("a missing collection", json!({ "op": "delete", "collection": "none", "id": "b" }), (404, "INVALID_COLLECTION")),
            ("an invalid collection name", json!({ "op": "create", "collection": "1 bad", "data": {} }), (400, "INVALID_COLLECTION")),
            ("an invalid id", json!({ "op": "replace", "collection": "posts", "id": "a/b", "data": {} }), (400, "INVALID_BODY")),
            ("a missing id", json!({ "op": "update", "collection": "posts", "data": {} }), (400, "INVALID_BODY")),
            ("missing data", json!({ "op": "create", "collection": "posts" }), (400, "INVALID_BODY")),
            ("data in a delete", json!({ "op": "delete", "collection": "posts", "id": "a", "data": {} }), (400, "INVALID_BODY")),
            ("a version in a create", json!({ "op": "create", "collection": "posts", "data": {}, "ifVersion": 1 }), (400, "INVALID_BODY")),
            ("null instead of a version", json!({ "op": "delete", "collection": "posts", "id": "a", "ifVersion": null }), (400, "INVALID_BODY")),
            ("a string instead of a version", json!({ "op": "delete", "collection": "posts", "id": "a", "ifVersion": "1" }), (400, "INVALID_BODY")),
            ("an unknown operation", json!({ "op": "upsert", "collection": "posts", "id": "a", "data": {} }), (400, "INVALID_BODY")),
            ("an unknown member", json!({ "op": "delete", "collection": "posts", "id": "a", "if_version": 1 }), (400, "INVALID_BODY")),
            ("a list instead of an object", json!(["delete", "posts", "a"]), (400, "INVALID_BODY")),
        ] {
            let answer = transact(app, json!([
                { "op": "create", "collection": "fresh", "id": "f", "data": { "n": 1 } },
                { "op": "update", "collection": "posts", "id": "a", "data": { "n": 2 } },
                operation,
            ])).await;
            assert_eq!(answer.error(), error, "{why}: {answer:?}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("operations[2]: "), "{why}: {message}");
        }
        assert_eq!(app.post("/transactions", json!({ "operations": [], "more": 1 })).await.error(), (400, "INVALID_BODY"));
        assert_eq!(app.post("/transactions", json!({ "operations": vec![1; 1001] })).await.error(), (413, "PAYLOAD_TOO_LARGE"));
        assert_eq!(app.get("/transactions").await.error(), (405, "METHOD_NOT_ALLOWED"));
        assert_eq!(app.get("/collections/fresh").await.error(), (404, "INVALID_COLLECTION"));
        let after = app.get("/collections/posts").await;
        assert_eq!((&after.body["cursor"], &after.data()[0]["version"]), (&before, &json!(1)), "a failed transaction leaves no entry in the log");
    }

    async fn the_changes_of_a_transaction_are_neighbours_for_subscribers(app: &TestApp) {
        app.put("/collections/posts/first", json!({})).await;
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        stream.opened().await;
        // 16 clients write at once. Each sends a single write and then a transaction of 8 changes.
        let answers = future::join_all((0..16).map(|client| async move {
            app.create("posts", json!({ "client": "single" })).await;
            let operations: Vec<_> = (0..8).map(|step| json!({ "op": "create", "collection": "posts", "data": { "client": client, "step": step } })).collect();
            transact(app, json!(operations)).await
        })).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        let mut events = Vec::new();
        while events.len() < 16 * 9 {
            events.push(stream.next_event().await.json()["document"]["data"].clone());
        }
        let mut events = events.into_iter().filter(|data| data["client"] != "single" || data["step"] != Value::Null).peekable();
        let mut whole = 0;
        while let Some(first) = events.next() {
            assert_eq!(first["step"], 0);
            for step in 1..8 {
                assert_eq!(events.next().unwrap(), json!({ "client": first["client"], "step": step }), "the changes are neighbours, in order");
            }
            whole += 1;
        }
        assert_eq!(whole, 16);
    }

    async fn money_that_moves_is_never_lost(app: &TestApp) {
        for id in 0..8 {
            app.put(&format!("/collections/accounts/{id}"), json!({ "balance": 100 })).await;
        }
        future::join_all((0..64usize).map(|n| async move {
            let (from, to) = ((n % 8).to_string(), (n * 5 % 8 + 1).min(7).to_string());
            let answer = transact(app, json!([
                { "op": "update", "collection": "accounts", "id": from, "data": { "$inc": { "balance": -1 } } },
                { "op": "update", "collection": "accounts", "id": to, "data": { "$inc": { "balance": 1 } } },
            ])).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        })).await;
        let accounts = list_all(&app.http, &app.url, "accounts").await;
        assert_eq!(accounts.values().map(|account| account["data"]["balance"].as_i64().unwrap()).sum::<i64>(), 800);
        assert_eq!(accounts.values().map(|account| account["version"].as_i64().unwrap()).sum::<i64>(), 8 + 128);
    }

    async fn a_unique_value_can_move_from_one_document_to_another(app: &TestApp) {
        make_unique(app).await;
        app.put("/collections/posts/a", json!({ "key": "k" })).await;
        app.put("/collections/posts/x", json!({ "key": "x" })).await;
        for (why, operations, status, left) in [
            ("delete, then create", json!([
                { "op": "delete", "collection": "posts", "id": "a" },
                { "op": "create", "collection": "posts", "id": "b", "data": { "key": "k" } },
            ]), 200, json!(["k", "x"])),
            ("create, delete, then create again", json!([
                { "op": "delete", "collection": "posts", "id": "b" },
                { "op": "create", "collection": "posts", "id": "c", "data": { "key": "k" } },
                { "op": "delete", "collection": "posts", "id": "c" },
                { "op": "create", "collection": "posts", "id": "a", "data": { "key": "k" } },
            ]), 200, json!(["k", "x"])),
            ("update, then create", json!([
                { "op": "update", "collection": "posts", "id": "a", "data": { "key": "l" } },
                { "op": "create", "collection": "posts", "id": "d", "data": { "key": "k" } },
            ]), 200, json!(["k", "l", "x"])),
            ("a chain of updates", json!([
                { "op": "update", "collection": "posts", "id": "x", "data": { "key": "m" } },
                { "op": "update", "collection": "posts", "id": "d", "data": { "key": "x" } },
                { "op": "update", "collection": "posts", "id": "a", "data": { "key": "k" } },
            ]), 200, json!(["k", "m", "x"])),
            ("the chain the other way", json!([
                { "op": "update", "collection": "posts", "id": "a", "data": { "key": "n" } },
                { "op": "update", "collection": "posts", "id": "d", "data": { "key": "k" } },
                { "op": "update", "collection": "posts", "id": "x", "data": { "key": "x" } },
            ]), 200, json!(["k", "n", "x"])),
            ("a swap by way of a third value", json!([
                { "op": "update", "collection": "posts", "id": "a", "data": { "key": "detour" } },
                { "op": "update", "collection": "posts", "id": "d", "data": { "key": "n" } },
                { "op": "update", "collection": "posts", "id": "a", "data": { "key": "k" } },
            ]), 200, json!(["k", "n", "x"])),
            ("a direct swap, whose first step is a violation", json!([
                { "op": "update", "collection": "posts", "id": "a", "data": { "key": "n" } },
                { "op": "update", "collection": "posts", "id": "d", "data": { "key": "k" } },
            ]), 409, json!(["k", "n", "x"])),
            ("a value that another document has", json!([
                { "op": "create", "collection": "posts", "data": { "key": "free" } },
                { "op": "create", "collection": "posts", "data": { "key": "k" } },
            ]), 409, json!(["k", "n", "x"])),
            ("a value that this transaction has already used", json!([
                { "op": "create", "collection": "posts", "data": { "key": "free" } },
                { "op": "create", "collection": "posts", "data": { "key": "free" } },
            ]), 409, json!(["k", "n", "x"])),
        ] {
            let answer = transact(app, operations).await;
            assert_eq!(answer.status, status, "{why}: {answer:?}");
            if status == 409 {
                assert_eq!(answer.error().1, "CONFLICT", "{why}");
                assert_eq!(answer.body["error"]["details"]["fields"], json!(["key"]), "{why}: {answer:?}");
            }
            assert_eq!(json!(keys(app, "posts").await), left, "{why}");
        }
    }

    async fn one_of_many_creations_with_the_same_unique_value_succeeds(app: &TestApp) {
        make_unique(app).await;
        app.put("/collections/posts/first", json!({ "key": "first" })).await;
        for round in 0..3 {
            let answers = future::join_all((0..64).map(|_| app.post("/collections/posts", json!({ "key": round })))).await;
            let count = |status| answers.iter().filter(|answer| answer.status == status).count();
            assert_eq!((count(201), count(409)), (1, 63), "round {round}");
        }
        // Requests that always violate the index, alone or inside a batch, don't fail the requests beside them.
        let answers = future::join_all((0..63).map(|n| async move {
            match n % 9 {
                0 => app.post("/collections/posts", json!({ "key": "first" })).await,
                1 => app.post("/collections/posts/batch", json!({ "documents": [{ "key": format!("no {n}") }, { "key": "first" }] })).await,
                2 => app.post("/collections/posts/batch", json!({ "documents": [{ "key": format!("a {n}") }, { "key": format!("b {n}") }] })).await,
                _ => app.post("/collections/posts", json!({ "key": format!("c {n}") })).await,
            }
        })).await;
        for (n, answer) in answers.iter().enumerate() {
            match n % 9 {
                0 | 1 => assert_eq!(answer.error(), (409, "CONFLICT"), "{n}"),
                _ => assert_eq!(answer.status, 201, "{n}: {answer:?}"),
            }
        }
        assert_eq!(keys(app, "posts").await.len(), 1 + 3 + 7 * 2 + 7 * 6);
        let mut sql = app.sql().await;
        let sequences = sql.document_sequences().await;
        let (first, last) = (sequences[0], sequences[sequences.len() - 1]);
        assert_eq!(sequences, (first..=last).collect::<Vec<_>>(), "the log has no hole");
    }

    async fn a_stream_that_is_cut_inside_a_transaction_resumes_with_its_rest(app: &TestApp) {
        let begin = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        app.post("/collections", json!({ "name": "others" })).await;
        // The transaction has more changes than the hub or a page of the log hands out at once. It writes to two collections,
        // and other clients write meanwhile.
        let operation = |n: usize| {
            let collection = if n % 3 == 2 { "others" } else { "posts" };
            json!({ "op": "create", "collection": collection, "id": format!("t{n:03}"), "data": { "n": n } })
        };
        let around = async |from: usize| {
            for n in from..from + 40 {
                app.create("posts", json!({ "around": n })).await;
            }
        };
        let (answer, ..) = tokio::join!(
            transact(app, (0..600).map(operation).collect()), around(0), around(40), around(80)
        );
        assert_eq!(answer.status, 200, "{answer:?}");

        let other = app.start_second_node().await;
        let mut stream = app.stream("/realtime/sse/posts", Some(&begin)).await;
        let mut all = Vec::new();
        for _ in 0..400 + 120 {
            let block = stream.next_event().await;
            all.push((block.id.clone().unwrap(), block.json()));
        }
        let place = |id: &str| all.iter().position(|(_, event)| event["document"]["id"] == id).unwrap();
        let (first, last) = (place("t000"), place("t598"));
        let ids: Vec<_> = all[first..=last].iter().map(|(_, event)| event["document"]["id"].clone()).collect();
        let expected: Vec<_> = (0..600).filter(|n| n % 3 != 2).map(|n| json!(format!("t{n:03}"))).collect();
        assert_eq!(ids, expected, "the changes are neighbours, in the order of the operations");

        for cut in [first, first + 1, first + 127, first + 128, first + 300, last - 1, last] {
            let (cursor, _) = &all[cut];
            // The node that wrote the transaction has it in memory. The other node reads it from the database.
            for node in [app, &other] {
                let mut stream = node.stream("/realtime/sse/posts", Some(cursor)).await;
                let mut socket = node.socket().await;
                let subscribed = socket.subscribe_named("s", "posts", json!({ "since": cursor })).await;
                assert_eq!(subscribed["cursor"], *cursor);
                for (cursor, event) in &all[cut + 1..] {
                    let block = stream.next_event().await;
                    assert_eq!((block.id.as_ref(), &block.json()), (Some(cursor), event), "after {cut}");
                    let message = socket.next().await;
                    assert_eq!((&message["cursor"], &message["document"]["id"]), (&json!(cursor), &event["document"]["id"]));
                }
                socket.settle().await;
            }
        }
        other.stop().await;
    }
}
