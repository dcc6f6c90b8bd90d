//! Every setting, parsed and checked once. Nothing below `app` reads the environment.
//!
//! Reading order: `form` (what a setting is), [`settings`] (the table of all settings), [`arguments`] (the table as flags and variables, read by clap),
//! [`given`] (the texts, and their typed readers), [`address`], this file (the result), [`unknown`].

mod address;
pub mod arguments;
mod form;
pub mod given;
pub mod settings;
pub mod unknown;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    auth::{KeyKind, TokenAlgorithm, TrafficLimits},
    mail::{Smtp, smtp::SmtpError},
    store::{DatabaseUrl, Durability, log::retention::Retention},
};

pub use given::{ConfigError, Given};
pub use settings::setting;

/// All settings of a server, checked. [`settings::SETTINGS`] says what each is for.
#[derive(Clone)]
pub struct Config {
    /// Port 0 takes a free port.
    pub listen: SocketAddr,
    pub database_url: DatabaseUrl,
    /// The directory to create before the database is opened, as an absolute path; `None` if a URL was given.
    pub data_dir: Option<PathBuf>,
    /// A secret key of the project `default` that must exist.
    pub api_key: Option<String>,
    /// A publishable key of the project `default` that must exist.
    pub publishable_key: Option<String>,
    /// For how long an access token of a user is good.
    pub access_token_seconds: u64,
    /// The algorithm that signs new access tokens of users.
    pub jwt_algorithm: TokenAlgorithm,
    /// How long a session lasts that isn't used.
    pub refresh_token_days: u64,
    /// The mail server; `None` leaves mails in the outbox.
    pub smtp: Option<Smtp>,
    /// Where the links in mails lead; `None` for this server.
    pub public_url: Option<String>,
    /// Hosts of providers of sign-ins that may have private addresses, in lower case; `*` stands for all.
    pub private_providers: Vec<String>,
    pub durability: Durability,
    /// A level, or directives such as `coir=debug,warn`.
    pub log: String,
    pub log_format: LogFormat,
    /// The directory of an app to serve beside the API, as an absolute path.
    pub public: Option<PathBuf>,
    /// `None` allows the pages of every origin.
    pub allowed_origins: Option<Vec<String>>,
    /// The proxies whose word about the address of a client is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether there are limits of how often somebody may ask, [`Config::traffic`] among them.
    pub rate_limits: bool,
    pub traffic: TrafficLimits,
    pub heartbeat: Duration,
    /// How long the server says that it is not ready before it stops.
    pub drain: Duration,
    /// Threads that serve HTTP.
    pub workers: usize,
    /// How much of its change log each project keeps.
    pub retention: Retention,
    /// How long the database may take for one read.
    pub query_limit: Duration,
    pub limits: Limits,
}

impl fmt::Debug for Config {
    /// Shows nothing that may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, database_url, .. } = self;
        f.debug_struct("Config")
            .field("listen", listen)
            .field("database", database_url)
            .finish_non_exhaustive()
    }
}

