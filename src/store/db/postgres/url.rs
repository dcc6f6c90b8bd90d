//! The URL of a PostgreSQL: the servers that it lists, and who they are without its secrets.

use std::{str::FromStr, sync::Arc};

use sqlx::{ConnectOptions, postgres::PgConnectOptions};

/// A server of a `DATABASE_URL`, and how to connect to it.
#[derive(Clone)]
pub(in crate::store) struct Server {
    pub(super) options: PgConnectOptions,
    /// `host:port`, or the path of a socket. It may be printed.
    pub(super) place: Arc<str>,
}

/// The parts of a `DATABASE_URL` that names PostgreSQL.
pub(in crate::store) struct PostgresUrl {
    /// At least one, in the order of the URL.
    pub(in crate::store) servers: Vec<Server>,
    pub(in crate::store) database: Option<String>,
    /// The places of the parameters that are not known, counted from 1. Their names may be parts of a password.
    pub(in crate::store) ignored: Vec<usize>,
}

/// The parameters that are passed on to the driver as they are.
const PASSED_ON: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
const ENCODE: &str = "the characters / ? # @ : and % of a user, password or database must be percent-encoded, such as %2F for /";

impl PostgresUrl {
    /// Reads `postgres://user:password@host:5432,other:5433/database?name=value`.
    ///
    /// # Errors
    /// A sentence that repeats no part of the URL, because any part may hold a piece of the password.
    pub(in crate::store) fn parse(text: &str) -> Result<Self, String> {
        let (_, rest) = text.split_once("://").ok_or("it must begin with postgres://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if database.contains(['/', '@', ':']) || text.contains('#') {
            return Err(ENCODE.to_owned());
        }
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let Parameters { passed_on, hosts: other_hosts, ports, ignored } = Parameters::read(query)?;
        let hosts = if other_hosts.is_empty() { hosts.split(',').collect() } else { other_hosts };
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err("the parameter port must have one port for all hosts, or one for each".to_owned());
        }
        let servers = hosts.iter().enumerate().map(|(at, host)| {
            let (host, own_port) = split_port(host)?;
            let port = ports.get(at).or(ports.first()).copied().or(own_port);
            let mut query = passed_on.clone();
            query.extend((!host.is_empty()).then(|| format!("host={host}")));
            query.extend(port.map(|port| format!("port={port}")));
            // With the host as a parameter, the driver finds the password of an IPv6 address in a password file, too.
            let authority = if user.is_empty() { String::new() } else { format!("{user}localhost") };
            if host.is_empty() && !user.is_empty() {
                return Err("the host is missing".to_owned());
            }
            let options = format!("postgres://{authority}/{database}?{}", query.join("&"));
            // The driver's reason may repeat a part of the URL.
            let options = PgConnectOptions::from_str(&options).map_err(|_| ENCODE.to_owned())?;
            Ok(Server::new(options))
        });
        let servers = servers.collect::<Result<Vec<_>, String>>()?;
        let database = servers.first().and_then(|server| server.options.get_database()).map(str::to_owned);
        Ok(Self { servers, database, ignored })
    }

    /// Returns where the servers are: `h1:5432, h2:5433`.
    pub(in crate::store) fn places(&self) -> String {
        self.servers.iter().map(|server| &*server.place).collect::<Vec<_>>().join(", ")
    }
}

impl Server {
    fn new(options: PgConnectOptions) -> Self {
        let name = options.get_application_name().unwrap_or("coir").to_owned();
        let options = options
            .application_name(&name)
            // PgBouncer refuses it. Sessions set it like their other settings.
            .extra_float_digits(None)
            .disable_statement_logging();
        let place = match options.get_socket() {
            Some(path) => path.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        Self { options, place: place.into() }
    }
}

/// The parameters of a URL, by what becomes of them.
#[derive(Default)]
struct Parameters<'a> {
    passed_on: Vec<String>,
    hosts: Vec<&'a str>,
    ports: Vec<u16>,
    ignored: Vec<usize>,
}

