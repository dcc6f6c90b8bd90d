//! The composition root: connect, migrate, start hub, relay and writer, bind, and stop in the opposite order. The only
//! file that sees every module.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_cors::Cors;
use actix_web::{App, HttpServer, dev::ServerHandle, middleware::from_fn, web};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    api::{
        self,
        cocobase::rooms::registry::Rooms,
        extract::BodyBudget,
        realtime::{ConnectionCount, Feed, LocalShard, Realtime, encode::Encoder},
        response::{AnswerBudget, bound_answers},
    },
    auth::{KeyKind, KeyRing, Tickets, tickets},
    config::Config,
    domain::{Control, KeyId, ProjectId},
    hub::{
        self, Shard,
        relay::{self, ControlObserver, LogError},
    },
    live::{
        reads::{StoredStreams, Streams},
        stored_log::StoredLog,
    },
    service::{
        Collections, Documents, Exports, ListTurns,
        keys::{self, NewKeys, SetupError},
    },
    store::{ConnectError, Db, StoreError, collections::catalog::Catalogs, documents::plans::Plans},
    writer::{
        self,
        indexer::{self, IndexerBell},
    },
};

/// How long requests may take to end when the server stops; together with what comes after, under 10 s.
const SHUTDOWN_SECONDS: u64 = 6;
/// What the bodies of all requests at hand may take together.
const BODY_BUDGET: usize = 64 * 1024 * 1024;
/// What all answers that wait for their peers may take together.
const ANSWER_BUDGET: usize = 256 * 1024 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// What the kernel may hold of a stream whose reader is slow: past that, our own bounded queue fills and is seen to.
const NOTSENT_LOWAT: u32 = 16 * 1024;
/// When the kernel gives up on a peer that takes nothing.
const USER_TIMEOUT: Duration = Duration::from_secs(45);

/// Why the server can't start; a sentence for whoever starts it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error("the data directory {0} can't be made: {1}. Choose another one with COIR_DATA_DIR")]
    DataDir(PathBuf, io::Error),
    /// It is there, but no file can be made in it.
    #[error(
        "the data directory {0} can't be written: {1}. Give the user running Coir the right to, or choose another one with COIR_DATA_DIR"
    )]
    DataDirReadOnly(PathBuf, io::Error),
    /// The database.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The schema.
    #[error("the database can't be brought up to date: {0}")]
    Migrate(#[from] StoreError),
    /// Projects and keys.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The change log.
    #[error("the change log can't be read: {0}")]
    Log(#[from] LogError),
    /// The address.
    #[error("{0} is taken: another program listens there, perhaps another Coir. Stop it, or choose another port, such as COIR_LISTEN={next}", next = next_port(.0))]
    Taken(SocketAddr),
    /// The address, for another reason.
    #[error(
        "{0} can't be listened on: {1}. Choose an address of this machine and a port from 1024 on, such as COIR_LISTEN=127.0.0.1:8080"
    )]
    Listen(SocketAddr, io::Error),
    /// The HTTP server.
    #[error("the HTTP server can't start: {0}")]
    Http(io::Error),
}

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The keys that were made, if this was the first start.
    pub new_keys: Option<NewKeys>,
    /// How the writer's connection is set.
    pub durability: String,
    db: Db,
    http: ServerHandle,
    http_task: JoinHandle<io::Result<()>>,
    stop: watch::Sender<bool>,
    writer_task: JoinHandle<()>,
    indexer_task: JoinHandle<()>,
    connections: ConnectionCount,
}

/// Makes the data directory, connects and migrates.
///
/// # Errors
/// [`StartError`].
pub async fn migrate_database(config: &Config) -> Result<Db, StartError> {
    if let Some(directory) = &config.data_dir {
        std::fs::create_dir_all(directory).map_err(|err| StartError::DataDir(directory.clone(), err))?;
        // SQLite would say no more than that it can't open the file.
        check_writable(directory).map_err(|err| StartError::DataDirReadOnly(directory.clone(), err))?;
    }
    let db = Db::connect(&config.database_url, config.durability, config.query_limit).await?;
    db.migrate().await?;
    Ok(db)
}

