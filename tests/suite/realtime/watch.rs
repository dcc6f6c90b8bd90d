//! The Rust client, `coir-client`, against a server. Over either transport, its view must equal the list.

use coir_client::{Client, Content, Cursor, Documents, Transport, Update, View};
use serde_json::json;

use crate::harness::{SECRET_KEY, TestApp, list_all, on_both_databases, socket::PATIENCE};

const TRANSPORTS: [Transport; 2] = [Transport::Sse, Transport::WebSocket];

fn client(app: &TestApp) -> Client {
    Client::new(&app.url, SECRET_KEY).unwrap()
}

async fn read_until(view: &mut View, is_it: impl Fn(&Documents) -> bool) {
    let read = async {
        while !view.is_complete() || !is_it(view.documents()) {
            view.next().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the view did not reach the expected state in time");
}

on_both_databases! {
    async fn a_view_equals_the_filtered_list_while_documents_change(app: &TestApp) {
        for (place, transport) in TRANSPORTS.into_iter().enumerate() {
            let collection = format!("posts{place}");
            let path = |id: &str| format!("/collections/{collection}/{id}");
            for n in 0..300 {
                app.put(&path(&format!("{n:03}")), json!({ "n": n, "kept": n % 2 == 0 })).await;
            }
            let mut view = client(app).watch(collection.as_str()).filters(json!({ "kept": true })).over(transport).view();
            read_until(&mut view, |documents| documents.len() == 150).await;
            app.patch(&path("000"), json!({ "kept": false })).await;
            app.patch(&path("001"), json!({ "kept": true })).await;
            app.delete(&path("002")).await;
            app.delete(&path("003")).await;
            app.patch(&path("004"), json!({ "n": -1 })).await;
            app.put(&path("last"), json!({ "kept": true })).await;
            read_until(&mut view, |documents| documents.contains_key("last")).await;
            let mut listed = list_all(&app.http, &app.url, &collection).await;
            listed.retain(|_, document| document["data"]["kept"] == true);
            assert_eq!(view.documents().len(), listed.len());
            for (id, document) in view.documents() {
                assert_eq!((&document.data, document.created_at.as_str()), (&listed[id]["data"], listed[id]["createdAt"].as_str().unwrap()));
            }
            assert_eq!(view.replica().counts().snapshots, 1);
        }
    }

    async fn the_rust_client_resumes_after_a_cut_and_starts_over_when_it_cannot(app: &TestApp) {
        let begin = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        app.put("/collections/posts/a", json!({})).await;
        for transport in TRANSPORTS {
            let watch = client(app).watch("posts").over(transport);
            let mut messages = watch.clone().since(Cursor::from(begin.as_str())).messages();
            let mut events = Vec::new();
            while events.len() < 4 {
                let update = tokio::time::timeout(PATIENCE, messages.next()).await.expect("no message arrived in time");
                let Update::Message(message) = update.unwrap() else { continue };
                let Content::Event(event) = message.content else { continue };
                events.push((event.kind, event.document.id));
                messages.disconnect();
                let n = events.len();
                app.put("/collections/posts/a", json!({ "n": n })).await;
            }
            assert_eq!(messages.cursor().and_then(Cursor::sequence), Cursor::from(begin.as_str()).sequence().map(|begin| begin + 4));
            drop(messages);

            let mut messages = watch.since(Cursor::from("garbled")).messages();
            let mut is_told = false;
            while !is_told || messages.cursor().is_none() {
                let update = tokio::time::timeout(PATIENCE, messages.next()).await.expect("no message arrived in time");
                if let Update::Message(message) = update.unwrap() {
                    is_told = is_told || matches!(message.content, Content::Resync { code, .. } if code == "INVALID_CURSOR");
                }
            }
            // The subscription is live again after the restart.
            app.put("/collections/posts/b", json!({ "over": format!("{transport:?}") })).await;
            let update = tokio::time::timeout(PATIENCE, messages.next()).await.expect("no message arrived in time");
            assert!(matches!(update.unwrap(), Update::Message(message) if matches!(&message.content, Content::Event(event) if event.document.id == "b")));
        }
    }

    async fn a_refusal_is_the_same_error_over_either_transport(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        for transport in TRANSPORTS {
            let stranger = Client::new(&app.url, "sk_00000000000000000000").unwrap();
            let error = stranger.watch("posts").over(transport).view().next().await.unwrap_err();
            let told = error.to_string();
            assert!(told.starts_with("UNAUTHORIZED: Invalid or missing authentication token; this server has no such key"), "{told}");
            let error = client(app).watch("1none").over(transport).view().next().await.unwrap_err();
            let told = error.to_string();
            assert!(told.starts_with("INVALID_COLLECTION: Collection does not exist"), "{told}");
            let invalid = client(app).watch("posts").filters(json!([1]));
            let error = invalid.over(transport).view().next().await.unwrap_err();
            assert!(error.to_string().starts_with("INVALID_FILTER: ") && !error.is_transient(), "{error}");
        }
    }
}
