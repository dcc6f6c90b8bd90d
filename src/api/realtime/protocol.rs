//! The conversation of the documented protocol: a client authenticates, subscribes and unsubscribes. On SSE it says nothing,
//! and the request has subscribed for it.

use std::{rc::Rc, sync::Arc};

use serde_json::Value;

use super::{
    connection::{Connection, NotAdmitted},
    conversation::{Conversation, Dialect, End},
    messages::{ClientMessage, Refusal, parse_message},
    validity::Validity,
};
use crate::{
    api::error::{ApiError, ErrorCode},
    auth::{AuthError, Credentials, Forbidden, Principal, TokenError, foreign::is_user_token},
    domain::{KeyEnd, USERS},
    hub::CloseReason,
    live::{Begun, Ended, LiveError, NewSubscription, Subscription, Subscriptions},
    query::{
        Filter,
        parse::{self, Typing},
        unknown_field_of_users,
    },
    wire::{CloseCode, messages},
};

/// How often a client may send a bad credential.
const MAX_FAILED_AUTH: u32 = 5;
/// The largest message before a good one, in bytes.
const MAX_ANONYMOUS_MESSAGE: usize = 16 * 1024;

/// The hints for credentials in messages.
const NO_TOKEN: &str =
    "`auth` must have a member `token`, which is a string: {\"type\":\"auth\",\"token\":\"<key or ticket>\"}";
const AUTH_FIRST: &str =
    "nothing has said who is asking; send {\"type\":\"auth\",\"token\":\"<key or ticket>\"} first";
const OTHER_PROJECT: &str = "this connection belongs to another project; open another one for this key";

/// The documented protocol on one connection.
pub struct Protocol {
    connection: Rc<Connection>,
    principal: Option<Arc<Principal>>,
    failed_auth: u32,
    subscriptions: Subscriptions,
    validity: Validity,
}

/// An event on the server's side of the documented protocol.
pub enum News {
    /// A subscription has ended, or all of them.
    Ended(Ended),
    /// The token of the user has expired.
    Expired,
    /// The pause after that is over.
    NotRenewed,
}

impl Protocol {
    /// Begins without a principal and without subscriptions.
    pub fn new(connection: Rc<Connection>) -> Self {
        let subscriptions = Subscriptions::new(
            connection.realtime.streams.clone(),
            connection.shard.clone(),
            connection.outbox.clone(),
            connection.form,
        );
        Self { connection, principal: None, failed_auth: 0, subscriptions, validity: Validity::Unlimited }
    }

    /// Notes who is asking from now on. Ends each subscription that the new principal may not have.
    ///
    /// # Errors
    /// `FORBIDDEN` if the key is not for the page; `UNAUTHORIZED` if the connection belongs to another project already, or the key was revoked or the session ended meanwhile;
    /// `RATE_LIMITED` if the caller opens too many streams; `OVERLOADED` if there are too many connections, and then it ends, or if it is unknown whether the session goes on.
    pub fn set_principal(&mut self, principal: Arc<Principal>) -> Result<(), ApiError> {
        if self.principal.as_ref().is_some_and(|known| known.project != principal.project) {
            return Err(ApiError::unauthorized().with_hint(OTHER_PROJECT));
        }
        self.connection.check_origin(&principal)?;
        if self.principal.is_none() {
            self.connection.count(&principal)?;
        }
        match self.connection.set_principal(&principal) {
            Ok(()) => {}
            Err(
                refused
                @ (NotAdmitted::KeyEnded(_) | NotAdmitted::SessionEnded | NotAdmitted::SessionInDoubt),
            ) => {
                self.connection.set_owner(self.principal.as_deref());
                return Err(match refused {
                    NotAdmitted::SessionEnded => AuthError::SessionEnded.into(),
                    NotAdmitted::SessionInDoubt => {
                        ApiError::new(ErrorCode::Overloaded, "the session cannot be checked now; try again")
                    }
                    NotAdmitted::KeyEnded(end) => AuthError::from(end).into(),
                    NotAdmitted::Full => ApiError::unauthorized(),
                });
            }
            Err(NotAdmitted::Full) => {
                self.connection.outbox.close(CloseReason::Full);
                return Err(ApiError::new(ErrorCode::Overloaded, "too many connections; try again"));
            }
        }
        if let Err(forbidden) = self.connection.realtime.streams.check(&principal) {
            say_forbidden(&self.subscriptions.end_all(), forbidden);
        }
        if let Some(only) = &principal.collection {
            say_forbidden(&self.subscriptions.end_others(only), Forbidden::Collection);
        }
        self.validity = Validity::of(&principal);
        self.principal = Some(principal);
        Ok(())
    }

