//! Tokens of other issuers: whoever holds one is a user, who is created on first sight.
//!
//! The user has a session that no refresh token belongs to. So streams end with it as they do elsewhere: when the user is deleted,
//! or is signed out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Map, Value};

use super::{ServiceError, Users};
use crate::{
    auth::{
        AuthError, KeyKind, Principal, Scopes, Sessions, SignedIn,
        foreign::{ForeignTokens, Reading, issuer_of},
    },
    domain::{
        Claimed, DocumentId, IdentityKey, Session, SessionId, Timestamp,
        provider::Issuer,
        user::{MAX_ROLE_BYTES, MAX_ROLES},
    },
    providers::{
        ProviderError, openid,
        token::{self, Expected, KeySource},
    },
    store::{Lane, access::identities},
    writer::{Outcome, UserOperation, WriteError},
};

/// How often a write is tried whose user was changed meanwhile.
const TRIES: usize = 4;
/// The most holders that are remembered. When there are more, the memory begins anew.
const MAX_KNOWN: usize = 50_000;
/// The most seconds until a token expires. Some issuers allow 30 days.
const LONGEST: u64 = 31 * 24 * 3600;
/// How far ahead the time of a sign-in may be, for clocks that differ, in milliseconds.
const LEEWAY: i64 = 60_000;
/// The method of sessions that begin with a token of another issuer.
pub const METHOD: &str = "token";

/// Reads tokens of other issuers. Cheap to clone.
#[derive(Clone)]
pub struct IssuedTokens {
    users: Users,
    sessions: Sessions,
    known: Arc<Mutex<HashMap<IdentityKey, Known>>>,
}

/// The holder of a token, as of the last write about them.
#[derive(Clone)]
struct Known {
    user: DocumentId,
    session: SessionId,
    roles: Option<Vec<String>>,
    /// The end of the session.
    until: Timestamp,
}

impl IssuedTokens {
    pub fn new(users: Users, sessions: Sessions) -> Self {
        Self { users, sessions, known: Arc::default() }
    }

    async fn read_token(&self, key: &Principal, text: &str) -> Result<SignedIn, AuthError> {
        let catalog = self.users.documents.catalogs.get(&key.project).await?;
        let settings = catalog.settings().clone();
        let named = issuer_of(text).unwrap_or_default();
        let unknown = || AuthError::Foreign("this project takes no tokens of this issuer (`iss`)".to_owned());
        let issuer = settings.issuers.iter().find(|issuer| issuer.issuer == named).ok_or_else(unknown)?;
        let claims = self.verify(key, issuer, text).await.map_err(|err| refused(&issuer.issuer, err))?;
        let mut claimed = openid::claimed(&issuer.issuer, &issuer.issuer, &claims);
        claimed.roles = issuer.claims.roles.as_deref().map(|path| roles_in(&claims, path));
        let time = |name: &str| {
            let seconds = claims.get(name).and_then(Value::as_f64).unwrap_or_default();
            // Beyond the bounds of the type, the conversion takes the nearest value.
            Timestamp((seconds * 1000.0) as i64)
        };
        let expires_at = time("exp");
        let (user, session) = self.holder(key, claimed, expires_at).await?;
        let known = self.sessions.find(&session).await?;
        // A sign-in that is still to come would count as a recent one for ever.
        let signed_in_at = match time("auth_time") {
            at if at.0 > Timestamp::now().0 + LEEWAY => Timestamp::default(),
            at => at,
        };
        Ok(SignedIn { id: user, session, expires_at, signed_in_at, round: known.round })
    }

    async fn verify(
        &self,
        key: &Principal,
        issuer: &Issuer,
        text: &str,
    ) -> Result<Map<String, Value>, ProviderError> {
        let documents = &self.users.providers.documents;
        let offer;
        let keys = match (&issuer.jwks, &issuer.jwks_url) {
            (Some(set), _) => KeySource::Given(set),
            (None, Some(url)) => KeySource::Url(url),
            (None, None) => {
                offer = openid::discover(documents, &key.project, &issuer.issuer).await?;
                let url = offer.get("jwks_uri").and_then(Value::as_str);
                KeySource::Url(url.ok_or(ProviderError::BadAnswer("its discovery document names no keys"))?)
            }
        };
        let parties: Vec<_> = issuer.authorized_parties.iter().map(String::as_str).collect();
        let expected = Expected {
            issuers: &[&issuer.issuer],
            audiences: &[&issuer.audience],
            parties: (!parties.is_empty()).then_some(&parties[..]),
            longest: Some(LONGEST),
        };
        token::read(documents, &key.project, text, keys, expected).await
    }