/// How much one request or connection may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a document's data, as canonical text.
    pub document_bytes: usize,
    /// Bytes of a request's body, after decompression.
    pub body_bytes: usize,
    /// Bytes that all large answers may take together.
    pub answer_bytes: usize,
    /// Documents of one page.
    pub page: u64,
    /// Documents of one batch, and operations of one transaction.
    pub batch: usize,
    /// Live streams of this process.
    pub connections: usize,
    /// TCP connections over which no good key has come; `None` derives the number from the file descriptors.
    pub unauthenticated: Option<usize>,
    /// Subscriptions of one WebSocket.
    pub subscriptions: usize,
    /// Bytes of memory that all live subscriptions take.
    pub subscription_bytes: usize,
    /// Indexes that collections declare, over the whole database.
    pub indexes: usize,
    /// Collections of a project.
    pub collections: usize,
    /// Bytes of a project's stored outcomes of idempotency keys.
    pub idempotency_bytes: u64,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`ConfigError`] for the first one that is empty or wrong.
    pub fn read(given: &Given) -> Result<Self, ConfigError> {
        let (database_url, data_dir) = read_database(given)?;
        let seconds = |variable| given.required_number(variable).map(Duration::from_secs);
        Ok(Self {
            listen: given.address("COIR_LISTEN")?,
            database_url,
            data_dir,
            api_key: given.key("COIR_API_KEY", KeyKind::Secret)?,
            publishable_key: given.key("COIR_PUBLISHABLE_KEY", KeyKind::Publishable)?,
            access_token_seconds: given.required_number("COIR_ACCESS_TOKEN_SECONDS")?,
            jwt_algorithm: given.choice(
                "COIR_JWT_ALGORITHM",
                &[("HS256", TokenAlgorithm::Hs256), ("EdDSA", TokenAlgorithm::EdDsa)],
            )?,
            refresh_token_days: given.required_number("COIR_REFRESH_TOKEN_DAYS")?,
            smtp: read_smtp(given)?,
            public_url: read_public_url(given)?,
            private_providers: read_private_providers(given)?,
            durability: given
                .choice("COIR_DURABILITY", &[("full", Durability::Full), ("normal", Durability::Normal)])?,
            log: given.text("COIR_LOG")?.unwrap_or_default().to_owned(),
            log_format: given
                .choice("COIR_LOG_FORMAT", &[("text", LogFormat::Text), ("json", LogFormat::Json)])?,
            public: read_public(given)?,
            allowed_origins: read_origins(given)?,
            trusted_proxies: read_proxies(given)?,
            rate_limits: given.choice("COIR_RATE_LIMITS", &[("on", true), ("off", false)])?,
            traffic: TrafficLimits {
                reads: given.required_number("COIR_READS_PER_SECOND")?,
                writes: given.required_number("COIR_WRITES_PER_SECOND")?,
                streams: given.required_number("COIR_STREAMS_PER_SECOND")?,
            },
            heartbeat: seconds("COIR_HEARTBEAT_SECONDS")?,
            drain: seconds("COIR_DRAIN_SECONDS")?,
            workers: match given.number("COIR_WORKERS")? {
                Some(workers) => workers,
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
            retention: Retention {
                changes: given.required_number("COIR_LOG_RETENTION_CHANGES")?,
                age: Duration::from_secs(
                    given.required_number::<u64>("COIR_LOG_RETENTION_DAYS")? * 24 * 3600,
                ),
                bytes: given.required_number("COIR_LOG_RETENTION_BYTES")?,
            },
            query_limit: seconds("COIR_MAX_QUERY_SECONDS")?,
            limits: Limits {
                document_bytes: given.required_number("COIR_MAX_DOCUMENT_BYTES")?,
                body_bytes: given.required_number("COIR_MAX_BODY_BYTES")?,
                answer_bytes: given.required_number("COIR_MAX_ANSWER_BYTES")?,
                page: given.required_number("COIR_MAX_PAGE")?,
                batch: given.required_number("COIR_MAX_BATCH")?,
                connections: given.required_number("COIR_MAX_CONNECTIONS")?,
                unauthenticated: given.number("COIR_MAX_UNAUTHENTICATED")?,
                subscriptions: given.required_number("COIR_MAX_SUBSCRIPTIONS")?,
                subscription_bytes: given.required_number("COIR_MAX_SUBSCRIPTION_MEMORY")?,
                indexes: given.required_number("COIR_MAX_INDEXES")?,
                collections: given.required_number("COIR_MAX_COLLECTIONS")?,
                idempotency_bytes: given.required_number("COIR_MAX_IDEMPOTENCY_BYTES")?,
            },
        })
    }
}

/// Reads where the server of this directory keeps its data. The other settings are not looked at.
///
/// # Errors
/// [`ConfigError`].
pub fn database_of(given: &Given) -> Result<DatabaseUrl, ConfigError> {
    read_database(given).map(|(url, _)| url)
}

/// Reads the address that the server of this directory listens on, and whether somebody has chosen it. The other settings are not
/// looked at.
///
/// # Errors
/// [`ConfigError`].
pub fn listen_of(given: &Given) -> Result<(SocketAddr, bool), ConfigError> {
    Ok((given.address("COIR_LISTEN")?, given.is_chosen("COIR_LISTEN")))
}

