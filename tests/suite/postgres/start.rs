//! The start of a server: databases that do not fit, limits of connections, and what is printed of a URL.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::harness::{Sql, TestApp, app::config, indexes::declare, postgres, process, process::Process};

async fn database_url() -> String {
    tokio::task::spawn_blocking(postgres::database_url).await.unwrap()
}

/// Returns what a server says that does not start on a database.
async fn refusal(url: &str) -> String {
    let mut command = process::command(&["serve"]);
    command.env("DATABASE_URL", url).env("COIR_LISTEN", "127.0.0.1:0").stdin(Stdio::null());
    let run = move || Command::output(&mut command).unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(!output.status.success(), "it starts on {url}");
    String::from_utf8(output.stderr).unwrap()
}

/// Returns a URL with another user or database.
fn with(url: &str, user: &str, database: Option<&str>) -> String {
    let mut url = reqwest::Url::parse(url).unwrap();
    url.set_username(user).unwrap();
    if let Some(database) = database {
        url.set_path(database);
    }
    url.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_encoding_is_refused_with_a_sentence() {
    let url = database_url().await;
    let name = format!("{}_latin1", url.rsplit('/').next().unwrap());
    let sql = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    Sql::connect(&url).await.execute(&sql).await;
    let said = refusal(&with(&url, "postgres", Some(&name))).await;
    assert!(said.contains("LATIN1") && said.contains("ENCODING 'UTF8'"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    Sql::connect(&url).await.execute(&format!("DROP DATABASE {name}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_special_rights_may_serve_a_database_that_it_owns() {
    let url = database_url().await;
    let name = url.rsplit('/').next().unwrap();
    let mut sql = Sql::connect(&url).await;
    sql.execute(&format!("CREATE ROLE owner_of_{name} LOGIN PASSWORD 'sesame'")).await;
    sql.execute(&format!("ALTER DATABASE {name} OWNER TO owner_of_{name}")).await;
    let rights = "SELECT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)::text FROM pg_roles \
                  WHERE rolname LIKE 'owner_of_%'";
    assert!(sql.texts(rights).await.iter().all(|has| has == "false"), "the role has no special right");
    let app = TestApp::start_on(config(&with(&url, &format!("owner_of_{name}"), None)), None).await;
    app.create("posts", json!({ "n": 1 })).await;
    let indexes = declare(&app, "posts", json!([{ "fields": ["n"] }])).await;
    assert_eq!(indexes[0]["state"], "ready");
    assert_eq!(app.get("/collections/posts?n=1").await.data().as_array().unwrap().len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_connection_left_says_how_many_a_node_needs() {
    let url = database_url().await;
    let name = url.rsplit('/').next().unwrap();
    let mut sql = Sql::connect(&url).await;
    sql.execute(&format!("CREATE ROLE narrow_{name} LOGIN CONNECTION LIMIT 0")).await;
    sql.execute(&format!("ALTER DATABASE {name} OWNER TO narrow_{name}")).await;
    let narrow = with(&url, &format!("narrow_{name}"), None);
    let mut command = process::command(&["keys", "list"]);
    command.env("DATABASE_URL", &narrow).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("too many connections") && said.contains("up to 20 connections"), "{said}");

    // With a few connections the server works, and warns.
    sql.execute(&format!("ALTER ROLE narrow_{name} CONNECTION LIMIT 10")).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = File::create(log.path()).unwrap();
    let server = tokio::task::spawn_blocking(move || Process::start_logged(&narrow, file)).await.unwrap();
    let said = std::fs::read_to_string(log.path()).unwrap();
    assert!(said.contains("CONNECTION LIMIT of the role allows 10 connections"), "{said}");
    drop(server);
}

/// Returns everything that a server says that starts and is stopped.
fn output(url: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let open = || File::options().append(true).open(file.path()).unwrap();
    let mut command = process::command(&["serve"]);
    command.env("DATABASE_URL", url).env("COIR_LISTEN", "127.0.0.1:0").env("COIR_LOG", "trace");
    let mut server = command.stdout(open()).stderr(open()).spawn().unwrap();
    let read = || std::fs::read_to_string(file.path()).unwrap();
    while !read().contains("serving on http://") {
        assert!(server.try_wait().unwrap().is_none(), "it ended: {}", read());
    }
    assert!(Command::new("kill").arg("-TERM").arg(server.id().to_string()).status().unwrap().success());
    assert!(server.wait().unwrap().success());
    read()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_url_is_printed() {
    let url = database_url().await;
    let base = url.replace("postgres@", "");
    for url in [
        url.replace("postgres@", "postgres:hunter2@"),
        format!("{base}?user=postgres&password=hunter2"),
        format!("{base}?user=postgres&password=hunter2&sslpassword=hunter2&hunter2=x&passwrd=hunter2"),
    ] {
        let said = tokio::task::spawn_blocking(move || output(&url)).await.unwrap();
        assert!(said.contains("PostgreSQL, 127.0.0.1:"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for wrong in [
        "postgres://postgres:hunter2/x@127.0.0.1:1/db",
        "postgres://postgres:hunter2#x@127.0.0.1:1/db",
        "postgres://postgres:1?hunter2@127.0.0.1:1/db",
        "postgres://postgres:hunter2@127.0.0.1:hunter2/db",
        "postgres://postgres:hunter2@127.0.0.1:1/db?sslmode=hunter2",
        "postgres:hunter2@127.0.0.1",
    ] {
        let said = refusal(wrong).await;
        assert!(said.contains("DATABASE_URL") && !said.contains("hunter2"), "{wrong}: {said}");
    }
}
