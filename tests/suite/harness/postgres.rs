//! A real PostgreSQL for tests: a fresh database for each, on one private cluster per test process.
//!
//! The first test that needs the cluster starts it. It is stopped and removed when the test process ends, even if that is
//! killed: a supervisor reads a pipe that only this process can write to, and cleans up when it closes. With
//! `TEST_POSTGRES_URL` set, the databases are created on that server instead, and dropped at the end.

use std::cmp::Reverse;
use std::env;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Creates an empty database and returns its URL.
///
/// Blocks, and may be called from any thread. The first call also starts the cluster, unless
/// `TEST_POSTGRES_URL` names a server: the URL of a database whose role may create others.
///
/// Without PostgreSQL it panics, and says what to install.
pub fn database_url() -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();

    match env::var("TEST_POSTGRES_URL") {
        Ok(server) => {
            let name = create_database(&server);
            drop_at_exit(&server, &name);
            url_of_database(&server, &name)
        }
        Err(_) => {
            let server = CLUSTER.get_or_init(Cluster::start).url();
            url_of_database(&server, &create_database(&server))
        }
    }
}

/// A PostgreSQL cluster for one test that stops it under a running server. Dropping it removes it.
///
/// It listens on 127.0.0.1 only, trusts every local user, and keeps its port and its data while it is stopped.
pub struct Cluster {
    port: u16,
    supervisor: Mutex<Supervisor>,
}

impl Cluster {
    /// Creates an empty cluster, starts it, and blocks until it accepts connections.
    pub fn start() -> Self {
        Self::start_from("init")
    }

    /// Creates a standby that follows this cluster, and starts it.
    pub fn start_standby(&self) -> Self {
        Self::start_from(&format!("follow {}", self.port))
    }

    /// Starts a cluster whose files this command of the supervisor makes.
    fn start_from(make: &str) -> Self {
        let mut command = supervisor(RUN_CLUSTER);
        command
            .arg(find_bin_dir(&["initdb", "pg_basebackup", "pg_ctl", "postgres", "psql"]))
            .stdout(Stdio::piped());
        if let Some((uid, gid)) = unprivileged_user() {
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().expect("`sh` can be run");
        let answers = BufReader::new(child.stdout.take().expect("stdout is a pipe"));

        let mut cluster = Self { port: 0, supervisor: Mutex::new(Supervisor { child, answers }) };
        cluster.ask(make).unwrap_or_else(|log| panic!("the cluster could not be made: {log}"));
        // Another process can take the port after it was found free and before the cluster starts.
        let mut tries = 0;
        loop {
            cluster.port = find_free_port();
            tries += 1;
            match cluster.ask(&format!("start {}", cluster.port)) {
                Ok(()) => return cluster,
                Err(log) => assert!(tries < 4, "PostgreSQL did not start: {log}"),
            }
        }
    }

    /// Returns the URL of the cluster's first database, which is empty.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Stops the cluster as a crash would. Connections break at once; committed data is there after the next start.
    pub fn stop(&self) {
        self.ask("stop").unwrap_or_else(|log| panic!("PostgreSQL did not stop: {log}"));
    }

    /// Starts the cluster again after [`Cluster::stop`], and blocks until it has recovered and accepts connections.
    pub fn start_again(&self) {
        let start = format!("start {}", self.port);
        self.ask(&start).unwrap_or_else(|log| panic!("PostgreSQL did not start again: {log}"));
    }

    /// Starts the stopped cluster on another port, where the servers on [`Cluster::url`] can't find it, and returns its URL there.
    pub fn start_elsewhere(&self) -> String {
        let port = find_free_port();
        self.ask(&format!("start {port}")).unwrap_or_else(|log| panic!("PostgreSQL did not start: {log}"));
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    /// Copies the files of the stopped cluster. [`Cluster::put_back`] puts the copy in their place.
    pub fn copy(&self) {
        self.ask("copy").unwrap_or_else(|log| panic!("the files could not be copied: {log}"));
    }

    /// Puts the files of [`Cluster::copy`] in the place of the stopped cluster's, so that every later commit is lost.
    pub fn put_back(&self) {
        self.ask("put_back").unwrap_or_else(|log| panic!("the files could not be put back: {log}"));
    }

    /// Lets the supervisor run `command`. If that fails, returns the end of the log.
    fn ask(&self, command: &str) -> Result<(), String> {
        let mut supervisor = self.supervisor.lock().expect("no thread panics while it asks");
        let mut answer = String::new();
        // Writing fails if the supervisor has ended. Its last answer, or a missing one, says more about the cause.
        let _ = writeln!(supervisor.child.stdin.as_ref().expect("stdin is a pipe"), "{command}");
        supervisor.answers.read_line(&mut answer).expect("answers are text");
        match answer.trim_end() {
            "ok" => Ok(()),
            "" => Err("its supervisor has ended".to_owned()),
            log => Err(log.to_owned()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let supervisor = self.supervisor.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Waiting closes stdin first. If it fails, the supervisor has ended already.
        let _ = supervisor.child.wait();
    }
}

struct Supervisor {
    child: Child,
    answers: BufReader<ChildStdout>,
}

/// Supervises the cluster whose programs are in `$1`: one command per line on stdin, one answer per line on stdout.
///
/// The script creates the directory itself, so that the directory belongs to the user of the script. That user may have no
/// access to root's `TMPDIR`, hence the second `mktemp`. There is no Unix socket, because its path is limited to 107 bytes and
/// the path of a temporary directory may be longer.
const RUN_CLUSTER: &str = r#"
dir=$(mktemp -d "${TMPDIR:-/tmp}/coir-postgres-XXXXXX" || mktemp -d /tmp/coir-postgres-XXXXXX) ||
    { echo "no directory could be made in ${TMPDIR:-/tmp}"; exit 1; }
answer() {
    if "$@" </dev/null >>"$dir/log" 2>&1; then echo ok; else tail -n 15 "$dir/log" | tr '\n' ' '; echo; fi
}
while read -r command port; do
    case $command in
    init) answer "$1/initdb" -D "$dir/data" -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync ;;
    follow) answer "$1/pg_basebackup" -D "$dir/data" -R --checkpoint=fast --no-sync -h 127.0.0.1 -p "$port" -U postgres ;;
    start) answer "$1/pg_ctl" start -D "$dir/data" -l "$dir/log" -t 120 -o "-p $port -c max_connections=200 \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories=''" ;;
    stop) answer "$1/pg_ctl" stop -D "$dir/data" -m immediate ;;
    copy) answer cp -a "$dir/data" "$dir/copy" ;;
    put_back) rm -rf "$dir/data"; answer cp -a "$dir/copy" "$dir/data" ;;
    esac
