//! The published Cocobase client libraries, unmodified, against the built binary. Their tests are in `tests/clients`.
//! `tests/run --set-up` installs the libraries from their registries, at pinned versions.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::harness::{Database, PUBLISHABLE_KEY, SECRET_KEY, postgres, process::Process};

fn clients(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// Runs a program that tests a library against a fresh server, and asserts that it succeeds.
async fn run(database: Database, program: PathBuf, arguments: Vec<PathBuf>) {
    let ran = tokio::task::spawn_blocking(move || {
        assert!(
            program.exists() || program.is_relative(),
            "{} is missing; run tests/run --set-up",
            program.display()
        );
        let directory = TempDir::new().unwrap();
        let url = match database {
            Database::Sqlite => format!("sqlite://{}", directory.path().join("coir.db").display()),
            Database::Postgres => postgres::database_url(),
        };
        let server =
            Process::start_with(&url, "127.0.0.1:0", &[("COIR_PRIVATE_PROVIDERS", "localhost,127.0.0.1")]);
        Command::new(&program)
            .args(arguments)
            .current_dir(clients(""))
            .env("COIR_BINARY", env!("CARGO_BIN_EXE_coir"))
            .env("COIR_URL", &server.url)
            .env("COIR_KEY", PUBLISHABLE_KEY)
            .env("COIR_SECRET", SECRET_KEY)
            .env("DATABASE_URL", &url)
            .output()
            .unwrap_or_else(|err| panic!("{} can't be run: {err}; run tests/run --set-up", program.display()))
    });
    let Output { status, stdout, stderr } = ran.await.unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{}{}", text(&stdout), text(&stderr));
}

async fn run_npm(database: Database) {
    let mut arguments = vec![PathBuf::from("--test")];
    for entry in std::fs::read_dir(clients("js")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(".test.mjs") {
            arguments.push(path);
        }
    }
    assert!(arguments.len() > 1, "tests/clients must contain tests");
    run(database, PathBuf::from("node"), arguments).await;
}

async fn run_pypi(database: Database) {
    let python = clients("python/.venv/bin/python");
    run(database, python, ["-m", "unittest", "discover", "-s", "python"].map(PathBuf::from).into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_npm_library_works_on_sqlite() {
    run_npm(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_npm_library_works_on_postgres() {
    run_npm(Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pypi_library_works_on_sqlite() {
    run_pypi(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pypi_library_works_on_postgres() {
    run_pypi(Database::Postgres).await;
}
