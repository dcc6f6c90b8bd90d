//! Starts servers and databases for the tests, and provides clients that talk to them.
//!
//! [`TestApp`] is a server inside this process; [`Process`](process::Process) is the built binary, for tests that kill
//! it. [`on_both_databases`] runs one test on SQLite and on PostgreSQL. [`Replica`] and [`View`] use `coir-client` to keep
//! the documents that a subscriber sees; [`peer`] compares them with the list. [`SilentProxy`] lets a network go silent. [`MailServer`] takes mails. [`corpus`] generates documents; [`questions`] generates filters and sorts for them.

pub mod app;
pub mod corpus;
pub mod dice;
pub mod indexes;
pub mod mail_server;
pub mod peer;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod questions;
pub mod raw;
pub mod replica;
pub mod silent_proxy;
pub mod socket;
pub mod sql;
pub mod stream;
pub mod view;

pub use app::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, path_with};
pub use dice::Dice;
pub use mail_server::{MailServer, Manners};
pub use raw::RawSocket;
pub use replica::Replica;
pub use silent_proxy::SilentProxy;
pub use socket::{TestSocket, event};
pub use sql::Sql;
pub use stream::{Block, TestStream};
pub use view::{View, alter_cursor, data_of, list_all, sequence_of};

/// The database that a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// Makes an empty database, and returns its URL with the directory that holds it, if it is a file.
pub async fn fresh_database(database: Database) -> (String, Option<tempfile::TempDir>) {
    match database {
        Database::Sqlite => {
            let directory = tempfile::tempdir().unwrap();
            (format!("sqlite://{}", directory.path().join("coir.db").display()), Some(directory))
        }
        Database::Postgres => (tokio::task::spawn_blocking(postgres::database_url).await.unwrap(), None),
    }
}

/// Defines one test on each database: `on_both_databases! { async fn a_claim(app: &TestApp) { … } }`.
///
/// After the claim the server is stopped, and the test fails if a stream was left open. Settings are changed by a function
/// behind the type: `app: &TestApp, |config| config.limits.page = 5`.
macro_rules! on_both_databases {
    ($($(#[$meta:meta])* async fn $name:ident($app:ident: &TestApp $(, $change:expr)?) $body:block)+) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                async fn claim($app: &$crate::harness::TestApp) $body

                fn change(_config: &mut coir::config::Config) {
                    $(
                        let change: fn(&mut coir::config::Config) = $change;
                        change(_config);
                    )?
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn on_sqlite() {
                    let app = $crate::harness::TestApp::start_with($crate::harness::Database::Sqlite, change).await;
                    claim(&app).await;
                    app.stop().await;
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn on_postgres() {
                    let app = $crate::harness::TestApp::start_with($crate::harness::Database::Postgres, change).await;
                    claim(&app).await;
                    app.stop().await;
                }
            }
        )+
    };
}
pub(crate) use on_both_databases;

/// Makes two tests of each claim about a database, `on_sqlite` and `on_postgres`. The claim starts the servers itself.
macro_rules! on_each_database {
    ($($(#[$meta:meta])* async fn $name:ident($database:ident) $body:block)+) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                async fn claim($database: $crate::harness::Database) $body

                #[tokio::test(flavor = "multi_thread")]
                async fn on_sqlite() {
                    claim($crate::harness::Database::Sqlite).await;
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn on_postgres() {
                    claim($crate::harness::Database::Postgres).await;
                }
            }
        )+
    };
}
pub(crate) use on_each_database;