/// Opens the database as `serve` does: migrates it, and makes the project `default` with its keys.
///
/// # Errors
/// [`StartError`].
pub async fn open_database(config: &Config) -> Result<(Db, Option<NewKeys>), StartError> {
    let db = migrate_database(config).await?;
    let keys = [
        (KeyKind::Publishable, &config.publishable_key, "COIR_PUBLISHABLE_KEY"),
        (KeyKind::Secret, &config.api_key, "COIR_API_KEY"),
    ];
    let new_keys = keys::ensure_default_project(&db, [keys[0].1.as_deref(), keys[1].1.as_deref()]).await?;
    for (kind, key, setting) in keys {
        if let Some(key) = key {
            keys::ensure_key(&db, kind, key, setting).await?;
        }
    }
    Ok((db, new_keys))
}

/// Starts the server on the runtime that this is called from, which must have several threads.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(config: Config) -> Result<Running, StartError> {
    // Before the database: a port that is taken must not cost a migration.
    let listener = listen(config.listen).map_err(|err| match err.kind() {
        io::ErrorKind::AddrInUse => StartError::Taken(config.listen),
        _ => StartError::Listen(config.listen, err),
    })?;
    let address = listener.local_addr().map_err(|err| StartError::Listen(config.listen, err))?;
    let (db, new_keys) = open_database(&config).await?;
    let durability = db.durability_report().await?;

    let tickets = Tickets::new(&keys::ensure_secret(&db, tickets::SECRET).await?);
    let catalogs = Catalogs::new(db.clone());
    let keys = KeyRing::new(db.clone());
    let encode = Arc::new(Encoder);
    let hub = hub::start(encode.clone());
    let bell = IndexerBell::default();
    let observer = Arc::new(Caches { catalogs: catalogs.clone(), keys: keys.clone(), bell: bell.clone() });
    let relay = relay::start(hub.clone(), Arc::new(StoredLog(db.clone())), observer).await?;
    let (writer, writer_task) = writer::start(
        db.clone(),
        catalogs.clone(),
        Some(relay),
        config.limits.document_bytes,
        config.limits.indexes,
        Some(config.retention),
    );

    let (stop, stopped) = watch::channel(false);
    let indexer = tokio::spawn(indexer::run(db.clone(), writer.clone(), bell, stopped.clone()));
    let connections = ConnectionCount::new(config.limits.connections);
    let realtime = Realtime {
        feed: Feed {
            streams: Streams::new(
                Arc::new(StoredStreams { db: db.clone(), catalogs: catalogs.clone() }),
                writer.activity(),
            ),
            encode,
            max_subscriptions: config.limits.subscriptions,
        },
        keys: keys.clone(),
        tickets,
        heartbeat: config.heartbeat,
        connections: connections.clone(),
        bus: Arc::new(Rooms::default()),
        allowed_origins: config.allowed_origins.as_deref().map(Arc::from),
        stop: stopped,
    };
    let documents = Documents {
        db: db.clone(),
        catalogs: catalogs.clone(),
        writer: writer.clone(),
        plans: Plans::default(),
        lists: ListTurns::default(),
    };
    let state = (
        web::Data::new(Exports::new(documents.clone())),
        web::Data::new(documents),
        web::Data::new(Collections { db: db.clone(), catalogs, writer }),
        web::Data::new(realtime),
        web::Data::new(keys),
        web::Data::new(db.clone()),
        web::Data::new(config.limits),
        web::Data::new(BodyBudget::new(BODY_BUDGET)),
        web::Data::new(AnswerBudget::new(ANSWER_BUDGET)),
    );
    let allowed_origins = config.allowed_origins.clone();
    let next_shard = Arc::new(AtomicU32::new(0));
    let server = HttpServer::new(move || {
        // Runs on each worker thread, where the shard and its connections then live.
        let (shard, shard_loop) = Shard::new(next_shard.fetch_add(1, Ordering::Relaxed), hub.clone());
        actix_web::rt::spawn(shard_loop);
        let (exports, documents, collections, realtime, keys, db, limits, bodies, answers) = state.clone();
        App::new()
            .app_data(LocalShard(shard))
            .app_data(exports)
            .app_data(documents)
            .app_data(collections)
            .app_data(realtime)
            .app_data(keys)
            .app_data(db)
            .app_data(limits)
            .app_data(bodies)
            .app_data(answers)
            .wrap(from_fn(bound_answers))
            .wrap(cors(allowed_origins.as_deref()))
            .configure(api::routes)
    })
    .workers(config.workers)
    // A stream whose client has gone would otherwise be kept until something is written to it.
    .h1_allow_half_closed(false)
    .keep_alive(Duration::from_secs(75))
    .client_request_timeout(Duration::from_secs(10))
    .client_disconnect_timeout(Duration::from_secs(2))
    .max_connections(usize::MAX >> 8)
    .shutdown_timeout(SHUTDOWN_SECONDS)
    .disable_signals()
    .listen(listener)
    .map_err(StartError::Http)?
    .run();
    let http = server.handle();
    let http_task = tokio::spawn(server);
    Ok(Running {
        address,
        new_keys,
        durability,
        db,
        http,
        http_task,
        stop,
        writer_task,
        indexer_task: indexer,
        connections,
    })
}

