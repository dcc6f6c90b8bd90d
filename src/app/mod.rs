//! The composition root: connects, migrates, starts hub, relay and writer, binds, and stops in the opposite order. The only
//! module that sees every other one.
//!
//! Reading order: this file, [`database`], [`listener`], [`descriptors`], [`http`], [`threads`], [`secrets`], [`caches`], [`key_upkeep`], [`open_collections`], [`error`].

mod caches;
mod database;
mod descriptors;
mod error;
mod http;
mod key_upkeep;
mod listener;
mod open_collections;
mod secrets;
mod threads;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_cors::Cors;
use actix_server::ServerHandle;
use actix_web::{App, middleware::from_fn, web};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use caches::Caches;
pub use database::{open_database, prepare_database};
pub use error::StartError;
use http::{HttpSettings, SHUTDOWN_SECONDS};
use secrets::{SecretsBell, Signers};
use threads::Threads;

use crate::{
    api::{
        cocobase::rooms::registry::Rooms,
        fallback::{head_as_get, name_unknown_collection},
        readiness::Health,
        realtime::{Admission, ConnectionCount, LocalShard, Realtime},
        request::{ignored::refuse_ignored, proxies::Proxies},
        response::bound_answers,
        routes::routes,
        sockets::Sockets,
        state::ServerState,
        traffic::tell_what_is_left,
    },
    auth::{Authenticator, KeyRing, Lanes, Passwords, RateLimits, Rates, Sessions, TrafficLimits},
    config::Config,
    hub::{self, Bounds, Shard, relay},
    live::{
        reads::{StoredStreams, Streams},
        stored_log::StoredLog,
    },
    mail,
    providers::{self, Fetcher, Hosts, Providers},
    service::{
        Collections, Documents, Exports, FailedSignIns, ProjectKeys, Projects, Scans, Users,
        foreign_tokens::IssuedTokens, keys::NewKeys, users::Lifetimes,
    },
    shares::Budget,
    store::{Db, collections::catalog::Catalogs},
    supervision::{Pulse, Supervisor},
    writer::{
        self, WriterConfig,
        indexer::{self, IndexerBell},
    },
};

/// How long connections may take to end before the HTTP server is told to stop, after which it looks only once a second.
const FAREWELL: Duration = Duration::from_millis(500);
/// How often a worker thread gives a sign of life.
const BEAT: Duration = Duration::from_secs(1);
/// How long a worker thread may do without. Some requests keep their thread for a part of it.
const THREAD_STILL: Duration = Duration::from_secs(4);
/// Bytes that the bodies of all requests in progress may take together, as text and parsed.
const BODY_BUDGET: usize = 128 * 1024 * 1024;

/// A running server.
pub struct Running {
    /// The address it listens on, with the port that was taken if port 0 was asked for.
    pub address: SocketAddr,
    /// The keys that were created, if this was the first start.
    pub new_keys: Option<NewKeys>,
    /// The durability setting in force, as the database reports it.
    pub durability: String,
    /// What `/health/live` answers in its header: who this server is, another one with each start.
    pub instance: Arc<str>,
    db: Db,
    http: ServerHandle,
    http_outcome: oneshot::Receiver<io::Result<()>>,
    supervisor: Supervisor,
    stop: watch::Sender<bool>,
    /// True once the server says that it is not ready, because it is about to stop.
    is_draining: Arc<AtomicBool>,
    writer_task: JoinHandle<()>,
    mail_task: JoinHandle<()>,
    indexer_task: JoinHandle<()>,
    connections: ConnectionCount,
    sockets: Arc<Sockets>,
    _threads: [Threads; 4],
}

