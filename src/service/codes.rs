//! Users get a new password, verify or change an address, and sign in by a code, all by mail.
//!
//! A request that names an address is answered before anyone looks whether a user has it, so that nobody learns that from the
//! answer or from the time it takes.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    ServiceError,
    users::{SignIn, Users, own_key},
};
use crate::{
    auth::{Action, Passwords, Principal, codes::Secret, limits::Class, permission, tokens::hash_token},
    domain::{Code, DocumentId, Email, Mail, Purpose, Seen, UserData},
    mail::{Letter, Place},
    store::{
        Lane,
        access::{codes, credentials, mails},
    },
    writer::{
        Outcome, UserOperation, WriteError,
        user_operation::{CodeProof, NewCode},
    },
};

/// How long the answer to a wrong code takes at least. Counting it takes a write, which a code for nobody does not have.
const WRONG_CODE: Duration = Duration::from_millis(250);

/// The proof that somebody reads the mail of an address.
pub enum MailProof {
    /// The token of a link.
    Link { token: String },
    /// Six digits, and the address that they were sent to.
    Digits { email: Email, digits: String },
}

impl Users {
    /// Sends a link for a new password, if a user has the address.
    ///
    /// # Errors
    /// [`ServiceError::Mails`] if the queue of mails is full.
    pub async fn forgot_password(&self, principal: &Principal, email: Email) -> Result<(), ServiceError> {
        self.send_to(principal, email, Purpose::ResetPassword).await
    }

    /// Sends a code and a link for a sign-in, if a user has the address.
    ///
    /// # Errors
    /// [`ServiceError::Mails`] if the queue of mails is full.
    pub async fn send_sign_in_code(&self, principal: &Principal, email: Email) -> Result<(), ServiceError> {
        self.send_to(principal, email, Purpose::SignIn).await
    }

