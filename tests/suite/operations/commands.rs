//! Commands write where they should and nowhere else: only `serve` and `migrate` make a database or keys, and the clients of a
//! server know which one they talk to before they send anything.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Output,
};

use migration::{Migrator, MigratorTrait};
use serde_json::json;

use crate::harness::{
    Database, PUBLISHABLE_KEY, SECRET_KEY, Sql, TestApp, fresh_database, on_both_databases,
    process::{self, Process},
};

/// Commands that administer a database that is there.
const ADMINISTRATION: [&[&str]; 5] = [
    &["keys", "list"],
    &["keys", "create", "secret"],
    &["keys", "revoke", "sk_01234"],
    &["projects", "list"],
    &["projects", "create", "blog"],
];

async fn run(arguments: &[&str], settings: &[(&str, &str)], directory: &Path) -> Output {
    let mut command = process::command(arguments);
    command.current_dir(directory).envs(settings.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_finds_no_database_makes_none_and_says_where_it_looked() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().canonicalize().unwrap();
    for arguments in ADMINISTRATION {
        for (why, settings, looked) in [
            ("the default", vec![], place.join("data/coir.db")),
            ("a relative directory", vec![("COIR_DATA_DIR", "x/y")], place.join("x/y/coir.db")),
            ("a URL", vec![("DATABASE_URL", "sqlite://z/own.db")], place.join("z/own.db")),
        ] {
            let output = run(arguments, &settings, &place).await;
            assert!(!output.status.success() && output.stdout.is_empty(), "{why}: {output:?}");
            for part in [looked.to_str().unwrap(), "--data-dir", "`coir serve` makes"] {
                assert!(said(&output).contains(part), "{why}: {part} is not in {}", said(&output));
            }
            assert_eq!(names_in(&place), Vec::<String>::new(), "{why}: {arguments:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_changes_no_database_that_is_not_of_this_version() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("other.db");
    let url = format!("sqlite://{}", file.display());
    let mut other = Sql::connect(&format!("{url}?mode=rwc")).await;
    other.execute("CREATE TABLE things (id INTEGER)").await;
    drop(other);
    for (why, told) in
        [("another program's", "has no tables of Coir"), ("an older version's", "`coir migrate`")]
    {
        let before = fs::read(&file).unwrap();
        for arguments in ADMINISTRATION {
            let output = run(arguments, &[("DATABASE_URL", &url)], directory.path()).await;
            assert!(!output.status.success() && said(&output).contains(told), "{why}: {}", said(&output));
            assert_eq!(fs::read(&file).unwrap(), before, "{why}: {arguments:?}");
        }
        let older = sea_orm::Database::connect(&url).await.unwrap();
        Migrator::up(&older, Some(3)).await.unwrap();
        older.close().await.unwrap();
    }
    let (url, _) = fresh_database(Database::Postgres).await;
    for arguments in ADMINISTRATION {
        let output = run(arguments, &[("DATABASE_URL", &url)], directory.path()).await;
        assert!(
            !output.status.success() && said(&output).contains("has no tables of Coir"),
            "{}",
            said(&output)
        );
    }
    let tables =
        "SELECT COUNT(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    assert_eq!(Sql::connect(&url).await.integers(tables).await, [0]);
}

on_both_databases! {
    async fn no_command_but_serve_registers_the_keys_of_the_environment(app: &TestApp) {
        let url = app.config.database_url.to_string();
        let settings: [(&str, &str); 3] = [
            ("DATABASE_URL", &app.config.database_url),
            ("COIR_API_KEY", "sk_ofAnotherServer0123456789"),
            ("COIR_PUBLISHABLE_KEY", "pk_ofAnotherServer0123456789"),
        ];
        let here = std::env::temp_dir();
        for arguments in [&["keys", "list"][..], &["projects", "list"], &["keys", "create", "secret"]] {
            let output = run(arguments, &settings, &here).await;
            assert!(output.status.success(), "{url}: {}", said(&output));
        }
        let listed = run(&["keys", "list"], &settings, &here).await;
        assert!(!String::from_utf8_lossy(&listed.stdout).contains("_ofAn"), "{listed:?}");
    }

    async fn a_revoked_key_of_the_environment_is_an_error_of_serve_alone(app: &TestApp) {
        let database: (&str, &str) = ("DATABASE_URL", &app.config.database_url);
        let here = std::env::temp_dir();
        assert!(run(&["keys", "revoke", PUBLISHABLE_KEY], &[database], &here).await.status.success());
        for arguments in [&["keys", "list"][..], &["projects", "list"], &["migrate"]] {
            let output = run(arguments, &[database], &here).await;
            assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        }
        let output = run(&["serve"], &[database, ("COIR_LISTEN", "127.0.0.1:0")], &here).await;
        assert!(!output.status.success() && said(&output).contains("COIR_PUBLISHABLE_KEY is revoked"), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_makes_a_database_and_prints_its_keys_once() {
    for database in [Database::Sqlite, Database::Postgres] {
        let (url, _directory) = fresh_database(database).await;
        let here = std::env::temp_dir();
        let first = run(&["migrate"], &[("DATABASE_URL", &url)], &here).await;
        let first = String::from_utf8(first.stdout).unwrap();
        assert!(
            first.contains(SECRET_KEY) && first.ends_with("The database's schema is up to date.\n"),
            "{first}"
        );
        let second = run(&["migrate"], &[("DATABASE_URL", &url)], &here).await;
        assert_eq!(String::from_utf8(second.stdout).unwrap(), "The database's schema is up to date.\n");
        let created = run(&["keys", "create", "secret"], &[("DATABASE_URL", &url)], &here).await;
        assert!(String::from_utf8_lossy(&created.stdout).starts_with("sk_"), "{created:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_character_of_the_data_directory_stands_for_itself() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().canonicalize().unwrap();
    for name in ["100%", "a%20b", "what?mode=ro", "it's here", "#1", "ä ö"] {
        let mut command = process::command(&["serve", "--data-dir", name]);
        command.current_dir(&place);
        let start = move || Process::spawn_in_directory(command);
        let mut server = tokio::task::spawn_blocking(start).await.unwrap();
        let file = place.join(name).join("coir.db");
        assert!(file.is_file(), "{name}: {:?}", names_in(&place));
        assert!(server.welcome.contains(&format!("data  SQLite, {}", file.display())), "{}", server.welcome);
        // The command that the server prints works in every directory.
        let printed = server.welcome.split_once("To create another: ").unwrap().1.lines().next().unwrap();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", printed]).current_dir("/");
        let created = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
        assert!(String::from_utf8_lossy(&created.stdout).starts_with("pk_"), "{printed}: {created:?}");
        server.kill();
    }
}

/// Answers one request on a free port as any web server would, and returns what it was sent.
fn stranger(listener: TcpListener) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let count = connection.read(&mut request).unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_command_talks_to_the_server_of_its_directory_or_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().canonicalize().unwrap();
    fs::write(place.join("good.json"), r#"[{"n":1}]"#).unwrap();
    let import = ["import", "posts", "good.json"];
    let verify = ["verify", "--collection", "posts", "--for", "1s"];

    let nobody = run(&import, &[], &place).await;
    let database = place.join("data/coir.db").display().to_string();
    assert!(said(&nobody).contains(&format!("no server runs on SQLite, {database}")), "{}", said(&nobody));
    assert_eq!(names_in(&place), ["good.json"]);

    let start = |listen: &str| {
        let mut command = process::command(&["serve", "--listen", listen]);
        command.current_dir(&place);
        tokio::task::spawn_blocking(move || Process::spawn_in_directory(command))
    };
    let mut server = start("127.0.0.1:0").await.unwrap();
    for arguments in [&import[..], &verify] {
        let output = run(arguments, &[], &place).await;
        assert!(output.status.success(), "{output:?}");
        let told = format!("Talking to {}, the server of SQLite, {database}.", server.url);
        assert!(said(&output).contains(&told), "{}", said(&output));
    }
    let keyless = run(&import, &[("COIR_KEY", "")], &place).await;
    assert!(said(&keyless).contains("COIR_KEY in the environment"), "{}", said(&keyless));

    // It was killed, and something else has its port.
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    server.kill();
    let output = run(&import, &[], &place).await;
    assert!(
        said(&output).contains("can't be reached") && said(&output).contains("Is it running?"),
        "{output:?}"
    );
    let listener = TcpListener::bind(&address).unwrap();
    let stranger = stranger(listener);
    let output = run(&import, &[], &place).await;
    assert!(said(&output).contains("no Coir server answers at"), "{}", said(&output));
    let request = stranger.join().unwrap();
    assert!(!request.contains("sk_") && !request.to_lowercase().contains("authorization"), "{request}");

    let other = tempfile::tempdir().unwrap();
    let other_place = other.path().to_owned();
    let mut command = process::command(&["serve", "--listen", &address]);
    command.current_dir(&other_place);
    let mut other_server =
        tokio::task::spawn_blocking(move || Process::spawn_in_directory(command)).await.unwrap();
    let output = run(&import, &[], &place).await;
    assert!(said(&output).contains("is not the one of SQLite"), "{}", said(&output));
    // Whoever names a server means it.
    let output = run(&import, &[("COIR_URL", &other_server.url)], &place).await;
    assert!(output.status.success(), "{output:?}");

    // A server that is stopped leaves nothing behind.
    assert!(names_in(&other_place.join("data")).contains(&"coir.db.server".to_owned()));
    assert!(other_server.terminate());
    assert_eq!(names_in(&other_place.join("data")), ["coir.db"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_names_another_machine_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().canonicalize().unwrap();
    fs::write(place.join("good.json"), r#"[{"n":1}]"#).unwrap();
    fs::create_dir(place.join("data")).unwrap();
    for url in [
        "http://192.0.2.7:8080",
        "http://[2001:db8::1]:8080",
        "http://coir.example:8080",
        "https://127.0.0.1:8080",
        "http://me:secret@127.0.0.1:8080",
        "no url",
    ] {
        let note = json!({ "url": url, "instance": "0" }).to_string();
        fs::write(place.join("data/coir.db.server"), note).unwrap();
        for arguments in
            [&["import", "posts", "good.json"][..], &["verify", "--collection", "posts", "--for", "1s"]]
        {
            let output = run(arguments, &[], &place).await;
            let told = said(&output);
            assert!(
                !output.status.success() && told.contains("not an address of this machine"),
                "{url}: {told}"
            );
            assert!(
                told.contains("no key and no data were sent") && !told.contains("me:secret"),
                "{url}: {told}"
            );
        }
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_can_read_the_files_that_a_server_makes() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    let start = || {
        let mut command = std::process::Command::new("sh");
        let server = process::command(&[]);
        command.args(["-c", "umask 022 && exec \"$0\" serve"]).arg(server.get_program()).current_dir(&place);
        command.env("COIR_API_KEY", SECRET_KEY).env("COIR_PUBLISHABLE_KEY", PUBLISHABLE_KEY);
        tokio::task::spawn_blocking(move || Process::spawn_in_directory(command))
    };
    let modes = || {
        let files = fs::read_dir(place.join("data")).unwrap().map(Result::unwrap);
        let mut modes: Vec<_> = files
            .map(|file| {
                (
                    file.file_name().into_string().unwrap(),
                    file.metadata().unwrap().permissions().mode() & 0o777,
                )
            })
            .collect();
        modes.sort();
        modes
    };
    let all = |mode| {
        [
            ("coir.db", mode),
            ("coir.db-open", 0o600),
            ("coir.db-shm", mode),
            ("coir.db-wal", mode),
            ("coir.db.server", 0o600),
        ]
        .map(|(name, mode)| (name.to_owned(), mode))
    };
    let mut server = start().await.unwrap();
    assert_eq!(modes(), all(0o600));
    assert!(server.terminate());
    // An operator has opened it to a group, for backups.
    fs::set_permissions(place.join("data/coir.db"), fs::Permissions::from_mode(0o640)).unwrap();
    let mut server = start().await.unwrap();
    assert_eq!(modes(), all(0o640));
    server.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_can_be_given_as_other_programs_take_it_and_a_variable_that_is_not_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let port = crate::harness::postgres::find_free_port().to_string();
    let log = directory.path().join("log");
    let mut command = process::command(&["serve", "--port", &port]);
    command.current_dir(directory.path()).stderr(fs::File::create(&log).unwrap());
    command.env("PORT", "3000").env("COIR_PORT", "3000");
    let start = move || Process::spawn_in_directory(command);
    let mut server = tokio::task::spawn_blocking(start).await.unwrap();
    assert_eq!(server.url, format!("http://127.0.0.1:{port}"));
    server.terminate();
    let told = fs::read_to_string(log).unwrap();
    assert!(told.contains("unknown setting `COIR_PORT` is ignored; did you mean `COIR_LISTEN`?"), "{told}");
    // The address was chosen.
    assert!(!told.contains("the variable PORT"), "{told}");

    // It ends at once, since it can make no file there, or since its port is in use.
    let settings = [("PORT", "3000"), ("DATABASE_URL", "sqlite:///nowhere/coir.db")];
    let output = run(&["serve"], &settings, directory.path()).await;
    assert!(said(&output).contains("COIR_LISTEN=0.0.0.0:$PORT listens there"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_of_a_server_is_shown_without_its_password() {
    let app = TestApp::start(Database::Sqlite).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    let url = app.url.replace("http://", "http://me:hidden@");
    let output =
        run(&["verify", "--collection", "posts", "--for", "1s", "--url", &url], &[], Path::new("/")).await;
    assert!(
        said(&output).contains("Talking to http://127.0.0.1") && !said(&output).contains("hidden"),
        "{output:?}"
    );
    app.stop().await;
}
