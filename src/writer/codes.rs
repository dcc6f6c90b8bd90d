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
        AskedFrom, Code, Credentials, Document, DocumentId, PasswordHash, Purpose, Timestamp, UserData,
        UserKey,
        audit::AuditEvent,
        code::{MAX_COMPARED, MAX_RECENT, MAX_RECENT_OF_ADDRESS, MAX_RECENT_OF_ALL, MAX_WRONG, RECENT},
    },
};

/// The most codes of a user for one purpose that are left, whoever asked for them.
const MAX_LEFT: usize = 50;

impl Batch {
    /// Notes a code that is about to be sent. It is sent only if the outcome is [`Outcome::Done`].
    pub(super) fn make_code(&self, staged: &mut Staged, new: &NewCode) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: new.user.clone() };
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        if self.check_enabled(&*self.user_document(staged, &new.user)?).is_err() {
            return Err(WriteError::UnknownDocument);
        }
        let document = self.user_document(staged, &new.user)?;
        let mut is_free = true;
        match (new.purpose, &new.email) {
            (Purpose::ChangeEmail, Some(email)) => {
                let data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
                self.check_may_have(staged, &data, email)?;
                is_free = self.check_free(staged, &key, email).is_ok();
            }
            // It was changed since it was looked up.
            (_, email) if *email != credentials.email => return Err(WriteError::UnknownDocument),
            _ => {}
        }
        let now = self.now();
        let codes = self.codes_of(staged, |code| {
            code.purpose == new.purpose && (code.key == key || code.email == new.email)
        });
        // Who asks for an address of their own must not be kept from it by others who asked for it.
        let recent = codes.iter().filter(|code| code.created_at.0 > now.0 - RECENT);
        let (own, others): (Vec<_>, Vec<_>) = recent.partition(|code| code.key == key);
        let is_of_asker = |code: &&Arc<Code>| code.asked_from == new.asked_from;
        let is_server = new.asked_from.as_ref().is_some_and(AskedFrom::is_server);
        let most = if is_server { MAX_RECENT_OF_ALL } else { MAX_RECENT };
        // The owner of another address has no session that could show who asks.
        let is_known =
            new.purpose != Purpose::ChangeEmail && self.has_session_at(staged, &key, new.asked_from.as_ref());
        if own.iter().copied().filter(is_of_asker).count() >= most
            || (!is_known && own.len() >= MAX_RECENT_OF_ALL)
            || own.len() + others.len() >= MAX_RECENT_OF_ADDRESS
        {
            return Err(WriteError::TooManyCodes);
        }
        // Those that are left of a user are few, however long they are good.
        let own = || codes.iter().filter(|code| code.key == key);
        for old in own().filter(is_of_asker).skip(most - 1).chain(own().skip(MAX_LEFT - 1)) {
            staged.accounts.codes.insert(old.hash.clone(), None);
        }
        let code = Code {
            hash: new.token_hash.clone(),
            key,
            purpose: new.purpose,
            email: new.email.clone(),
            digits_hash: new.digits_hash.clone(),
            tries: 0,
            other_tries: 0,
            asked_from: new.asked_from.clone(),
            created_at: now,
            expires_at: Timestamp(now.0 + new.purpose.lifetime()),
        };
        // A code for an address that is taken counts, too, so that its owner gets few mails. Nobody ever has it.
        staged.accounts.codes.insert(code.hash.clone(), Some(Arc::new(code)));
        Ok(if is_free { Outcome::Done } else { Outcome::EmailTaken })
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
        self.unchanged(staged, document)
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
            CodeProof::Digits { digits, asked_from } => {
                if !self.try_digits(staged, &key, digits, asked_from.as_ref())? {
                    return Ok(Outcome::WrongCode);
                }
            }
        }
        self.drop_sign_in_codes(staged, &key);
        let document = self.user_document(staged, user)?;
        if self.take_first_factor(staged, &key, session.asked_from.as_ref())? {
            let session = self.begin_session(staged, &key, session)?;
            return Ok(Outcome::SignedIn { user: document, session });
        }
        let document = self.take_over(staged, &key, document)?;
        self.begin_or_ask(staged, &key, document, session, ticket_hash)
    }

    /// Forgets the codes that were mailed to a user for a sign-in.
    pub(super) fn drop_sign_in_codes(&self, staged: &mut Staged, key: &UserKey) {
        let codes = self.codes_of(staged, |code| code.key == *key && code.purpose == Purpose::SignIn);
        staged.accounts.codes.extend(codes.into_iter().map(|code| (code.hash.clone(), None)));
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
    pub(super) fn take_code(
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

    /// Compares digits with those of the codes that were sent to a user for a sign-in: with those that were asked for from the same
    /// network, or where there are none, with the others. Wrong ones count against each of them, and in one sum for the user.
    pub(super) fn try_digits(
        &self,
        staged: &mut Staged,
        key: &UserKey,
        digits: &str,
        asked_from: Option<&AskedFrom>,
    ) -> Result<bool, WriteError> {
        let now = self.now();
        let email = self.credentials(staged, key).and_then(|credentials| credentials.email.clone());
        let codes = self.codes_of(staged, |code| {
            code.key == *key
                && code.purpose == Purpose::SignIn
                && code.email == email
                && code.created_at.0 > now.0 - RECENT
        });
        let is_own = |code: &Code| code.asked_from.as_ref() == asked_from;
        let own_wrong: u32 = codes.iter().filter(|code| is_own(code)).map(|code| code.tries).sum();
        let all_wrong: u32 = codes.iter().map(|code| code.tries + code.other_tries).sum();
        let is_server = asked_from.is_some_and(AskedFrom::is_server);
        let is_worn = all_wrong >= MAX_WRONG.1 || (own_wrong >= MAX_WRONG.0 && !is_server);
        if is_worn && !self.has_session_at(staged, key, asked_from) {
            return Err(WriteError::WrongCode);
        }
        let is_here = codes.iter().any(|code| is_own(code) && code.is_good(now));
        let is_good = |code: &&Arc<Code>| match is_here {
            true => is_own(code) && code.has_good_digits(now),
            false => code.has_good_digits_elsewhere(now),
        };
        let compared: Vec<_> = codes.iter().filter(is_good).take(MAX_COMPARED).cloned().collect();
        if compared.is_empty() {
            return Err(WriteError::WrongCode);
        }
        let fits = |code: &Arc<Code>| code.digits_hash.as_deref() == Some(&*hash_digits(&code.hash, digits));
        if compared.iter().any(fits) {
            return Ok(true);
        }
        for code in compared {
            let mut tried = Code::clone(&code);
            match is_here {
                true => tried.tries += 1,
                false => tried.other_tries += 1,
            }
            staged.accounts.codes.insert(code.hash.clone(), Some(Arc::new(tried)));
        }
        Ok(false)
    }

    /// Whether a user has a session where somebody asks from.
    fn has_session_at(&self, staged: &Staged, key: &UserKey, asked_from: Option<&AskedFrom>) -> bool {
        let Some(asked_from) = asked_from else { return false };
        let sessions = self.sessions_of(staged, key);
        sessions.iter().filter_map(|session| session.address.as_deref()).any(|at| asked_from.has(at))
    }

    /// Notes that a user reads mail to their address. If nobody had shown that before, somebody else may have made the account
    /// to wait for its owner: the password, the sessions, the identities and the codes are dropped. A second factor stays. It was
    /// turned on by somebody who had a verified address or none, and must not be lost to whoever reads the mail of another one.
    pub(super) fn take_over(
        &self,
        staged: &mut Staged,
        key: &UserKey,
        document: Arc<Document>,
    ) -> Result<Arc<Document>, WriteError> {
        let mut data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
        if data.email_verified {
            return Ok(document);
        }
        let credentials = self.credentials(staged, key).ok_or(WriteError::UnknownDocument)?;
        let totp = credentials.totp.clone().filter(|totp| totp.is_confirmed);
        self.put_credentials(staged, Credentials { password: None, totp, ..(*credentials).clone() });
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
