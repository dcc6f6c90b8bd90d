//! Lists by POST, exact bytes of CSV, preconditions of proxies, and old clients.

use reqwest::{Method, Version};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{SECRET_KEY, on_both_databases};

on_both_databases! {
    async fn a_list_by_post_is_the_list_by_get_and_takes_a_thousand_long_ids(app: &TestApp) {
        for n in 0..5 {
            app.put(&format!("/collections/books/{n}"), json!({ "title": format!("T{n}"), "year": 1960 + n, "genre": "x" })).await;
        }
        let body = json!({ "filters": { "year__gte": 1961 }, "orderBy": ["-year"], "limit": 2, "select": "title" });
        let posted = app.post("/collections/books/query", body).await;
        let got = app.get("/collections/books?filters=%7B%22year__gte%22%3A1961%7D&orderBy=-year&limit=2&select=title").await;
        assert_eq!(posted.body, got.body);
        let after = posted.body["nextCursor"].clone();
        let next = app.post("/collections/books/query", json!({ "filters": { "year__gte": 1961 }, "orderBy": "-year", "limit": 2, "after": after })).await;
        assert_eq!(next.data()[0]["id"], "2");
        let mut ids: Vec<_> = (0..999).map(|n| format!("{n:0>64}")).collect();
        ids.push("3".to_owned());
        let long = app.post("/collections/books/query", json!({ "filters": { "id__in": ids } })).await;
        assert_eq!(long.data().as_array().unwrap().len(), 1);
        assert_eq!(app.post("/collections/none/query", json!({})).await.error(), (404, "INVALID_COLLECTION"));
    }

    async fn the_routes_of_the_libraries_keep_every_name_as_a_filter(app: &TestApp) {
        app.put("/collections/books/a", json!({ "page": 2, "year__gtr": 1, "q": "x" })).await;
        for query in ["page=2", "year__gtr=1", "q=x", "page=2&sort=year%20desc", "q=x&populate=authr"] {
            let listed = app.get(&format!("/collections/books/documents?{query}")).await;
            assert_eq!((listed.status.as_u16(), listed.body.as_array().map(Vec::len)), (200, Some(1)), "{query}");
        }
        let none = app.get("/collections/books/documents?x=%FF").await;
        assert_eq!((none.status.as_u16(), none.body), (200, json!([])));
    }

    async fn a_spreadsheet_runs_nothing_of_a_table(app: &TestApp) {
        let cells = json!({ "a": "=1+1", "b": "-5", "c": -5, "d": "@x", "e": "+49 1", "f": "plain" });
        app.put("/collections/books/x", cells).await;
        let text = async |query: &str| {
            let path = format!("/collections/books/export?format=csv&select=a,b,c,d,e,f{query}");
            app.request(Method::GET, &path).send().await.unwrap().text().await.unwrap()
        };
        assert!(text("").await.ends_with(",'=1+1,-5,-5,'@x,'+49 1,plain\r\n"), "{}", text("").await);
        assert!(text("&raw=true").await.ends_with(",=1+1,-5,-5,@x,+49 1,plain\r\n"));
    }

    async fn an_entity_tag_that_a_proxy_weakened_still_guards_a_write(app: &TestApp) {
        let tag = app.put("/collections/books/x", json!({ "n": 1 })).await.header("etag").to_owned();
        let put = async |tag: String| {
            let request = app.request(Method::PUT, "/collections/books/x").header("If-Match", tag);
            app.send(request.json(&json!({ "n": 2 }))).await.status.as_u16()
        };
        assert_eq!((put(format!("W/{tag}")).await, put(format!("W/{tag}")).await), (200, 412));
    }

    async fn a_client_of_http_1_0_gets_no_chunks(app: &TestApp) {
        app.put("/collections/books/x", json!({ "n": 1 })).await;
        let mut tcp = TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
        let request = format!("GET /collections/books/export HTTP/1.0\r\nx-api-key: {SECRET_KEY}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("chunked"), "{head}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()[0]["data"]["n"], 1);
        let newer = app.request(Method::GET, "/collections/books/export").send().await.unwrap();
        assert_eq!((newer.version(), newer.headers()["transfer-encoding"].to_str().unwrap()), (Version::HTTP_11, "chunked"));
    }

    async fn a_head_has_the_headers_of_a_get_and_opens_no_stream(app: &TestApp) {
        app.put("/collections/books/x", json!({ "n": 1 })).await;
        for path in ["/collections/books/x", "/collections/books", "/health/ready", "/collections/books/export", "/realtime/sse/books"] {
            let head = app.request(Method::HEAD, path).send().await.unwrap();
            assert_eq!(head.status(), 200, "{path}");
            let (kind, length) = (head.headers()["content-type"].clone(), head.headers().get("content-length").cloned());
            assert!(head.bytes().await.unwrap().is_empty(), "{path}");
            if !path.starts_with("/realtime") {
                let get = app.request(Method::GET, path).send().await.unwrap();
                assert_eq!((&get.headers()["content-type"], get.headers().get("content-length")), (&kind, length.as_ref()), "{path}");
            }
        }
    }
}