impl Running {
    /// How many live streams are open.
    pub fn live_connections(&self) -> usize {
        self.connections.live()
    }

    /// Stops: no new connections, streams end, requests finish, what waits to be written is written, the database is
    /// closed. Under 10 seconds.
    ///
    /// # Errors
    /// The HTTP server's, if it ended on its own.
    pub async fn stop(self) -> io::Result<()> {
        // Streams would hold the shutdown for its whole timeout unless they are told.
        let _ = self.stop.send(true);
        self.http.stop(true).await;
        let outcome = self.http_task.await.unwrap_or_else(|err| Err(io::Error::other(err)));
        if self.indexer_task.await.is_err() {
            tracing::warn!("the indexer had failed");
        }
        // With the handlers, every way to the writer is gone: it ends when its queue is empty.
        if tokio::time::timeout(Duration::from_secs(2), self.writer_task).await.is_err() {
            tracing::warn!("writes were still waiting for the database when the server stopped");
        }
        if tokio::time::timeout(Duration::from_secs(1), self.db.close()).await.is_err() {
            tracing::warn!("the database did not close in time");
        }
        outcome
    }
}

/// What keeps caches as fresh as the log.
struct Caches {
    catalogs: Catalogs,
    keys: KeyRing,
    bell: IndexerBell,
}

impl ControlObserver for Caches {
    fn observe(&self, project: &ProjectId, sequence: u64, control: &Control) {
        self.catalogs.require(project, sequence);
        if control.concerns_indexes() {
            self.bell.ring();
        }
        if let Some(key) = control.revoked_key() {
            self.keys.forget(&key);
        }
    }

    fn observe_gap(&self, project: &ProjectId, control: u64, revoked: &[KeyId]) {
        self.catalogs.restart(project, control);
        self.bell.ring();
        revoked.iter().for_each(|key| self.keys.forget(key));
    }
}

/// Makes a file and removes it.
fn check_writable(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".writable-{}", std::process::id()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(probe)
}

/// The address to propose instead of one that is taken.
fn next_port(address: &SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8080))
}

/// Accepted sockets inherit these options.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn cors(allowed_origins: Option<&[String]>) -> Cors {
    let cors = Cors::default()
        .allow_any_method()
        .allow_any_header()
        .expose_headers(["ETag", "X-Cursor", "X-Query-Plan", "Retry-After"])
        .max_age(3600);
    match allowed_origins {
        None => cors.allow_any_origin().send_wildcard(),
        Some(origins) => origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin)),
    }
}
