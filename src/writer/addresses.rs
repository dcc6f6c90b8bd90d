//! The operations by which a user gets an address, and what holds for all of them.
//!
//! An account with a second factor gets an address only by its link, or from a server. Otherwise somebody who has stolen a session
//! could give it an address of their own.

use super::{
    batch::Batch,
    error::{SecondFactorRefusal, WriteError},
    outcome::Outcome,
    staged::Staged,
};
use crate::domain::{Credentials, DocumentId, Email, PasswordHash, Purpose, UserData, UserKey};

impl Batch {
    /// Gives an anonymous user an address, which is not verified, and a password.
    pub(super) fn upgrade(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        email: &Email,
        password: &PasswordHash,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let document = self.user_document(staged, user)?;
        let mut data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
        if data.email.is_some() {
            return Err(WriteError::NotAnonymous);
        }
        self.check_may_have(staged, &data, email)?;
        self.check_one_factor(staged, &key)?;
        // A server took the address away. Who has the session may be somebody else, who doesn't know the password.
        let credentials = self.credentials(staged, &key);
        if credentials.is_some_and(|credentials| credentials.password.is_some()) {
            return Err(WriteError::HasPassword);
        }
        data.email = Some(email.clone());
        data.email_verified = false;
        let outcome = self.write_user(staged, document, &data)?;
        if let Some(credentials) = self.credentials(staged, &key) {
            self.put_credentials(
                staged,
                Credentials { password: Some(password.clone()), ..(*credentials).clone() },
            );
        }
        Ok(outcome)
    }

    /// Gives a user another address, which is not verified.
    pub(super) fn change_email(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        email: &Email,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let document = self.user_document(staged, user)?;
        let mut data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
        self.check_may_have(staged, &data, email)?;
        self.check_one_factor(staged, &key)?;
        data.email = Some(email.clone());
        data.email_verified = false;
        self.write_user(staged, document, &data)
    }

    /// Marks an address as verified, or gives a user the address that a link was sent to. Whoever follows it without being the user
    /// takes an account over whose address was never verified.
    pub(super) fn confirm_email(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        (token_hash, email): (&str, &Email),
        is_own: bool,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let code = self.take_code(staged, &key, token_hash, &[Purpose::VerifyEmail, Purpose::ChangeEmail])?;
        let mut document = self.user_document(staged, user)?;
        let mut data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
        let keeps = is_own || data.email_verified;
        if code.purpose == Purpose::ChangeEmail {
            self.check_may_have(staged, &data, email)?;
            self.check_free(staged, &key, email)?;
            // The other codes went to the old address.
            self.drop_codes(staged, &key);
            data.email = Some(email.clone());
        }
        data.email_verified = keeps;
        if keeps {
            return self.write_user(staged, document, &data);
        }
        if code.purpose == Purpose::ChangeEmail
            && let Outcome::Document { document: changed, .. } =
                self.write_user(staged, document.clone(), &data)?
        {
            document = changed;
        }
        let document = self.take_over(staged, &key, document)?;
        self.unchanged(staged, document)
    }

    /// Checks that the settings let a user have this address. A user's first one is that of somebody who signs up.
    pub(super) fn check_may_have(
        &self,
        staged: &Staged,
        user: &UserData,
        email: &Email,
    ) -> Result<(), WriteError> {
        let signup = &self.catalog(staged).settings().signup;
        Ok(match user.email {
            None => signup.check(Some(email)),
            Some(_) => signup.check_address(email),
        }?)
    }

    fn check_one_factor(&self, staged: &Staged, key: &UserKey) -> Result<(), WriteError> {
        match self.credentials(staged, key).and_then(|credentials| credentials.second_factor()) {
            Some(_) => Err(SecondFactorRefusal::AddressByLink.into()),
            None => Ok(()),
        }
    }
}