/// Starts the server on the calling runtime, which must have several threads.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(config: Config) -> Result<Running, StartError> {
    // Before the database: a port that is in use must not cost a migration. While the database is waited for, the port is
    // closed, so that nobody takes the server for one that answers.
    drop(listener::bind(config.listen)?);
    if let Some(directory) = config.public.as_ref().filter(|directory| !directory.is_dir()) {
        return Err(StartError::NoPublic(directory.clone()));
    }
    let limits = descriptors::divide(descriptors::raise(), config.workers, &config.limits);
    let read_threads = Threads::start("coir-read").map_err(StartError::Threads)?;
    let (db, new_keys) = database::open_database_when_there(&config).await?;
    let db = db.with_long_reads_on(read_threads.handle());
    let durability = database::when_there(async || db.durability_report().await).await?;
    let signers = database::when_there(async || Signers::read(&db, config.jwt_algorithm).await).await?;
    let listener = listener::bind(config.listen)?;
    let address = listener.local_addr().map_err(|err| StartError::Listen(config.listen, err))?;

    let catalogs = Catalogs::new(db.clone());
    let keys = KeyRing::new(db.clone());
    let sessions = Sessions::new(db.clone());
    let authenticator = Authenticator {
        keys: keys.clone(),
        sessions: sessions.clone(),
        tokens: signers.tokens.clone(),
        foreign: Arc::default(),
    };
    let hub_threads = Threads::start("coir-hub").map_err(StartError::Threads)?;
    let hash_threads = Threads::start("coir-hash").map_err(StartError::Threads)?;
    let idle_threads = Threads::start_idle("coir-hash-idle").map_err(StartError::Threads)?;
    let lanes = Lanes::new(hash_threads.handle(), idle_threads.handle());
    let passwords = Passwords::new(lanes).map_err(StartError::Passwords)?;
    let supervisor = Supervisor::start().map_err(StartError::Threads)?;
    let hub = {
        let _context = hub_threads.handle().enter();
        hub::start(Bounds::default(), &supervisor)
    };
    let bell = IndexerBell::default();
    let secrets_bell = SecretsBell::default();
    let observer = Arc::new(Caches {
        secrets: secrets_bell.clone(),
        catalogs: catalogs.clone(),
        keys: keys.clone(),
        sessions: sessions.clone(),
        bell: bell.clone(),
    });
    let log = Arc::new(StoredLog::new(db.clone()));
    let relay = async || relay::start(hub.clone(), log.clone(), observer.clone(), &supervisor).await;
    let relay = database::when_there(relay).await?;
    let (tickets, states) = (signers.tickets.clone(), signers.states.clone());
    let (writer, writer_task) = writer::start(
        db.clone(),
        (catalogs.clone(), keys.clone(), sessions),
        Some(relay.clone()),
        WriterConfig {
            max_document_bytes: config.limits.document_bytes,
            max_indexes: config.limits.indexes,
            max_collections: config.limits.collections,
            max_idempotency_bytes: config.limits.idempotency_bytes,
            retention: Some(config.retention),
        },
        &supervisor,
    );

    let hosts = Hosts::new(&config.private_providers);
    let fetcher = Fetcher::new(hosts.clone());
    let providers = Providers { documents: providers::Documents::new(fetcher), states };
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let (mailer, mail_task) = mail::start(config.smtp.clone(), writer.clone(), &public_url, &supervisor);

    let (stop, stopped) = watch::channel(false);
    let doubters = (authenticator.sessions.clone(), hub.clone());
    let signers = signers.run(db.clone(), secrets_bell, doubters, stopped.clone());
    tokio::spawn(supervisor.watch("secrets", signers));
    let indexer =
        indexer::run(db.clone(), writer.clone(), bell, stopped.clone(), supervisor.pulse("indexer"));
    let indexer = tokio::spawn(supervisor.watch("indexer", indexer));
    let health = Health { supervisor: supervisor.clone(), writer: writer.health(), relay: relay.clone() };
    let connections = ConnectionCount::new(limits.streams);
    let rates = Rates::new(if config.rate_limits { config.traffic } else { TrafficLimits::default() });
    let realtime = Realtime {
        streams: Streams::new(
            Arc::new(StoredStreams {
                db: db.clone(),
                catalogs: catalogs.clone(),
                keys: keys.clone(),
                sessions: authenticator.sessions.clone(),
            }),
            relay,
            writer.activity(),
            config.limits.subscriptions,
        )
        .with_subscription_bytes(config.limits.subscription_bytes),
        admission: Admission {
            authenticator: authenticator.clone(),
            tickets,
            connections: connections.clone(),
            allowed_origins: config.allowed_origins.as_deref().map(Arc::from),
        },
        rates: rates.clone(),
        heartbeat: config.heartbeat,
        bus: Arc::new(Rooms::default()),
        stop: stopped.clone(),
    };
    let response_bodies = Budget::new(config.limits.answer_bytes);
    let scans = Scans::new(db.clone(), response_bodies.clone());
    let documents = Documents {
        db: db.clone(),
        catalogs: catalogs.clone(),
        writer: writer.clone(),
        scans: scans.clone(),
    };
    let users = Users {
        documents: documents.clone(),
        tokens: authenticator.tokens.clone(),
        passwords,
        lifetimes: Lifetimes {
            access_seconds: config.access_token_seconds,
            refresh_days: config.refresh_token_days,
        },
        mailer,
        providers,
        limits: RateLimits::new(config.rate_limits),
        failed: FailedSignIns::default(),
    };
    let upkeep = key_upkeep::end_expired(keys.clone(), hub.clone(), stopped.clone());
    tokio::spawn(supervisor.watch("ends of keys", upkeep));
    let upkeep = key_upkeep::write_uses(keys.uses().clone(), writer.clone(), stopped.clone());
    tokio::spawn(supervisor.watch("uses of keys", upkeep));
    let failed = users.failed.clone().run(writer.clone(), stopped.clone());
    tokio::spawn(supervisor.watch("audit", failed));
    let issued = IssuedTokens::new(users.clone(), authenticator.sessions.clone());
    // Nobody has set it before.
    let _ = authenticator.foreign.set(Arc::new(issued));
    let named = catalogs.clone();
    let state = web::Data::new(ServerState {
        users,
        keys: ProjectKeys { db: db.clone(), writer: writer.clone(), ring: keys },
        projects: Projects { db: db.clone(), catalogs: catalogs.clone(), writer: writer.clone(), hosts },
        exports: Exports::new(documents.clone(), authenticator.clone()),
        documents,
        collections: Collections { db: db.clone(), catalogs, writer, scans },
        realtime: web::Data::new(realtime),
        authenticator,
        health,
        db: db.clone(),
        limits: config.limits,
        rates,
        proxies: Proxies::new(config.trusted_proxies.clone()),
        request_bodies: Budget::new(BODY_BUDGET.max(8 * config.limits.body_bytes)),
        response_bodies,
        is_draining: Arc::default(),
        instance: uuid::Uuid::now_v7().simple().to_string().into(),
    });
    let instance = state.instance.clone();
    let is_draining = state.is_draining.clone();
    let allowed_origins = config.allowed_origins.clone();
    let public = config.public.clone();
    let database = config.database_url.file();
    let next_shard = Arc::new(AtomicU32::new(0));
    let sockets = Sockets::new(limits.sockets, allowed_origins.clone());
    let settings = HttpSettings {
        workers: config.workers,
        accepted: limits.accepted,
        sockets: sockets.clone(),
        stopped,
    };
    let watch = supervisor.clone();
    let server = http::serve(listener, settings, move || {
        // Runs on each worker thread, where the shard and its connections then live.
        let (shard, shard_loop) = Shard::new(next_shard.fetch_add(1, Ordering::Relaxed), hub.clone());
        actix_web::rt::spawn(watch.watch(shard.part(), shard_loop));
        actix_web::rt::spawn(watch.watch(shard.thread(), beat(watch.pulse(shard.thread()))));
        App::new()
            .app_data(LocalShard(shard))
            .app_data(state.clone())
            .wrap(from_fn(bound_answers))
            .wrap(from_fn(name_unknown_collection))
            .wrap(from_fn(refuse_ignored))
            .wrap(from_fn(tell_what_is_left))
            .wrap(from_fn(head_as_get))
            .wrap(cors(allowed_origins.as_deref()))
            .configure(|config| routes(config, public.as_deref(), database.as_deref()))
    })?;
    let http = server.handle();
    let (http_ended, http_outcome) = oneshot::channel();
    let pulse = supervisor.pulse("HTTP server");
    tokio::spawn(supervisor.watch("HTTP server", async move {
        // Nobody hears of it if the server was dropped.
        let _ = http_ended.send(pulse.beat_during(THREAD_STILL, server).await);
    }));
    limits.log(&config.limits);
    // Nobody waits for it.
    tokio::spawn(open_collections::log(db.clone(), named));
    Ok(Running {
        address,
        new_keys,
        durability,
        instance,
        db,
        http,
        http_outcome,
        supervisor,
        stop,
        is_draining,
        writer_task,
        mail_task,
        indexer_task: indexer,
        connections,
        sockets,
        _threads: [hub_threads, read_threads, hash_threads, idle_threads],
    })
}

