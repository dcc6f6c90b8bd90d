//! Second factors: an authenticator app and its recovery codes, and the second step of a sign-in.

use super::{
    ServiceError,
    foreign_tokens::METHOD,
    users::{Users, Welcome, is_recent, signed_in},
};
use crate::{
    auth::{Action, Principal, limits::Class, permission, totp},
    domain::{DocumentId, Purpose, Seen, UserData},
    store::{Lane, access::sessions},
    writer::{Outcome, UserOperation, WriteError, error::SecondFactorRefusal},
};

/// The secret of an app that is about to be confirmed. It is shown this once.
pub struct NewTotp {
    /// In base32.
    pub secret: String,
    /// For a QR code.
    pub url: String,
}

impl Users {
    /// Makes the secret of an authenticator app. It counts once it is confirmed.
    ///
    /// # Errors
    /// [`WriteError::SecondFactorExists`], [`WriteError::SecondFactor`]; [`ServiceError::WrongPassword`] if `password` is wrong; without one, [`ServiceError::RecentSignIn`]
    /// unless the sign-in is recent.
    pub async fn begin_totp(
        &self,
        principal: &Principal,
        password: Option<String>,
    ) -> Result<NewTotp, ServiceError> {
        let session = signed_in(principal)?.session.clone();
        let read = |db| async move { sessions::find(&db, &session).await };
        let session = self.documents.db.read(Lane::Point, read).await?;
        if session.is_some_and(|session| *session.method == *METHOD) {
            return Err(WriteError::SecondFactor(SecondFactorRefusal::ForeignSignIn).into());
        }
        self.prove_recently(principal, password).await?;
        let me = self.me(principal).await?;
        let data = UserData::from_stored(&me.data).map_err(WriteError::User)?;
        let secret = totp::new_secret().map_err(ServiceError::Token)?;
        let account = data.email.as_ref().map_or(me.id.as_str(), |email| email.as_str());
        let settings = self.settings(principal).await?;
        let product = settings.mails.product.as_deref().unwrap_or(self.mailer.public_host());
        let url = totp::url(&secret, product, account);
        let operation = UserOperation::BeginTotp { user: me.id.clone(), secret: secret.clone() };
        self.submit(principal, operation).await?;
        Ok(NewTotp { secret, url })
    }

    /// Turns the second factor on, and returns the recovery codes, which are shown this once. The user's other sessions end.
    ///
    /// # Errors
    /// [`WriteError::WrongCode`]; [`WriteError::TooManyTries`]; [`WriteError::NoSecondFactor`] without a secret.
    pub async fn confirm_totp(&self, principal: &Principal, code: &str) -> Result<Vec<String>, ServiceError> {
        let user = signed_in(principal)?;
        let recovery = totp::new_recovery_codes().map_err(ServiceError::Token)?;
        let operation = UserOperation::ConfirmTotp {
            user: user.id.clone(),
            code: without_spaces(code),
            recovery: recovery.iter().map(|code| totp::hash_recovery_code(code)).collect(),
            keep: user.session.clone(),
        };
        match self.submit(principal, operation).await? {
            Outcome::WrongCode => Err(self.wrong_second_factor(principal, &user.id)),
            _ => Ok(recovery),
        }
    }

    /// Turns the second factor off. A recovery code is as good as one of the app.
    ///
    /// # Errors
    /// [`WriteError::WrongCode`]; [`WriteError::TooManyTries`]; [`WriteError::NoSecondFactor`].
    pub async fn remove_totp(&self, principal: &Principal, code: &str) -> Result<(), ServiceError> {
        let user = signed_in(principal)?.id.clone();
        let operation = UserOperation::RemoveTotp { user: user.clone(), code: Some(without_spaces(code)) };
        match self.submit(principal, operation).await? {
            Outcome::WrongCode => Err(self.wrong_second_factor(principal, &user)),
            _ => Ok(()),
        }
    }

    /// Turns any user's second factor off, for a server.
    ///
    /// # Errors
    /// [`WriteError::NoSecondFactor`].
    pub async fn remove_totp_of(&self, principal: &Principal, user: &DocumentId) -> Result<(), ServiceError> {
        permission::check(principal, Action::ManageUsers)?;
        let operation = UserOperation::RemoveTotp { user: user.clone(), code: None };
        self.submit(principal, operation).await.map(drop)
    }

    /// Turns the user's second factor by mail on or off.
    ///
    /// # Errors
    /// [`WriteError::SecondFactor`]; [`ServiceError::RecentSignIn`] to turn it off, if the sign-in is older than 10 minutes.
    pub async fn set_mail_factor(&self, principal: &Principal, is_on: bool) -> Result<(), ServiceError> {
        let user = signed_in(principal)?.id.clone();
        if !is_on && !is_recent(principal) {
            return Err(ServiceError::RecentSignIn);
        }
        self.submit(principal, UserOperation::SetMailFactor { user, is_on }).await.map(drop)
    }

    /// Signs a user in by the ticket of the first step and a code.
    ///
    /// # Errors
    /// [`WriteError::WrongCode`]; [`WriteError::TooManyTries`].
    pub async fn sign_in_second(
        &self,
        principal: &Principal,
        ticket: &str,
        code: &str,
        seen: Seen,
    ) -> Result<Welcome, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        self.limits.check(Class::SignIn, principal)?;
        let ticket = self.find_code(principal, ticket).await?;
        if ticket.purpose != Purpose::SecondFactor {
            return Err(WriteError::WrongCode.into());
        }
        let user = ticket.key.user;
        let operation = UserOperation::AnswerSecondFactor {
            user: user.clone(),
            ticket_hash: ticket.hash,
            code: without_spaces(code),
            session: self.new_session(principal, "mfa", seen)?,
        };
        match self.submit(principal, operation).await {
            Ok(Outcome::WrongCode) => Err(self.wrong_second_factor(principal, &user)),
            // The user is gone, or has turned the second factor off.
            Err(ServiceError::Write(WriteError::UnknownDocument | WriteError::NoSecondFactor)) => {
                Err(WriteError::WrongCode.into())
            }
            outcome => self.welcome(outcome?),
        }
    }

    fn wrong_second_factor(&self, principal: &Principal, user: &DocumentId) -> ServiceError {
        self.failed.note(principal, Some(user.clone()));
        WriteError::WrongCode.into()
    }
}

/// Apps show codes in groups.
fn without_spaces(code: &str) -> String {
    code.split_whitespace().collect()
}
