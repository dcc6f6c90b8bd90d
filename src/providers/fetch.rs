//! One request to a provider: a deadline, a bound on the answer, no redirect, and few at a time.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, StatusCode, body::Bytes, header, http::request::Builder};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::Value;
use tokio::runtime::Handle;
use url::Url;

use super::{Hosts, ProviderError, hosts};
use crate::{
    domain::ProjectId,
    shares::{Account, FairPermits, PermitLimits},
};

/// How long a request may take, from the look-up of the name to the last byte.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection may take to be made, within the deadline.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const MAX_ANSWER: usize = 256 * 1024;
/// How many requests may be on their way. The last ones are only for projects that have none.
const AT_ONCE: PermitLimits =
    PermitLimits { permits: 64, for_newcomers: 16, waiting_of_a_key: 0, waiting_of_a_project: 0, waiting: 0 };

type HttpClient = Client<HttpsConnector<HttpConnector<Hosts>>, Full<Bytes>>;

/// Makes requests to providers. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    client: HttpClient,
    hosts: Hosts,
    permits: FairPermits,
    /// The connections live on this runtime, whichever thread asks.
    runtime: Handle,
}

/// An answer of a provider.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Null if it is no JSON.
    pub body: Value,
}

impl Fetcher {
    /// Makes a client whose connections live on the calling runtime.
    pub fn new(hosts: Hosts) -> Self {
        let mut connector = HttpConnector::new_with_resolver(hosts.clone());
        // Which URLs may do without TLS, `Hosts` says.
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(2)
            .build(connector);
        Self { client, hosts, permits: FairPermits::new(AT_ONCE), runtime: Handle::current() }
    }

    /// Reads a URL to which a request may go.
    ///
    /// # Errors
    /// As [`Hosts::check`].
    pub fn check(&self, url: &str) -> Result<Url, ProviderError> {
        self.hosts.check(url)
    }

    /// Asks for a JSON document.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn get(
        &self,
        project: &ProjectId,
        url: &str,
        bearer: Option<&str>,
    ) -> Result<Answer, ProviderError> {
        let mut request = self.request(url)?;
        if let Some(token) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.send(project, request.body(Full::default())).await
    }

    /// Sends a form. `basic` is a name and a password.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn post(
        &self,
        project: &ProjectId,
        url: &str,
        form: &[(&str, &str)],
        basic: Option<(String, String)>,
    ) -> Result<Answer, ProviderError> {
        let mut request = self
            .request(url)?
            .method("POST")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some((name, password)) = basic {
            let credentials = STANDARD.encode(format!("{name}:{password}"));
            request = request.header(header::AUTHORIZATION, format!("Basic {credentials}"));
        }
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.send(project, request.body(body.into())).await
    }

    fn request(&self, url: &str) -> Result<Builder, ProviderError> {
        let url = self.check(url)?;
        Ok(Request::builder()
            .uri(url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "Coir"))
    }

    async fn send(
        &self,
        project: &ProjectId,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<Answer, ProviderError> {
        let request =
            request.map_err(|_| ProviderError::BadAnswer("a URL or a token in it can't be sent"))?;
        let permit = self.permits.acquire(&Account::of_project(project)).await;
        let permit = permit.map_err(|_| ProviderError::Crowded)?;
        let client = self.client.clone();
        let task = self.runtime.spawn(async move {
            // Held until the answer is there, also if the caller has gone.
            let _permit = permit;
            tokio::time::timeout(DEADLINE, receive(client, request)).await
        });
        match task.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                tracing::info!("a provider of sign-ins did not answer within {} s", DEADLINE.as_secs());
                Err(ProviderError::Away)
            }
            Err(_) => Err(ProviderError::Away),
        }
    }
}

async fn receive(client: HttpClient, request: Request<Full<Bytes>>) -> Result<Answer, ProviderError> {
    let response = client.request(request).await.map_err(|err| {
        // The cause alone: it names no URL.
        tracing::info!("a request to a provider of sign-ins failed: {}", cause(&err));
        hosts::refusal_in(&err).unwrap_or(ProviderError::Away)
    })?;
    let status = response.status();
    if status.is_redirection() {
        return Err(ProviderError::BadAnswer("it is a redirect"));
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|err| match err.is::<LengthLimitError>() {
        true => ProviderError::BadAnswer("it has over 256 KiB"),
        false => ProviderError::Away,
    })?;
    match serde_json::from_slice(&body.to_bytes()) {
        Ok(body) => Ok(Answer { status, body }),
        Err(_) if status.is_success() => Err(ProviderError::BadAnswer("it is no JSON")),
        Err(_) => Ok(Answer { status, body: Value::Null }),
    }
}

/// Returns the innermost cause, which the outer ones don't tell.
fn cause(err: &dyn std::error::Error) -> String {
    let mut cause = err;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
