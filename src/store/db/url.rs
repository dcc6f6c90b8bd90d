//! The URL of a database, and what of it may be printed.

use std::{
    ffi::OsStr,
    fmt,
    ops::Deref,
    path::{Path, PathBuf, absolute},
};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::store::db::postgres::url::PostgresUrl;

/// The URL of a database. It may hold a password, so `Display` and `Debug` are made of its harmless parts alone.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

/// The schemes of PostgreSQL.
const POSTGRES: [&str; 2] = ["postgres://", "postgresql://"];
const SQLITE: &str = "sqlite:";
/// What a path needs to encode in a URL, so that it means itself there.
const NOT_IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#');

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

    /// Makes the URL of a file of SQLite. Every character of the path stands for itself.
    ///
    /// # Errors
    /// The current directory, where a relative path begins, cannot be found.
    pub fn of_file(path: &Path) -> std::io::Result<Self> {
        let path = absolute(path)?.display().to_string();
        // sqlx takes two slashes at the beginning for a part of the scheme.
        let path = format!("/{}", path.trim_start_matches('/'));
        Ok(Self(format!("{SQLITE}//{}", utf8_percent_encode(&path, NOT_IN_PATH))))
    }

    /// Returns the absolute path of the SQLite file; `None` for PostgreSQL and for a database in memory.
    pub fn file(&self) -> Option<PathBuf> {
        let (path, parameters) = split(self.0.strip_prefix(SQLITE)?);
        if path == ":memory:" || parameters.split('&').any(|parameter| parameter == "mode=memory") {
            return None;
        }
        let path = PathBuf::from(&*percent_decode_str(path).decode_utf8_lossy());
        Some(absolute(&path).unwrap_or(path))
    }
}

/// Splits what follows `sqlite:` into the path, which may be encoded, and the parameters.
fn split(rest: &str) -> (&str, &str) {
    rest.trim_start_matches("//").split_once('?').unwrap_or((rest.trim_start_matches("//"), ""))
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
        if let Some(rest) = self.0.strip_prefix(SQLITE) {
            return match self.file() {
                Some(path) => write!(f, "SQLite, {}", path.display()),
                None => write!(f, "SQLite, {}", split(rest).0),
            };
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
            ("sqlite:///data/coir.db?mode=rw", "SQLite, /data/coir.db"),
            ("sqlite::memory:", "SQLite, :memory:"),
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
    #[test]
    fn a_path_stays_itself_in_a_url() {
        for path in ["/a b/100%/coir.db", "/a?b=c&d#e/coir.db", "/ä%20b/coir.db", "/:memory:"] {
            let url = DatabaseUrl::of_file(Path::new(path)).unwrap();
            assert_eq!(url.file().unwrap(), Path::new(path));
            assert_eq!(url.to_string(), format!("SQLite, {path}"));
        }
        let relative = DatabaseUrl::parse("sqlite://data/coir.db").unwrap().file().unwrap();
        assert_eq!(relative, std::env::current_dir().unwrap().join("data/coir.db"));
    }
}
