//! The default rule of `_users`: on every door a user sees exactly themselves, a server everybody, and a key alone nobody.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Signed, ask, post, sign_up};
use crate::harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases, path_with};

/// Every read of the collection that answers with documents, and of the client libraries' door.
const LISTS: [&str; 4] =
    ["/collections/_users", "/users", "/collections/_users/export", "/collections/_users/documents"];

async fn get(app: &TestApp, token: &str, path: &str) -> Answer {
    ask(app, token, Method::GET, path, Value::Null).await
}

/// Returns the ids of the documents of an answer, whatever is around them.
fn ids(answer: &Answer) -> Vec<&str> {
    let list = answer.body.as_array().or_else(|| answer.body["data"].as_array());
    let list = list.unwrap_or_else(|| panic!("no list: {answer:?}"));
    list.iter().map(|document| document["id"].as_str().unwrap()).collect()
}

async fn both(app: &TestApp) -> (Signed, Signed) {
    (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await)
}

on_both_databases! {
    async fn a_user_sees_exactly_themselves_on_every_reading_door(app: &TestApp) {
        let (ada, bob) = both(app).await;
        for token in [&ada, &bob] {
            for path in LISTS {
                assert_eq!(ids(&get(app, &token.access, path).await), [&token.id], "{path}");
            }
        }
        let mine = async |path: &str| get(app, &ada.access, &format!("/collections/_users{path}")).await;
        // No filter shows more.
        for filters in [
            json!({ "email": "bob@example.com" }),
            json!({ "id": bob.id }),
            json!({ "id__ne": ada.id }),
            json!({ "$not": { "id": ada.id } }),
            json!({ "$and": [{ "$or": [{ "id": bob.id }, { "email__contains": "bob" }] }] }),
        ] {
            for path in LISTS {
                let path = path_with(path, &[("filters", &filters.to_string())]);
                assert_eq!(ids(&get(app, &ada.access, &path).await), [""; 0], "{path}");
            }
            let body = json!({ "filters": filters });
            let queried = ask(app, &ada.access, Method::POST, "/collections/_users/query", body).await;
            assert_eq!(ids(&queried), [""; 0], "{filters}");
            let count = mine(&path_with("/query/count", &[("filters", &filters.to_string())])).await;
            assert_eq!(count.data()["count"], 0, "{filters}");
        }
        let either = json!({ "$or": [{ "email": "ada@example.com" }, { "email": "bob@example.com" }] });
        let listed = mine(&path_with("", &[("filters", &either.to_string())])).await;
        assert_eq!(ids(&listed), [&ada.id]);
        let queried = ask(app, &ada.access, Method::POST, "/collections/_users/query", json!({})).await;
        assert_eq!(ids(&queried), [&ada.id]);
        assert_eq!(mine("/query/count").await.data()["count"], 1);
        for operation in ["min", "max"] {
            let answer = mine(&format!("/query/aggregate?operation={operation}&field=email")).await;
            assert_eq!(answer.data()["result"], "ada@example.com", "{operation}");
        }
        assert_eq!(mine("/query/aggregate?operation=count&field=email").await.data()["result"], 1);
        let groups = mine("/query/group-by?field=email").await;
        assert!(!groups.body.to_string().contains("bob"), "{groups:?}");
        assert!(groups.body.to_string().contains("ada"), "{groups:?}");
        let csv = app.request_as(&ada.access, Method::GET, "/collections/_users/export?format=csv");
        let csv = csv.send().await.unwrap().text().await.unwrap();
        assert!(csv.contains("ada@") && !csv.contains("bob@"), "{csv}");
        let dialect = mine("/query/documents/count").await;
        assert_eq!(dialect.body["count"], 1, "{dialect:?}");
        assert_eq!(mine("/query/explain").await.error(), (403, "FORBIDDEN"), "it takes a secret key");

        for (path, is_there) in [(&ada.id, true), (&bob.id, false), (&"none".to_owned(), false)] {
            for path in [format!("/{path}"), format!("/documents/{path}")] {
                let answer = mine(&path).await;
                assert_eq!(answer.status, if is_there { 200 } else { 404 }, "{path}");
            }
        }
        let (other, missing) = (mine(&format!("/{}", bob.id)).await, mine("/none").await);
        assert_eq!((other.error(), &other.body), ((404, "DOCUMENT_NOT_FOUND"), &missing.body));
    }

    async fn a_server_for_a_user_sees_that_user_and_a_server_everybody(app: &TestApp) {
        let (ada, _) = both(app).await;
        for path in LISTS {
            let request = app.request_as(&ada.access, Method::GET, path).header("x-api-key", SECRET_KEY);
            assert_eq!(ids(&app.send(request).await), [&ada.id], "{path}");
            assert_eq!(ids(&app.get(path).await).len(), 2, "{path}");
        }
    }

    async fn a_key_alone_sees_nobody(app: &TestApp) {
        let (ada, _) = both(app).await;
        for path in [
            "", "/query/count", "/query/group-by?field=email", "/query/aggregate?operation=max&field=email", "/export",
            &format!("/{}", ada.id), "/documents", &format!("/documents/{}", ada.id), "/query/documents/count",
        ] {
            let answer = get(app, PUBLISHABLE_KEY, &format!("/collections/_users{path}")).await;
            assert_eq!(answer.status, 403, "{path}: {answer:?}");
        }
        let query = post(app, "/collections/_users/query", json!({})).await;
        assert_eq!(query.error(), (403, "FORBIDDEN"));
        assert_eq!(get(app, PUBLISHABLE_KEY, "/realtime/sse/_users").await.error(), (403, "FORBIDDEN"));
        let ticket = post(app, "/realtime/tickets", json!({ "collection": "_users" })).await;
        assert_eq!(ticket.error(), (403, "FORBIDDEN"));
    }

    async fn a_join_brings_only_the_user_who_asks(app: &TestApp) {
        let (ada, bob) = both(app).await;
        for author in [&ada.id, &bob.id] {
            app.create("posts", json!({ "author_id": author })).await;
        }
        let path = "/collections/posts?populate=author:_users&orderBy=createdAt";
        let emails = |answer: &Answer| {
            let authors = answer.data().as_array().unwrap().clone().into_iter();
            authors.map(|post| post["data"]["author"]["data"]["email"].clone()).collect::<Vec<_>>()
        };
        let (of_ada, of_bob) = (json!("ada@example.com"), json!("bob@example.com"));
        assert_eq!(emails(&get(app, &ada.access, path).await), [of_ada.clone(), Value::Null]);
        assert_eq!(emails(&get(app, &bob.access, path).await), [Value::Null, of_bob.clone()]);
        assert_eq!(emails(&get(app, PUBLISHABLE_KEY, path).await), [Value::Null, Value::Null]);
        assert_eq!(emails(&app.get(path).await), [of_ada, of_bob]);
    }

    async fn a_user_changes_their_own_profile_as_a_document_and_nothing_else(app: &TestApp) {
        let (ada, bob) = both(app).await;
        let own = format!("/collections/_users/{}", ada.id);
        let patch = async |path: &str, body: Value| ask(app, &ada.access, Method::PATCH, path, body).await;
        let changed = patch(&own, json!({ "profile": { "name": "Ada", "visits": 1 } })).await;
        assert_eq!(changed.data()["data"]["profile"], json!({ "name": "Ada", "visits": 1 }));
        let changed = patch(&own, json!({ "$inc": { "profile.visits": 2 }, "$unset": ["profile.name"] })).await;
        assert_eq!(changed.data()["data"]["profile"], json!({ "visits": 3 }));
        for body in [
            json!({ "roles": ["admin"] }),
            json!({ "emailVerified": true }),
            json!({ "email": "eve@example.com", "profile": {} }),
            json!({ "profile": {}, "$append": { "roles": "admin" } }),
            json!({ "$unset": ["email"] }),
            json!({ "$append": { "roles.0": "admin" } }),
            json!({ "profiles": {} }),
        ] {
            assert_eq!(patch(&own, body.clone()).await.error(), (403, "FORBIDDEN"), "{body}");
        }
        // Others don't exist to a user.
        for id in [&bob.id, "none"] {
            let answer = patch(&format!("/collections/_users/{id}"), json!({ "profile": {} })).await;
            assert_eq!(answer.error(), (404, "DOCUMENT_NOT_FOUND"), "{id}");
        }
        let guest = ask(app, PUBLISHABLE_KEY, Method::PATCH, &own, json!({ "profile": {} })).await;
        assert_eq!(guest.error(), (403, "FORBIDDEN"));
        let replaced = ask(app, &ada.access, Method::PUT, &own, json!({ "profile": {} })).await;
        assert_eq!(replaced.error(), (403, "FORBIDDEN"));
        assert_eq!(ask(app, &ada.access, Method::DELETE, &own, Value::Null).await.error(), (403, "FORBIDDEN"));
        let steps = |id: &str, data: Value| {
            json!({ "operations": [{ "op": "update", "collection": "_users", "id": id, "data": data }] })
        };
        for (id, data, expected) in [
            (&ada.id, json!({ "profile": { "visits": 4 } }), 200),
            (&ada.id, json!({ "roles": ["admin"] }), 403),
            (&bob.id, json!({ "profile": {} }), 404),
        ] {
            let answer = ask(app, &ada.access, Method::POST, "/transactions", steps(id, data)).await;
            assert_eq!(answer.status, expected, "{answer:?}");
        }
        let data = json!({
            "email": "ada@example.com", "emailVerified": false, "roles": [], "profile": { "visits": 4 },
        });
        assert_eq!(app.get(&own).await.data()["data"], data);
    }
}