done
"$1/pg_ctl" stop -D "$dir/data" -m immediate
rm -rf "$dir"
"#;

/// Drops the databases named on stdin, one per line, from the server `$2`, with the `psql` in `$1`.
const DROP_DATABASES: &str = r#"
for name in $(cat); do
    "$1/psql" -X -q -w -d "$2" -c "DROP DATABASE IF EXISTS $name WITH (FORCE)"
done
"#;

/// Returns a shell that runs `script` and still needs its arguments. Its stdin closes when this process ends.
fn supervisor(script: &str) -> Command {
    let mut command = Command::new("sh");
    // The signals that end a test run would end the script too. Its own process group and the trap protect it until it has
    // cleaned up. It would get SIGPIPE when it answers a process that has been killed.
    command.args(["-c", &format!("trap '' HUP INT PIPE TERM\n{script}"), "sh"]).process_group(0);
    // The user of the script may have no access to this process's directory. With an inherited stdout or stderr, a reader of
    // the tests' output would wait for the script to end.
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn create_database(server: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);

    let name = format!("coir_test_{}_{:08x}", COUNT.fetch_add(1, Ordering::Relaxed), random() as u32);
    // The default, template1, can't be copied while a client is connected to it.
    let sql = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
    let output = Command::new(find_bin_dir(&["psql"]).join("psql"))
        .args(["-X", "-q", "-w", "-d", server, "-c", &sql])
        .stdin(Stdio::null())
        .output()
        .expect("`psql` can be run");
    assert!(output.status.success(), "no database: {}", String::from_utf8_lossy(&output.stderr));
    name
}

/// Arranges that `name` is dropped from `server` when this process ends.
fn drop_at_exit(server: &str, name: &str) {
    static JANITOR: OnceLock<Mutex<Child>> = OnceLock::new();

    let janitor = JANITOR.get_or_init(|| {
        let mut command = supervisor(DROP_DATABASES);
        command.arg(find_bin_dir(&["psql"])).arg(server);
        Mutex::new(command.spawn().expect("`sh` can be run"))
    });
    let mut janitor = janitor.lock().expect("no thread panics while it writes");
    let names = janitor.stdin.as_mut().expect("stdin is a pipe");
    writeln!(names, "{name}").expect("the janitor reads to the end");
}

/// Returns the URL `server` with another database. Credentials and options stay.
fn url_of_database(server: &str, name: &str) -> String {
    let (base, options) = server.split_at(server.find('?').unwrap_or(server.len()));
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..].find('/').map_or(base.len(), |at| authority + at);
    format!("{}/{name}{options}", &base[..end])
}

/// Finds the directory that holds all of `programs`: the target of a link on `PATH`, or else Debian's newest version.
fn find_bin_dir(programs: &[&str]) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path)
        .filter_map(|dir| Some(fs::canonicalize(dir.join(programs[0])).ok()?.parent()?.to_owned()));
    // Debian keeps the servers off `PATH`, in /usr/lib/postgresql/<major version>/bin.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| Reverse(major_version(path)));

    let has_all = |dir: &PathBuf| programs.iter().all(|program| dir.join(program).is_file());
    on_path.chain(versions.into_iter().map(|path| path.join("bin"))).find(has_all).unwrap_or_else(|| {
        panic!(
            "this test needs PostgreSQL ({}): install the package `postgresql`, as `tests/run` does",
            programs.join(", ")
        )
    })
}

fn major_version(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Returns the user and group for PostgreSQL if this process runs as root, because PostgreSQL refuses to run as root.
pub fn unprivileged_user() -> Option<(u32, u32)> {
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"].into_iter().find_map(|user| Some((id(&["-u", user])?, id(&["-g", user])?)))
}

fn id(args: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(args).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// Finds a free port below those of outgoing connections (from 32768 on Linux). An outgoing connection could otherwise take the
/// port of a cluster that is stopped, even the connection that looks for the cluster.
pub fn find_free_port() -> u16 {
    loop {
        let port = 20_000 + (random() % 10_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Returns a number that differs between test processes.
fn random() -> u64 {
    RandomState::new().hash_one(())
}
