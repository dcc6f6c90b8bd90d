//! A beginner's first minutes: the text that the server prints, and the messages of common mistakes.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::harness::{Database, PUBLISHABLE_KEY, TestApp, process};

/// Starts a server that makes its own keys, as on a beginner's first start. Returns it with the text that it printed.
fn start(directory: &Path) -> (Child, String) {
    let mut server = process::command(&[])
        .env_remove("COIR_API_KEY")
        .env_remove("COIR_PUBLISHABLE_KEY")
        .env("COIR_LISTEN", "127.0.0.1:0")
        .env("COIR_DATA_DIR", directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
    // The text ends with the empty line after the last `curl`, or after the advice to create a key.
    let mut welcome = String::new();
    let mut last = "…".to_owned();
    for line in &mut lines {
        let is_end = line.is_empty()
            && (last.contains("curl") || last.contains("keys create") && welcome.contains("were shown"));
        welcome.push_str(&line);
        welcome.push('\n');
        if is_end {
            break;
        }
        last = line;
    }
    (server, welcome)
}

fn end(mut server: Child) {
    server.kill().unwrap();
    server.wait().unwrap();
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]).stdout(Stdio::piped()).stderr(Stdio::null());
    shell
}

#[test]
fn the_commands_that_the_first_start_prints_work_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let (server, welcome) = start(directory.path());
    let commands: Vec<_> = welcome.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    let [create, watch, create_another] = commands[..] else { panic!("{welcome}") };

    let created = shell(create).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&created).contains("\"success\":true"), "{welcome}");
    let mut stream = shell(watch).spawn().unwrap();
    let mut stream_lines = BufReader::new(stream.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(stream_lines.any(|line| line.starts_with("id:")), "the stream is open");
    shell(create_another).output().unwrap();
    let event = stream_lines.find(|line| line.starts_with("data:")).unwrap();
    assert!(event.contains("\"created\"") && event.contains("Again"), "{event}");

    stream.kill().unwrap();
    stream.wait().unwrap();
    end(server);
}

#[test]
fn the_link_to_the_page_has_the_key_only_at_the_first_start() {
    let directory = tempfile::tempdir().unwrap();
    let (server, first) = start(directory.path());
    end(server);
    let key = first.split_once("/#").unwrap().1.lines().next().unwrap();
    assert!(key.starts_with("pk_"), "{first}");
    assert!(first.contains(&directory.path().join("coir.db").display().to_string()), "{first}");

    let (server, second) = start(directory.path());
    assert!(second.contains("page  http://127.0.0.1:") && !second.contains("pk_"), "{second}");
    // The printed command creates a key of this server.
    let command = second.split_once("To create another: ").unwrap().1.trim();
    let output = shell(command).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("pk_"), "{command}");
    end(server);
}

#[test]
fn a_start_that_fails_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let no_database = directory.path().join("none");
    std::fs::create_dir(&no_database).unwrap();
    std::fs::write(no_database.join("coir.db"), [7; 5000]).unwrap();
    let free = "127.0.0.1:0";
    for (why, settings, parts) in [
        ("a port that is taken", vec![("COIR_LISTEN", address.as_str())], ["is in use", "--listen"]),
        (
            "a directory that is a file",
            vec![("COIR_DATA_DIR", file.to_str().unwrap())],
            ["cannot be created", "COIR_DATA_DIR"],
        ),
        (
            "a file that is not a database",
            vec![("COIR_DATA_DIR", no_database.to_str().unwrap())],
            ["coir.db", "may write"],
        ),
        ("an invalid address", vec![("COIR_LISTEN", "127.0.0.1")], ["COIR_LISTEN", "127.0.0.1:8080"]),
    ] {
        let mut server = process::command(&[])
            .env("COIR_LISTEN", free)
            .env("COIR_DATA_DIR", directory.path())
            .envs(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        server.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!server.wait().unwrap().success(), "{why}");
        assert_eq!(said.lines().count(), 1, "{why}: {said}");
        assert!(said.starts_with("coir: ") && !said.contains("hidden"), "{why}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{why}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_a_bad_request_says_how_to_correct_it() {
    let app = TestApp::start(Database::Sqlite).await;
    for (why, body, part) in [
        ("single quotes", "{'title':'x'}", "double quotes"),
        ("an empty body", "", "is empty"),
        ("a list", "[1]", "must be a JSON object"),
    ] {
        let request = app.request(reqwest::Method::POST, "/collections/posts").body(body);
        let answer = app.send(request).await;
        assert_eq!(answer.error(), (400, "INVALID_BODY"), "{why}");
        assert!(answer.body["error"]["message"].as_str().unwrap().contains(part), "{why}: {answer:?}");
    }
    // The protocol fixes these two messages.
    app.post("/collections", json!({ "name": "books" })).await;
    let unknown = app.get("/collections/bokks").await;
    let hint = "there is no collection `bokks`; did you mean `books`?";
    assert_eq!(
        unknown.body["error"],
        json!({ "code": "INVALID_COLLECTION", "message": "Collection does not exist", "hint": hint })
    );
    let key = format!("{PUBLISHABLE_KEY}x");
    let refused = app.send(app.request_as(&key, reqwest::Method::GET, "/collections")).await;
    let mut error = refused.body["error"].clone();
    let hint = error.as_object_mut().unwrap().remove("hint").unwrap();
    assert_eq!(
        error,
        json!({ "code": "UNAUTHORIZED", "message": "Invalid or missing authentication token" })
    );
    assert!(hint.as_str().unwrap().contains("no such key"), "{hint}");
    assert!(refused.header("www-authenticate").contains("coir keys"), "{refused:?}");
    app.stop().await;
}