    /// Notes that somebody says who is asking, once more or for the first time. Subscriptions that are paused go on, and those of
    /// which the new principal may read other documents end.
    ///
    /// # Errors
    /// As [`Protocol::set_principal`].
    pub async fn change_principal(&mut self, principal: Arc<Principal>) -> Result<(), ApiError> {
        let Some(known) = self.principal.clone().filter(|known| known.project == principal.project) else {
            return self.set_principal(principal);
        };
        // A subscription that reads the log may be past the end of the new session already, of which this node has not heard.
        if let Some(user) = &principal.user
            && !self.connection.realtime.streams.has_session(&user.session).await.map_err(LiveError::from)?
        {
            return Err(AuthError::SessionEnded.into());
        }
        let rebound = self.subscriptions.find_rebound(&known, &principal).await?;
        let was_paused = self.validity.is_paused();
        let asker = principal.clone();
        self.set_principal(principal)?;
        say_forbidden(&self.subscriptions.end_these(&rebound), Forbidden::OtherReader);
        let is_other = self.subscriptions.set_asker(&known, &asker);
        if was_paused || is_other {
            self.subscriptions.end_pause();
        }
        Ok(())
    }

    /// Tells the client that a credential of its request was bad, and counts it. If it could not be checked, or comes too often,
    /// the connection ends.
    pub fn refuse_auth(&mut self, error: &ApiError) {
        self.count_failed_auth(error);
        self.say_error(error, None);
        if self.must_come_back(error) {
            self.connection.outbox.close(CloseReason::Unchecked);
        }
    }

    /// Begins a subscription. If it waits for its collection, the client is told with the error of an unknown collection.
    ///
    /// # Errors
    /// Why it can't be served.
    pub async fn subscribe(&mut self, new: NewSubscription) -> Result<(), ApiError> {
        let principal = self.principal.clone().ok_or_else(ApiError::unauthorized)?;
        if new.collection == USERS
            && let Some(told) = unknown_field_of_users(&new.filter)
        {
            return Err(ApiError::new(ErrorCode::InvalidFilter, told));
        }
        if let Begun::Waits { cursor } = self.subscriptions.add(&principal, new).await? {
            let error = ApiError::from(LiveError::UnknownCollection);
            let form = self.connection.form;
            let frame = messages::error_at(form, &cursor, error.code.as_str(), &error.message);
            self.connection.outbox.send(frame);
        }
        Ok(())
    }

    /// Tells the client that its request has something that is not understood. The connection goes on.
    pub fn refuse(&self, error: &ApiError) {
        self.say_error(error, None);
    }

    fn count_subscription(&self) -> Result<(), ApiError> {
        let principal = self.principal.as_deref().ok_or_else(ApiError::unauthorized)?;
        Ok(self.connection.count(principal)?)
    }

    async fn hear_text(&mut self, text: &str) -> Result<(), Refusal> {
        let (message, id) = parse_message(text)?;
        self.hear_message(message).await.map_err(|error| Refusal { error, id: id.map(Box::new) })
    }