    /// Sets a new password by the token of a link. All sessions of the user end, and the address is verified.
    ///
    /// # Errors
    /// [`WriteError::WrongCode`], and the errors of passwords.
    pub async fn reset_password(
        &self,
        principal: &Principal,
        token: &str,
        password: String,
    ) -> Result<(), ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        Passwords::check(&password)?;
        self.limits.check(Class::SignIn, principal)?;
        let code = self.find_code(principal, token).await?;
        let new = self.passwords.hash(&principal.visitor_account(), password).await?;
        let operation = UserOperation::ResetPassword { user: code.key.user, token_hash: code.hash, new };
        self.submit(principal, operation).await.map(drop).map_err(as_wrong_code)
    }

    /// Sends the user a link that verifies their address. Does nothing if it is verified.
    ///
    /// # Errors
    /// [`ServiceError::NoAddress`] for an anonymous user; [`WriteError::TooManyCodes`].
    pub async fn send_verification(&self, principal: &Principal) -> Result<(), ServiceError> {
        let data = UserData::from_stored(&self.me(principal).await?.data).map_err(WriteError::User)?;
        let email = data.email.ok_or(ServiceError::NoAddress)?;
        if data.email_verified {
            return Ok(());
        }
        let user = own_key(principal)?.user;
        self.send_code(principal, user, email, Purpose::VerifyEmail).await
    }

    /// Sends a link to the address that the user wants to have, once the password is proven. They get it by following the link.
    ///
    /// # Errors
    /// [`ServiceError::WrongPassword`] if `password` is wrong; [`WriteError::EmailTaken`], [`WriteError::TooManyCodes`].
    pub async fn change_email(
        &self,
        principal: &Principal,
        email: Email,
        password: Option<String>,
    ) -> Result<(), ServiceError> {
        self.prove(principal, password).await?;
        let user = own_key(principal)?.user;
        self.send_code(principal, user, email, Purpose::ChangeEmail).await
    }

    /// Verifies an address by the token of a link. If the user asked for another address, they have it now, and the old one is
    /// told. If somebody else than the user follows the link, and nobody had verified the account's address, they take it over: the
    /// password, the sessions and the identities of who made it are dropped.
    ///
    /// # Errors
    /// [`WriteError::WrongCode`]; [`WriteError::EmailTaken`].
    pub async fn verify_email(&self, principal: &Principal, token: &str) -> Result<(), ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let code = self.find_code(principal, token).await?;
        let Some(email) = code.email.clone() else { return Err(WriteError::WrongCode.into()) };
        let is_change = code.purpose == Purpose::ChangeEmail;
        let key = code.key.clone();
        let read = |db| async move { credentials::find(&db, &key).await };
        let old = self.documents.db.read(Lane::Point, read).await?.and_then(|found| found.email);
        let user = code.key.user;
        let is_own = principal.user.as_ref().is_some_and(|own| own.id == user);
        // Whoever follows the link is another one than the user of the request, if it has one.
        let principal = &Principal { user: principal.user.clone().filter(|_| is_own), ..principal.clone() };
        let operation = UserOperation::ConfirmEmail { user, token_hash: code.hash, email, is_own };
        self.submit(principal, operation).await.map_err(as_wrong_code)?;
        if let (true, Some(old)) = (is_change, old)
            && self.limits.may_tell(&principal.project, &old)
            && let Ok(place) = self.place_of_mail(principal).await
        {
            place.send(principal.project.clone(), old, &Letter::EmailChanged);
        }
        Ok(())
    }

    /// Signs a user in by a code or a link.
    ///
    /// # Errors
    /// [`WriteError::WrongCode`], also if nobody has the address.
    pub async fn sign_in_by_code(
        &self,
        principal: &Principal,
        proof: MailProof,
        seen: Seen,
    ) -> Result<SignIn, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        self.limits.check(Class::SignIn, principal)?;
        let begun = Instant::now();
        let mut user = None;
        let outcome = self.try_code(principal, proof, seen, &mut user).await;
        if matches!(outcome, Err(ServiceError::Write(WriteError::WrongCode))) {
            self.failed.note(principal, user);
            tokio::time::sleep_until(begun + WRONG_CODE).await;
        }
        outcome
    }

    /// Lists the mails that wait in the outbox, the newest first.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`] for everyone but a server.
    pub async fn outbox(&self, principal: &Principal) -> Result<Vec<Mail>, ServiceError> {
        permission::check(principal, Action::ManageUsers)?;
        let project = principal.project.clone();
        let read = move |db| async move { mails::list(&db, &project).await };
        Ok(self.documents.db.read(Lane::Point, read).await?)
    }

    /// Sets `whose` as soon as it is known whom the code is to sign in.
    async fn try_code(
        &self,
        principal: &Principal,
        proof: MailProof,
        seen: Seen,
        whose: &mut Option<DocumentId>,
    ) -> Result<SignIn, ServiceError> {
        let (user, proof) = match proof {
            MailProof::Link { token } => {
                let code = self.find_code(principal, &token).await?;
                (code.key.user, CodeProof::Token { hash: code.hash })
            }
            MailProof::Digits { email, digits } => {
                let found = self.find_by_email(&principal.project, email).await?;
                let user = found.ok_or(WriteError::WrongCode)?.key.user;
                (user, CodeProof::Digits { digits, asked_from: principal.asked_from() })
            }
        };
        *whose = Some(user.clone());
        let session = self.new_session(principal, "code", seen)?;
        let Secret { text: ticket, hash: ticket_hash } = Secret::token().map_err(ServiceError::Token)?;
        let operation = UserOperation::SignInByCode { user, proof, session, ticket_hash };
        match self.submit(principal, operation).await.map_err(as_wrong_code)? {
            Outcome::WrongCode => Err(WriteError::WrongCode.into()),
            outcome => self.welcome_or_ask(outcome, ticket),
        }
    }

    /// Answers before anyone looks whether a user has the address.
    async fn send_to(
        &self,
        principal: &Principal,
        email: Email,
        purpose: Purpose,
    ) -> Result<(), ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        self.limits.check(Class::Mail, principal)?;
        let place = self.place_of_mail(principal).await?;
        let (users, principal) = (self.clone(), principal.clone());
        tokio::spawn(async move {
            let prepare = async {
                let Some(found) = users.find_by_email(&principal.project, email.clone()).await? else {
                    return Ok(None);
                };
                // As it is stored.
                let email = found.email.unwrap_or(email);
                let letter = users.make_code(&principal, found.key.user, email.clone(), purpose).await?;
                Ok(Some((email, letter)))
            };
            match prepare.await {
                Ok(Some((email, letter))) => place.send(principal.project, email, &letter),
                // Nobody has the address, or the mails of the last hour are enough.
                Ok(None)
                | Err(ServiceError::Write(WriteError::TooManyCodes | WriteError::UnknownDocument)) => {}
                Err(_) => tracing::warn!(
                    kind = purpose.as_str(),
                    "a mail ({}) could not be prepared, because the database is away or busy; whoever waits for it must ask again",
                    purpose.as_str()
                ),
            }
        });
        Ok(())
    }

    /// Takes a place in the queue of mails, for one that says what the project wants it to.
    pub(super) async fn place_of_mail(&self, principal: &Principal) -> Result<Place, ServiceError> {
        let settings = self.settings(principal).await?;
        Ok(self.mailer.reserve(&principal.visitor_account(), settings).await?)
    }

    /// Makes a code and sends it. If it is for an address that is taken, which the project conceals, the owner is told.
    async fn send_code(
        &self,
        principal: &Principal,
        user: DocumentId,
        email: Email,
        purpose: Purpose,
    ) -> Result<(), ServiceError> {
        self.limits.check(Class::Mail, principal)?;
        let place = self.place_of_mail(principal).await?;
        let letter = match self.make_code(principal, user, email.clone(), purpose).await {
            Err(ServiceError::Write(WriteError::EmailTaken)) if self.conceals(principal).await? => {
                Letter::AddressTaken
            }
            made => made?,
        };
        place.send(principal.project.clone(), email, &letter);
        Ok(())
    }

    /// Makes a code, and returns what the mail with it says.
    ///
    /// # Errors
    /// [`WriteError::EmailTaken`], if it is for an address that the user wants to have. It is counted all the same.
    async fn make_code(
        &self,
        principal: &Principal,
        user: DocumentId,
        email: Email,
        purpose: Purpose,
    ) -> Result<Letter, ServiceError> {
        let Secret { text: token, hash: token_hash } = Secret::token().map_err(ServiceError::Token)?;
        let digits = match purpose {
            Purpose::SignIn => Some(Secret::digits(&token_hash).map_err(ServiceError::Token)?),
            _ => None,
        };
        let (digits, digits_hash) = digits.map(|digits| (digits.text, digits.hash)).unzip();
        let (email, asked_from) = (Some(email), principal.asked_from());
        let code = NewCode { user, purpose, email, token_hash, digits_hash, asked_from };
        if let Outcome::EmailTaken = self.submit(principal, UserOperation::MakeCode(code)).await? {
            return Err(WriteError::EmailTaken.into());
        }
        Ok(match purpose {
            Purpose::ResetPassword => Letter::ResetPassword { token },
            Purpose::VerifyEmail => Letter::VerifyEmail { token },
            Purpose::ChangeEmail => Letter::ChangeEmail { token },
            Purpose::SignIn => Letter::SignIn { digits: digits.unwrap_or_default(), token },
            // It is in no mail.
            Purpose::SecondFactor => return Err(WriteError::WrongCode.into()),
        })
    }

    /// Finds the code of a token in the principal's project. The writer judges whether it is good.
    pub(super) async fn find_code(&self, principal: &Principal, token: &str) -> Result<Code, ServiceError> {
        let hash = hash_token(token);
        let read = move |db| async move { codes::find(&db, &hash).await };
        let found = self.documents.db.read(Lane::Point, read).await?;
        let is_own = |code: &Code| code.key.project == principal.project;
        Ok(found.filter(is_own).ok_or(WriteError::WrongCode)?)
    }
}

/// A code whose user is gone is as good as any other wrong one.
fn as_wrong_code(err: ServiceError) -> ServiceError {
    match err {
        ServiceError::Write(WriteError::UnknownDocument) => WriteError::WrongCode.into(),
        err => err,
    }
}
