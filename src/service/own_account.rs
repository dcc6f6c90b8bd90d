//! One's own account: it is read, changed and deleted, by the member or all at once, as the client libraries do.

use std::sync::Arc;

use super::{
    ServiceError, Users,
    documents::RequestKey,
    users::{Lifetimes, is_recent, own_key, signed_in},
};
use crate::{
    auth::{Action, Passwords, Principal, limits::Class, passwords::Verdict, permission},
    domain::{Document, Email, PasswordHash, Patch, USERS},
    mail::Letter,
    store::{
        Lane,
        access::{credentials, identities},
    },
    writer::{Committed, Missing, Mutation, Operation, Outcome, Precondition, UserOperation},
};

/// A change of one's own account. What is `None` stays as it is.
#[derive(Default)]
pub struct AccountChange {
    /// Merged into the profile.
    pub profile: Option<Patch>,
    pub email: Option<Email>,
    pub password: Option<String>,
}

/// A change of one's own profile.
pub struct ProfileChange {
    /// Merged into the profile.
    pub profile: Option<Patch>,
    /// Operators on fields of the profile, whose paths begin with `profile`.
    pub operators: Option<Patch>,
}

/// How a user can sign in, which their document doesn't say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaysIn {
    /// Whether there is a password.
    pub password: bool,
    /// Whether a second factor is on.
    pub totp: bool,
    /// Whether there is nothing but the session: no address, no password, no identity of a provider.
    pub anonymous: bool,
}

