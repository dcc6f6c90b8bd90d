//! The settings of a session. They are set after connecting, because a pooler refuses or drops what is sent with the start of
//! a connection, and read back, because nothing else shows that they are in force.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor, PgConnection, Row, postgres::PgRow};

use super::error::Unfit;
use crate::store::db::durability::Durability;

/// When PostgreSQL ends a write that hangs. Until then it may hold the lock of a project's log.
pub(in crate::store) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// When PostgreSQL undoes a write between whose statements the process does nothing. In a process that is awake this takes
/// milliseconds; [`WriteTx::allow_long_pause`](crate::store::WriteTx::allow_long_pause) is for the exceptions.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// The oldest version that has every setting below, as `server_version_num` shows it.
const OLDEST_VERSION: i32 = 120_000;

/// What a session is for, which decides its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Purpose {
    /// Writes, with this durability.
    Write(Durability),
    /// Reads of rows that their keys name, each within this time.
    Point(Duration),
    /// Reads that follow an index of the table that all collections share, each within this time.
    Scan(Duration),
    /// The building of indexes, which takes as long as it takes.
    Long,
    /// Migrations, which take as long as they take. A step waits for a table only this long, because everybody who comes later
    /// waits behind it.
    Schema(Duration),
}

/// Checks a new session, sets its settings and reads them back.
///
/// # Errors
/// Why the session must not be used.
pub(super) async fn apply(connection: &mut PgConnection, purpose: Purpose) -> Result<(), Unfit> {
    check_server(connection).await?;
    let settings = settings(purpose);
    let wishes = KEEPALIVE.map(set).into_iter().chain(is_write(purpose).then(|| FAST_COMPRESSION.to_owned()));
    let set: Vec<_> = settings.iter().map(Setting::set).chain(wishes).collect();
    let set = ask(connection, &set).await?;
    // In a message of its own: a pooler that shares sessions between clients may answer it from another one.
    let get: Vec<_> = settings.iter().map(|setting| format!("current_setting('{}')", setting.name)).collect();
    let found = ask(connection, &get).await?;
    for (at, setting) in settings.iter().enumerate() {
        let (asked, found): (String, String) = (set.try_get(at)?, found.try_get(at)?);
        if asked != found {
            return Err(Unfit::NotInForce { name: setting.name, asked, found });
        }
    }
    Ok(())
}

/// Checks what a session cannot set.
async fn check_server(connection: &mut PgConnection) -> Result<(), Unfit> {
    let facts = ["version_num", "encoding"].map(|name| format!("current_setting('server_{name}')"));
    let [version, encoding] = facts;
    let facts = [format!("{version}::int"), encoding, "current_setting('transaction_read_only')".to_owned()];
    let facts = ask(connection, &facts).await?;
    if facts.try_get::<i32, _>(0)? < OLDEST_VERSION {
        return Err(Unfit::TooOld);
    }
    let encoding: String = facts.try_get(1)?;
    if encoding != "UTF8" {
        return Err(Unfit::Encoding(encoding));
    }
    // A standby answers so, and a former primary that was told to refuse writes.
    if facts.try_get::<String, _>(2)? == "on" {
        return Err(Unfit::ReadOnly);
    }
    Ok(())
}

/// Whether the server has become a standby, or was told to refuse writes, since the session was opened. The session's own
/// setting can't tell, because sessions for reads set it.
pub(super) async fn is_read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let stored = "(SELECT reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only')";
    ask(connection, &[format!("pg_is_in_recovery() OR {stored}")]).await?.try_get(0)
}

struct Setting {
    name: &'static str,
    value: String,
    /// Stronger values, which stay if the database has them.
    stronger: &'static [&'static str],
}

impl Setting {
    fn set(&self) -> String {
        let Self { name, value, stronger } = self;
        let stronger: Vec<_> = stronger.iter().map(|value| format!("'{value}'")).collect();
        if stronger.is_empty() {
            return set((name, value));
        }
        let current = format!("current_setting('{name}')");
        let kept =
            format!("CASE WHEN {current} IN ({}) THEN {current} ELSE '{value}' END", stronger.join(", "));
        format!("set_config('{name}', {kept}, false)")
    }
}

fn set((name, value): (&str, &str)) -> String {
    format!("set_config('{name}', '{value}', false)")
}

/// When the server gives up a session whose network went silent. They are not read back: a Unix socket has none of them, and
/// behind a pooler they are those of the pooler's connection.
const KEEPALIVE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "60000"),
];

/// Compresses large documents with LZ4, if the server was built with it: several times as fast as its default, and each write
/// waits for that. What was stored before stays readable.
const FAST_COMPRESSION: &str = "(SELECT set_config(name, 'lz4', false) FROM pg_settings \
                                WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals))";

fn is_write(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Write(_))
}

fn settings(purpose: Purpose) -> Vec<Setting> {
    let plain = |name, value: &str| Setting { name, value: value.to_owned(), stronger: &[] };
    let timeout = |limit: Duration| plain("statement_timeout", &limit.as_millis().to_string());
    let idle = if is_write(purpose) { IDLE_TIMEOUT } else { STATEMENT_TIMEOUT };
    let lock = if let Purpose::Schema(limit) = purpose { limit } else { Duration::ZERO };
    let mut settings = vec![
        // Compiling a statement takes longer than running one that follows an index.
        plain("jit", "off"),
        // The role or the database may have other defaults for these, on which the statements don't count.
        plain("default_transaction_isolation", "read committed"),
        plain("lock_timeout", &lock.as_millis().to_string()),
        plain("extra_float_digits", "1"),
        // A process that sleeps must not hold the lock of a project's log, for which the other nodes wait.
        plain("idle_in_transaction_session_timeout", &idle.as_millis().to_string()),
    ];
    let read_only = plain("default_transaction_read_only", "on");
    // The data is mostly in memory, so following an index is cheaper than a sort.
    let in_memory = plain("random_page_cost", "1.1");
    match purpose {
        Purpose::Write(durability) => settings.extend([
            timeout(STATEMENT_TIMEOUT),
            // Rows come as arrays. What doesn't fit in here goes through temporary files, while everybody waits.
            plain("work_mem", "32MB"),
            match durability {
                Durability::Full => Setting {
                    name: "synchronous_commit",
                    value: "on".to_owned(),
                    stronger: &["remote_apply"],
                },
                Durability::Normal => plain("synchronous_commit", "off"),
            },
        ]),
        Purpose::Point(limit) => settings.extend([timeout(limit), read_only, in_memory]),
        Purpose::Scan(limit) => settings.extend([
            timeout(limit),
            read_only,
            in_memory,
            // All collections share one table, so reading it from end to end reads what belongs to others.
            plain("enable_seqscan", "off"),
        ]),
        Purpose::Long | Purpose::Schema(_) => settings.push(plain("statement_timeout", "0")),
    }
    settings
}

/// Asks for the values of expressions, in one message that prepares nothing.
pub(super) async fn ask(connection: &mut PgConnection, expressions: &[String]) -> Result<PgRow, sqlx::Error> {
    let text = format!("SELECT {}", expressions.join(", "));
    connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(text))).await
}
