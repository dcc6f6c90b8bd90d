//! The live page's files: their paths, their headers and their size.

use reqwest::{Method, StatusCode, header};

use crate::harness::{Database, TestApp};

/// All files that a browser loads for the page, with their types.
const FILES: [(&str, &str); 5] = [
    ("/", "text/html; charset=utf-8"),
    ("/assets/app.js", "text/javascript; charset=utf-8"),
    ("/assets/api.js", "text/javascript; charset=utf-8"),
    ("/assets/style.css", "text/css; charset=utf-8"),
    ("/assets/icon.svg", "image/svg+xml"),
];
/// The limit in bytes for all files that a browser loads. Comments count, because no build step removes them.
const MAX_SIZE: u64 = 105_000;

async fn start() -> TestApp {
    TestApp::start(Database::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_has_its_type_and_is_guarded() {
    let app = start().await;
    for (path, content_type) in FILES {
        // The request has no key, because a browser that opens the page has none yet.
        let answer = app.send(app.http.get(format!("{}{path}", app.url))).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("content-type"), content_type, "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        let policy = answer.header("content-security-policy");
        let host = app.url.trim_start_matches("http://");
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            &format!("connect-src 'self' ws://{host} wss://{host};"),
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {part} is not in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_host_does_not_get_into_the_content_security_policy() {
    let app = start().await;
    let request = app.http.get(&app.url).header("X-Forwarded-Host", "evil.example; script-src *");
    let answer = app.send(request).await;
    assert!(!answer.header("content-security-policy").contains("evil"), "{answer:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_file_is_not_sent_again() {
    let app = start().await;
    let url = format!("{}/assets/app.js", app.url);
    let tag = app.send(app.http.get(&url)).await.header("etag").to_owned();
    for (if_none_match, status, why) in [
        (tag.clone(), StatusCode::NOT_MODIFIED, "the current tag"),
        (format!("\"other\", W/{tag}"), StatusCode::NOT_MODIFIED, "a weak tag in a list"),
        ("*".to_owned(), StatusCode::NOT_MODIFIED, "`*` matches every tag"),
        ("\"other\"".to_owned(), StatusCode::OK, "another tag"),
    ] {
        let response = app.http.get(&url).header(header::IF_NONE_MATCH, if_none_match).send().await.unwrap();
        assert_eq!(response.status(), status, "{why}");
        assert_eq!(response.headers()["etag"], tag.as_str(), "{why}");
        assert!(response.headers().contains_key("content-security-policy"), "{why}");
        assert_eq!(response.bytes().await.unwrap().is_empty(), status == StatusCode::NOT_MODIFIED, "{why}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_like_get_without_the_body() {
    let app = start().await;
    for (path, content_type) in FILES {
        let url = format!("{}{path}", app.url);
        let whole = app.http.get(&url).send().await.unwrap().bytes().await.unwrap();
        let response = app.http.head(&url).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], content_type, "{path}");
        assert_eq!(response.headers()["content-length"], whole.len().to_string().as_str(), "{path}");
        assert!(response.bytes().await.unwrap().is_empty(), "{path}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_without_a_file_answer_the_api_s_404() {
    let app = start().await;
    for path in [
        "/assets/none.js",
        "/assets/",
        "/assets/index.html",
        "/assets/..%2FCargo.toml",
        "/assets/../Cargo.toml",
        "/assets/%00.js",
        "/app.js",
        "/favicon.ico",
    ] {
        assert_eq!(app.get(path).await.error(), (404, "NOT_FOUND"), "{path}");
    }
    let posted = app.send(app.request(Method::POST, "/assets/app.js")).await;
    assert_eq!(posted.error(), (405, "METHOD_NOT_ALLOWED"));
    app.stop().await;
}

#[test]
fn the_page_is_small() {
    let files =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/static")).unwrap().map(Result::unwrap);
    let loaded = files.filter(|file| file.path().extension().is_some_and(|extension| extension != "ts"));
    let size: u64 = loaded.map(|file| file.metadata().unwrap().len()).sum();
    assert!(size < MAX_SIZE, "the page is {size} bytes; the limit is {MAX_SIZE}");
}

/// Inline markup and evaluated code would need a weaker content security policy, so scripts insert text only as text.
#[test]
fn no_script_makes_markup_or_code_from_text() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/static")).unwrap();
    for path in files.map(|file| file.unwrap().path()) {
        let text = std::fs::read_to_string(&path).unwrap();
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            " style=\"",
            "onclick=\"",
        ] {
            assert!(!text.contains(way), "{}: {way}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_of_the_page_without_its_slash_leads_to_it() {
    let app = start().await;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (path, place) in [("/_", "_/"), ("/_?collection=posts", "_/?collection=posts")] {
        let answer = http.get(format!("{}{path}", app.url)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (308, place));
    }
    let page = app.http.get(format!("{}/_", app.url)).send().await.unwrap();
    assert!(page.url().path() == "/_/" && page.text().await.unwrap().contains("<title>Coir</title>"));
    app.stop().await;
}
