//! A server inside the test's process, on a free port and a fresh database.

use std::time::{Duration, Instant};

use coir::{
    app::{self, Running},
    config::{Config, Given},
};
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use tempfile::TempDir;

use super::{Database, Sql, TestSocket, TestStream, fresh_database};

/// The secret key of the project `default` in every test.
pub const SECRET_KEY: &str = "sk_0123456789abcdefSECRET";
/// The publishable key of the project `default` in every test.
pub const PUBLISHABLE_KEY: &str = "pk_0123456789abcdefPUBLISHABLE";

/// A running server and an HTTP client for it.
pub struct TestApp {
    /// `http://127.0.0.1:port`.
    pub url: String,
    /// For requests that [`TestApp::request`] can't make.
    pub http: reqwest::Client,
    /// The settings of the server. A second server with them is a second node.
    pub config: Config,
    running: Running,
    /// It holds the SQLite file, so it is dropped last.
    directory: Option<TempDir>,
}

/// An answer of the server, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The JSON body; null if the body is empty or not JSON.
    pub body: Value,
}

impl Answer {
    /// Returns the member `data` of a success.
    pub fn data(&self) -> &Value {
        assert_eq!(self.body["success"], true, "{self:?}");
        &self.body["data"]
    }

    /// Returns the status and the code of a failure.
    pub fn error(&self) -> (u16, &str) {
        assert_eq!(self.body["success"], false, "{self:?}");
        assert!(self.body["error"]["message"].as_str().is_some_and(|message| message.len() > 5), "{self:?}");
        (self.status.as_u16(), self.body["error"]["code"].as_str().unwrap())
    }

    /// Returns the text of a header, which must be there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }
}

impl TestApp {
    /// Starts a server on a fresh database.
    pub async fn start(database: Database) -> Self {
        Self::start_with(database, |_| {}).await
    }

    /// Starts a server on a fresh database, with other settings.
    pub async fn start_with(database: Database, change: impl FnOnce(&mut Config)) -> Self {
        let (url, directory) = fresh_database(database).await;
        let mut config = config(&url);
        change(&mut config);
        Self::start_on(config, directory).await
    }

    /// Starts a second node: another server on the same database.
    pub async fn start_second_node(&self) -> Self {
        Self::start_on(self.config.clone(), None).await
    }

    /// Starts a server with exactly these settings.
    pub async fn start_on(config: Config, directory: Option<TempDir>) -> Self {
        let running = app::start(config.clone()).await.unwrap();
        let url = format!("http://{}", running.address);
        Self { url, http: reqwest::Client::new(), config, running, directory }
    }

    /// Stops the server. Fails the test if a stream is still open a moment after the test's clients are gone, or if the database
    /// has documents that belong to no collection, or something of a user without the rest.
    pub async fn stop(self) {
        let url = self.config.database_url.clone();
        let _directory = self.end().await;
        let mut sql = Sql::connect(&url).await;
        for (what, orphans) in [
            (
                "documents that belong to no collection",
                "SELECT COUNT(*) FROM documents WHERE collection_id NOT IN (SELECT id FROM collections)",
            ),
            (
                "credentials without a user",
                "SELECT COUNT(*) FROM credentials WHERE user_id NOT IN (SELECT documents.id FROM documents \
                 JOIN collections ON collections.id = collection_id AND name = '_users')",
            ),
            (
                "users without credentials",
                "SELECT COUNT(*) FROM documents JOIN collections ON collections.id = collection_id AND name = '_users' \
                 WHERE documents.id NOT IN (SELECT user_id FROM credentials)",
            ),
            (
                "identities without credentials",
                "SELECT COUNT(*) FROM identities WHERE user_id NOT IN (SELECT user_id FROM credentials)",
            ),
            (
                "sessions without credentials",
                "SELECT COUNT(*) FROM sessions WHERE user_id NOT IN (SELECT user_id FROM credentials)",
            ),
        ] {
            assert_eq!(sql.integers(orphans).await, [0], "{what} are left");
        }
    }

    /// Stops the server like [`TestApp::stop`], and does not look at the database.
    pub async fn stop_without_looking(self) {
        self.end().await;
    }

    /// Returns the directory of the database.
    async fn end(self) -> Option<TempDir> {
        let begun = Instant::now();
        while self.running.live_connections() > 0 {
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{} streams are left",
                self.running.live_connections()
            );
            tokio::task::yield_now().await;
        }
        let Self { running, directory, .. } = self;
        running.stop().await.unwrap();
        directory
    }

    /// Stops the server, and returns its settings and the directory of its database.
    pub async fn into_parts(self) -> (Config, Option<TempDir>) {
        let Self { config, running, directory, .. } = self;
        running.stop().await.unwrap();
        (config, directory)
    }

    /// Stops the server while clients are connected, and starts it again on the same database (and another port).
    pub async fn restart(self) -> Self {
        let (config, directory) = self.into_parts().await;
        Self::start_on(config, directory).await
    }

    /// Returns what the server logs about its writer's connection when it starts.
    pub fn durability(&self) -> &str {
        &self.running.durability
    }

    /// Opens a connection to the database that bypasses the server.
    pub async fn sql(&self) -> Sql {
        Sql::connect(&self.config.database_url).await
    }

    /// Begins a request with the secret key: `app.request(Method::PUT, "/collections/posts/a")`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_as(SECRET_KEY, method, path)
    }

    /// Begins a request with any key.
    pub fn request_as(&self, key: &str, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(key)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Creates a document, which must succeed, and returns it.
    pub async fn create(&self, collection: &str, data: Value) -> Value {
        let answer = self.post(&format!("/collections/{collection}"), data).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.data().clone()
    }

    /// Opens a WebSocket and authenticates with the secret key.
    pub async fn socket(&self) -> TestSocket {
        let mut socket = self.anonymous_socket().await;
        socket.authenticate(SECRET_KEY).await;
        socket
    }

    /// Opens a WebSocket that has not authenticated.
    pub async fn anonymous_socket(&self) -> TestSocket {
        TestSocket::connect(&format!("{}/realtime", self.url.replace("http", "ws"))).await
    }

    /// Opens an SSE stream with the secret key: `app.stream("/realtime/sse/posts", None)`.
    pub async fn stream(&self, path: &str, last_event_id: Option<&str>) -> TestStream {
        let mut request = self.request(Method::GET, path);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        TestStream::open(request).await
    }
}

/// Returns a path with parameters, encoded.
pub fn path_with(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://server").unwrap();
    url.query_pairs_mut().extend_pairs(parameters);
    format!("{path}?{}", url.query().unwrap())
}

/// Returns the settings of a test's server: the defaults, except for address, database and keys.
pub fn config(database_url: &str) -> Config {
    let settings = [
        ("COIR_LISTEN", "127.0.0.1:0"),
        ("DATABASE_URL", database_url),
        ("COIR_API_KEY", SECRET_KEY),
        ("COIR_PUBLISHABLE_KEY", PUBLISHABLE_KEY),
        ("COIR_WORKERS", "2"),
    ];
    let given = Given::from_variables(|name| {
        settings.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    });
    Config::read(&given).unwrap()
}