impl Running {
    /// Counts the open live streams.
    pub fn live_connections(&self) -> usize {
        self.connections.live()
    }

    /// Makes `/health/ready` answer 503, so that load balancers send nothing more. Everything else works on.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Returns who watches the parts of the server.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Stops the server within 10 seconds: it accepts no more connections, ends streams, finishes requests, commits the writes
    /// that wait, and closes the database.
    ///
    /// # Errors
    /// The HTTP server's error, if it had ended on its own.
    pub async fn stop(self) -> io::Result<()> {
        self.supervisor.stop();
        // Streams would hold the shutdown for its whole timeout unless they are told to end. Idle connections end, too.
        let _ = self.stop.send(true);
        let stopping = async {
            self.http.pause().await;
            // A client that is still there after that has the time of a graceful stop.
            let _ = tokio::time::timeout(FAREWELL, self.sockets.closed()).await;
            self.http.stop(true).await;
            self.http_outcome.await.unwrap_or_else(|err| Err(io::Error::other(err)))
        };
        let limit = FAREWELL + Duration::from_secs(SHUTDOWN_SECONDS);
        let outcome = tokio::time::timeout(limit, stopping).await.unwrap_or_else(|_| {
            // A thread is in the middle of something long, which ends with the process.
            tracing::warn!("a worker thread did not end in time");
            Ok(())
        });
        match tokio::time::timeout(Duration::from_millis(500), self.indexer_task).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::warn!("the indexer had failed before the stop"),
            Err(_) => tracing::warn!("the indexer was still at work when the server stopped"),
        }
        // The handlers held the last handles to the queue of mails. The outbox gets those that wait.
        if tokio::time::timeout(Duration::from_millis(1500), self.mail_task).await.is_err() {
            tracing::warn!("mails were still waiting when the server stopped");
        }
        // The handlers held the last handles to the writer, which ends when its queue is empty.
        if tokio::time::timeout(Duration::from_secs(2), self.writer_task).await.is_err() {
            tracing::warn!("writes were still waiting for the database when the server stopped");
        }
        if tokio::time::timeout(Duration::from_secs(1), self.db.close()).await.is_err() {
            tracing::warn!("the database did not close in time");
        }
        outcome
    }
}

/// Gives signs of life of a worker thread, as long as its tasks let each other run.
async fn beat(pulse: Pulse) {
    loop {
        pulse.expect_within(THREAD_STILL);
        tokio::time::sleep(BEAT).await;
    }
}

fn cors(allowed_origins: Option<&[String]>) -> Cors {
    let cors = Cors::default()
        .allow_any_method()
        .allow_any_header()
        .expose_headers([
            "ETag",
            "X-Cursor",
            "Retry-After",
            "Preference-Applied",
            "X-RateLimit-Limit",
            "X-RateLimit-Remaining",
            "X-RateLimit-Reset",
        ])
        .max_age(3600);
    match allowed_origins {
        None => cors.allow_any_origin().send_wildcard(),
        Some(origins) => origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin)),
    }
}
