//! `coir serve`: runs the server until a signal, and prints what to try next.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, absolute},
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    address::browser_address,
    error::CliError,
    logging,
    server_note::{NoteFile, ServerNote},
};
use crate::{
    app::{self, Running},
    config::Config,
    supervision::{Failure, Supervisor},
};

/// How long the server waits for its standard output to take the welcome.
const GREETING: Duration = Duration::from_secs(1);

/// How long a server of which a part has failed says that it is not ready before it stops.
const LAME: Duration = Duration::from_secs(1);
/// How long its stop may take.
const FAILED_STOP: Duration = Duration::from_secs(2);

pub(super) async fn run(config: Config) -> Result<(), CliError> {
    let welcome = Welcome::of(&config);
    let drain = config.drain;
    let file = NoteFile::of(&config.database_url);
    // Before the start: it may wait for the database, and the first process of a container has no other way to end.
    let mut stop = StopSignals::listen();
    let running = tokio::select! {
        running = app::start(config) => running?,
        _ = stop.next() => {
            tracing::info!("stopped before the start was complete");
            return Ok(());
        }
    };
    // Before the welcome: who reads that may type the next command at once.
    let _note = file.and_then(|file| Note::leave(file, &running));
    greet(welcome.text(&running)).await;
    tracing::info!(address = %running.address, durability = %running.durability, "serving on http://{}, {}", running.address, running.durability);
    exit_when_stuck(running.supervisor().clone()).map_err(CliError::Server)?;
    let supervisor = running.supervisor().clone();
    let cause = tokio::select! {
        failure = supervisor.failed() => return fail(running, failure).await,
        cause = stop.next() => cause,
    };
    running.drain();
    // A person who presses Ctrl-C doesn't want to wait.
    if cause == Stop::Terminate && !drain.is_zero() {
        let seconds = drain.as_secs();
        tracing::info!(seconds, "draining: /health/ready answers 503, and the stop follows in {seconds} s");
        tokio::select! {
            failure = supervisor.failed() => return fail(running, failure).await,
            () = tokio::time::sleep(drain) => {}
            _ = stop.next() => {}
        }
    }
    tracing::info!("stopping: requests finish and streams end");
    running.stop().await.map_err(CliError::Server)?;
    tracing::info!("stopped");
    Ok(())
}

/// Ends a server of which a part has failed.
async fn fail(running: Running, failure: Failure) -> Result<(), CliError> {
    // Readiness tells of it. Reads that still work are still answered.
    tokio::time::sleep(LAME).await;
    let failure = running.supervisor().trouble().unwrap_or(failure);
    // Streams are told to come back, and requests may end.
    if tokio::time::timeout(FAILED_STOP, running.stop()).await.is_err() {
        tracing::warn!("the server did not stop in time after its failure");
    }
    Err(CliError::Part(failure))
}

/// Prints the welcome. A standard output that is closed or full is no failure: nobody wants to read it.
async fn greet(text: String) {
    let print = tokio::task::spawn_blocking(move || {
        let _ = std::io::stdout().write_all(text.as_bytes());
    });
    let _ = tokio::time::timeout(GREETING, print).await;
}

/// Ends the process if a failure can't end it, because the threads that should do that are stuck themselves.
fn exit_when_stuck(supervisor: Supervisor) -> std::io::Result<()> {
    let limit = LAME + FAILED_STOP + Duration::from_secs(1);
    supervisor.when_stuck(limit, |failure| {
        logging::finish(Some(&format!("coir: {failure}; the process could not stop, and is ended")));
        std::process::exit(1);
    })
}

/// The note of a running server, which is taken away when this is dropped.
struct Note {
    file: NoteFile,
    note: ServerNote,
    /// The note that was there: of another server on the same file, or of one that was killed.
    before: Option<ServerNote>,
}

