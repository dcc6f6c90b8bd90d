//! Everything that handlers share.

use std::sync::{Arc, atomic::AtomicBool};

use actix_web::web;

use crate::{
    api::{readiness::Health, realtime::Realtime, request::proxies::Proxies},
    auth::{Authenticator, Rates},
    config::Limits,
    service::{Collections, Documents, Exports, ProjectKeys, Projects, Users},
    shares::Budget,
    store::Db,
};

/// Everything that handlers share. `app` makes one for the whole process; a handler takes it as [`State`].
pub struct ServerState {
    pub documents: Documents,
    pub collections: Collections,
    pub exports: Exports,
    pub users: Users,
    pub projects: Projects,
    pub keys: ProjectKeys,
    pub realtime: web::Data<Realtime>,
    pub authenticator: Authenticator,
    pub health: Health,
    /// For the health check alone; everything else asks a service.
    pub db: Db,
    pub limits: Limits,
    /// Bounds how much each caller asks for.
    pub rates: Rates,
    /// The proxies whose word about the address of a client is taken.
    pub proxies: Proxies,
    /// Bounds the bodies of all requests in progress.
    pub request_bodies: Budget,
    /// Bounds the large answers that wait for their peers.
    pub response_bodies: Budget,
    /// True once the server is about to stop, for the health check.
    pub is_draining: Arc<AtomicBool>,
    /// The name of this run of the server, for the commands that ask before they send a key. Each start has another one.
    pub instance: Arc<str>,
}

/// The extractor of the [`ServerState`].
pub type State = web::Data<ServerState>;
