//! `coir import` writes every document of a file. If it can't, it says in a sentence what is wrong.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Output};

use reqwest::Url;
use serde_json::{Value, json};

use crate::harness::{SECRET_KEY, TestApp, View, data_of, list_all, on_both_databases, postgres, process};

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

fn write_file(directory: &std::path::Path, name: &str, text: &str) -> String {
    let file = directory.join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
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
    async fn records_that_share_a_line_are_all_written_and_the_wrong_ones_named(app: &TestApp) {
        let directory = tempfile::tempdir().unwrap();
        app.post("/collections", json!({ "name": "years" })).await;
        let schema = json!({ "schema": { "properties": { "year": { "type": "integer" } } } });
        assert_eq!(app.patch("/collections/years/settings", schema).await.status, 200);
        let years: Vec<_> = (0..7).map(|n| if n == 4 { json!({ "year": "x" }) } else { json!({ "year": n }) }).collect();
        let file = write_file(directory.path(), "years.json", &json!(years).to_string());
        let output = import(app, "years", &file).await;
        assert_refused(&output, &["record 5: SCHEMA_VIOLATION", "1 of 7"]);
        let all = list_all(&app.http, &app.url, "years").await;
        let mut found: Vec<_> = all.values().map(|document| document["data"]["year"].as_u64().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 5, 6]);
        // A table whose lines end as those of old Macs.
        let file = write_file(directory.path(), "years.csv", "year,text\r1,\"a\rb\"\rx,c\r3,d");
        let output = import(app, "texts", &file).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(app.get("/collections/texts").await.data().as_array().unwrap().len(), 3);
    }

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
            ("broken.ndjson", "{\"n\":1}\n{\"n\":\n", ["broken.ndjson", "line 2, column 5: it ends where"]),
            ("broken.json", "[{\"n\":1},", ["broken.json", "array of objects"]),
            ("object.json", "{\"n\":1}", ["object.json", "array of objects"]),
            ("numbers.json", "[1,\n 2]", ["numbers.json", "line 1: a record must be a JSON object"]),
        ] {
            let output = import(app, "posts", &write(name, text)).await;
            assert_refused(&output, &words);
            assert_eq!(String::from_utf8_lossy(&output.stderr).matches("line ").count(), 1, "{output:?}");
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

    async fn documents_are_created_in_the_order_of_the_file(app: &TestApp) {
        let directory = tempfile::tempdir().unwrap();
        let numbers: Vec<Value> = (0..777).map(|n| json!({ "n": n })).collect();
        // Some editors begin a file with a byte order mark.
        let text = format!("\u{feff}{}", serde_json::to_string_pretty(&numbers).unwrap());
        let file = write_file(directory.path(), "numbers.json", &text);
        let output = import(app, "numbers", &file).await;
        assert!(output.status.success(), "{output:?}");
        let listed = app.get("/collections/numbers?orderBy=createdAt&limit=1000").await;
        let listed: Vec<_> = listed.data().as_array().unwrap().iter().map(|item| item["data"].clone()).collect();
        assert_eq!(listed, numbers);
    }

    async fn a_refused_record_is_named_by_its_line_and_all_others_are_written(app: &TestApp) {
        let directory = tempfile::tempdir().unwrap();
        app.post("/collections", json!({ "name": "posts", "schema": { "properties": { "n": { "type": "integer" } } } })).await;
        let lines: Vec<_> = (1..=150).map(|n| match n {
            70 | 149 => format!("{{\"n\":\"{n}\"}}\n"),
            _ => format!("{{\"n\":{n}}}\n"),
        }).collect();
        let file = write_file(directory.path(), "posts.jsonl", &lines.concat());
        let output = import(app, "posts", &file).await;
        assert_refused(&output, &["line 70: ", "line 149: ", "2 of 150 documents were not written"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.matches("line 70").count(), 1, "{said}");
        assert!(!said.contains("operations["), "{said}");
        let listed = app.get("/collections/posts?orderBy=createdAt&limit=1000").await;
        let listed: Vec<_> = listed.data().as_array().unwrap().iter().map(|item| item["data"]["n"].as_u64().unwrap()).collect();
        assert_eq!(listed, (1..=150).filter(|n| ![70, 149].contains(n)).collect::<Vec<_>>());
    }

    async fn a_second_import_of_an_export_or_by_an_id_field_doubles_nothing(app: &TestApp) {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..5 {
            app.put(&format!("/collections/old/d{n}"), json!({ "n": n, "id": "own", "": "e", "17": "s" })).await;
        }
        for format in ["json", "ndjson", "csv"] {
            let exported = app.http.get(format!("{}/collections/old/export?format={format}", app.url));
            let exported = exported.bearer_auth(SECRET_KEY).send().await.unwrap().text().await.unwrap();
            let file = write_file(directory.path(), &format!("old.{format}"), &exported);
            for _ in 0..2 {
                let output = import(app, format, &file).await;
                assert!(output.status.success(), "{output:?}");
            }
            let all = list_all(&app.http, &app.url, format).await;
            assert_eq!(data_of(&all), data_of(&list_all(&app.http, &app.url, "old").await), "{format}");
        }

        let file = write_file(directory.path(), "films.csv", "sku,title\n17,Stalker\n18,Solaris\n");
        for _ in 0..2 {
            let arguments = ["import", "films", &file, "--url", &app.url, "--id-field", "sku"];
            let output = coir(arguments.map(str::to_owned).to_vec()).await;
            assert!(output.status.success(), "{output:?}");
        }
        assert_eq!(app.get("/collections/films").await.data().as_array().unwrap().len(), 2);
        assert_eq!(app.get("/collections/films/17").await.data()["data"], json!({ "sku": 17, "title": "Stalker" }));
        for (text, word) in [
            ("sku,title\n17,a\n17,b\n", "line 3: the id `17` is already that of the record on line 2"),
            ("sku,title\n17,a\n,b\n", "line 3: the record has no field `sku`"),
            ("sku,title\na b,a\n", "line 2: `a b` can't be an id"),
        ] {
            let file = write_file(directory.path(), "wrong.csv", text);
            let arguments = ["import", "films", &file, "--url", &app.url, "--id-field", "sku"];
            assert_refused(&coir(arguments.map(str::to_owned).to_vec()).await, &[word]);
        }
    }

    async fn a_dry_run_checks_everything_and_writes_nothing(app: &TestApp) {
        let directory = tempfile::tempdir().unwrap();
        let file = write_file(directory.path(), "films.csv", "title\nStalker\nSolaris\n");
        let dry_run = |more: &[&str]| {
            let arguments = [&["import", "films", &file, "--url", &app.url, "--dry-run"], more].concat();
            coir(arguments.into_iter().map(str::to_owned).collect())
        };
        let output = dry_run(&[]).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "2 documents would be written into `films`. Nothing was written.\n");
        assert_refused(&dry_run(&["--key", "sk_0123456789abcdefWRONG"]).await, &["UNAUTHORIZED", "coir keys list"]);
        assert_eq!(app.get("/collections/films").await.error(), (404, "INVALID_COLLECTION"));
    }

    async fn a_dry_run_says_what_the_real_run_says(app: &TestApp) {
        let directory = tempfile::tempdir().unwrap();
        app.post("/collections", json!({ "name": "posts", "schema": { "properties": { "n": { "type": "integer" } } } })).await;
        let made = process::command(&["keys", "create", "secret", "--scope", "documents:read"]);
        let (mut made, url) = (made, app.config.database_url.clone());
        let make = move || made.env("DATABASE_URL", url).output().unwrap();
        let reader = String::from_utf8(tokio::task::spawn_blocking(make).await.unwrap().stdout).unwrap();
        let many: Vec<_> = (1..=150).map(|n| match n {
            70 | 149 => format!("{{\"n\":\"{n}\"}}\n"),
            _ => format!("{{\"n\":{n}}}\n"),
        }).collect();
        let (many, large) = (many.concat(), format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20)));
        for (why, collection, key, text, words) in [
            ("a member with `$`", "posts", SECRET_KEY, "{\"n\":1}\n{\"$inc\":{\"n\":1}}\n", &["line 2: INVALID_BODY", "1 of 2 documents"][..]),
            ("a bad name", "1posts", SECRET_KEY, "{\"n\":1}\n{\"n\":2}\n", &["coir: INVALID_COLLECTION"]),
            ("a missing right", "posts", reader.trim(), "{\"n\":1}\n", &["coir: FORBIDDEN", "documents:write"]),
            ("an unknown key", "posts", "sk_0123456789abcdefWRONG", "{\"n\":1}\n", &["coir: UNAUTHORIZED", "coir keys list"]),
            ("a schema", "posts", SECRET_KEY, &many, &["line 70: SCHEMA_VIOLATION", "line 149: ", "2 of 150 documents"]),
            ("a large document", "others", SECRET_KEY, &large, &["line 1: PAYLOAD_TOO_LARGE"]),
            ("an empty file", "others", SECRET_KEY, "", &[]),
            ("good ones", "others", SECRET_KEY, "{\"n\":1}\n{\"id\":2}\n", &[]),
        ] {
            let file = write_file(directory.path(), "posts.ndjson", text);
            let before = app.sql().await.document_sequences().await.len();
            let arguments = ["import", collection, &file, "--url", &app.url, "--key", key].map(str::to_owned);
            let tried = coir([&arguments[..], &["--dry-run".to_owned()]].concat()).await;
            assert_eq!(app.sql().await.document_sequences().await.len(), before, "{why}");
            let done = coir(arguments.to_vec()).await;
            assert_eq!(tried.status.code(), done.status.code(), "{why}: {tried:?}");
            let said = |output: &Output| {
                String::from_utf8_lossy(&output.stderr).replace("would not be written; nothing was written", "were not written")
            };
            assert_eq!(said(&tried), said(&done), "{why}");
            assert!(words.iter().all(|word| said(&tried).contains(word)), "{why}: {}", said(&tried));
            assert!(!said(&tried).contains("operations["), "{why}: {}", said(&tried));
        }
    }

    async fn what_is_no_file_of_records_is_told_in_a_sentence(app: &TestApp) {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe.json");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let zip = directory.path().join("books.xlsx");
        fs::write(&zip, b"PK\x03\x04\x14\0\x06\0").unwrap();
        let csv = |text: &str| write_file(directory.path(), "books.csv", text);
        for (file, words) in [
            (directory.path().to_str().unwrap().to_owned(), ["is a directory", "name a file in it"]),
            (pipe.to_str().unwrap().to_owned(), ["is a pipe", "into a file first"]),
            (zip.to_str().unwrap().to_owned(), ["spreadsheet", "save the sheet as CSV"]),
            (csv("1,Dune,1965\n"), ["line 1: `1` is no name of a column", "must name every column"]),
        ] {
            assert_refused(&import(app, "books", &file).await, &words);
        }
        let output = import(app, "books", &csv("title,n\n1984,1.10\n\"x,2\n")).await;
        assert_refused(&output, &["line 3: the quote that begins here has no end"]);
        assert_eq!(app.get("/collections/books").await.error(), (404, "INVALID_COLLECTION"));

        let output = import(app, "books", &csv("title,n\n1984,1.10\n007,2\n")).await;
        assert!(String::from_utf8_lossy(&output.stderr).contains("The first line names the fields `title`, `n`."), "{output:?}");
        let listed = app.get("/collections/books?orderBy=createdAt").await;
        let listed: Vec<_> = listed.data().as_array().unwrap().iter().map(|item| item["data"].clone()).collect();
        assert_eq!(listed, [json!({ "title": "1984", "n": "1.10" }), json!({ "title": "007", "n": "2" })]);

        let address = app.url.trim_start_matches("http://");
        for url in [address.to_owned(), address.replace("127.0.0.1", "localhost")] {
            let output = coir(["import", "books", &csv("a\nx\n"), "--url", &url].map(str::to_owned).to_vec()).await;
            assert_refused(&output, &[&format!("did you mean http://{url}?")]);
        }
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