impl Note {
    /// Leaves the note. Without it, other commands must be told where the server is.
    fn leave(file: NoteFile, running: &Running) -> Option<Self> {
        let url = format!("http://{}", browser_address(running.address));
        let note = ServerNote { url, instance: running.instance.to_string() };
        let before = file.read();
        match file.write(&note) {
            Ok(()) => Some(Self { file, note, before }),
            Err(err) => {
                tracing::warn!(
                    "the note beside the database that says where this server is can't be written: {err}"
                );
                None
            }
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // A command that reads the note asks the server who it is, so the note of one that is gone does no harm.
        self.file.take_away(&self.note, self.before.as_ref());
    }
}

/// The first lines that the server prints: where it serves, its keys, and commands to try.
struct Welcome {
    storage: String,
    /// How to start another command on the same data.
    command: String,
    publishable_key: Option<String>,
    /// Whether an app has the path `/`.
    has_app: bool,
}

impl Welcome {
    fn of(config: &Config) -> Self {
        let program = std::env::args().next().unwrap_or_else(|| "coir".to_owned());
        let mut command = match program.contains('/') {
            true => absolute(&program).map_or(program, |path| quote(&path)),
            // A name that the shell finds.
            false => program,
        };
        // The default is one of this directory.
        let is_default = |directory: &Path| absolute("data").is_ok_and(|default| directory == default);
        if let Some(directory) = config.data_dir.as_deref().filter(|directory| !is_default(directory)) {
            let _ = write!(command, " --data-dir {}", quote(directory));
        }
        Self {
            storage: config.database_url.to_string(),
            command,
            publishable_key: config.publishable_key.clone(),
            has_app: config.public.is_some(),
        }
    }

    fn text(&self, running: &Running) -> String {
        let url = format!("http://{}", running.address);
        let browser_url = format!("http://{}", browser_address(running.address));
        let Self { storage, command, .. } = self;
        let mut text = format!("Coir {} serves {url}\n\n", env!("CARGO_PKG_VERSION"));
        let key = running.new_keys.as_ref().map(|keys| &keys.publishable).or(self.publishable_key.as_ref());
        // A page takes the key out of its address, and browsers send that part to no server.
        let with_key = key.map(|key| format!("#{key}")).unwrap_or_default();
        let _ = match self.has_app {
            true => writeln!(text, "  app   {browser_url}/{with_key}\n  page  {browser_url}/_/{with_key}"),
            false if key.is_some() => writeln!(text, "  page  {browser_url}/{with_key}"),
            false => writeln!(text, "  page  {browser_url}"),
        };
        let _ = writeln!(text, "  data  {storage}");
        let _ = match &running.new_keys {
            Some(keys) => write!(
                text,
                "  keys  {}  for apps and browsers\n        {}  for servers: it may do everything\n        \
                 They are shown only once. To create another: {command} keys create publishable\n",
                keys.publishable, keys.secret
            ),
            None => writeln!(
                text,
                "  keys  They were shown when they were created. To create another: {command} keys create publishable"
            ),
        };
        if let Some(key) = key {
            let _ = write!(
                text,
                "\nOpen the page, or try it in two more terminals: create a document, watch, create another.\n\n  \
                 curl -w '\\n' -H 'x-api-key: {key}' -d '{{\"title\":\"Hello\"}}' {browser_url}/collections/posts\n  \
                 curl -N -H 'x-api-key: {key}' {browser_url}/realtime/sse/posts\n  \
                 curl -w '\\n' -H 'x-api-key: {key}' -d '{{\"title\":\"Again\"}}' {browser_url}/collections/posts\n"
            );
        }
        text.push('\n');
        text
    }
}

/// Writes a path as a shell takes it.
fn quote(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-');
    match path.bytes().all(is_plain) {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// The signal that stops the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// A person, with Ctrl-C.
    Interrupt,
    /// The program that runs the server.
    Terminate,
}

/// The signals that stop the server.
struct StopSignals(Option<[Signal; 2]>);

impl StopSignals {
    fn listen() -> Self {
        let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let (Ok(interrupt), Ok(terminate)) = (interrupt, terminate) else {
            tracing::error!("cannot listen for signals; only SIGKILL stops this process");
            return Self(None);
        };
        Self(Some([interrupt, terminate]))
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Stop {
        let Some([interrupt, terminate]) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => Stop::Interrupt,
            _ = terminate.recv() => Stop::Terminate,
        }
    }
}
