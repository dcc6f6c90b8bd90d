//! Users: sign-in, and the tokens of a session.

use std::sync::Arc;

use super::{Documents, FailedSignIns, ServiceError, lookup::get_collection};
use crate::{
    auth::{
        Action, Passwords, Principal, RateLimits, SignedIn, TokenError, Tokens,
        codes::Secret,
        limits::{Attempt, Class},
        passwords::Verdict,
        permission,
        tokens::hash_token,
    },
    domain::{
        Credentials, Document, DocumentId, Email, ProjectId, ProjectSettings, SecondFactor, Seen, SessionId,
        Timestamp, USERS, UserKey,
    },
    mail::Mailer,
    providers::Providers,
    store::{
        Lane, Trouble,
        access::{credentials, sessions},
        documents::one,
    },
    writer::{Mutation, Operation, Outcome, UserOperation, WriteError, user_operation::NewSession},
};

/// A sign-in that is younger than this allows what else takes the password, in milliseconds.
const RECENT: i64 = 10 * 60 * 1000;
const MILLISECONDS_OF_A_DAY: i64 = 24 * 3600 * 1000;
/// How much longer than its first access token a session lasts at least, in milliseconds: the token is made later.
const LONGER_THAN_TOKEN: i64 = 60 * 1000;

/// For how long tokens are good.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    pub access_seconds: u64,
    /// Counted from the last refresh.
    pub refresh_days: u64,
}

/// The use cases of users. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    pub documents: Documents,
    pub tokens: Tokens,
    pub passwords: Passwords,
    pub lifetimes: Lifetimes,
    pub mailer: Mailer,
    pub providers: Providers,
    pub limits: RateLimits,
    pub failed: FailedSignIns,
}

/// A user who is signed in, with the tokens of the session.
pub struct Welcome {
    pub user: Arc<Document>,
    pub access_token: String,
    pub refresh_token: String,
    /// The first moment at which the access token is good for nothing.
    pub expires_at: Timestamp,
}

/// The outcome of a sign-in whose first factor was proven.
pub enum SignIn {
    Done(Box<Welcome>),
    /// The user has this second factor, too. [`Users::sign_in_second`] takes this ticket within five minutes.
    SecondFactor(SecondFactor, String),
}

