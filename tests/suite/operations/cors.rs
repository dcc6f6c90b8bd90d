//! Allowed origins: CORS on REST and event streams, and the `Origin` header of a WebSocket.

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::json;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest, http::HeaderValue},
};

use crate::harness::{Database, SECRET_KEY, TestApp};

const PAGE: &str = "https://app.example";

async fn preflight(app: &TestApp, path: &str, method: &str, origin: &str) -> (StatusCode, HeaderMap) {
    let request = app
        .http
        .request(Method::OPTIONS, format!("{}{path}", app.url))
        .header("Origin", origin)
        .header("Access-Control-Request-Method", method)
        .header(
            "Access-Control-Request-Headers",
            "authorization,content-type,if-match,last-event-id,x-api-key",
        );
    let response = request.send().await.unwrap();
    (response.status(), response.headers().clone())
}

fn listed(headers: &HeaderMap, name: &str) -> Vec<String> {
    let value = headers.get(name).unwrap_or_else(|| panic!("no {name}: {headers:?}")).to_str().unwrap();
    value.split(',').map(|word| word.trim().to_ascii_lowercase()).collect()
}

async fn open_socket(app: &TestApp, origin: &str) -> Result<(), u16> {
    let mut request = format!("{}/realtime", app.url.replace("http", "ws")).into_client_request().unwrap();
    request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap());
    match connect_async(request).await {
        Ok(_) => Ok(()),
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_may_call_and_read_headers_without_a_list_of_origins() {
    let app = TestApp::start(Database::Sqlite).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    for (path, method) in [
        ("/collections/posts", "POST"),
        ("/collections/posts/a", "PUT"),
        ("/collections/posts/a", "PATCH"),
        ("/collections/posts/a", "DELETE"),
        ("/realtime/sse/posts", "GET"),
    ] {
        let (status, headers) = preflight(&app, path, method, PAGE).await;
        assert_eq!(status, 200, "{method} {path}");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert!(
            listed(&headers, "access-control-allow-methods").contains(&method.to_lowercase()),
            "{headers:?}"
        );
        let allowed = listed(&headers, "access-control-allow-headers");
        for header in ["authorization", "content-type", "if-match", "last-event-id", "x-api-key"] {
            assert!(allowed.contains(&header.to_owned()), "{header} is not in {allowed:?}");
        }
    }
    for (path, status) in [
        ("/collections/posts", 200),
        ("/collections/none", 404),
        ("/realtime/sse/posts", 200),
        ("/realtime/sse/1none", 404),
    ] {
        let response = app.request(Method::GET, path).header("Origin", PAGE).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*", "{path}");
        let exposed = listed(response.headers(), "access-control-expose-headers");
        assert!(
            exposed.contains(&"x-cursor".to_owned()) && exposed.contains(&"etag".to_owned()),
            "{exposed:?}"
        );
        assert!(response.headers().get("access-control-allow-credentials").is_none(), "{path}");
    }
    assert_eq!(open_socket(&app, PAGE).await, Ok(()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_not_on_the_list_of_origins_are_refused() {
    let origins = vec![PAGE.to_owned(), "http://localhost:3000".to_owned()];
    let app = TestApp::start_with(Database::Sqlite, |config| config.allowed_origins = Some(origins)).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    for (origin, is_allowed) in [
        (PAGE, true),
        ("http://localhost:3000", true),
        ("https://evil.example", false),
        ("https://app.example.evil.example", false),
        ("http://app.example", false),
        ("null", false),
    ] {
        let (status, headers) = preflight(&app, "/collections/posts", "POST", origin).await;
        assert_eq!(status == 200, is_allowed, "{origin}: {status}");
        let allowed = headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, is_allowed.then_some(origin));

        let get = |path: &str| app.request(Method::GET, path).header("Origin", origin).send();
        let list = get("/collections/posts").await.unwrap();
        let allowed = list.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(
            allowed,
            is_allowed.then_some(origin),
            "without the header a browser hides the answer from the page"
        );
        let stream = get("/realtime/sse/posts").await.unwrap();
        assert_eq!(stream.status().as_u16(), if is_allowed { 200 } else { 403 }, "{origin}");
        assert_eq!(open_socket(&app, origin).await, if is_allowed { Ok(()) } else { Err(403) }, "{origin}");
    }
    // A client that is not a web page sends no origin and is served.
    app.stream("/realtime/sse/posts", None).await.opened().await;
    let mut socket = app.anonymous_socket().await;
    socket.authenticate(SECRET_KEY).await;
    socket.settle().await;
    drop(socket);
    app.stop().await;
}

/// The server serves the page at `/` itself, so a list of other origins must not shut it out.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_origins_does_not_shut_out_the_servers_own_page() {
    let origins = vec![PAGE.to_owned()];
    let app = TestApp::start_with(Database::Sqlite, |config| config.allowed_origins = Some(origins)).await;
    let own = app.url.clone();
    let created = app.request(Method::POST, "/collections/posts").header("Origin", &own).json(&json!({}));
    assert_eq!(app.send(created).await.status, 201);
    let stream = app.request(Method::GET, "/realtime/sse/posts").header("Origin", &own).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(open_socket(&app, &own).await, Ok(()));
    assert_eq!(open_socket(&app, "http://127.0.0.1:1").await, Err(403), "another port is another origin");
    drop(stream);
    app.stop().await;
}
