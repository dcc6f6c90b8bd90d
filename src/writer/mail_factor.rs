//! The operations on second factors by mail, as the client libraries know them: after the password, a code that was mailed to the
//! user's address. Whoever has such a factor proves both, in this order.

use super::{
    batch::Batch,
    error::{SecondFactorRefusal, WriteError},
    outcome::Outcome,
    staged::Staged,
};
use crate::domain::{AskedFrom, Credentials, DocumentId, Purpose, SecondFactor, UserKey};

impl Batch {
    /// Turns the factor on, which takes a password and a verified address, or off.
    pub(super) fn set_mail_factor(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        is_on: bool,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        if is_on {
            if credentials.password.is_none() || credentials.email.is_none() {
                return Err(SecondFactorRefusal::NoPassword.into());
            }
            self.check_verified(staged, user)?;
        }
        self.put_credentials(staged, Credentials { has_mail_factor: is_on, ..(*credentials).clone() });
        Ok(Outcome::Done)
    }

    /// Uses up what shows that the first factor of a user was proven within the last minutes, if a code by mail is the second one. For
    /// such a user the code alone is no sign-in. The password must have come from where the code comes: whoever reads the mail alone
    /// waits for no sign-in of the user. Returns whether it was the second step of one.
    ///
    /// # Errors
    /// [`SecondFactorRefusal::PasswordFirst`].
    pub(super) fn take_first_factor(
        &self,
        staged: &mut Staged,
        key: &UserKey,
        asker: Option<&AskedFrom>,
    ) -> Result<bool, WriteError> {
        let factor = self.credentials(staged, key).and_then(|credentials| credentials.second_factor());
        if factor != Some(SecondFactor::Mail) {
            return Ok(false);
        }
        let now = self.now();
        let tickets = self.codes_of(staged, |ticket| {
            let is_of_user = ticket.key == *key && ticket.purpose == Purpose::SecondFactor;
            is_of_user && ticket.asked_from.as_ref() == asker && ticket.has_good_digits(now)
        });
        let ticket = tickets.first().ok_or(SecondFactorRefusal::PasswordFirst)?;
        staged.accounts.codes.insert(ticket.hash.clone(), None);
        Ok(true)
    }

    /// Compares digits with those that were mailed for a sign-in. Right ones are used up, and wrong ones count.
    ///
    /// # Errors
    /// [`WriteError::WrongCode`] if none were mailed that are good.
    pub(super) fn try_mailed_digits(
        &self,
        staged: &mut Staged,
        key: &UserKey,
        digits: &str,
        asked_from: Option<&AskedFrom>,
    ) -> Result<bool, WriteError> {
        let is_right = self.try_digits(staged, key, digits, asked_from)?;
        if is_right {
            self.drop_sign_in_codes(staged, key);
        }
        Ok(is_right)
    }
}
