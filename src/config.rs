//! All settings, parsed and checked once. Nothing below `app` reads the environment.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    auth::KeyKind,
    store::{Durability, log::retention::Retention},
};

/// Every setting. `.env.example` lists them with their defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// `COIR_LISTEN`: address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `DATABASE_URL`; unset, it is a SQLite file in `COIR_DATA_DIR`.
    pub database_url: String,
    /// The directory to make before the database is opened; `None` if a URL was given.
    pub data_dir: Option<PathBuf>,
    /// `COIR_API_KEY`: a secret key of the project `default` that shall exist.
    pub api_key: Option<String>,
    /// `COIR_PUBLISHABLE_KEY`: a publishable key of the project `default` that shall exist.
    pub publishable_key: Option<String>,
    /// `COIR_DURABILITY`.
    pub durability: Durability,
    /// `COIR_LOG`: a level, or directives such as `coir=debug,warn`.
    pub log: String,
    /// `COIR_LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `COIR_ALLOWED_ORIGINS`: whose pages may call; `None` is everyone's.
    pub allowed_origins: Option<Vec<String>>,
    /// `COIR_HEARTBEAT_SECONDS`: how often an idle stream is written to. A peer that is silent three times as long is
    /// closed.
    pub heartbeat: Duration,
    /// `COIR_WORKERS`: threads that serve HTTP; unset, one for each core.
    pub workers: usize,
    /// `COIR_LOG_RETENTION_CHANGES`, `_DAYS` and `_BYTES`: how much of its change log each project keeps.
    pub retention: Retention,
    /// `COIR_MAX_QUERY_SECONDS`: how long the database may take for one read.
    pub query_limit: Duration,
    /// The limits that can be set.
    pub limits: Limits,
}

/// What one request or connection may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `COIR_MAX_DOCUMENT_BYTES`: canonical text of a document's data.
    pub document_bytes: usize,
    /// `COIR_MAX_BODY_BYTES`: a request's body, decompressed.
    pub body_bytes: usize,
    /// `COIR_MAX_PAGE`: documents of one list.
    pub page: u64,
    /// `COIR_MAX_BATCH`: documents of one batch, operations of one transaction.
    pub batch: usize,
    /// `COIR_MAX_CONNECTIONS`: live streams of this process.
    pub connections: usize,
    /// `COIR_MAX_SUBSCRIPTIONS`: of one WebSocket.
    pub subscriptions: usize,
    /// `COIR_MAX_INDEXES`: that collections declare, over the whole database.
    pub indexes: usize,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A setting that can't be used; the sentence names it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct ConfigError {
    setting: &'static str,
    reason: String,
}

impl Config {
    /// Reads every setting through `lookup`, which is the environment in the server.
    ///
    /// # Errors
    /// [`ConfigError`] for the first that is empty or wrong.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let settings = Settings { lookup };
        let data_dir = PathBuf::from(settings.text("COIR_DATA_DIR")?.unwrap_or_else(|| "data".to_owned()));
        let given_url = settings.text("DATABASE_URL")?;
        if let Some(url) = &given_url
            && !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme))
        {
            return Err(error("DATABASE_URL", "must start with sqlite:// or postgres://".to_owned()));
        }
        let (database_url, data_dir) = match given_url {
            Some(url) => (url, None),
            None => (format!("sqlite://{}", data_dir.join("coir.db").display()), Some(data_dir)),
        };
        Ok(Self {
            listen: settings.parsed("COIR_LISTEN", "127.0.0.1:8080", "an address such as 127.0.0.1:8080")?,
            database_url,
            data_dir,
            api_key: settings.key("COIR_API_KEY", KeyKind::Secret)?,
            publishable_key: settings.key("COIR_PUBLISHABLE_KEY", KeyKind::Publishable)?,
            durability: settings
                .choice("COIR_DURABILITY", &[("full", Durability::Full), ("normal", Durability::Normal)])?,
            log: settings.text("COIR_LOG")?.unwrap_or_else(|| "info".to_owned()),
            log_format: settings
                .choice("COIR_LOG_FORMAT", &[("text", LogFormat::Text), ("json", LogFormat::Json)])?,
            allowed_origins: settings.origins("COIR_ALLOWED_ORIGINS")?,
            heartbeat: Duration::from_secs(settings.number("COIR_HEARTBEAT_SECONDS", 15, 1, 3600)? as u64),
            workers: {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                settings.number("COIR_WORKERS", cores, 1, 1024)?
            },
            retention: Retention {
                changes: settings.number("COIR_LOG_RETENTION_CHANGES", 1_000_000, 1, usize::MAX >> 1)? as u64,
                age: Duration::from_secs(
                    settings.number("COIR_LOG_RETENTION_DAYS", 7, 1, 36_500)? as u64 * 24 * 3600,
                ),
                bytes: settings.number("COIR_LOG_RETENTION_BYTES", 8 << 30, 1, usize::MAX >> 1)? as u64,
            },
            query_limit: Duration::from_secs(settings.number("COIR_MAX_QUERY_SECONDS", 10, 1, 3600)? as u64),
            limits: Limits {
                document_bytes: settings.number("COIR_MAX_DOCUMENT_BYTES", 1 << 20, 1, 16 << 20)?,
                body_bytes: settings.number("COIR_MAX_BODY_BYTES", 8 << 20, 1, 64 << 20)?,
                page: settings.number("COIR_MAX_PAGE", 1000, 1, 10_000)? as u64,
                batch: settings.number("COIR_MAX_BATCH", 1000, 1, 10_000)?,
                connections: settings.number("COIR_MAX_CONNECTIONS", 20_000, 1, 10_000_000)?,
                subscriptions: settings.number("COIR_MAX_SUBSCRIPTIONS", 100, 1, 10_000)?,
                indexes: settings.number("COIR_MAX_INDEXES", 64, 0, 1000)?,
            },
        })
    }
}