    async fn hear_message(&mut self, message: ClientMessage) -> Result<(), ApiError> {
        match message {
            ClientMessage::Ping => self.connection.outbox.send(messages::pong()),
            ClientMessage::Auth { token, user } => {
                let admission = &self.connection.realtime.admission;
                let known = match &token {
                    Some(token) => {
                        let credentials = match (is_user_token(token), user.as_deref()) {
                            (true, None) => Credentials { key: None, user: Some(token) },
                            (_, user) => Credentials { key: Some(token), user },
                        };
                        admission.authenticate(credentials).await
                    }
                    None => Err(ApiError::unauthorized().with_hint(NO_TOKEN)),
                };
                let changed = match known {
                    Ok(principal) => self.change_principal(principal).await,
                    Err(error) => Err(error),
                };
                changed.inspect_err(|error| self.count_failed_auth(error))?;
            }
            // An unknown client learns nothing about collections, so this comes before anything is looked up.
            _ if self.principal.is_none() => return Err(ApiError::unauthorized().with_hint(AUTH_FIRST)),
            ClientMessage::Subscribe { .. } if self.validity.is_paused() => return Err(expired()),
            ClientMessage::Subscribe { collection, filters, params, named } => {
                let filter = match filters {
                    None => Filter::all(),
                    Some(filters) => parse::parse_value(filters, Typing::Typed)?,
                };
                let (id, since, snapshot) = match named {
                    None => (None, None, false),
                    Some(named) => (Some(named.id), named.since, named.wants_snapshot),
                };
                self.count_subscription()?;
                self.subscribe(NewSubscription { collection, filter, id, since, snapshot, params }).await?;
            }
            ClientMessage::Unsubscribe { collection } => {
                let principal = self.principal.clone().ok_or_else(ApiError::unauthorized)?;
                self.subscriptions.remove(&principal, &collection).await?;
            }
            ClientMessage::UnsubscribeNamed { id } => self.subscriptions.remove_named(&id),
        }
        Ok(())
    }

    /// Whether it is unknown who the client is, and not its fault, or the client opens too many streams. What it sends next would be refused as a stranger's, and a
    /// client that is told so does not come back.
    fn must_come_back(&self, error: &ApiError) -> bool {
        self.principal.is_none() && matches!(error.code, ErrorCode::Overloaded | ErrorCode::RateLimited)
    }

    fn count_failed_auth(&mut self, error: &ApiError) {
        if error.code == ErrorCode::Unauthorized {
            self.failed_auth += 1;
        }
    }

    fn say_error(&self, error: &ApiError, id: Option<&Value>) {
        let (code, hint) = (error.code.as_str(), error.hint.as_deref());
        let frame = messages::error(self.connection.form, code, &error.message, hint, id);
        self.connection.outbox.send(frame);
    }

    fn not_renewed(&self) -> End {
        self.end_with(&expired(), CloseCode::NotAllowed, "the user token has expired")
    }

    fn end_with(&self, error: &ApiError, code: CloseCode, reason: &'static str) -> End {
        let (word, hint) = (error.code.as_str(), error.hint.as_deref());
        let last = messages::error(self.connection.form, word, &error.message, hint, None);
        End { last: Some(last), ..End::new(code, reason) }
    }
}

impl Conversation for Protocol {
    type News = News;

    async fn hear(&mut self, text: String) -> Result<(), End> {
        if self.principal.is_none() && text.len() > MAX_ANONYMOUS_MESSAGE {
            return Err(End::new(CloseCode::TooBig, "a message before `auth` is at most 16 KiB"));
        }
        if let Err(Refusal { error, id }) = self.hear_text(&text).await {
            self.say_error(&error, id.as_deref());
            if self.must_come_back(&error) {
                return Err(unchecked());
            }
        }
        if self.failed_auth >= MAX_FAILED_AUTH {
            return Err(End::new(CloseCode::NotAllowed, "too many failed attempts"));
        }
        Ok(())
    }

