//! The operations on codes: making them, and what they are good for. A code that is used is gone, in the transaction that does
//! what it was good for.

use std::{collections::HashSet, sync::Arc};

use serde_json::json;

use super::{
    batch::Batch,
    error::WriteError,
    outcome::Outcome,
    staged::Staged,
    user_operation::{CodeProof, NewCode, NewSession},
};
use crate::{
    auth::codes::hash_digits,
    domain::{
        Code, Credentials, Document, DocumentId, Email, PasswordHash, Purpose, Timestamp, UserData, UserKey,
        audit::AuditEvent,
        code::{MAX_RECENT, RECENT},
    },
};

impl Batch {
    /// Notes a code that is about to be sent.
    pub(super) fn make_code(&self, staged: &mut Staged, new: &NewCode) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: new.user.clone() };
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        if self.check_enabled(&*self.user_document(staged, &new.user)?).is_err() {
            return Err(WriteError::UnknownDocument);
        }
        match (new.purpose, &new.email) {
            (Purpose::ChangeEmail, Some(email)) => {
                self.catalog(staged).settings().signup.check_address(email)?;
                self.check_free(staged, &key, email)?;
            }
            // It was changed since it was looked up.
            (_, email) if *email != credentials.email => return Err(WriteError::UnknownDocument),
            _ => {}
        }
        let now = self.now();
        let codes = self.codes_of(staged, |code| {
            code.purpose == new.purpose && (code.key == key || code.email == new.email)
        });
        let recent = codes.iter().filter(|code| code.created_at.0 > now.0 - RECENT).count();
        if recent >= MAX_RECENT {
            return Err(WriteError::TooManyCodes);
        }
        // Those that are left of a user are few, however long they are good.
        for old in codes.iter().filter(|code| code.key == key).skip(MAX_RECENT - 1) {
            staged.accounts.codes.insert(old.hash.clone(), None);
        }
        let code = Code {
            hash: new.token_hash.clone(),
            key,
            purpose: new.purpose,
            email: new.email.clone(),
            digits_hash: new.digits_hash.clone(),
            tries: 0,
            created_at: now,
            expires_at: Timestamp(now.0 + new.purpose.lifetime()),
        };
        staged.accounts.codes.insert(code.hash.clone(), Some(Arc::new(code)));
        Ok(Outcome::Done)
    }

    /// Sets a new password by a link. Whoever has the link reads the mail of the address, so the address is verified.
    pub(super) fn reset_password(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        token_hash: &str,
        new: &PasswordHash,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        self.take_code(staged, &key, token_hash, &[Purpose::ResetPassword])?;
        let document = self.user_document(staged, user)?;
        let document = self.take_over(staged, &key, document)?;
        let sessions = self.sessions_of(staged, &key);
        self.end_sessions(staged, &sessions);
        self.drop_codes(staged, &key);
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        self.put_credentials(staged, Credentials { password: Some(new.clone()), ..(*credentials).clone() });
        let sequence = staged.ends.last.sequence;
        let collection = self.find(staged, crate::domain::USERS)?.name.clone();
        Ok(Outcome::Document { collection, document, is_new: false, sequence })
    }

    /// Marks an address as verified, or gives a user the address that a link was sent to.
    pub(super) fn confirm_email(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        token_hash: &str,
        email: &Email,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let code = self.take_code(staged, &key, token_hash, &[Purpose::VerifyEmail, Purpose::ChangeEmail])?;
        let document = self.user_document(staged, user)?;
        let mut data = UserData::parse(&document.data).map_err(WriteError::User)?;
        data.email_verified = true;
        if code.purpose == Purpose::ChangeEmail {
            self.catalog(staged).settings().signup.check_address(email)?;
            data.email = Some(email.clone());
            // The other codes went to the old address.
            self.drop_codes(staged, &key);
        }
        self.write_user(staged, document, &data)
    }

    /// Signs a user in by a code or a link from a mail to their address.
    pub(super) fn sign_in_by_code(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        proof: &CodeProof,
        session: &NewSession,
        ticket_hash: &str,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        match proof {
            CodeProof::Token { hash } => drop(self.take_code(staged, &key, hash, &[Purpose::SignIn])?),
            CodeProof::Digits { digits } => {
                if !self.try_digits(staged, &key, digits)? {
                    return Ok(Outcome::WrongCode);
                }
            }
        }
        let codes = self.codes_of(staged, |code| code.key == key && code.purpose == Purpose::SignIn);
        staged.accounts.codes.extend(codes.into_iter().map(|code| (code.hash.clone(), None)));
        let document = self.user_document(staged, user)?;
        let document = self.take_over(staged, &key, document)?;
        self.begin_or_ask(staged, &key, document, session, ticket_hash)
    }

    /// Forgets all codes of a user.
    pub(super) fn drop_codes(&self, staged: &mut Staged, key: &UserKey) {
        let codes = self.codes_of(staged, |code| code.key == *key);
        staged.accounts.codes.extend(codes.into_iter().map(|code| (code.hash.clone(), None)));
    }

    /// Takes a code that is good for one of these purposes.
    ///
    /// # Errors
    /// [`WriteError::WrongCode`].
    fn take_code(
        &self,
        staged: &mut Staged,
        key: &UserKey,
        token_hash: &str,
        purposes: &[Purpose],
    ) -> Result<Arc<Code>, WriteError> {
        let now = self.now();
        let mut found = self.codes_of(staged, |code| code.hash == token_hash && code.key == *key);
        let code = found.pop().filter(|code| purposes.contains(&code.purpose) && code.is_good(now));
        let code = code.ok_or(WriteError::WrongCode)?;
        let credentials = self.credentials(staged, key).ok_or(WriteError::WrongCode)?;
        if code.purpose != Purpose::ChangeEmail && code.email != credentials.email {
            return Err(WriteError::WrongCode);
        }
        staged.accounts.codes.insert(code.hash.clone(), None);
        Ok(code)
    }

    /// Compares digits with those of every code that was sent to a user for a sign-in. Wrong ones count against each of them.
    fn try_digits(&self, staged: &mut Staged, key: &UserKey, digits: &str) -> Result<bool, WriteError> {
        let now = self.now();
        let email = self.credentials(staged, key).and_then(|credentials| credentials.email.clone());
        let codes = self.codes_of(staged, |code| {
            code.key == *key
                && code.purpose == Purpose::SignIn
                && code.email == email
                && code.has_good_digits(now)
        });
        if codes.is_empty() {
            return Err(WriteError::WrongCode);
        }
        let fits = |code: &Arc<Code>| code.digits_hash.as_deref() == Some(&*hash_digits(&code.hash, digits));
        if codes.iter().any(fits) {
            return Ok(true);
        }
        for code in codes {
            let tried = Code { tries: code.tries + 1, ..(*code).clone() };
            staged.accounts.codes.insert(code.hash.clone(), Some(Arc::new(tried)));
        }
        Ok(false)
    }

    /// Notes that a user reads mail to their address. If nobody had shown that before, somebody else may have made the account
    /// to wait for its owner: the password, the second factor, the sessions, the identities and the codes are dropped.
    pub(super) fn take_over(
        &self,
        staged: &mut Staged,
        key: &UserKey,
        document: Arc<Document>,
    ) -> Result<Arc<Document>, WriteError> {
        let mut data = UserData::parse(&document.data).map_err(WriteError::User)?;
        if data.email_verified {
            return Ok(document);
        }
        let credentials = self.credentials(staged, key).ok_or(WriteError::UnknownDocument)?;
        if credentials.has_second_factor() {
            let details = json!({ "method": "takeover" });
            staged.audit(AuditEvent::TotpOff, Some(&key.user), Some(details));
        }
        self.put_credentials(staged, Credentials { password: None, totp: None, ..(*credentials).clone() });
        let sessions = self.sessions_of(staged, key);
        self.end_sessions(staged, &sessions);
        self.drop_codes(staged, key);
        for identity in self.drop_identities(staged, key) {
            let details = json!({ "provider": identity.provider, "method": "takeover" });
            staged.audit(AuditEvent::IdentityUnlinked, Some(&key.user), Some(details));
        }
        data.email_verified = true;
        match self.write_user(staged, document, &data)? {
            Outcome::Document { document, .. } => Ok(document),
            _ => Err(WriteError::UnknownDocument),
        }
    }

    /// Returns codes as the mutation sees them, the newest first.
    pub(super) fn codes_of(&self, staged: &Staged, is_wanted: impl Fn(&Code) -> bool) -> Vec<Arc<Code>> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        for layer in [&staged.accounts, self.next_accounts(), self.base_accounts()] {
            for (hash, code) in &layer.codes {
                if seen.insert(hash)
                    && let Some(code) = code
                    && code.key.project == staged.project
                    && is_wanted(code)
                {
                    found.push(code.clone());
                }
            }
        }
        found.sort_by(|one, other| (other.created_at, &other.hash).cmp(&(one.created_at, &one.hash)));
        found
    }
}
