//! Finds out who is asking, by a key, by a user's token, or by both.

use std::sync::{Arc, OnceLock};

use super::{
    AuthError, KeyKind, KeyRing, Principal, Scopes, Sessions, SignedIn, Tokens,
    foreign::{ForeignTokens, issuer_of},
    principal::keyless,
    tickets::{Holder, TicketUser},
    tokens::Access,
};
use crate::{domain::ProjectId, shares::Account};

/// Knows keys, sessions and tokens. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    pub keys: KeyRing,
    pub sessions: Sessions,
    pub tokens: Tokens,
    /// Set once the server can make users of those who hold them.
    pub foreign: Arc<OnceLock<Arc<dyn ForeignTokens>>>,
}

/// The credentials of a request, as texts: a key, a user's access token, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub key: Option<&'a str>,
    pub user: Option<&'a str>,
}

impl Authenticator {
    /// Returns who has these credentials. A user's token names its project and the key with which its session began, so it is enough
    /// by itself.
    ///
    /// # Errors
    /// [`AuthError`]; [`AuthError::Unknown`] without credentials.
    pub async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Arc<Principal>, AuthError> {
        let key = match credentials.key {
            Some(key) => Some(self.keys.authenticate(key).await?),
            None => None,
        };
        match (key, credentials.user) {
            (Some(key), None) => Ok(key),
            (None, None) => Err(AuthError::Unknown),
            (key, Some(token)) => self.authenticate_user(key, token).await,
        }
    }

    async fn authenticate_user(
        &self,
        key: Option<Arc<Principal>>,
        token: &str,
    ) -> Result<Arc<Principal>, AuthError> {
        if issuer_of(token).is_some() {
            return self.authenticate_foreign(key, token).await;
        }
        let access = self.tokens.read(token)?;
        let session = self.sessions.find(&access.session).await?;
        if session.project != access.project || session.user != access.user {
            return Err(AuthError::Unknown);
        }
        let holder = match key {
            Some(key) if key.project != access.project => return Err(AuthError::OtherProject),
            Some(key) => Principal::clone(&key),
            None => self.without_key(&access).await?,
        };
        let user = SignedIn {
            id: access.user,
            session: access.session,
            expires_at: access.expires_at,
            signed_in_at: session.signed_in_at,
            round: session.round,
        };
        Ok(Arc::new(Principal { user: Some(user), ..holder }))
    }

    /// A token of another issuer names no project, so a key stands beside it.
    async fn authenticate_foreign(
        &self,
        key: Option<Arc<Principal>>,
        token: &str,
    ) -> Result<Arc<Principal>, AuthError> {
        let no_key =
            || AuthError::Foreign("send a key (`pk_…`) beside the token of another issuer".to_owned());
        let key = key.ok_or_else(no_key)?;
        let foreign = self.foreign.get().ok_or(AuthError::Unknown)?;
        let user = foreign.read(&key, token).await?;
        Ok(Arc::new(Principal { user: Some(user), ..Principal::clone(&key) }))
    }

    /// Returns the rights of a user who sends no key, which are those of the key with which the session began.
    async fn without_key(&self, access: &Access) -> Result<Principal, AuthError> {
        let Some(key) = &access.key else { return Ok(keyless_in(&access.project)) };
        let holder = self.keys.find(key).await.map_err(|err| match err {
            AuthError::Unknown => AuthError::KeyRevoked,
            AuthError::KeyExpired => AuthError::KeyOfSessionExpired,
            err => err,
        })?;
        if holder.project != access.project {
            return Err(AuthError::Unknown);
        }
        // The rights of a secret key take the key itself: a token of its session has those of a publishable one.
        Ok(Principal { kind: KeyKind::Publishable, ..Principal::clone(&holder) })
    }

    /// Makes sure that a principal who was authenticated a while ago would be so now.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn recheck(&self, principal: &Principal) -> Result<(), AuthError> {
        if principal.key != keyless() {
            self.keys.find(&principal.key).await?;
            if let Some(end) = self.keys.find_end(&principal.held_key()) {
                return Err(end.into());
            }
        }
        if let Some(user) = &principal.user {
            self.sessions.find(&user.session).await?;
        }
        Ok(())
    }

    /// Returns the account of the sender of these credentials, if they were used before. The database is not asked.
    pub fn find_account(&self, credentials: Credentials<'_>) -> Option<Account> {
        match (credentials.key, credentials.user) {
            (Some(key), user) => {
                let account = self.keys.find_cached(key)?.account();
                let access = user.and_then(|user| self.tokens.read(user).ok());
                Some(match access {
                    Some(access) => account.of_member(access.user.as_str()),
                    None => account,
                })
            }
            (None, user) => {
                let access = self.tokens.read(user?).ok()?;
                let account = Account::new(access.project, access.key.unwrap_or_else(keyless));
                Some(account.of_member(access.user.as_str()))
            }
        }
    }

    /// Returns who a ticket stands for.
    ///
    /// # Errors
    /// [`AuthError`], also if the key was revoked or the session has ended since the ticket was made.
    pub async fn find_holder(&self, holder: Holder) -> Result<Arc<Principal>, AuthError> {
        let Holder { key, collection, user } = holder;
        let Some(TicketUser { id, session }) = user else {
            let principal = self.keys.find(&key).await?;
            return Ok(match collection {
                None => principal,
                collection => Arc::new(Principal { collection, ..Principal::clone(&principal) }),
            });
        };
        let known = self.sessions.find(&session).await?;
        let principal = match key == keyless() {
            true => keyless_in(&known.project),
            false => Principal::clone(&*self.keys.find(&key).await?),
        };
        if known.project != principal.project || known.user != id {
            return Err(AuthError::Unknown);
        }
        let user = SignedIn {
            id,
            session,
            expires_at: known.expires_at,
            signed_in_at: known.signed_in_at,
            round: known.round,
        };
        Ok(Arc::new(Principal { collection, user: Some(user), ..principal }))
    }
}

/// Returns a user of a project whose token names no key, as yet without the user.
fn keyless_in(project: &ProjectId) -> Principal {
    Principal {
        project: project.clone(),
        key: keyless(),
        kind: KeyKind::Publishable,
        scopes: Scopes::all(),
        limits: Default::default(),
        collection: None,
        user: None,
        params: Default::default(),
        seen: None,
    }
}