/// The URL of the database, and the directory to create for it.
fn read_database(given: &Given) -> Result<(DatabaseUrl, Option<PathBuf>), ConfigError> {
    let data_dir = Path::new(given.text("COIR_DATA_DIR")?.unwrap_or_default());
    let Some(url) = given.text("DATABASE_URL")? else {
        let lost = |err| {
            let reason = format!("the current directory can't be found: {err}; write an absolute path");
            given.error(settings::setting("COIR_DATA_DIR"), reason)
        };
        let data_dir = std::path::absolute(data_dir).map_err(lost)?;
        let url = DatabaseUrl::of_file(&data_dir.join("coir.db")).map_err(lost)?;
        return Ok((url, Some(data_dir)));
    };
    // The message does not repeat the URL, which may hold a password.
    let wrong = |reason| {
        let form = "write sqlite://path/to/coir.db or postgres://user:password@host:5432/database";
        given.error(settings::setting("DATABASE_URL"), format!("is not valid: {reason}; {form}"))
    };
    Ok((DatabaseUrl::parse(url).map_err(wrong)?, None))
}

/// The directory of an app. Whether it is there is asked at the start.
fn read_public(given: &Given) -> Result<Option<PathBuf>, ConfigError> {
    let Some(text) = given.text("COIR_PUBLIC")? else { return Ok(None) };
    let directory = std::path::absolute(text);
    let lost = |err| given.error(settings::setting("COIR_PUBLIC"), format!("can't be found: {err}"));
    directory.map(Some).map_err(lost)
}

/// The mail server and the sender, which go together.
fn read_smtp(given: &Given) -> Result<Option<Smtp>, ConfigError> {
    let (url, from) = (given.text("COIR_SMTP_URL")?, given.text("COIR_MAIL_FROM")?);
    let error = |variable, reason: &str| Err(given.error(settings::setting(variable), reason));
    match (url, from) {
        (None, _) => Ok(None),
        (Some(_), None) => error(
            "COIR_MAIL_FROM",
            "is missing; with COIR_SMTP_URL, give the sender, such as noreply@example.com",
        ),
        (Some(url), Some(from)) => match Smtp::parse(url, from) {
            Ok(smtp) => Ok(Some(smtp)),
            Err(err @ SmtpError::Url) => error("COIR_SMTP_URL", &err.to_string()),
            Err(err @ SmtpError::From) => error("COIR_MAIL_FROM", &err.to_string()),
        },
    }
}

/// The beginning of the links in mails, without a fragment, because the token comes there.
fn read_public_url(given: &Given) -> Result<Option<String>, ConfigError> {
    let Some(url) = given.text("COIR_PUBLIC_URL")? else { return Ok(None) };
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_good = |host: &str| !host.is_empty() && !host.starts_with('/') && !host.contains(['#', '?', ' ']);
    if host.is_some_and(is_good) {
        return Ok(Some(url.to_owned()));
    }
    let reason =
        format!("`{url}` is not a valid URL; write one such as https://app.example.com, without `?` and `#`");
    Err(given.error(settings::setting("COIR_PUBLIC_URL"), reason))
}

/// Names and addresses, without ports.
fn read_private_providers(given: &Given) -> Result<Vec<String>, ConfigError> {
    let Some(text) = given.text("COIR_PRIVATE_PROVIDERS")? else { return Ok(Vec::new()) };
    let hosts: Vec<_> = text.split(',').map(|host| host.trim().to_lowercase()).collect();
    let is_host = |host: &String| {
        let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
        is_address || (!host.is_empty() && !host.contains(['/', ':', '@', ' ']))
    };
    match hosts.iter().find(|host| !is_host(host)) {
        None => Ok(hosts),
        Some(wrong) => {
            let reason = format!(
                "`{wrong}` is no host; write names or addresses with commas between them, such as keycloak.internal,127.0.0.1"
            );
            Err(given.error(settings::setting("COIR_PRIVATE_PROVIDERS"), reason))
        }
    }
}