struct Settings<L> {
    lookup: L,
}

fn error(setting: &'static str, reason: String) -> ConfigError {
    ConfigError { setting, reason }
}

impl<L: Fn(&str) -> Option<String>> Settings<L> {
    fn text(&self, setting: &'static str) -> Result<Option<String>, ConfigError> {
        match (self.lookup)(setting) {
            Some(value) if value.trim().is_empty() => {
                Err(error(setting, "is set but empty; give it a value or remove it".to_owned()))
            }
            value => Ok(value),
        }
    }

    fn parsed<T: std::str::FromStr>(
        &self,
        setting: &'static str,
        default: &str,
        expected: &str,
    ) -> Result<T, ConfigError> {
        let text = self.text(setting)?.unwrap_or_else(|| default.to_owned());
        text.parse().map_err(|_| error(setting, format!("`{text}` is not {expected}")))
    }

    fn number(
        &self,
        setting: &'static str,
        default: usize,
        least: usize,
        most: usize,
    ) -> Result<usize, ConfigError> {
        let expected = format!("a whole number from {least} to {most}");
        let number: usize = self.parsed(setting, &default.to_string(), &expected)?;
        if (least..=most).contains(&number) {
            Ok(number)
        } else {
            Err(error(setting, format!("`{number}` is not {expected}")))
        }
    }

    /// The first choice is the default.
    fn choice<T: Copy>(&self, setting: &'static str, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.text(setting)?.unwrap_or_else(|| choices[0].0.to_owned());
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        found.ok_or_else(|| error(setting, format!("`{text}` is not one of: {}", words.join(", "))))
    }

    /// A wrong key isn't repeated in the message: it may be a good one with a slip.
    fn key(&self, setting: &'static str, kind: KeyKind) -> Result<Option<String>, ConfigError> {
        match self.text(setting)? {
            Some(key) if KeyKind::of_key(&key) != Some(kind) => {
                let prefix = kind.prefix();
                Err(error(setting, format!("must be `{prefix}` and 16 to 128 letters or digits")))
            }
            key => Ok(key),
        }
    }

    fn origins(&self, setting: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let text = self.text(setting)?.unwrap_or_else(|| "*".to_owned());
        if text.trim() == "*" {
            return Ok(None);
        }
        let origins: Vec<_> = text.split(',').map(|origin| origin.trim().to_owned()).collect();
        match origins.iter().find(|origin| {
            !origin.starts_with("http://") && !origin.starts_with("https://")
                || origin.matches('/').count() != 2
        }) {
            Some(wrong) => Err(error(
                setting,
                format!("`{wrong}` is no origin; write https://app.example.com, or * for all"),
            )),
            None => Ok(Some(origins)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_env(|name| {
            settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_any_setting_it_is_a_file_on_loopback() {
        let config = read(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.database_url, "sqlite://data/coir.db");
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (setting, value) in [
            ("COIR_LISTEN", "8080"),
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
            ("COIR_ALLOWED_ORIGINS", "https://a.example/path"),
            ("COIR_HEARTBEAT_SECONDS", "-1"),
            ("COIR_LOG_RETENTION_CHANGES", "0"),
            ("COIR_LOG_RETENTION_DAYS", "1.5"),
            ("COIR_LOG_RETENTION_BYTES", "8GiB"),
        ] {
            let message = read(&[(setting, value)]).unwrap_err().to_string();
            assert!(message.starts_with(setting), "{setting}={value}: {message}");
        }
    }
}