impl Users {
    /// Signs a user in by address and password. An unknown address takes as long as a wrong password.
    ///
    /// # Errors
    /// [`ServiceError::Credentials`].
    pub async fn sign_in(
        &self,
        principal: &Principal,
        email: &str,
        password: String,
        seen: Seen,
    ) -> Result<SignIn, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        self.limits.check(Class::SignIn, principal)?;
        // What is no address is nobody's, and takes as long.
        let email = Email::parse(email).ok();
        let (found, attempt, account) = match &email {
            Some(email) => {
                let (found, attempt) = self.begin_attempt(principal, email).await?;
                let account = principal.sign_in_account(email, attempt.is_known());
                (found, Some(attempt), account)
            }
            None => (None, None, principal.visitor_account()),
        };
        let stored = found.as_ref().and_then(|found| found.password.clone());
        let verdict = self.passwords.compare(&account, password, stored.as_ref()).await?;
        if verdict == Verdict::Wrong {
            self.failed.note(principal, found.as_ref().map(|found| found.key.user.clone()));
        }
        match (attempt, &verdict) {
            (Some(attempt), Verdict::Wrong) => attempt.note_wrong(),
            (Some(attempt), _) => attempt.note_right(),
            (None, _) => {}
        }
        let (Some(found), Some(password)) = (found, stored) else { return Err(ServiceError::Credentials) };
        let rehashed = match verdict {
            Verdict::Wrong => return Err(ServiceError::Credentials),
            Verdict::Right => None,
            Verdict::Outdated(rehashed) => Some(rehashed),
        };
        let session = self.new_session(principal, "password", seen)?;
        let Secret { text: ticket, hash: ticket_hash } = Secret::token().map_err(ServiceError::Token)?;
        let operation =
            UserOperation::SignIn { user: found.key.user, password, rehashed, session, ticket_hash };
        match self.submit(principal, operation).await {
            // Meanwhile the user was deleted, or has another password.
            Err(ServiceError::Write(WriteError::CredentialsChanged | WriteError::UnknownDocument)) => {
                Err(ServiceError::Credentials)
            }
            outcome => self.welcome_or_ask(outcome?, ticket),
        }
    }

    /// Begins a try to sign in, unless too many passwords were wrong, and returns whose address it is. If the wrong ones came from
    /// other addresses, the account's owner still gets in from where the account was signed in, or has a session.
    pub(super) async fn begin_attempt(
        &self,
        principal: &Principal,
        email: &Email,
    ) -> Result<(Option<Credentials>, Attempt), ServiceError> {
        self.limits.check_wrong(principal, email)?;
        let is_known = self.limits.knows(principal, email);
        let (project, wanted) = (principal.project.clone(), email.clone());
        let read = move |db| async move {
            let found = credentials::find_by_email(&db, &project, &wanted).await?;
            if is_known {
                return Ok((found, Vec::new()));
            }
            // Those of nobody are looked for, too, which takes as long.
            let nobody = || UserKey { project, user: DocumentId::from_stored("") };
            let key = found.as_ref().map_or_else(nobody, |found| found.key.clone());
            let sessions = sessions::list(&db, &key).await?;
            Ok((found, sessions))
        };
        let (found, sessions) = self.documents.db.read(Lane::Point, read).await?;
        let from = principal.asked_from();
        let is_from_there = |address: &String| from.as_ref().is_some_and(|from| from.has(address));
        let is_known =
            is_known || sessions.iter().filter_map(|session| session.address.as_ref()).any(is_from_there);
        let attempt = self.limits.begin_sign_in(principal, email, is_known).await?;
        Ok((found, attempt))
    }

    /// Exchanges a refresh token for the next pair of tokens. `principal` is the holder of the request's key, if it has one.
    ///
    /// # Errors
    /// [`ServiceError::Stolen`] for a token that was replaced before; [`WriteError::SessionEnded`].
    pub async fn refresh(
        &self,
        principal: Option<&Principal>,
        token: &str,
        arrived: Timestamp,
        seen: Seen,
    ) -> Result<Welcome, ServiceError> {
        let token = self.tokens.read_refresh(token, arrived).map_err(ServiceError::Token)?;
        let project = match principal {
            Some(principal) => {
                permission::check(principal, Action::UseAccount)?;
                principal.project.clone()
            }
            None => {
                let id = token.session.clone();
                let read = |db| async move { sessions::find(&db, &id).await };
                let found = self.documents.db.read(Lane::Point, read).await?;
                found.ok_or(WriteError::SessionEnded)?.project
            }
        };
        self.limits.check_address(Class::Refresh, &project, seen.address)?;
        let session = token.session.clone();
        let next = self.tokens.refresh_token(&token.session, token.generation.saturating_add(1));
        let operation = UserOperation::Refresh {
            token,
            next_hash: hash_token(&next.map_err(ServiceError::Token)?),
            expires_at: self.session_end(),
            address: seen.address_text(),
            device: seen.device.clone(),
            key: principal.map(|principal| principal.key.clone()),
        };
        let caller = principal.map(Principal::held_key);
        let operations = vec![Operation::User(Box::new(operation))];
        let mutation = Mutation {
            project: project.clone(),
            caller,
            session: None,
            author: None,
            operations,
            idempotency: None,
            seen: Some(Arc::new(seen)),
        };
        match self.run(mutation).await {
            Ok(Outcome::Stolen { .. }) => Err(ServiceError::Stolen),
            Err(ServiceError::Write(WriteError::SessionEnded)) if principal.is_some() => {
                let read = |db| async move { sessions::find(&db, &session).await };
                let is_foreign = self
                    .documents
                    .db
                    .read(Lane::Point, read)
                    .await?
                    .is_some_and(|other| other.project != project);
                Err(if is_foreign { ServiceError::OtherProject } else { WriteError::SessionEnded.into() })
            }
            outcome => self.welcome(outcome?),
        }
    }

    /// Returns the settings of the principal's project.
    pub(super) async fn settings(&self, principal: &Principal) -> Result<Arc<ProjectSettings>, ServiceError> {
        Ok(self.documents.catalogs.get(&principal.project).await?.settings().clone())
    }

    pub(super) async fn find_by_email(
        &self,
        project: &ProjectId,
        email: Email,
    ) -> Result<Option<Credentials>, ServiceError> {
        let project = project.clone();
        let read = |db| async move { credentials::find_by_email(&db, &project, &email).await };
        Ok(self.documents.db.read(Lane::Point, read).await?)
    }

    pub(super) async fn read_user(
        &self,
        project: &ProjectId,
        user: &DocumentId,
    ) -> Result<Document, ServiceError> {
        let collection = get_collection(&self.documents.catalogs, project, USERS).await?;
        let user = user.clone();
        let read = |db| async move { one::find(&db, &collection.id, &user).await };
        self.documents.db.read(Lane::Point, read).await?.ok_or(ServiceError::UnknownDocument)
    }

    pub(super) fn new_session(
        &self,
        principal: &Principal,
        method: &'static str,
        seen: Seen,
    ) -> Result<NewSession, ServiceError> {
        let id = SessionId::generate();
        let token = self.tokens.refresh_token(&id, 1).map_err(ServiceError::Token)?;
        Ok(NewSession {
            token_hash: hash_token(&token),
            id,
            key: principal.key.clone(),
            method,
            expires_at: self.session_end(),
            address: seen.address_text(),
            device: seen.device,
            asked_from: principal.asked_from(),
        })
    }

    pub(super) fn session_end(&self) -> Timestamp {
        let Lifetimes { access_seconds, refresh_days } = self.lifetimes;
        let times = |count: u64, unit| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(unit);
        let token = times(access_seconds, 1000).saturating_add(LONGER_THAN_TOKEN);
        Timestamp(Timestamp::now().0.saturating_add(times(refresh_days, MILLISECONDS_OF_A_DAY).max(token)))
    }

    pub(super) async fn submit(
        &self,
        principal: &Principal,
        operation: UserOperation,
    ) -> Result<Outcome, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let (project, caller, session) = principal.callers();
        let operations = vec![Operation::User(Box::new(operation))];
        self.run(Mutation {
            project,
            caller,
            session,
            author: None,
            operations,
            idempotency: None,
            seen: principal.seen.clone(),
        })
        .await
    }

    pub(super) async fn run(&self, mutation: Mutation) -> Result<Outcome, ServiceError> {
        let committed = self.documents.writer.submit(mutation).await.map_err(WriteError::without_place)?;
        committed
            .outcomes
            .into_iter()
            .next()
            .ok_or(ServiceError::Write(WriteError::Unavailable(Trouble::Away)))
    }

    pub(super) fn welcome(&self, outcome: Outcome) -> Result<Welcome, ServiceError> {
        let Outcome::SignedIn { user, session } = outcome else {
            return Err(ServiceError::Token(TokenError::NotSigned));
        };
        let holder = (&session.project, &session.user);
        let (access_token, expires_at) = self
            .tokens
            .sign(holder, (&session.id, session.key.as_ref()), self.lifetimes.access_seconds)
            .map_err(ServiceError::Token)?;
        let refresh_token = self.tokens.refresh_token_of(&session).map_err(ServiceError::Token)?;
        Ok(Welcome { user, access_token, refresh_token, expires_at })
    }

    pub(super) fn welcome_or_ask(&self, outcome: Outcome, ticket: String) -> Result<SignIn, ServiceError> {
        match outcome {
            Outcome::SecondFactor(factor) => Ok(SignIn::SecondFactor(factor, ticket)),
            outcome => Ok(SignIn::Done(Box::new(self.welcome(outcome)?))),
        }
    }

    pub(super) fn changed(&self, outcome: Outcome) -> Result<Arc<Document>, ServiceError> {
        match outcome {
            Outcome::Document { document, .. } => Ok(document),
            _ => Err(ServiceError::UnknownDocument),
        }
    }
}

/// Returns the user who asks.
///
/// # Errors
/// [`ServiceError::NoUser`].
pub(super) fn signed_in(principal: &Principal) -> Result<&SignedIn, ServiceError> {
    principal.user.as_ref().ok_or(ServiceError::NoUser)
}

pub(super) fn own_key(principal: &Principal) -> Result<UserKey, ServiceError> {
    Ok(UserKey { project: principal.project.clone(), user: signed_in(principal)?.id.clone() })
}

pub(super) fn is_recent(principal: &Principal) -> bool {
    principal.user.as_ref().is_some_and(|user| Timestamp::now().0 - user.signed_in_at.0 < RECENT)
}
