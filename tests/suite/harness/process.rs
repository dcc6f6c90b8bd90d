//! The built binary as a process of its own, for tests that kill it or type commands.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{PUBLISHABLE_KEY, SECRET_KEY};

/// A running `coir serve`; killed when dropped.
pub struct Process {
    /// `http://127.0.0.1:port`.
    pub url: String,
    /// Its output, up to the line that says where it serves.
    pub welcome: String,
    child: Child,
}

impl Process {
    /// Starts the server on a database and waits until it serves. `listen` is an address; `127.0.0.1:0` is a free port.
    ///
    /// Blocks, so call it from [`tokio::task::spawn_blocking`] or a plain thread.
    pub fn start(database_url: &str, listen: &str) -> Self {
        Self::start_with(database_url, listen, &[])
    }

    /// Starts the server with other settings.
    pub fn start_with(database_url: &str, listen: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = command(&["serve"]);
        command.envs(settings.iter().copied());
        Self::spawn(command, database_url, listen)
    }

    /// Starts the server with its log in a file or a pipe.
    pub fn start_logged(database_url: &str, log: impl Into<Stdio>) -> Self {
        let mut command = command(&["serve"]);
        command.stderr(log);
        Self::spawn(command, database_url, "127.0.0.1:0")
    }

    /// Starts the server under a limit, as the shell's `ulimit` takes it: `-n 256` for at most 256 file descriptors.
    pub fn start_limited(database_url: &str, limit: &str) -> Self {
        let script = format!("ulimit {limit} && exec \"$0\" serve");
        let server = command(&[]);
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(server.get_program());
        for (name, value) in server.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(std::env::temp_dir());
        Self::spawn(command, database_url, "127.0.0.1:0")
    }

    /// Starts a command that serves.
    pub fn spawn(mut command: Command, database_url: &str, listen: &str) -> Self {
        command.env("DATABASE_URL", database_url).env("COIR_LISTEN", listen);
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        Self::read_until(child, |line| line.contains("serves "))
    }

    /// Starts a command that serves the data of its directory, and reads all that it says first. A free port is the default.
    pub fn spawn_in_directory(mut command: Command) -> Self {
        if !command.get_args().any(|argument| argument == "--listen") {
            command.env("COIR_LISTEN", "127.0.0.1:0");
        }
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        Self::read_until(child, |line| line.contains("\"Again\""))
    }

    fn read_until(mut child: Child, is_last: impl Fn(&str) -> bool) -> Self {
        let (mut welcome, mut url) = (String::new(), None);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            let line = lines.next().expect("the server ended before it served").unwrap();
            welcome.push_str(&line);
            welcome.push('\n');
            if let Some((_, found)) = line.split_once("serves ") {
                url = Some(found.trim().to_owned());
            }
            if is_last(&line) {
                break;
            }
        }
        let url = url.expect("the server says where it serves");
        // Reads on, because later output would fill the pipe and block the server.
        std::thread::spawn(move || lines.for_each(drop));
        Self { url, welcome, child }
    }

    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops the process in the middle of what it does, as a machine that sleeps (SIGSTOP).
    pub fn fall_asleep(&self) {
        self.signal("-STOP");
    }

    /// Lets the process go on (SIGCONT).
    pub fn wake_up(&self) {
        self.signal("-CONT");
    }

    /// Sends a signal, such as `-TERM`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Returns the status with which the process has ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until the process has ended by itself, and returns its status. Panics after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(begun.elapsed() < limit, "the process still runs after {limit:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end. Returns whether it ended with status 0.
    pub fn terminate(&mut self) -> bool {
        self.signal("-TERM");
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the command `coir` with these arguments and the tests' keys, and without the settings of this environment.
/// `COIR_TEST_SERVER` names another build of it.
pub fn command(arguments: &[&str]) -> Command {
    let built = env!("CARGO_BIN_EXE_coir");
    let mut command = Command::new(std::env::var("COIR_TEST_SERVER").unwrap_or_else(|_| built.into()));
    let foreign: Vec<_> =
        std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("COIR_")).collect();
    for name in foreign {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .env_remove("DATABASE_URL")
        .env("COIR_API_KEY", SECRET_KEY)
        .env("COIR_PUBLISHABLE_KEY", PUBLISHABLE_KEY)
        .env("COIR_KEY", SECRET_KEY)
        .env("COIR_LOG", "warn")
        // A developer's .env must not take effect.
        .current_dir(std::env::temp_dir());
    command
}
