//! The operations on second factors. Where a user has one, a sign-in gives a ticket, and the ticket with a code gives a session.

use std::sync::Arc;

use serde_json::json;

use super::{
    batch::Batch,
    error::{SecondFactorRefusal, WriteError},
    outcome::Outcome,
    staged::Staged,
    user_operation::NewSession,
};
use crate::{
    auth::totp,
    domain::{
        AskedFrom, Code, Credentials, Document, DocumentId, Purpose, SecondFactor, SessionId, Timestamp,
        Totp, UserData, UserKey, audit::AuditEvent,
    },
};

/// The most tickets of a user that are good: those of one network, and all. The oldest of the network that has most gives way, so
/// that whoever knows the password drives nobody's ticket out.
const MAX_TICKETS: (usize, usize) = (5, 50);

impl Batch {
    /// Begins a session for a user whose first factor is proven, or notes a ticket for one who has a second.
    pub(super) fn begin_or_ask(
        &self,
        staged: &mut Staged,
        key: &UserKey,
        user: Arc<Document>,
        session: &NewSession,
        ticket_hash: &str,
    ) -> Result<Outcome, WriteError> {
        self.check_enabled(&user)?;
        let credentials = self.credentials(staged, key).ok_or(WriteError::UnknownDocument)?;
        let Some(factor) = credentials.second_factor() else {
            let session = self.begin_session(staged, key, session)?;
            return Ok(Outcome::SignedIn { user, session });
        };
        let now = self.now();
        let old = self.codes_of(staged, |code| code.key == *key && code.purpose == Purpose::SecondFactor);
        let count = |from: &Option<AskedFrom>| old.iter().filter(|code| code.asked_from == *from).count();
        let most = old.iter().rev().max_by_key(|code| count(&code.asked_from));
        let most = most.map_or(&session.asked_from, |code| &code.asked_from);
        let of = |from: &Option<AskedFrom>| {
            let from = from.clone();
            old.iter().filter(move |code| code.asked_from == from)
        };
        let own = of(&session.asked_from).skip(MAX_TICKETS.0 - 1);
        let others = of(most).rev().take((old.len() + 1).saturating_sub(MAX_TICKETS.1));
        for old in own.chain(others) {
            staged.accounts.codes.insert(old.hash.clone(), None);
        }
        let ticket = Code {
            hash: ticket_hash.to_owned(),
            key: key.clone(),
            purpose: Purpose::SecondFactor,
            email: None,
            digits_hash: None,
            tries: 0,
            other_tries: 0,
            asked_from: session.asked_from.clone(),
            created_at: now,
            expires_at: Timestamp(now.0 + Purpose::SecondFactor.lifetime()),
        };
        staged.accounts.codes.insert(ticket.hash.clone(), Some(Arc::new(ticket)));
        Ok(Outcome::SecondFactor(factor))
    }

    /// Exchanges a ticket and a code for a session.
    pub(super) fn answer_second_factor(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        ticket_hash: &str,
        code: &str,
        session: &NewSession,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let now = self.now();
        let mut found = self.codes_of(staged, |ticket| {
            ticket.hash == ticket_hash && ticket.key == key && ticket.purpose == Purpose::SecondFactor
        });
        let ticket = found.pop().filter(|ticket| ticket.has_good_digits(now));
        let ticket = ticket.ok_or(WriteError::WrongCode)?;
        if !self.try_second_factor(staged, &key, code, session.asked_from.as_ref())? {
            let tried = Code { tries: ticket.tries + 1, ..(*ticket).clone() };
            staged.accounts.codes.insert(tried.hash.clone(), Some(Arc::new(tried)));
            return Ok(Outcome::WrongCode);
        }
        staged.accounts.codes.insert(ticket.hash.clone(), None);
        let user = self.user_document(staged, user)?;
        let session = self.begin_session(staged, &key, session)?;
        Ok(Outcome::SignedIn { user, session })
    }

    /// Notes the secret of an app that is not confirmed yet. It takes the place of another one that is not.
    pub(super) fn begin_totp(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        secret: &str,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        if credentials.second_factor() == Some(SecondFactor::App) {
            return Err(WriteError::SecondFactorExists);
        }
        self.check_verified(staged, user)?;
        // Another secret is no way around the bound on wrong codes.
        let old = credentials.totp.clone().unwrap_or_else(|| Totp::new(String::new()));
        let new = Totp { secret: secret.to_owned(), last_step: 0, ..old };
        self.put_totp(staged, &credentials, Some(new));
        Ok(Outcome::Done)
    }

