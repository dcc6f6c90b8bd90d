//! `coir import` writes every document of a file. If it can't, it says in a sentence what is wrong.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Output};

use reqwest::Url;
use serde_json::{Value, json};

use crate::harness::{TestApp, View, data_of, list_all, on_both_databases, postgres, process};

/// Returns the path of a file with films, and the films. It comes with the npm packages that `tests/run` installs.
fn movies() -> (PathBuf, Vec<Value>) {
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/node_modules/vega-datasets/data/movies.json"
    ));
    let text = fs::read_to_string(&path).expect("tests/run --set-up installs what the tests need");
    let movies = serde_json::from_str(&text).unwrap();
    (path, movies)
}

/// Runs `coir` to its end on another thread, because the server that it talks to runs in this runtime.
async fn coir(arguments: Vec<String>) -> Output {
    let run = move || process::command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).output();
    tokio::task::spawn_blocking(run).await.unwrap().unwrap()
}

async fn import(app: &TestApp, collection: &str, file: &str) -> Output {
    coir(["import", collection, file, "--url", &app.url].map(str::to_owned).to_vec()).await
}

/// Returns the values as sorted text, so that two sets of documents compare without regard to their order.
fn sorted<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let mut texts: Vec<_> = values.into_iter().map(Value::to_string).collect();
    texts.sort_unstable();
    texts
}

/// Fails unless the command ended with status 1 and a message that contains all of `words`.
fn assert_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

on_both_databases! {
    async fn a_subscriber_of_an_import_gets_the_documents_that_match_and_no_others(app: &TestApp) {
        let (file, movies) = movies();
        let filter = json!({ "Major Genre": "Drama" });
        let dramas: Vec<_> = movies.iter().filter(|movie| movie["Major Genre"] == "Drama").collect();
        assert!(dramas.len() > 100 && dramas.len() < movies.len());
        app.post("/collections", json!({ "name": "movies" })).await;
        let url = Url::parse_with_params(&format!("{}/realtime/sse/movies", app.url), [("filters", filter.to_string())]).unwrap();
        let mut stream = app.stream(url.as_str().strip_prefix(&app.url).unwrap(), None).await;
        stream.opened().await;
        let mut socket = app.socket().await;
        socket.subscribe("movies", filter).await;

        let importing = import(app, "movies", file.to_str().unwrap());
        let reading = async {
            let (mut by_stream, mut by_socket) = (View::default(), View::default());
            while by_stream.len() < dramas.len() {
                by_stream.take(&stream.next_block().await);
            }
            while by_socket.len() < dramas.len() {
                by_socket.apply(&socket.next().await);
            }
            (by_stream, by_socket)
        };
        let (output, (by_stream, by_socket)) = tokio::join!(importing, reading);

        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("{0} of {0}", movies.len())), "{output:?}");
        // The next event is about a new document that matches, so no other event came before it.
        let last = app.create("movies", json!({ "Major Genre": "Drama", "Title": "The Last" })).await;
        assert_eq!(stream.next_event().await.json()["document"]["id"], last["id"]);
        assert_eq!(socket.next().await["document"]["id"], last["id"]);
        app.delete(&format!("/collections/movies/{}", last["id"].as_str().unwrap())).await;

        assert_eq!(sorted(by_stream.documents().values()), sorted(dramas));
        assert_eq!(by_socket.documents(), by_stream.documents());
        let listed = data_of(&list_all(&app.http, &app.url, "movies").await);
        assert_eq!(sorted(listed.values()), sorted(&movies));
        let matching: BTreeMap<_, _> = listed.into_iter().filter(|(_, movie)| movie["Major Genre"] == "Drama").collect();
        assert_eq!(by_stream.documents(), matching);
    }

    async fn a_file_of_lines_is_imported_like_an_array(app: &TestApp) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("movies.ndjson");
        let (_, movies) = movies();
        let lines: Vec<_> = movies.iter().take(200).map(Value::to_string).collect();
        fs::write(&file, lines.join("\n\n")).unwrap();

        let output = import(app, "movies", file.to_str().unwrap()).await;
        assert!(output.status.success(), "{output:?}");
        let listed = data_of(&list_all(&app.http, &app.url, "movies").await);
        assert_eq!(sorted(listed.values()), sorted(&movies[..200]));
    }

    async fn an_import_that_can_not_be_done_says_why_and_ends_with_1(app: &TestApp) {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = directory.path().join(name);
            fs::write(&file, text).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let good = write("good.json", r#"[{"n":1}]"#);
        for (name, text, words) in [
            ("broken.ndjson", "{\"n\":1}\n{\"n\":\n", ["broken.ndjson", "line 2"]),
            ("broken.json", "[{\"n\":1},", ["broken.json", "array of objects"]),
            ("object.json", "{\"n\":1}", ["object.json", "array of objects"]),
            ("numbers.json", "[1, 2]", ["document 1", "INVALID_BODY"]),
        ] {
            assert_refused(&import(app, "posts", &write(name, text)).await, &words);
        }
        assert_refused(&import(app, "posts", "nowhere.json").await, &["`nowhere.json` can't be read"]);
        assert_refused(&import(app, "1posts", &good).await, &["INVALID_COLLECTION"]);
        let arguments = ["import", "posts", &good, "--url", &app.url, "--key", "sk_0123456789abcdefWRONG"];
        assert_refused(&coir(arguments.map(str::to_owned).to_vec()).await, &["UNAUTHORIZED", "authentication token"]);
        let arguments = ["import", "posts", &good, "--url", "no url"];
        assert_refused(&coir(arguments.map(str::to_owned).to_vec()).await, &["no url", "http://127.0.0.1:8080"]);

        // The failed imports wrote nothing.
        assert_eq!(app.sql().await.document_sequences().await, Vec::<i64>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_without_a_server_says_so_and_ends_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("good.json");
    fs::write(&file, r#"[{"n":1},{"n":2}]"#).unwrap();
    let url = format!("http://127.0.0.1:{}", postgres::find_free_port());
    let arguments = ["import", "posts", file.to_str().unwrap(), "--url", &url];
    let output = coir(arguments.map(str::to_owned).to_vec()).await;
    assert_refused(&output, &[&url, "Is it running?"]);
}
