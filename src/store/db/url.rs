//! The URL of a database, and what of it may be printed.

use std::{ffi::OsStr, fmt, ops::Deref};

use crate::store::db::postgres::url::PostgresUrl;

/// The URL of a database. It may hold a password, so `Display` and `Debug` are made of its harmless parts alone.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

/// The schemes of PostgreSQL.
const POSTGRES: [&str; 2] = ["postgres://", "postgresql://"];
const SQLITE: &str = "sqlite:";

impl DatabaseUrl {
    /// Checks a URL. Whether the database is there is not asked.
    ///
    /// # Errors
    /// A sentence that says what is wrong, and repeats no part of the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        if is_postgres(text) {
            PostgresUrl::parse(text)?;
        } else if !text.starts_with(SQLITE) {
            return Err("it must begin with sqlite:// or postgres://".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether a URL names PostgreSQL.
pub(super) fn is_postgres(text: &str) -> bool {
    POSTGRES.iter().any(|scheme| text.starts_with(scheme))
}

/// Whether a URL names a file of SQLite.
pub(super) fn is_sqlite(text: &str) -> bool {
    text.starts_with(SQLITE)
}

impl Deref for DatabaseUrl {
    type Target = str;

    /// The whole URL, with its secrets.
    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<OsStr> for DatabaseUrl {
    /// The whole URL, with its secrets, as a variable of another process takes it.
    fn as_ref(&self) -> &OsStr {
        self.0.as_ref()
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = self.0.strip_prefix(SQLITE) {
            let path = path.strip_prefix("//").unwrap_or(path);
            return write!(f, "SQLite, {}", path.split('?').next().unwrap_or_default());
        }
        f.write_str("PostgreSQL")?;
        let Ok(url) = PostgresUrl::parse(&self.0) else { return Ok(()) };
        write!(f, ", {}", url.places())?;
        url.database.map_or(Ok(()), |database| write!(f, ", database {database}"))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_of_a_url_has_no_secret() {
        for (url, printed) in [
            ("sqlite://data/coir.db?mode=rw", "SQLite, data/coir.db"),
            ("postgres://me:secret@one:5433,two/things", "PostgreSQL, one:5433, two:5432, database things"),
            ("postgres://one/things?user=me&password=secret", "PostgreSQL, one:5432, database things"),
            (
                "postgres://one/things?sslpassword=secret&sslkey=secret",
                "PostgreSQL, one:5432, database things",
            ),
        ] {
            let url = DatabaseUrl::parse(url).unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (printed.to_owned(), printed.to_owned()));
        }
    }
}