impl Users {
    /// Returns the user's own document.
    pub async fn me(&self, principal: &Principal) -> Result<Document, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        self.read_user(&principal.project, &signed_in(principal)?.id).await
    }

    /// Returns how the user who asks can sign in.
    pub async fn ways_in(&self, principal: &Principal) -> Result<WaysIn, ServiceError> {
        let key = own_key(principal)?;
        let read = |db| async move {
            let Some(found) = credentials::find(&db, &key).await? else { return Ok(None) };
            let is_nameless = found.email.is_none() && found.password.is_none();
            Ok(Some(WaysIn {
                password: found.password.is_some(),
                totp: found.totp.as_ref().is_some_and(|totp| totp.is_confirmed),
                anonymous: is_nameless && identities::list(&db, &key).await?.is_empty(),
            }))
        };
        self.documents.db.read(Lane::Point, read).await?.ok_or(ServiceError::UnknownDocument)
    }

    /// Changes the user's own profile.
    ///
    /// # Errors
    /// [`PreconditionFailed`](crate::writer::WriteError::PreconditionFailed).
    pub async fn change_profile(
        &self,
        principal: &Principal,
        change: ProfileChange,
        precondition: Precondition,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let user = signed_in(principal)?.id.clone();
        let ProfileChange { profile, operators } = change;
        let operation = UserOperation::ChangeProfile { user, profile, operators, precondition };
        let operations = vec![Operation::User(Box::new(operation))];
        self.documents.submit(principal, operations, request_key).await
    }

    /// Gives an anonymous user an address and a password. The id stays the same.
    pub async fn upgrade(
        &self,
        principal: &Principal,
        email: Email,
        password: String,
    ) -> Result<Arc<Document>, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let user = signed_in(principal)?.id.clone();
        if self.conceals(principal).await? {
            return Err(ServiceError::Concealed);
        }
        // The answer says whether the address is taken.
        self.limits.check(Class::SignUp, principal)?;
        let password = self.passwords.hash(&principal.visitor_account(), password).await?;
        self.changed(self.submit(principal, UserOperation::Upgrade { user, email, password }).await?)
    }

    /// Replaces the user's own password. The other sessions end.
    ///
    /// # Errors
    /// [`ServiceError::WrongPassword`] if `current` is wrong, [`ServiceError::PasswordNeeded`] if it is missing. Who has no password
    /// yet needs a recent sign-in instead: [`ServiceError::NoPassword`].
    pub async fn change_password(
        &self,
        principal: &Principal,
        current: Option<String>,
        new: String,
    ) -> Result<(), ServiceError> {
        Passwords::check(&new)?;
        let stored = self.prove(principal, current).await?;
        let new = self.passwords.hash(&principal.visitor_account(), new).await?;
        let user = signed_in(principal)?;
        let (user, keep) = (user.id.clone(), Some(user.session.clone()));
        let operation = UserOperation::ChangePassword { user, current: stored, new, keep };
        self.submit(principal, operation).await.map(drop)
    }

    /// Deletes the user's own account: the document, the credentials and the sessions.
    ///
    /// # Errors
    /// [`ServiceError::WrongPassword`] if `password` is wrong; without one, [`ServiceError::RecentSignIn`].
    pub async fn delete_me(
        &self,
        principal: &Principal,
        password: Option<String>,
        precondition: Precondition,
    ) -> Result<(), ServiceError> {
        self.prove_recently(principal, password).await?;
        let operation = Operation::DeleteDocument {
            collection: USERS.to_owned(),
            id: signed_in(principal)?.id.clone(),
            precondition,
            missing: Missing::Refused,
        };
        let (project, caller, session) = principal.callers();
        let mutation = Mutation {
            project,
            caller,
            session,
            author: None,
            operations: vec![operation],
            idempotency: None,
            seen: principal.seen.clone(),
        };
        self.run(mutation).await.map(drop)
    }

    /// Makes sure that the caller is the user and not somebody who found the device: by the password, or where the user has none
    /// by a recent sign-in. Returns the password's hash.
    pub(super) async fn prove(
        &self,
        principal: &Principal,
        password: Option<String>,
    ) -> Result<Option<PasswordHash>, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let key = own_key(principal)?;
        let read = |db| async move { credentials::find(&db, &key).await };
        let found = self.documents.db.read(Lane::Point, read).await?.ok_or(ServiceError::UnknownDocument)?;
        match (&found.password, password) {
            (None, None) if is_recent(principal) => Ok(None),
            (Some(_), None) => Err(ServiceError::PasswordNeeded),
            (None, _) => Err(ServiceError::NoPassword),
            (stored @ Some(_), Some(password)) => {
                // Whoever has stolen a token must not guess the password with it.
                let (attempt, account) = match &found.email {
                    Some(email) => {
                        let attempt = self.begin_attempt(principal, email).await?.1;
                        let account = principal.sign_in_account(email, attempt.is_known());
                        (Some(attempt), account)
                    }
                    None => (None, principal.visitor_account()),
                };
                let verdict = self.passwords.compare(&account, password, stored.as_ref()).await?;
                if verdict != Verdict::Wrong {
                    return Ok(found.password);
                }
                if let Some(attempt) = attempt {
                    attempt.note_wrong();
                }
                self.failed.note(principal, Some(found.key.user));
                Err(ServiceError::WrongPassword)
            }
        }
    }

    /// Makes sure of the same, and takes a recent sign-in for a password that is not given.
    pub(super) async fn prove_recently(
        &self,
        principal: &Principal,
        password: Option<String>,
    ) -> Result<(), ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        if password.is_none() && is_recent(principal) {
            return Ok(());
        }
        match self.prove(principal, password).await {
            Err(ServiceError::PasswordNeeded) => Err(ServiceError::RecentSignIn),
            outcome => outcome.map(drop),
        }
    }

    /// Returns the same use cases with other lifetimes for the tokens that they give.
    pub fn with_lifetimes(&self, lifetimes: Lifetimes) -> Self {
        Self { lifetimes, ..self.clone() }
    }

    /// Changes the user's own profile, address and password in one write, and returns the document. A new address is not
    /// verified, and the old one is told; a new password ends the other sessions.
    ///
    /// # Errors
    /// [`ServiceError::RecentSignIn`] for another address or password if the sign-in is older than 10 minutes, because the
    /// current password isn't asked for; [`EmailTaken`](crate::writer::WriteError::EmailTaken); the errors of passwords.
    pub async fn change_account(
        &self,
        principal: &Principal,
        change: AccountChange,
    ) -> Result<Document, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let signed_in = signed_in(principal)?;
        let before = self.me(principal).await?;
        let address = before.data.fields().get("email").and_then(|email| email.as_str());
        let email = change.email.filter(|email| Some(email.as_str()) != address);
        if (email.is_some() || change.password.is_some()) && !is_recent(principal) {
            return Err(ServiceError::RecentSignIn);
        }
        if email.is_some() {
            if self.conceals(principal).await? {
                return Err(ServiceError::Concealed);
            }
            // The answer says whether the address is taken.
            self.limits.check(Class::SignUp, principal)?;
        }
        // The old address is told of it.
        let told = match (&email, address) {
            (Some(_), Some(old)) => {
                self.limits.check(Class::Mail, principal)?;
                Some((Email::from_stored(old), self.place_of_mail(principal).await?))
            }
            _ => None,
        };
        let user = signed_in.id.clone();
        let mut operations = Vec::new();
        if let Some(profile) = change.profile {
            let (user, profile) = (user.clone(), Some(profile));
            let operation = UserOperation::ChangeProfile {
                user,
                profile,
                operators: None,
                precondition: Precondition::None,
            };
            operations.push(Operation::User(Box::new(operation)));
        }
        if let Some(email) = email {
            let operation = UserOperation::ChangeEmail { user: user.clone(), email };
            operations.push(Operation::User(Box::new(operation)));
        }
        if let Some(new) = change.password {
            Passwords::check(&new)?;
            let key = own_key(principal)?;
            let read = |db| async move { credentials::find(&db, &key).await };
            let stored = self.documents.db.read(Lane::Point, read).await?;
            let current = stored.ok_or(ServiceError::UnknownDocument)?.password;
            let new = self.passwords.hash(&principal.visitor_account(), new).await?;
            let keep = Some(signed_in.session.clone());
            let operation = UserOperation::ChangePassword { user, current, new, keep };
            operations.push(Operation::User(Box::new(operation)));
        }
        if operations.is_empty() {
            return Ok(before);
        }
        let author = self.documents.find_author(principal, &operations, None).await?;
        let (project, caller, session) = principal.callers();
        let mutation = Mutation {
            project,
            caller,
            session,
            author,
            operations,
            idempotency: None,
            seen: principal.seen.clone(),
        };
        let committed = self.documents.writer.submit(mutation).await?;
        if let Some((old, place)) = told
            && self.limits.may_tell(&principal.project, &old)
        {
            place.send(principal.project.clone(), old, &Letter::EmailChanged);
        }
        let written = committed.outcomes.into_iter().rev().find_map(|outcome| match outcome {
            Outcome::Document { document, .. } => Some(Document::clone(&document)),
            _ => None,
        });
        Ok(written.unwrap_or(before))
    }
}