    /// Returns the user who holds a token, with their session. Nothing is written if they are known and the token says nothing new.
    async fn holder(
        &self,
        key: &Principal,
        claimed: Claimed,
        expires_at: Timestamp,
    ) -> Result<(DocumentId, SessionId), AuthError> {
        let place = claimed.key(&key.project);
        let known = self.lock().get(&place).cloned();
        if let Some(known) = known
            && known.roles == claimed.roles
            && (known.until >= expires_at || known.until.0 > self.users.session_end().0 - HALF_A_DAY)
            && self.sessions.find(&known.session).await.is_ok()
        {
            return Ok((known.user, known.session));
        }
        let roles = claimed.roles.clone();
        let session = self.adopt(key, claimed, expires_at).await.map_err(not_adopted)?;
        let known = Known {
            user: session.user.clone(),
            session: session.id.clone(),
            roles,
            until: session.expires_at,
        };
        let mut memory = self.lock();
        if memory.len() >= MAX_KNOWN {
            memory.clear();
        }
        memory.insert(place, known);
        Ok((session.user.clone(), session.id.clone()))
    }

    async fn adopt(
        &self,
        key: &Principal,
        claimed: Claimed,
        expires_at: Timestamp,
    ) -> Result<Arc<Session>, ServiceError> {
        let place = claimed.key(&key.project);
        // The key needs no rights for this: the issuer has said who it is.
        let principal =
            Principal { user: None, scopes: Scopes::all(), kind: KeyKind::Publishable, ..key.clone() };
        for _ in 0..TRIES {
            let wanted = place.clone();
            let read = |db| async move { identities::find(&db, &wanted).await };
            let found = self.users.documents.db.read(Lane::Point, read).await?;
            let mut session = self.users.new_session(&principal, METHOD, Default::default())?;
            session.expires_at = session.expires_at.min(expires_at);
            // No refresh token has it.
            session.token_hash.clear();
            let operation = UserOperation::Adopt {
                claimed: Box::new(claimed.clone()),
                found: found.map(|identity| identity.user),
                session,
            };
            match self.users.submit(&principal, operation).await {
                Ok(Outcome::SignedIn { session, .. }) => return Ok(session),
                Ok(_) => break,
                // Somebody was created or deleted since they were looked up.
                Err(ServiceError::Write(WriteError::AccountChanged | WriteError::UnknownDocument)) => {}
                Err(err) => return Err(err),
            }
        }
        Err(WriteError::AccountChanged.into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IdentityKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that is about to end a while from now is long enough, in milliseconds.
const HALF_A_DAY: i64 = 12 * 3600 * 1000;

impl ForeignTokens for IssuedTokens {
    fn read<'a>(&'a self, key: &'a Principal, text: &'a str) -> Reading<'a> {
        Box::pin(self.read_token(key, text))
    }
}

fn refused(issuer: &str, err: ProviderError) -> AuthError {
    match err {
        ProviderError::Crowded | ProviderError::Away | ProviderError::BadAnswer(_) => {
            AuthError::Awaited(format!("the keys of the issuer `{issuer}` can't be had: {err}"))
        }
        ProviderError::Address { .. } => {
            AuthError::Foreign(format!("the keys of the issuer `{issuer}` can't be had: {err}"))
        }
        err => AuthError::Foreign(err.to_string()),
    }
}

fn not_adopted(err: ServiceError) -> AuthError {
    match err {
        ServiceError::Store(err) => AuthError::Store(err),
        ServiceError::Write(
            WriteError::QueueFull
            | WriteError::Stopping
            | WriteError::Unavailable(_)
            | WriteError::AccountChanged,
        ) => AuthError::Awaited(err.to_string()),
        err => AuthError::Foreign(err.to_string()),
    }
}

/// Returns the roles in the claim of this name, or else in the object to which its dots lead: a list of texts, or one text with spaces between them.
fn roles_in(claims: &Map<String, Value>, path: &str) -> Vec<String> {
    let found = claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, name| value.get(name))
    });
    let is_role = |role: &&str| (1..=MAX_ROLE_BYTES).contains(&role.len());
    match found {
        Some(Value::Array(roles)) => roles
            .iter()
            .filter_map(Value::as_str)
            .filter(is_role)
            .take(MAX_ROLES)
            .map(str::to_owned)
            .collect(),
        Some(Value::String(roles)) => {
            roles.split_whitespace().filter(is_role).take(MAX_ROLES).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn roles_are_found_by_a_name_or_by_a_path() {
        let claims = json!({
            "roles": ["a", 7, "", "b"], "scope": "a b", "https://example.com/roles": ["c"],
            "realm_access": { "roles": ["d"] }, "one": { "two": 7 }
        });
        let claims = claims.as_object().unwrap();
        for (path, roles) in [
            ("roles", &["a", "b"][..]),
            ("scope", &["a", "b"]),
            ("https://example.com/roles", &["c"]),
            ("realm_access.roles", &["d"]),
            ("one.two", &[]),
            ("one.two.three", &[]),
            ("nothing", &[]),
        ] {
            assert_eq!(roles_in(claims, path), roles, "{path}");
        }
    }
}
