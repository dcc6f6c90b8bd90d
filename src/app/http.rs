//! The HTTP server on the listening socket.

use std::{fmt, net::TcpListener, sync::Arc, time::Duration};

use actix_http::{HttpService, KeepAlive, Request, Response, error::DispatchError};
use actix_server::{Server, ServerBuilder};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{body::MessageBody, dev::AppConfig, rt::net::TcpStream};
use tokio::sync::watch;

use super::StartError;
use crate::api::sockets::{Socket, Sockets, progress::track};

/// How long requests may take to end when the server stops. With the steps that follow, a stop takes under 10 s.
pub(super) const SHUTDOWN_SECONDS: u64 = 6;
/// How long a peer may go on sending a body that nobody reads any more.
const DISCONNECT: Duration = Duration::from_secs(2);

/// The settings of the HTTP server.
pub(super) struct HttpSettings {
    /// Threads.
    pub(super) workers: usize,
    /// Connections at the same time, with those that nobody has looked at yet. Beyond it the next ones wait to be accepted.
    pub(super) accepted: usize,
    pub(super) sockets: Arc<Sockets>,
    /// True once the server stops.
    pub(super) stopped: watch::Receiver<bool>,
}

/// Starts the server. `application` is called once on each worker thread.
///
/// # Errors
/// [`StartError::Http`].
pub(super) fn serve<A, S, B>(
    listener: TcpListener,
    settings: HttpSettings,
    application: impl Fn() -> A + Clone + Send + 'static,
) -> Result<Server, StartError>
where
    A: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error> + 'static,
    S::Response: Into<Response<B>>,
    S::InitError: fmt::Debug,
    S::Service: 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let HttpSettings { workers, accepted, sockets, stopped } = settings;
    let builder: ServerBuilder = Server::build()
        .workers(workers)
        .max_concurrent_connections(accepted.div_ceil(workers))
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals();
    let builder = builder
        .listen("http", listener, move || connections(application(), sockets.clone(), stopped.clone()));
    Ok(builder.map_err(StartError::Http)?.run())
}

/// Returns the service that serves the connections of one worker thread.
fn connections<A, S, B>(
    application: A,
    sockets: Arc<Sockets>,
    stopped: watch::Receiver<bool>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    A: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error> + 'static,
    S::Response: Into<Response<B>>,
    S::InitError: fmt::Debug,
    S::Service: 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let application = application.into_factory().map_err(|err| err.error_response());
    let http = HttpService::build()
        // The socket has deadlines for heads and for idle connections.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(DISCONNECT)
        // Otherwise garbage behind a request would cost that request its answer. The socket itself ends the request of a client
        // that has gone.
        .h1_allow_half_closed(true)
        .graceful_shutdown_signal(move || {
            let mut stopped = stopped.clone();
            async move {
                // An error means that the sender is gone, which is the end as well.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            }
        })
        .on_connect_ext(|socket: &Socket, data| {
            data.insert(socket.handle());
        })
        .h1(track(map_config(application, |()| AppConfig::default())));
    fn_service(move |tcp: TcpStream| {
        std::future::ready(Socket::open(tcp, &sockets).map_err(DispatchError::Io))
    })
    .and_then(http)
}
