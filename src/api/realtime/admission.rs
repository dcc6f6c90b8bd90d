//! Decides who may open a stream: how many streams there may be, from which pages, and by which credential.

use std::sync::Arc;

use actix_web::{HttpRequest, http::header};

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{
            Parameters,
            credential::{TWO_CREDENTIALS, credentials, hint_about_key, two_credentials},
            params::params_of,
        },
    },
    auth::{Authenticator, Credentials, KeyKind, Principal, Tickets, foreign::is_user_token},
    shares::{Account, Budget, BudgetPermit},
};

/// Decides who may open a stream. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    /// Knows the holders of keys and of users' tokens.
    pub authenticator: Authenticator,
    /// Knows the holder of a ticket.
    pub tickets: Tickets,
    /// Counts the connections of every door.
    pub connections: ConnectionCount,
    /// The origins whose pages may open streams; `None` allows every origin.
    pub allowed_origins: Option<Arc<[String]>>,
}

/// Counts live connections, of which a key may have three times what it leaves free. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionCount(Budget);

/// The right to have one connection.
pub struct ConnectionPermit(#[expect(dead_code, reason = "held until it is dropped")] BudgetPermit);

impl ConnectionCount {
    /// Allows `limit` connections at a time.
    pub fn new(limit: usize) -> Self {
        Self(Budget::new(limit))
    }

    /// Returns a permit, or `None` if there are too many connections, or too many of this key.
    pub fn acquire(&self, account: &Account) -> Option<ConnectionPermit> {
        self.0.take(account, 1).ok().map(ConnectionPermit)
    }

    /// Returns how many connections there are.
    pub fn live(&self) -> usize {
        self.0.held_by_all()
    }
}

impl Admission {
    /// Finds the holder of a key, of a user's token, of both, or of a ticket in the place of the key or the token.
    ///
    /// # Errors
    /// `UNAUTHORIZED`. The hint of an expired ticket or token says that it has expired.
    pub async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Arc<Principal>, ApiError> {
        let is_other = |token: &&str| Tickets::is_ticket(token) && !is_user_token(token);
        let ticket = [credentials.key, credentials.user].into_iter().flatten().find(is_other);
        let Some(ticket) = ticket else {
            if let Some(hint) = credentials.key.and_then(hint_about_key) {
                return Err(ApiError::unauthorized().with_hint(hint));
            }
            return Ok(self.authenticator.authenticate(credentials).await?);
        };
        if credentials.key.is_some() && credentials.user.is_some() {
            return Err(ApiError::unauthorized().with_hint(TWO_CREDENTIALS));
        }
        let holder = self.tickets.read(ticket)?;
        Ok(self.authenticator.find_holder(holder).await?)
    }

    /// Finds out who opens a stream, by header, `?token=pk_…` or `?ticket=`. `None` if the request has no credential.
    ///
    /// # Errors
    /// `UNAUTHORIZED` for a bad credential, several different ones, or one that must not be in a URL.
    pub(super) async fn opener(
        &self,
        request: &HttpRequest,
        parameters: &Parameters,
    ) -> Result<Option<Arc<Principal>>, ApiError> {
        let header = credentials(request.headers())?;
        let twice = |name| format!("`{name}` is given more than once in the URL; give it once");
        let parameter =
            |name| parameters.single(name).map_err(|_| ApiError::unauthorized().with_hint(twice(name)));
        let (token, ticket) = (parameter("token")?, parameter("ticket")?);
        check_url_credentials(token, ticket)?;
        let mut keys = [header.key, token, ticket].into_iter().flatten();
        let key = keys.next();
        if let Some((one, other)) = key.zip(keys.find(|other| Some(*other) != key)) {
            return Err(ApiError::unauthorized().with_hint(two_credentials([one, other])));
        }
        let credentials = Credentials { key, user: header.user };
        if credentials == Credentials::default() {
            return Ok(None);
        }
        let principal = self.authenticate(credentials).await?;
        Ok(Some(match params_of(request.headers())? {
            Some(params) => principal.with_params(params),
            None => principal,
        }))
    }

    /// Refuses a browser's page that is neither of this server nor of an allowed origin. There are no ambient credentials,
    /// so `Origin` is checked for nothing else.
    ///
    /// # Errors
    /// `FORBIDDEN`.
    pub(super) fn check_origin(&self, request: &HttpRequest) -> Result<(), ApiError> {
        let (Some(allowed), Some(origin)) = (&self.allowed_origins, request.headers().get(header::ORIGIN))
        else {
            return Ok(());
        };
        if allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
            || is_own_page(request, origin)
        {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::Forbidden,
            "pages of this origin may not open streams (COIR_ALLOWED_ORIGINS)",
        ))
    }
}

/// Refuses credentials that must not be in a URL, since URLs end up in logs and histories.
fn check_url_credentials(token: Option<&str>, ticket: Option<&str>) -> Result<(), ApiError> {
    let refuse = |hint| Err(ApiError::unauthorized().with_hint(hint));
    if [token, ticket].into_iter().flatten().any(|text| text.starts_with(KeyKind::Secret.prefix())) {
        return refuse("a secret key must not be in a URL; send it in a header or an `auth` message");
    }
    if token.is_some_and(Tickets::is_ticket) {
        return refuse(
            "a user token must not be in a URL, and a stream ticket is given as ?ticket=; send it in a header or an `auth` message",
        );
    }
    if ticket.is_some_and(|ticket| !Tickets::is_ticket(ticket)) {
        return refuse("`ticket` takes what POST /realtime/tickets gives; a publishable key is ?token=pk_…");
    }
    Ok(())
}

/// Whether the page came from the host that it asks now. A browser sends the page's origin in that case too when it opens a
/// WebSocket.
fn is_own_page(request: &HttpRequest, origin: &header::HeaderValue) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
    host.zip(authority).is_some_and(|(host, authority)| host.eq_ignore_ascii_case(authority))
}
