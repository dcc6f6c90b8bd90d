//! API keys: headers, scopes, projects, and the commands that create, list and revoke keys while a server runs.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::harness::{
    PUBLISHABLE_KEY, SECRET_KEY, TestApp, TestSocket, TestStream, on_both_databases, process,
};

/// Runs `coir` on the database of a running server and returns its output. The command must succeed.
pub async fn coir(app: &TestApp, arguments: &[&str]) -> String {
    let (status, stdout, stderr) = try_coir(app, arguments).await;
    assert!(status, "coir {arguments:?}: {stderr}");
    stdout
}

pub async fn try_coir(app: &TestApp, arguments: &[&str]) -> (bool, String, String) {
    let mut command = process::command(arguments);
    command.env("DATABASE_URL", &app.config.database_url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn unauthorized() -> Value {
    let error = json!({ "code": "UNAUTHORIZED", "message": "Invalid or missing authentication token" });
    json!({ "success": false, "error": error })
}

/// Takes the hint, which says what to do, out of a body.
fn take_hint(body: &mut Value) -> String {
    let hint = body["error"].as_object_mut().and_then(|error| error.remove("hint"));
    hint.and_then(|hint| hint.as_str().map(str::to_owned)).unwrap_or_default()
}

async fn status(app: &TestApp, key: &str, method: Method, path: &str, body: Value) -> u16 {
    app.send(app.request_as(key, method, path).json(&body)).await.status.as_u16()
}

on_both_databases! {
    async fn a_key_is_taken_from_either_header(app: &TestApp) {
        app.create("posts", json!({})).await;
        let ask = |headers: &[(&str, &str)]| {
            let request = app.http.get(format!("{}/collections/posts", app.url));
            let add = |request: RequestBuilder, (name, value): &(&str, &str)| request.header(*name, *value);
            app.send(headers.iter().fold(request, add))
        };
        let (bearer, other) = (format!("Bearer {SECRET_KEY}"), format!("bEARER  {PUBLISHABLE_KEY}"));
        for (why, headers) in [
            ("Authorization", vec![("Authorization", &*bearer)]),
            ("the scheme in any case", vec![("Authorization", &*other)]),
            ("x-api-key", vec![("X-API-Key", SECRET_KEY)]),
            ("the same key twice", vec![("Authorization", &*bearer), ("x-api-key", SECRET_KEY)]),
        ] {
            assert_eq!(ask(&headers).await.status, 200, "{why}");
        }
        let (garbled, short) = (format!("Bearer {SECRET_KEY}x"), format!("Bearer {}", &SECRET_KEY[..10]));
        let basic = format!("Basic {SECRET_KEY}");
        for (why, headers) in [
            ("no key", vec![]),
            ("two keys", vec![("Authorization", &*bearer), ("x-api-key", PUBLISHABLE_KEY)]),
            ("a bad key beside a good one", vec![("Authorization", &*bearer), ("x-api-key", "x")]),
            ("an empty key beside a good one", vec![("Authorization", &*bearer), ("x-api-key", "")]),
            ("two Authorization headers", vec![("Authorization", &*bearer), ("Authorization", &*other)]),
            ("another scheme", vec![("Authorization", &*basic)]),
            ("no scheme", vec![("Authorization", SECRET_KEY)]),
            ("a scheme alone", vec![("Authorization", "Bearer")]),
            ("an empty key", vec![("Authorization", "Bearer ")]),
            ("a longer key", vec![("Authorization", &*garbled)]),
            ("a part of a key", vec![("Authorization", &*short)]),
            ("an unknown key", vec![("Authorization", "Bearer sk_0123456789abcdefOTHER")]),
            ("not ASCII", vec![("x-api-key", "sk_0123456789abcdefñ")]),
            ("SQL in place of a key", vec![("x-api-key", "sk_' OR 1=1 --")]),
        ] {
            let mut answer = ask(&headers).await;
            assert!(!take_hint(&mut answer.body).is_empty(), "{why}");
            assert_eq!((answer.status.as_u16(), &answer.body), (401, &unauthorized()), "{why}");
        }
    }

    async fn without_a_key_nothing_reveals_what_exists(app: &TestApp) {
        app.put("/collections/posts/a", json!({})).await;
        let mut hints = HashMap::new();
        for (method, path) in [
            (Method::GET, "/collections"),
            (Method::POST, "/collections"),
            (Method::GET, "/collections/posts"),
            (Method::GET, "/collections/none"),
            (Method::POST, "/collections/posts"),
            (Method::GET, "/collections/posts/a"),
            (Method::GET, "/collections/none/a"),
            (Method::PUT, "/collections/posts/a%20b"),
            (Method::PATCH, "/collections/posts/a"),
            (Method::DELETE, "/collections/posts/a"),
            (Method::DELETE, "/collections/posts"),
            (Method::GET, "/collections/posts/settings"),
            (Method::PATCH, "/collections/none/settings"),
            (Method::GET, "/collections/posts?limit=0"),
            (Method::GET, "/realtime/sse/posts"),
            (Method::GET, "/realtime/sse/none"),
            (Method::GET, "/realtime/sse/posts?filters=x"),
            (Method::GET, "/collections/posts?token=pk_0123456789abcdefPUBLISHABLE"),
        ] {
            let answer = app.send(app.http.request(method.clone(), format!("{}{path}", app.url)).body("{")).await;
            let mut body = answer.body.clone();
            // A path that both APIs have answers an error in both forms.
            if let Some(detail) = body.as_object_mut().unwrap().remove("detail") {
                assert_eq!(detail, body["error"]["message"], "{method} {path}");
            }
            let hint = take_hint(&mut body);
            assert_eq!((answer.status.as_u16(), &body), (401, &unauthorized()), "{method} {path}");
            // It may differ between streams and other requests, and by where a key is, but not by what exists.
            let kind = (path.starts_with("/realtime"), path.contains("token="));
            hints.entry(kind).or_insert_with(HashSet::new).insert(hint);
            assert!(answer.header("www-authenticate").starts_with("Bearer "), "{answer:?}");
        }
        assert!(hints.values().all(|same| same.len() == 1), "{hints:?}");
        assert_eq!(app.get("/collections/posts/a").await.data()["version"], 1);
    }

    async fn a_key_does_what_its_scopes_say_and_nothing_else(app: &TestApp) {
        app.put("/collections/posts/a", json!({})).await;
        let rows: [(&str, [u16; 5]); 5] = [
            // read, write, create a collection, remove a missing collection, stream a collection with an impossible name
            ("documents:read", [200, 403, 403, 403, 403]),
            ("documents:write", [403, 200, 403, 403, 403]),
            ("collections:write", [403, 403, 201, 404, 403]),
            ("documents:read, realtime", [200, 403, 403, 403, 404]),
            ("users", [403, 403, 403, 403, 403]),
        ];
        for (scope, expected) in rows {
            let key = coir(app, &["keys", "create", "secret", "--scope", scope]).await;
            let key = key.trim();
            let name = format!("c{}", scope.len());
            let got = [
                status(app, key, Method::GET, "/collections/posts/a", Value::Null).await,
                status(app, key, Method::PUT, "/collections/posts/a", json!({})).await,
                status(app, key, Method::POST, "/collections", json!({ "name": name })).await,
                status(app, key, Method::DELETE, "/collections/none", Value::Null).await,
                status(app, key, Method::GET, "/realtime/sse/1none", Value::Null).await,
            ];
            assert_eq!(got, expected, "{scope}");
        }
        let (made, _, stderr) = try_coir(app, &["keys", "create", "secret", "--scope", "documents:all"]).await;
        assert!(!made && stderr.contains("`documents:all` is not a scope"), "{stderr}");
    }

    async fn keys_are_listed_by_their_first_characters_only(app: &TestApp) {
        let key = coir(app, &["keys", "create", "publishable"]).await.trim().to_owned();
        assert!(key.starts_with("pk_") && key.len() > 30, "{key}");
        assert_eq!(status(app, &key, Method::POST, "/collections/posts", json!({})).await, 201);

        let listed = coir(app, &["keys", "list"]).await;
        // Of a short key less is shown.
        for (key, shown) in [(&*key, 11), (SECRET_KEY, 8), (PUBLISHABLE_KEY, 11)] {
            assert!(listed.contains(&format!(" {} ", &key[..shown])), "{listed}");
            assert!(!listed.contains(&key[..=shown]), "{listed}");
        }
        coir(app, &["keys", "revoke", &key]).await;
        let listed = coir(app, &["keys", "list"]).await;
        let row = listed.lines().find(|line| line.contains(&key[..8])).unwrap();
        assert!(row.contains("revoked"), "{listed}");
        for (why, arguments) in [
            ("the key is revoked already", vec!["keys", "revoke", &key]),
            ("no key has this prefix", vec!["keys", "revoke", "sk_nothing"]),
            ("every key has the empty prefix", vec!["keys", "revoke", ""]),
            ("no such project", vec!["keys", "list", "--project", "none"]),
        ] {
            let (done, _, stderr) = try_coir(app, &arguments).await;
            assert!(!done && stderr.starts_with("coir: "), "{why}: {stderr}");
            assert!(!stderr.contains(&key), "{why}: {stderr}");
        }
    }

    async fn a_key_is_revoked_by_a_name_that_is_its_alone(app: &TestApp) {
        let key = coir(app, &["keys", "create", "publishable"]).await.trim().to_owned();
        let mut sql = app.sql().await;
        let ids = sql.texts("SELECT id FROM api_keys ORDER BY created_at, id").await;
        // Two keys that begin alike, as keys of the settings may, and one of an earlier version.
        let project = sql.texts("SELECT id FROM projects").await.remove(0);
        for (id, prefix) in [("one", "sk_aaaabbbb"), ("two", "sk_aaaabbbb"), ("old", "sk_zzzzz")] {
            sql.execute(&format!(
                "INSERT INTO api_keys (id, project_id, kind, prefix, hash, created_at) \
                 VALUES ('{id}', '{project}', 'secret', '{prefix}', '{id}', 0)"
            )).await;
        }
        drop(sql);
        let too_short = "is too short to name a key";
        for (typed, told) in [
            ("p", too_short), ("pk", too_short), ("pk_", too_short), ("sk_", too_short), (&key[..10], too_short),
            ("sk_aaaabbbb", "several keys begin with `sk_aaaabbbb`"), ("sk_zzzzz", too_short),
            ("sk_zzzzzyyyyxxxxwwwwvvvv", "is not the whole key"), (&key[..12], "is not the whole key"),
            (&format!("{key}x"), "is not the whole key"),
            ("", "no key of the project"), ("sk_nothing00", "no key of the project"), (&ids[0][..8], "no key of the project"),
        ] {
            let (done, _, stderr) = try_coir(app, &["keys", "revoke", typed]).await;
            assert!(!done && stderr.contains(told), "{typed:?}: {stderr}");
            assert!(!stderr.contains(&key[..12]) || typed.len() == 12, "{typed:?}: {stderr}");
            if !told.starts_with("no key") {
                let fits = if typed.starts_with('p') { &ids[..] } else { &[] };
                assert!(fits.iter().any(|id| stderr.contains(id)) || stderr.contains("\n  one ") || stderr.contains("\n  old "), "{stderr}");
            }
        }
        let listed = coir(app, &["keys", "list"]).await;
        assert!(!listed.contains("revoked"), "{listed}");
        for typed in [&key[..11], "one", SECRET_KEY] {
            coir(app, &["keys", "revoke", typed]).await;
        }
        assert_eq!(coir(app, &["keys", "list"]).await.matches("revoked").count(), 3);
        let (done, _, stderr) = try_coir(app, &["keys", "revoke", &key]).await;
        assert!(!done && stderr.contains(&format!("the key `{}` is revoked already", &key[..11])), "{stderr}");
        assert_eq!(status(app, PUBLISHABLE_KEY, Method::POST, "/collections/posts", json!({})).await, 201);
    }

    async fn a_key_that_was_tried_before_it_existed_soon_works(app: &TestApp) {
        app.create("posts", json!({})).await;
        let key = "sk_0123456789abcdefLATER";
        for _ in 0..3 {
            assert_eq!(status(app, key, Method::GET, "/collections/posts", json!({})).await, 401);
        }
        let mut sql = app.sql().await;
        let project = sql.texts("SELECT id FROM projects").await.remove(0);
        sql.execute(&format!(
            "INSERT INTO api_keys (id, project_id, kind, prefix, hash, created_at) \
             VALUES ('late', '{project}', 'secret', 'sk_01234', '{}', 0)",
            coir::auth::keys::hash_key(key)
        )).await;
        drop(sql);
        let begun = Instant::now();
        while status(app, key, Method::GET, "/collections/posts", json!({})).await != 200 {
            assert!(begun.elapsed() < Duration::from_secs(10), "a new key does not work after 10 seconds");
        }
    }

    /// Each request may have a connection of its own, and the server bounds those of one address without a good key.
    async fn a_flood_of_unknown_keys_keeps_nobody_out(app: &TestApp, |config| config.limits.unauthenticated = Some(4096)) {
        app.create("posts", json!({})).await;
        let unknown: Vec<_> = (0..600).map(|n| format!("pk_0123456789abcdefUNKNOWN{n}")).collect();
        let flood = unknown.iter().chain(&unknown).map(|key| status(app, key, Method::GET, "/collections/posts", json!({})));
        // The publishable key is used for the first time, so it is looked up like the others.
        let known = status(app, PUBLISHABLE_KEY, Method::GET, "/collections/posts", json!({}));
        let (refused, known) = futures_util::future::join(futures_util::future::join_all(flood), known).await;
        assert_eq!(known, 200);
        assert!(refused.iter().all(|status| *status == 401), "{refused:?}");
    }

    async fn a_revoked_key_is_refused_within_a_second_and_its_streams_end(app: &TestApp) {
        app.create("posts", json!({})).await;
        let key = coir(app, &["keys", "create", "secret"]).await.trim().to_owned();
        let mut stream = TestStream::open(app.request_as(&key, Method::GET, "/realtime/sse/posts")).await;
        stream.opened().await;
        let mut socket = app.anonymous_socket().await;
        socket.authenticate(&key).await;
        socket.subscribe("posts", json!({})).await;
        let mut own = app.socket().await;
        own.subscribe("posts", json!({})).await;

        coir(app, &["keys", "revoke", &key]).await;
        let begun = Instant::now();
        while status(app, &key, Method::GET, "/collections/posts", Value::Null).await != 401 {
            assert!(begun.elapsed() < Duration::from_secs(1), "the revoked key still works after a second");
        }
        // From here on, connections with the revoked key receive nothing.
        let written = app.create("posts", json!({ "secret": true })).await;
        while let Some(block) = stream.try_next_block().await {
            assert!(block.data.is_none_or(|data| !data.contains("secret")));
        }
        let close = loop {
            match socket.next_frame().await {
                Message::Close(Some(close)) => break close,
                Message::Text(text) => assert!(text.contains("UNAUTHORIZED"), "{text}"),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(close.code, CloseCode::Policy);
        assert_eq!(own.next().await["document"]["id"], written["id"], "other keys' streams go on");
    }

    /// The writer compares the key with the log itself, so that no write waits for the news.
    async fn a_write_with_a_revoked_key_is_refused_at_once_on_every_node(app: &TestApp) {
        let other = app.start_second_node().await;
        for n in 0..5 {
            let key = coir(app, &["keys", "create", "secret"]).await.trim().to_owned();
            for node in [app, &other] {
                let path = format!("/collections/posts/{n}");
                assert!(status(node, &key, Method::PUT, &path, json!({ "n": n })).await < 300);
            }
            coir(app, &["keys", "revoke", &key]).await;
            let late = |node| status(node, &key, Method::PUT, "/collections/posts/late", json!({}));
            assert_eq!(futures_util::future::join(late(app), late(&other)).await, (401, 401));
        }
        assert_eq!(app.get("/collections/posts/late").await.error(), (404, "DOCUMENT_NOT_FOUND"));
        other.stop().await;
    }

    async fn projects_do_not_see_each_other(app: &TestApp) {
        app.put("/collections/posts/a", json!({ "of": "default" })).await;
        let printed = coir(app, &["projects", "create", "other", "--open"]).await;
        let key = |prefix: &str| printed.split_whitespace().find(|word| word.starts_with(prefix)).unwrap();
        let (secret, publishable) = (key("sk_"), key("pk_"));
        for key in [secret, publishable] {
            assert_eq!(status(app, key, Method::GET, "/collections/posts", Value::Null).await, 404);
            assert_eq!(status(app, key, Method::GET, "/collections/posts/a", Value::Null).await, 404);
        }
        let id = app.get("/collections/posts/settings").await.data()["id"].as_str().unwrap().to_owned();
        assert_eq!(status(app, secret, Method::GET, &format!("/collections/{id}/a"), Value::Null).await, 404);
        assert_eq!(status(app, secret, Method::DELETE, &format!("/collections/{id}"), Value::Null).await, 404);

        assert_eq!(status(app, secret, Method::PUT, "/collections/posts/a", json!({ "of": "other" })).await, 201);
        let mut foreign: TestSocket = app.anonymous_socket().await;
        foreign.authenticate(publishable).await;
        foreign.subscribe("posts", json!({})).await;
        app.patch("/collections/posts/a", json!({ "n": 1 })).await;
        assert_eq!(app.get("/collections/posts/a").await.data()["data"], json!({ "of": "default", "n": 1 }));
        assert_eq!(status(app, secret, Method::PATCH, "/collections/posts/a", json!({ "n": 2 })).await, 200);
        assert_eq!(foreign.next().await["document"]["data"], json!({ "of": "other", "n": 2 }));

        let listed = coir(app, &["projects", "list"]).await;
        assert!(listed.contains("default") && listed.contains("other"), "{listed}");
        assert!(!coir(app, &["keys", "list", "--project", "other"]).await.contains(&SECRET_KEY[..8]));
        for name in ["other", "", "a b", "a/b"] {
            assert!(!try_coir(app, &["projects", "create", name]).await.0, "{name:?}");
        }
    }
}