    async fn serve(&mut self) -> News {
        match self.validity {
            Validity::Unlimited => News::Ended(self.subscriptions.serve().await),
            Validity::Until(end) => tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => News::Expired,
                ended = self.subscriptions.serve() => News::Ended(ended),
            },
            Validity::Paused(end) => {
                tokio::time::sleep_until(end).await;
                News::NotRenewed
            }
        }
    }

    async fn react(&mut self, news: News) -> Result<(), End> {
        match news {
            // On SSE, a client can't send another token.
            News::Expired if !self.connection.form.hears() => Err(self.not_renewed()),
            News::Expired => {
                self.subscriptions.pause();
                self.validity = Validity::paused();
                Ok(())
            }
            News::NotRenewed => Err(self.not_renewed()),
            News::Ended(Ended::Behind) => Err(behind()),
            // The session sees why.
            News::Ended(Ended::All) => Ok(()),
            News::Ended(Ended::One(subscription, error)) => {
                let error = ApiError::from(error);
                if self.connection.form.carries_one_subscription() {
                    return Err(self.end_with(&error, CloseCode::Normal, ""));
                }
                subscription.say_error(error.code.as_str(), &error.message);
                Ok(())
            }
        }
    }

    fn beat(&mut self) -> Option<String> {
        if self.validity.is_paused() { None } else { self.subscriptions.beat() }
    }
}

impl Dialect for Protocol {
    fn is_known(&self) -> bool {
        self.principal.is_some()
    }

    fn late(&self) -> End {
        End::new(CloseCode::NotAllowed, "not authenticated in time")
    }

    fn hear_binary(&mut self) -> Result<(), End> {
        let message = "messages are JSON in text frames; this frame is binary";
        self.say_error(&ApiError::new(ErrorCode::InvalidBody, message), None);
        Ok(())
    }

    fn closed(&self, reason: CloseReason) -> End {
        match reason {
            CloseReason::KeyEnded(end) => {
                let (error, reason) = match end {
                    KeyEnd::Revoked => (ApiError::unauthorized(), "the key was revoked"),
                    KeyEnd::Expired => (AuthError::KeyExpired.into(), "the key has expired"),
                    KeyEnd::Changed => {
                        (AuthError::KeyChanged.into(), "the key was changed; authenticate again")
                    }
                };
                self.end_with(&error, CloseCode::NotAllowed, reason)
            }
            CloseReason::SessionEnded => {
                let error = AuthError::SessionEnded.into();
                self.end_with(&error, CloseCode::NotAllowed, "the session has ended")
            }
            CloseReason::SessionInDoubt => in_doubt(),
            CloseReason::Behind => behind(),
            CloseReason::Full => too_many_connections(),
            CloseReason::Unchecked | CloseReason::CredentialInDoubt => unchecked(),
        }
    }
}

/// Returns the end of a connection that is one too many.
pub fn too_many_connections() -> End {
    End::new(CloseCode::TryAgain, "too many connections")
}

/// Returns the end of a connection whose key could not be looked up.
pub fn unchecked() -> End {
    End::new(CloseCode::TryAgain, "the key cannot be checked now; reconnect")
}

/// Returns the end of a user's connection whose session may have ended without this node hearing of it.
fn in_doubt() -> End {
    End::new(CloseCode::TryAgain, "the session cannot be checked now; reconnect")
}

fn expired() -> ApiError {
    AuthError::Token(TokenError::Expired).into()
}

fn say_forbidden(ended: &[Subscription], why: Forbidden) {
    let error = ApiError::from(LiveError::from(why));
    for subscription in ended {
        subscription.say_error(error.code.as_str(), &error.message);
    }
}

/// A subscription without `id` can't be told what it missed, so the client comes back and lists anew.
fn behind() -> End {
    End::new(CloseCode::TryAgain, "missed changes can't be sent any more; reconnect and list again")
}
