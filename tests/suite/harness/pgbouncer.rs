//! A PgBouncer in front of a test's PostgreSQL.

use std::{
    env, fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::postgres::{find_free_port, unprivileged_user};

/// A running PgBouncer. It ends when this is dropped, or when this process ends.
pub struct PgBouncer {
    port: u16,
    database: String,
    supervisor: Child,
    directory: tempfile::TempDir,
}

/// Runs `$1` with the settings `$2` until stdin closes.
const RUN: &str = r#"
"$1" "$2" </dev/null &
cat >/dev/null
kill $!
wait
"#;

impl PgBouncer {
    /// Starts a PgBouncer with a `pool_mode` and other settings, in front of the database that a URL names. Blocks until it
    /// accepts connections.
    ///
    /// Without PgBouncer it panics, and says what to install.
    pub fn start(database_url: &str, pool_mode: &str, settings: &str) -> Self {
        let url = reqwest::Url::parse(database_url).unwrap();
        let (host, server_port) = (url.host_str().unwrap(), url.port().unwrap_or(5432));
        let database = url.path().trim_start_matches('/').to_owned();
        let directory =
            tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in("/tmp");
        let directory = directory.unwrap();
        let file = |name: &str| directory.path().join(name);
        let port = find_free_port();
        fs::write(file("users"), "\"postgres\" \"\"\n").unwrap();
        let users = file("users").display().to_string();
        let ini = format!(
            "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = {pool_mode}\ndefault_pool_size = 60\n\
             {settings}\n"
        );
        fs::write(file("ini"), ini).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh"]).arg(find_program()).arg(file("ini")).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = unprivileged_user() {
            command.uid(uid).gid(gid);
        }
        let supervisor = command.spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "PgBouncer did not start");
            std::thread::yield_now();
        }
        Self { port, database, supervisor, directory }
    }

    /// Returns the URL of the database through the pooler.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, self.database)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // Waiting closes stdin first.
        let _ = self.supervisor.wait();
        let _ = fs::remove_dir_all(self.directory.path());
    }
}

/// Finds the program on `PATH`, or where Debian keeps it.
fn find_program() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = directories.map(|directory| directory.join("pgbouncer"));
    programs.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!("this test needs PgBouncer: install the package `pgbouncer`, as `tests/run` does")
    })
}
