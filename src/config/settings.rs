//! The table of all settings: the only place that names a variable, its default, its bounds and its help.
//!
//! `coir serve --help` prints it, [`Config::read`](super::Config::read) reads by it, and a test compares it with `.env.example`
//! and with docs/reference/settings.md.

pub use super::form::{Bounds, Group, Setting};
use super::form::{UNBOUNDED, number, text};

/// Finds a setting by its variable.
///
/// # Panics
/// If the table lacks it, which a test of this file excludes for every setting that the server reads.
pub fn setting(variable: &str) -> &'static Setting {
    let found = SETTINGS.iter().find(|setting| setting.variable == variable);
    found.expect("every variable that is read stands in the table")
}

/// Every setting, in the order of `--help`.
pub const SETTINGS: &[Setting] = &[
    text(
        "COIR_LISTEN",
        "listen",
        "ADDRESS",
        Some("127.0.0.1:8080"),
        Group::Network,
        "Address and port to serve on; a port alone, such as 8099 or :8099, is on 127.0.0.1. Port 0 takes a free port",
    ),
    text(
        "COIR_ALLOWED_ORIGINS",
        "allowed-origins",
        "ORIGINS",
        Some("*"),
        Group::Network,
        "Web pages that may call the API: * for all, or origins such as https://app.example.com, separated by commas",
    ),
    text(
        "COIR_PUBLIC",
        "public",
        "DIRECTORY",
        None,
        Group::Network,
        "Directory of an app's files, to be served beside the API: / is then its index.html, and the live page is at /_/",
    ),
    number(
        "COIR_WORKERS",
        "workers",
        None,
        (1, 1024),
        Group::Network,
        "Threads that serve HTTP. Unset: one for each core",
    ),
    number(
        "COIR_HEARTBEAT_SECONDS",
        "heartbeat-seconds",
        Some("15"),
        (1, 3600),
        Group::Network,
        "Seconds between two signs of life on an idle stream. A peer that is silent three times as long is closed",
    ),
    number(
        "COIR_DRAIN_SECONDS",
        "drain-seconds",
        Some("0"),
        (0, 3600),
        Group::Network,
        "Seconds between SIGTERM, when /health/ready turns 503, and the stop. Ctrl-C (SIGINT) stops at once",
    ),
    number(
        "COIR_ACCESS_TOKEN_SECONDS",
        "access-token-seconds",
        Some("900"),
        (30, 86_400),
        Group::Users,
        "Seconds for which an access token of a user is good",
    ),
    Setting {
        variable: "COIR_JWT_ALGORITHM",
        flag: "jwt-algorithm",
        value_name: "ALGORITHM",
        default: Some("HS256"),
        bounds: Bounds::Choice(&["HS256", "EdDSA"]),
        help: "The algorithm that signs access tokens: HS256, or EdDSA with a key pair, whose public key is at /.well-known/jwks.json",
        group: Group::Users,
    },
    number(
        "COIR_REFRESH_TOKEN_DAYS",
        "refresh-token-days",
        Some("30"),
        (1, 3650),
        Group::Users,
        "Days for which a session lasts that isn't used",
    ),
    text(
        "COIR_SMTP_URL",
        "smtp-url",
        "URL",
        None,
        Group::Users,
        "The mail server: smtps://user:password@host. Unset: mails wait in the outbox, which GET /outbox shows",
    ),
    text(
        "COIR_MAIL_FROM",
        "mail-from",
        "ADDRESS",
        None,
        Group::Users,
        "The sender of mails, such as App <noreply@example.com>. Needed with COIR_SMTP_URL",
    ),
    text(
        "COIR_PUBLIC_URL",
        "public-url",
        "URL",
        None,
        Group::Users,
        "Where the links in mails lead, such as https://app.example.com. Unset: this server's address",
    ),
    text(
        "COIR_PRIVATE_PROVIDERS",
        "private-providers",
        "HOSTS",
        None,
        Group::Users,
        "Hosts of providers of sign-ins that may have private addresses, such as keycloak.internal,127.0.0.1; * for all. Unset: none",
    ),
    text(
        "COIR_TRUSTED_PROXIES",
        "trusted-proxies",
        "NETWORKS",
        None,
        Group::Users,
        "Proxies whose header X-Forwarded-For is believed: networks with commas between them, such as 10.0.0.0/8,127.0.0.1",
    ),
    Setting {
        variable: "COIR_RATE_LIMITS",
        flag: "rate-limits",
        value_name: "ON",
        default: Some("on"),
        bounds: Bounds::Choice(&["on", "off"]),
        help: "Whether there are limits of how often somebody may ask: of sign-in, sign-up, mail and refresh, of reads, writes and streams; on or off",
        group: Group::Users,
    },
    number(
        "COIR_READS_PER_SECOND",
        "reads-per-second",
        Some("20000"),
        (0, 1_000_000),
        Group::Users,
        "Reads of one user, or of one address with a publishable key alone, in a second; 20 times as many at once. 0: no limit",
    ),
    number(
        "COIR_WRITES_PER_SECOND",
        "writes-per-second",
        Some("10000"),
        (0, 1_000_000),
        Group::Users,
        "Their writes, of which a batch is one for each 10 operations. 0: no limit",
    ),
    number(
        "COIR_STREAMS_PER_SECOND",
        "streams-per-second",
        Some("10000"),
        (0, 1_000_000),
        Group::Users,
        "Live streams that they open, and subscriptions that they begin. 0: no limit",
    ),
    text(
        "COIR_DATA_DIR",
        "data-dir",
        "DIRECTORY",
        Some("data"),
        Group::Database,
        "Directory of the SQLite file coir.db; not used with DATABASE_URL",
    ),
    text(
        "DATABASE_URL",
        "database-url",
        "URL",
        None,
        Group::Database,
        "sqlite://path/to/file.db or postgres://user:password@host/database. Unset: coir.db in the data directory",
    ),
    Setting {
        variable: "COIR_DURABILITY",
        flag: "durability",
        value_name: "LEVEL",
        default: Some("full"),
        bounds: Bounds::Choice(&["full", "normal"]),
        help: "What an acknowledged write survives: full, a power cut; normal, a crash of the process",
        group: Group::Database,
    },
    Setting {
        variable: "COIR_API_KEY",
        flag: "api-key",
        value_name: "KEY",
        default: None,
        bounds: Bounds::Key,
        help: "Secret key (sk_…) of the project `default` that must exist; the start creates it. Prefer the variable: \
               other users of the machine can read command lines",
        group: Group::Keys,
    },
    Setting {
        variable: "COIR_PUBLISHABLE_KEY",
        flag: "publishable-key",
        value_name: "KEY",
        default: None,
        bounds: Bounds::Key,
        help: "Publishable key (pk_…) of the project `default` that must exist; the start creates it",
        group: Group::Keys,
    },
    text(
        "COIR_LOG",
        "log",
        "LEVEL",
        Some("info"),
        Group::Log,
        "error, warn, info, debug, trace, or directives such as coir=debug,warn. The log is on standard error",
    ),
    Setting {
        variable: "COIR_LOG_FORMAT",
        flag: "log-format",
        value_name: "FORMAT",
        default: Some("text"),
        bounds: Bounds::Choice(&["text", "json"]),
        help: "text for people, or json with one object a line",
        group: Group::Log,
    },
    number(
        "COIR_LOG_RETENTION_CHANGES",
        "log-retention-changes",
        Some("1000000"),
        (1, UNBOUNDED),
        Group::Retention,
        "Entries that the change log of a project keeps. Beyond any of the three bounds the oldest are deleted",
    ),
    number(
        "COIR_LOG_RETENTION_DAYS",
        "log-retention-days",
        Some("7"),
        (1, 36_500),
        Group::Retention,
        "Greatest age of an entry, in days",
    ),
    number(
        "COIR_LOG_RETENTION_BYTES",
        "log-retention-bytes",
        Some("8589934592"),
        (1, UNBOUNDED),
        Group::Retention,
        "Bytes of the entries' text, with the documents before and after each change",
    ),
    number(
        "COIR_MAX_DOCUMENT_BYTES",
        "max-document-bytes",
        Some("1048576"),
        (1, 16 << 20),
        Group::Limits,
        "Bytes of a document's data, as compact JSON",
    ),
    number(
        "COIR_MAX_BODY_BYTES",
        "max-body-bytes",
        Some("8388608"),
        (1, 64 << 20),
        Group::Limits,
        "Bytes of a request's body, after decompression",
    ),
    number(
        "COIR_MAX_ANSWER_BYTES",
        "max-answer-bytes",
        Some("100663296"),
        (1 << 20, UNBOUNDED),
        Group::Limits,
        "Bytes of memory that all answers over 64 KiB take together, while they are made and while their readers take them",
    ),
    number(
        "COIR_MAX_PAGE",
        "max-page",
        Some("1000"),
        (1, 10_000),
        Group::Limits,
        "Documents of one page of a list",
    ),
    number(
        "COIR_MAX_BATCH",
        "max-batch",
        Some("1000"),
        (1, 10_000),
        Group::Limits,
        "Documents of one batch, and operations of one transaction",
    ),
    number(
        "COIR_MAX_CONNECTIONS",
        "max-connections",
        Some("20000"),
        (2, 10_000_000),
        Group::Limits,
        "Authenticated live streams of this process, as far as its file descriptors allow",
    ),
    number(
        "COIR_MAX_UNAUTHENTICATED",
        "max-unauthenticated",
        None,
        (2, 10_000_000),
        Group::Limits,
        "Connections over which no good key has come. Unset: an eighth of what the file descriptors allow, at most 1024",
    ),
    number(
        "COIR_MAX_SUBSCRIPTIONS",
        "max-subscriptions",
        Some("100"),
        (1, 10_000),
        Group::Limits,
        "Subscriptions of one WebSocket",
    ),
    number(
        "COIR_MAX_SUBSCRIPTION_MEMORY",
        "max-subscription-memory",
        Some("268435456"),
        (1 << 20, 64 << 30),
        Group::Limits,
        "Bytes of memory for all live subscriptions: 600 for each, and more for a filter over 256",
    ),
    number(
        "COIR_MAX_QUERY_SECONDS",
        "max-query-seconds",
        Some("10"),
        (1, 3600),
        Group::Limits,
        "Seconds that the database may take for one read",
    ),
    number(
        "COIR_MAX_INDEXES",
        "max-indexes",
        Some("64"),
        (0, 1000),
        Group::Limits,
        "Indexes that collections may declare, over the whole database",
    ),
    number(
        "COIR_MAX_COLLECTIONS",
        "max-collections",
        Some("10000"),
        (1, 1_000_000),
        Group::Limits,
        "Collections of a project",
    ),
    number(
        "COIR_MAX_IDEMPOTENCY_BYTES",
        "max-idempotency-bytes",
        Some("4294967296"),
        (1, UNBOUNDED),
        Group::Limits,
        "Bytes of the results that a project keeps for idempotency keys. One API key may take half of them",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_its_variable_in_lower_case_without_the_prefix() {
        for setting in SETTINGS {
            let flag = setting.variable.trim_start_matches("COIR_").to_lowercase().replace('_', "-");
            assert_eq!(setting.flag, flag, "{}", setting.variable);
        }
    }

    #[test]
    fn a_default_is_within_its_bounds() {
        for Setting { variable, default, bounds, .. } in SETTINGS {
            let Some(default) = default else { continue };
            let fits = match bounds {
                Bounds::Text => true,
                Bounds::Choice(words) => words.contains(default),
                Bounds::Number { least, most } => {
                    (*least..=*most).contains(&default.parse::<usize>().unwrap())
                }
                Bounds::Key => false,
            };
            assert!(fits, "{variable}={default}");
        }
    }
}