    /// Turns the second factor on, by the first code of the app. The user's other sessions, which began without it, end.
    pub(super) fn confirm_totp(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        code: &str,
        recovery: &[String],
        keep: &SessionId,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        let mut totp = credentials.totp.clone().ok_or(WriteError::NoSecondFactor)?;
        if totp.is_confirmed {
            return Err(WriteError::SecondFactorExists);
        }
        self.check_verified(staged, user)?;
        let now = self.now();
        if totp.is_blocked(now) {
            return Err(WriteError::TooManyTries);
        }
        let Some(step) = totp::find_step(&totp.secret, code, now, totp.last_step) else {
            totp.note_failure(now);
            self.put_totp(staged, &credentials, Some(totp));
            return Ok(Outcome::WrongCode);
        };
        totp.note_use(step);
        totp.is_confirmed = true;
        totp.recovery = recovery.to_vec();
        self.put_totp(staged, &credentials, Some(totp));
        let mut others = self.sessions_of(staged, &key);
        others.retain(|session| session.id != *keep);
        self.end_sessions(staged, &others);
        Ok(Outcome::SessionsEnded { count: others.len() })
    }

    /// Turns the second factor off: by one more code, or by a server, which has none.
    pub(super) fn remove_totp(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        code: Option<&str>,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        if code.is_some() && credentials.second_factor() != Some(SecondFactor::App) {
            return Err(WriteError::NoSecondFactor);
        }
        if let Some(code) = code
            && !self.try_second_factor(staged, &key, code, None)?
        {
            return Ok(Outcome::WrongCode);
        }
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        if credentials.second_factor().is_none() {
            return Err(WriteError::NoSecondFactor);
        }
        // A code of the app says nothing about the mails.
        let has_mail_factor = credentials.has_mail_factor && code.is_some();
        self.put_credentials(staged, Credentials { totp: None, has_mail_factor, ..(*credentials).clone() });
        Ok(Outcome::Done)
    }

    /// Checks that nobody else may turn out to be the owner of the user's address.
    pub(super) fn check_verified(&self, staged: &Staged, user: &DocumentId) -> Result<(), WriteError> {
        let document = self.user_document(staged, user)?;
        let data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
        match data.email.is_none() || data.email_verified {
            true => Ok(()),
            false => Err(SecondFactorRefusal::UnverifiedAddress.into()),
        }
    }

    /// Compares a code of the app, or a recovery code, and uses it up. A wrong one is counted.
    fn try_second_factor(
        &self,
        staged: &mut Staged,
        key: &UserKey,
        code: &str,
        asked_from: Option<&AskedFrom>,
    ) -> Result<bool, WriteError> {
        let credentials = self.credentials(staged, key).ok_or(WriteError::UnknownDocument)?;
        if credentials.second_factor() == Some(SecondFactor::Mail) {
            return self.try_mailed_digits(staged, key, code, asked_from);
        }
        let totp = credentials.totp.clone().filter(|totp| totp.is_confirmed);
        let mut totp = totp.ok_or(WriteError::NoSecondFactor)?;
        let now = self.now();
        let is_good = if totp::is_code(code) {
            if totp.is_blocked(now) {
                return Err(WriteError::TooManyTries);
            }
            let step = totp::find_step(&totp.secret, code, now, totp.last_step);
            match step {
                Some(step) => totp.note_use(step),
                None => totp.note_failure(now),
            }
            step.is_some()
        } else {
            let hash = totp::hash_recovery_code(code);
            let before = totp.recovery.len();
            totp.recovery.retain(|left| *left != hash);
            let is_used = totp.recovery.len() < before;
            if is_used {
                let details = json!({ "left": totp.recovery.len() });
                staged.audit(AuditEvent::RecoveryCodeUsed, Some(&key.user), Some(details));
            }
            is_used
        };
        self.put_totp(staged, &credentials, Some(totp));
        Ok(is_good)
    }

    fn put_totp(&self, staged: &mut Staged, credentials: &Credentials, totp: Option<Totp>) {
        self.put_credentials(staged, Credentials { totp, ..credentials.clone() });
    }
}
