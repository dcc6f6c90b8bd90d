//! `--public`: an app's files beside the API.

use std::{fs, os::unix::fs::symlink, path::Path};

use reqwest::{Method, StatusCode, header};
use serde_json::json;

use crate::harness::{Database, TestApp, app::config, fresh_database, process, process::Process};

/// Makes the files of an app, with some that nobody may see.
fn make_app(directory: &Path) {
    for (name, text) in [
        ("index.html", "<h1>app</h1>"),
        ("assets/app.js", "// the app's"),
        ("docs/index.html", "<h1>docs</h1>"),
        ("empty/data.json", "{}"),
        ("a b ü.txt", "text"),
        ("collections/posts", "hidden behind the API"),
        (".env", "secret"),
        (".git/config", "secret"),
        ("docs/.hidden", "secret"),
        ("../outside.txt", "secret"),
    ] {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    symlink("nowhere", directory.join("broken")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(directory.join("pipe")).status().unwrap().success());
}

async fn start() -> (TestApp, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let public = directory.path().join("app");
    make_app(&public);
    let (url, database) = fresh_database(Database::Sqlite).await;
    let mut config = config(&url);
    config.public = Some(public);
    (TestApp::start_on(config, database).await, directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_s_files_are_served_beside_the_api() {
    let (app, _directory) = start().await;
    for (path, content_type, text) in [
        ("/", "text/html; charset=utf-8", "<h1>app</h1>"),
        ("/index.html", "text/html; charset=utf-8", "<h1>app</h1>"),
        ("/docs/", "text/html; charset=utf-8", "<h1>docs</h1>"),
        // A browser follows to the path with a slash, so that relative links work.
        ("/docs", "text/html; charset=utf-8", "<h1>docs</h1>"),
        ("/assets/app.js", "text/javascript", "// the app's"),
        ("/a%20b%20%C3%BC.txt?v=1", "text/plain; charset=utf-8", "text"),
        ("/docs/../index.html", "text/html; charset=utf-8", "<h1>app</h1>"),
    ] {
        let answer = app.http.get(format!("{}{path}", app.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["content-type"], content_type, "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        let tag = answer.headers()["etag"].clone();
        assert_eq!(answer.text().await.unwrap(), text, "{path}");
        let again = app.http.get(format!("{}{path}", app.url)).header(header::IF_NONE_MATCH, tag);
        assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED, "{path}");
        let head = app.http.head(format!("{}{path}", app.url)).send().await.unwrap();
        assert_eq!(head.headers()["content-length"], text.len().to_string().as_str(), "{path}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_served_and_the_api_comes_first() {
    let (app, _directory) = start().await;
    app.create("posts", json!({ "n": 1 })).await;
    for path in [
        "/empty/",
        "/empty",
        "/none.html",
        "/.env",
        "/.git/config",
        "/.git/",
        "/docs/.hidden",
        "/%2eenv",
        "/..%2foutside.txt",
        "/%2e%2e/outside.txt",
        "/docs/..%2f..%2foutside.txt",
        "/%00",
        "/%ff",
        "/*",
        "/broken",
        "/pipe",
    ] {
        assert_eq!(app.get(path).await.error(), (404, "NOT_FOUND"), "{path}");
    }
    let redirect = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (path, place) in [("/docs", "/docs/"), ("/docs?v=1&w=%20", "/docs/?v=1&w=%20")] {
        let answer = redirect.get(format!("{}{path}", app.url)).send().await.unwrap();
        assert_eq!(answer.headers()["location"], place);
    }
    let answer = redirect.get(format!("{}//docs", app.url)).send().await.unwrap();
    assert_eq!(answer.status(), 404, "a redirect to //docs/ would lead to another host");
    assert_eq!(app.get("/collections/posts").await.data().as_array().unwrap().len(), 1);
    assert_eq!(app.post("/index.html", json!({})).await.error(), (404, "NOT_FOUND"));
    assert_eq!(
        app.send(app.request(Method::DELETE, "/health/live")).await.error(),
        (405, "METHOD_NOT_ALLOWED")
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_page_is_always_at_its_own_path() {
    let (with_app, _directory) = start().await;
    let without = TestApp::start(Database::Sqlite).await;
    for app in [&with_app, &without] {
        for (path, part) in [("/_/", "<title>Coir</title>"), ("/_/assets/app.js", "// The page")] {
            let answer = app.http.get(format!("{}{path}", app.url)).send().await.unwrap();
            assert!(
                answer.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'")
            );
            assert!(answer.text().await.unwrap().contains(part), "{path}");
        }
    }
    let page = without.http.get(&without.url).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("<title>Coir</title>"));
    with_app.stop().await;
    without.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_lines_have_the_app_s_link_with_the_key() {
    let directory = tempfile::tempdir().unwrap();
    make_app(&directory.path().join("app"));
    let serve = |public: &str| {
        let mut command = process::command(&["serve", "--public", public]);
        command.current_dir(directory.path()).env("COIR_LISTEN", "127.0.0.1:0");
        command
    };
    let command = serve("app");
    let mut server = tokio::task::spawn_blocking(move || Process::spawn_in_directory(command)).await.unwrap();
    let link = server.welcome.split_once("  app   ").unwrap().1.lines().next().unwrap();
    assert!(link.starts_with(&format!("{}/#pk_", server.url)), "{link}");
    assert!(server.welcome.contains(&format!("  page  {}/_/#pk_", server.url)), "{}", server.welcome);
    assert_eq!(reqwest::get(link).await.unwrap().text().await.unwrap(), "<h1>app</h1>");
    server.kill();

    let mut command = serve("none");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let place = directory.path().canonicalize().unwrap().join("none");
    assert!(
        !output.status.success() && said.contains(place.to_str().unwrap()) && said.contains("--public"),
        "{said}"
    );
}

/// Where the database is in the directory of the app, which is what `coir serve --public .` makes.
#[tokio::test(flavor = "multi_thread")]
async fn neither_the_database_nor_what_a_link_reaches_outside_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let public = directory.path().join("app");
    make_app(&public);
    symlink("../outside.txt", public.join("link.txt")).unwrap();
    symlink("..", public.join("up")).unwrap();
    symlink("docs/index.html", public.join("inside.html")).unwrap();
    fs::create_dir(public.join("blocks")).unwrap();
    fs::rename(public.join("pipe"), public.join("blocks/index.html")).unwrap();
    fs::create_dir(public.join("data")).unwrap();
    let mut config = config(&format!("sqlite://{}", public.join("data/coir.db").display()));
    config.public = Some(public.clone());
    let app = TestApp::start_on(config, None).await;
    app.put("/collections/posts/a", json!({})).await;
    fs::write(public.join("data/coir.db.server"), "{}").unwrap();
    let ask = async |path: &str| app.http.get(format!("{}{path}", app.url)).send().await.unwrap().status();
    for path in [
        "/data/coir.db",
        "/data/coir.db-wal",
        "/data/coir.db-shm",
        "/data/coir.db.server",
        "/link.txt",
        "/up/outside.txt",
        "/blocks/",
    ] {
        assert_eq!(ask(path).await, 404, "{path}");
    }
    assert_eq!(ask("/inside.html").await, 200);
    app.stop().await;
}