impl<'a> Parameters<'a> {
    fn read(query: &'a str) -> Result<Self, String> {
        let mut read = Self::default();
        let parameters = query.split('&').enumerate().filter(|(_, parameter)| !parameter.is_empty());
        for (at, parameter) in parameters {
            let Some((name, value)) = parameter.split_once('=') else { return Err(ENCODE.to_owned()) };
            match name {
                "host" | "hostaddr" => read.hosts = value.split(',').collect(),
                "port" => read.ports = value.split(',').map(read_port).collect::<Result<_, _>>()?,
                "target_session_attrs" if matches!(value, "any" | "read-write" | "primary") => {}
                "target_session_attrs" => {
                    return Err(
                        "target_session_attrs must be read-write, primary or any, because Coir writes"
                            .to_owned(),
                    );
                }
                "sslmode" | "ssl-mode" if !SSL_MODES.contains(&value) => {
                    return Err(format!("{name} must be one of: {}", SSL_MODES.join(", ")));
                }
                name if PASSED_ON.contains(&name) || name.starts_with("options[") => {
                    read.passed_on.push(parameter.to_owned());
                }
                _ => read.ignored.push(at + 1),
            }
        }
        Ok(read)
    }
}

/// Splits `host`, `host:port` and `[address]:port`. Returns the host without brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    Ok((host, port.map(read_port).transpose()?))
}

fn read_port(text: &str) -> Result<u16, String> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    // The text may be the end of a password with a special character.
    port.ok_or_else(|| format!("the port must be a number from 1 to 65535, and {ENCODE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(url: &str) -> String {
        PostgresUrl::parse(url).unwrap_or_else(|err| panic!("{url}: {err}")).places()
    }

    #[test]
    fn every_form_of_several_hosts_is_a_list_of_servers() {
        for (url, expected) in [
            ("postgres://u:p@one/db", "one:5432"),
            ("postgresql://one:5433/db", "one:5433"),
            ("postgres://u:p@one:5433,two:5434/db?target_session_attrs=read-write", "one:5433, two:5434"),
            ("postgres://u:p@one,two/db", "one:5432, two:5432"),
            ("postgres://u:p@[::1]:5433,[::2]/db", "::1:5433, ::2:5432"),
            ("postgres:///db?host=one,two&port=5433", "one:5433, two:5433"),
            ("postgres:///db?host=one,two&port=5433,5434", "one:5433, two:5434"),
            ("postgres:///db?host=/run/postgresql", "/run/postgresql"),
            ("postgres://u@%2Frun%2Fpostgresql/db", "/run/postgresql"),
            ("postgres://u:p@w@one/db", "one:5432"),
        ] {
            assert_eq!(places(url), expected, "{url}");
        }
    }

    #[test]
    fn credentials_and_database_are_those_of_the_url() {
        for url in [
            "postgres://me:pass%2Fword@one/things",
            "postgres://one/things?user=me&password=pass%2Fword",
            "postgres://one/?user=me&password=pass%2Fword&dbname=things",
        ] {
            let parsed = PostgresUrl::parse(url).unwrap();
            assert_eq!(parsed.database.as_deref(), Some("things"), "{url}");
            assert_eq!(parsed.servers[0].options.get_username(), "me", "{url}");
            let rebuilt = parsed.servers[0].options.to_url_lossy();
            assert_eq!(rebuilt.password(), Some("pass%2Fword"), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_a_part_of_the_url() {
        for (url, told) in [
            ("postgres://u:se/cret@host/db", "percent-encoded"),
            ("postgres://u:se#cret@host/db", "percent-encoded"),
            ("postgres://u:se?cret@host/db", "percent-encoded"),
            ("postgres://u:12?cret@host/db", "percent-encoded"),
            ("postgres://u:12#cret@host/db", "percent-encoded"),
            ("postgres://u:se%cret@host:x/db", "1 to 65535"),
            ("postgres://u:cret@host:0/db", "1 to 65535"),
            ("postgres://u:cret@host:65536/db", "1 to 65535"),
            ("postgres://u:cret@/db", "host is missing"),
            ("postgres://u:p@host/db?sslmode=cret", "verify-full"),
            ("postgres://u:p@host/db?target_session_attrs=read-only", "Coir writes"),
            ("postgres://u:p@one,two/db?port=1,2,3", "one port"),
        ] {
            let message = PostgresUrl::parse(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(message.contains(told), "{url}: {message}");
            assert!(!message.contains("cret"), "{url}: {message}");
        }
        let ignored = PostgresUrl::parse("postgres://u:p@host/db?sslmode=require&channel_binding=require");
        assert_eq!(ignored.unwrap().ignored, [2]);
    }
}