/// Addresses and networks with commas between them.
fn read_proxies(given: &Given) -> Result<Vec<IpNet>, ConfigError> {
    let text = given.text("COIR_TRUSTED_PROXIES")?.unwrap_or_default();
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let parse = |word: &str| {
        let address = word.parse::<std::net::IpAddr>().map(IpNet::from);
        word.parse::<IpNet>().or(address).map_err(|_| {
            let reason =
                format!("`{word}` is not a valid network; write each as 10.0.0.0/8, fd00::/8 or 127.0.0.1");
            given.error(settings::setting("COIR_TRUSTED_PROXIES"), reason)
        })
    };
    words.map(parse).collect()
}

/// `None` for `*`, which allows every origin.
fn read_origins(given: &Given) -> Result<Option<Vec<String>>, ConfigError> {
    let text = given.text("COIR_ALLOWED_ORIGINS")?.unwrap_or("*");
    if text.trim() == "*" {
        return Ok(None);
    }
    let origins: Vec<_> = text.split(',').map(|origin| origin.trim().to_owned()).collect();
    let is_origin = |origin: &String| {
        (origin.starts_with("http://") || origin.starts_with("https://"))
            && origin.matches('/').count() == 2
            && !origin.contains('*')
    };
    match origins.iter().find(|origin| !is_origin(origin)) {
        Some(wrong) => {
            let reason = format!(
                "`{wrong}` is not a valid origin; write each one in full, as in https://app.example.com,https://www.example.com, or * for all"
            );
            Err(given.error(settings::setting("COIR_ALLOWED_ORIGINS"), reason))
        }
        None => Ok(Some(origins)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(&Given::from_variables(|name| {
            settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        }))
    }

    #[test]
    fn without_any_setting_the_server_uses_a_file_and_listens_on_loopback() {
        let config = read(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        let data = std::env::current_dir().unwrap().join("data");
        assert_eq!(config.database_url.file(), Some(data.join("coir.db")));
        assert_eq!(config.data_dir, Some(data));
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (setting, value) in [
            ("COIR_LISTEN", "127.0.0.1"),
            ("COIR_LISTEN", ""),
            ("DATABASE_URL", "mysql://x"),
            ("COIR_API_KEY", "pk_0123456789abcdef"),
            ("COIR_API_KEY", "sk_short"),
            ("COIR_PUBLISHABLE_KEY", "pk_0123456789abcde!"),
            ("COIR_DURABILITY", "maybe"),
            ("COIR_LOG_FORMAT", "xml"),
            ("COIR_MAX_PAGE", "0"),
            ("COIR_MAX_BODY_BYTES", "8MB"),
            ("COIR_MAX_BATCH", "10001"),
            ("COIR_ALLOWED_ORIGINS", "example.com"),
            ("COIR_ALLOWED_ORIGINS", "https://*.example.com"),
            ("COIR_ALLOWED_ORIGINS", "https://a.example/path"),
            ("COIR_HEARTBEAT_SECONDS", "-1"),
            ("COIR_PRIVATE_PROVIDERS", "http://keycloak.internal"),
            ("COIR_PUBLIC_URL", "app.example.com"),
            ("COIR_PUBLIC_URL", "https://app.example.com/#/"),
            ("COIR_TRUSTED_PROXIES", "10.0.0.0/33"),
            ("COIR_TRUSTED_PROXIES", "proxy.example.com"),
            ("COIR_RATE_LIMITS", "yes"),
            ("COIR_READS_PER_SECOND", "-1"),
            ("COIR_WRITES_PER_SECOND", "many"),
            ("COIR_STREAMS_PER_SECOND", "1000001"),
            ("COIR_LOG_RETENTION_CHANGES", "0"),
            ("COIR_LOG_RETENTION_DAYS", "1.5"),
            ("COIR_LOG_RETENTION_BYTES", "8GiB"),
        ] {
            let message = read(&[(setting, value)]).unwrap_err().to_string();
            assert!(message.starts_with(setting), "{setting}={value}: {message}");
        }
    }
}
