//! The operations on users: accounts, passwords and sessions. The document of a user, the credentials and the sessions change in
//! one transaction.

use std::{collections::HashSet, sync::Arc};

use serde_json::Value;

use super::{
    batch::Batch,
    documents::apply_patch,
    error::WriteError,
    outcome::Outcome,
    precondition::Precondition,
    staged::Staged,
    user_operation::{Admission, NewSession, UserOperation, Which},
};
use crate::domain::{
    Control, Credentials, Data, Document, DocumentId, DocumentKey, Email, KeyId, PasswordHash, Patch,
    Session, SessionId, Timestamp, USERS, UserData, UserKey,
    refreshes::RecentRefreshes,
    session::{PresentedToken, TokenWorth},
};
use crate::store::Trouble;

/// The most sessions of a user. The one that was not used for the longest time ends when one more begins.
pub const MAX_SESSIONS: usize = 100;

impl Batch {
    pub(super) fn apply_user_operation(
        &self,
        staged: &mut Staged,
        operation: &UserOperation,
    ) -> Result<Outcome, WriteError> {
        let outcome = match operation {
            UserOperation::SignUp { user, password, session, admission } => {
                self.sign_up(staged, user, password.as_ref(), session, admission)
            }
            UserOperation::SignIn { user, password, rehashed, session, ticket_hash } => {
                self.sign_in(staged, user, (password, rehashed.as_ref()), session, ticket_hash)
            }
            UserOperation::ChangeProfile { user, profile, operators, precondition } => {
                self.change_profile(staged, user, profile.as_ref(), operators.as_ref(), precondition)
            }
            UserOperation::Upgrade { user, email, password } => self.upgrade(staged, user, email, password),
            UserOperation::ChangeEmail { user, email } => self.change_email(staged, user, email),
            UserOperation::Refresh { token, next_hash, expires_at, device, address, key } => {
                let seen = (device.clone(), address.clone(), key.clone());
                self.refresh(staged, token, next_hash, *expires_at, seen)
            }
            UserOperation::ChangePassword { user, current, new, keep } => {
                self.change_password(staged, user, current.as_ref(), new, keep.as_ref())
            }
            UserOperation::EndSessions { user, which } => self.end_some(staged, user, which),
            UserOperation::MakeCode(code) => self.make_code(staged, code),
            UserOperation::ResetPassword { user, token_hash, new } => {
                self.reset_password(staged, user, token_hash, new)
            }
            UserOperation::ConfirmEmail { user, token_hash, email, is_own } => {
                self.confirm_email(staged, user, (token_hash, email), *is_own)
            }
            UserOperation::SignInByCode { user, proof, session, ticket_hash } => {
                self.sign_in_by_code(staged, user, proof, session, ticket_hash)
            }
            UserOperation::AnswerSecondFactor { user, ticket_hash, code, session } => {
                self.answer_second_factor(staged, user, ticket_hash, code, session)
            }
            UserOperation::BeginTotp { user, secret } => self.begin_totp(staged, user, secret),
            UserOperation::ConfirmTotp { user, code, recovery, keep } => {
                self.confirm_totp(staged, user, code, recovery, keep)
            }
            UserOperation::RemoveTotp { user, code } => self.remove_totp(staged, user, code.as_deref()),
            UserOperation::SetMailFactor { user, is_on } => self.set_mail_factor(staged, user, *is_on),
            UserOperation::SignInByProvider(sign_in) => self.sign_in_by_provider(staged, sign_in),
            UserOperation::LinkIdentity { user, claimed, state } => {
                self.link_identity(staged, user, claimed, state)
            }
            UserOperation::UnlinkIdentity { user, provider } => self.unlink_identity(staged, user, provider),
            UserOperation::Adopt { claimed, found, session } => {
                self.adopt(staged, claimed, found.as_ref(), session)
            }
            UserOperation::Invite(invitation) => self.invite(staged, invitation),
            UserOperation::Withdraw { hash } => self.withdraw(staged, hash),
        }?;
        self.audit_operation(staged, operation, &outcome);
        Ok(outcome)
    }

    fn sign_up(
        &self,
        staged: &mut Staged,
        user: &UserData,
        password: Option<&PasswordHash>,
        session: &NewSession,
        admission: &Admission,
    ) -> Result<Outcome, WriteError> {
        let user = match admission {
            Admission::Server => user.clone(),
            Admission::Settings => {
                self.catalog(staged).settings().signup.check(user.email.as_ref())?;
                user.clone()
            }
            Admission::Invited(hash) => self.accept_invitation(staged, hash, user)?,
        };
        let created = self.create_document(staged, USERS, &to_data(&user)?, None)?;
        let Outcome::Document { document, .. } = &created else {
            return Err(WriteError::Unavailable(Trouble::Away));
        };
        let key = UserKey { project: staged.project.clone(), user: document.id.clone() };
        if let (Some(credentials), Some(password)) = (self.credentials(staged, &key), password) {
            self.put_credentials(
                staged,
                Credentials { password: Some(password.clone()), ..(*credentials).clone() },
            );
        }
        let session = self.begin_session(staged, &key, session)?;
        Ok(Outcome::SignedIn { user: document.clone(), session })
    }

    fn sign_in(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        (password, rehashed): (&PasswordHash, Option<&PasswordHash>),
        session: &NewSession,
        ticket_hash: &str,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let document = self.user_document(staged, user)?;
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        // It may have been changed since it was compared.
        if credentials.password.as_ref() != Some(password) {
            return Err(WriteError::CredentialsChanged);
        }
        if let Some(rehashed) = rehashed {
            self.put_credentials(
                staged,
                Credentials { password: Some(rehashed.clone()), ..(*credentials).clone() },
            );
        }
        self.begin_or_ask(staged, &key, document, session, ticket_hash)
    }

    fn change_profile(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        profile: Option<&Patch>,
        operators: Option<&Patch>,
        precondition: &Precondition,
    ) -> Result<Outcome, WriteError> {
        let document = self.user_document(staged, user)?;
        precondition.check(Some(&document))?;
        let mut data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
        if let Some(patch) = profile {
            let before = Data::from_value(Value::Object(data.profile)).map_err(Arc::new)?;
            data.profile = apply_patch(patch, &before)?.fields().clone();
        }
        if let Some(patch) = operators {
            let changed = apply_patch(patch, &to_data(&data)?)?;
            let changed = UserData::parse_change(&changed, Some(&document.data)).map_err(WriteError::User)?;
            if (&changed.email, changed.email_verified, &changed.roles, changed.disabled)
                != (&data.email, data.email_verified, &data.roles, data.disabled)
            {
                return Err(WriteError::ProfileOnly);
            }
            data = changed;
        }
        let collection = self.find(staged, USERS)?;
        let judge = self.judge(staged, &collection)?;
        let key = DocumentKey { collection: collection.id.clone(), id: user.clone() };
        self.write_judged(staged, judge, (&collection, key), Some(document), to_data(&data)?)
    }

    fn refresh(
        &self,
        staged: &mut Staged,
        token: &PresentedToken,
        next_hash: &str,
        expires_at: Timestamp,
        (device, address, key): (Option<String>, Option<String>, Option<KeyId>),
    ) -> Result<Outcome, WriteError> {
        let now = self.now();
        let session = self.session(staged, &token.session).ok_or(WriteError::SessionEnded)?;
        if session.project != staged.project || session.expires_at <= now {
            return Err(WriteError::SessionEnded);
        }
        let user = self.user_document(staged, &session.user)?;
        match session.judge(token, now) {
            TokenWorth::Unknown => Err(WriteError::SessionEnded),
            TokenWorth::JustReplaced => {
                let shared = session.as_shared(now).map(Arc::new);
                if let Some(shared) = &shared {
                    staged.accounts.sessions.insert(shared.id.clone(), Some(shared.clone()));
                }
                Ok(Outcome::SignedIn { user, session: shared.unwrap_or(session) })
            }
            TokenWorth::Stolen => {
                self.end_sessions(staged, std::slice::from_ref(&session));
                Ok(Outcome::Stolen { session })
            }
            TokenWorth::Current => {
                let next = Arc::new(Session {
                    expires_at,
                    device,
                    address,
                    key: key.or_else(|| session.key.clone()),
                    ..session.next(next_hash.to_owned(), now)
                });
                staged.accounts.sessions.insert(next.id.clone(), Some(next.clone()));
                Ok(Outcome::SignedIn { user, session: next })
            }
        }
    }

    fn change_password(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        current: Option<&PasswordHash>,
        new: &PasswordHash,
        keep: Option<&SessionId>,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        if credentials.password.as_ref() != current {
            return Err(WriteError::CredentialsChanged);
        }
        self.put_credentials(staged, Credentials { password: Some(new.clone()), ..(*credentials).clone() });
        let mut others = self.sessions_of(staged, &key);
        others.retain(|session| Some(&session.id) != keep);
        self.end_sessions(staged, &others);
        // Whoever knew the old one may have asked for them.
        self.drop_codes(staged, &key);
        Ok(Outcome::SessionsEnded { count: others.len() })
    }

    fn end_some(&self, staged: &mut Staged, user: &DocumentId, which: &Which) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let mut sessions = self.sessions_of(staged, &key);
        if let Which::One(id) = which {
            sessions.retain(|session| session.id == *id);
            if sessions.is_empty() {
                return Err(WriteError::SessionEnded);
            }
        }
        self.end_sessions(staged, &sessions);
        Ok(Outcome::SessionsEnded { count: sessions.len() })
    }

    pub(super) fn write_user(
        &self,
        staged: &mut Staged,
        before: Arc<Document>,
        data: &UserData,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, USERS)?;
        let key = DocumentKey { collection: collection.id.clone(), id: before.id.clone() };
        self.write(staged, &collection, key, Some(before), to_data(data)?)
    }

    /// Begins a session of a user who is not disabled. Every sign-in ends here.
    pub(super) fn begin_session(
        &self,
        staged: &mut Staged,
        key: &UserKey,
        new: &NewSession,
    ) -> Result<Arc<Session>, WriteError> {
        self.check_enabled(&*self.user_document(staged, &key.user)?)?;
        let mut old = self.sessions_of(staged, key);
        if old.len() >= MAX_SESSIONS {
            old.sort_by_key(|session| std::cmp::Reverse((session.used_at, session.id.clone())));
            self.end_sessions(staged, &old[MAX_SESSIONS - 1..]);
        }
        let now = self.now();
        let session = Arc::new(Session {
            id: new.id.clone(),
            project: key.project.clone(),
            user: key.user.clone(),
            method: new.method.into(),
            created_at: now,
            signed_in_at: now,
            used_at: now,
            expires_at: new.expires_at,
            generation: 1,
            token_hash: new.token_hash.clone(),
            recent: RecentRefreshes::default(),
            device: new.device.clone(),
            address: new.address.clone(),
            key: Some(new.key.clone()),
        });
        staged.accounts.sessions.insert(session.id.clone(), Some(session.clone()));
        Ok(session)
    }

    /// Checks that a server has not shut a user out.
    pub(super) fn check_enabled(&self, user: &Document) -> Result<(), WriteError> {
        let data = UserData::from_stored(&user.data).map_err(WriteError::User)?;
        if data.disabled { Err(WriteError::Disabled) } else { Ok(()) }
    }

    /// Ends sessions, with an entry in the log that ends their streams on every node.
    pub(super) fn end_sessions(&self, staged: &mut Staged, sessions: &[Arc<Session>]) {
        if sessions.is_empty() {
            return;
        }
        for session in sessions {
            staged.accounts.sessions.insert(session.id.clone(), None);
        }
        let sessions = sessions.iter().map(|session| session.id.to_string()).collect();
        staged.control(Control::SessionsEnded { sessions });
        self.change_catalog(staged, |_| {});
    }

    /// Checks that no other user has an address.
    pub(super) fn check_free(&self, staged: &Staged, key: &UserKey, email: &Email) -> Result<(), WriteError> {
        match self.owner_of_address(staged, email) {
            Some(owner) if owner != key.user => Err(WriteError::EmailTaken),
            _ => Ok(()),
        }
    }

    /// Returns the user who has an address, in whatever spelling it is stored.
    pub(super) fn owner_of_address(&self, staged: &Staged, email: &Email) -> Option<DocumentId> {
        let layers = [&staged.accounts, self.next_accounts(), self.base_accounts()];
        email.spellings().into_iter().find_map(|email| {
            let place = (staged.project.clone(), email);
            layers.iter().find_map(|layer| layer.owners.get(&place)).cloned().flatten()
        })
    }

    pub(super) fn put_credentials(&self, staged: &mut Staged, credentials: Credentials) {
        let before = self.credentials(staged, &credentials.key).and_then(|old| old.email.clone());
        staged.accounts.put_credentials(before.as_ref(), Arc::new(credentials));
    }

    pub(super) fn credentials(&self, staged: &Staged, key: &UserKey) -> Option<Arc<Credentials>> {
        let layers = [&staged.accounts, self.next_accounts(), self.base_accounts()];
        layers.iter().find_map(|layer| layer.credentials.get(key)).cloned().flatten()
    }

    fn session(&self, staged: &Staged, id: &SessionId) -> Option<Arc<Session>> {
        let layers = [&staged.accounts, self.next_accounts(), self.base_accounts()];
        layers.iter().find_map(|layer| layer.sessions.get(id)).cloned().flatten()
    }

    pub(super) fn sessions_of(&self, staged: &Staged, key: &UserKey) -> Vec<Arc<Session>> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        for layer in [&staged.accounts, self.next_accounts(), self.base_accounts()] {
            for (id, session) in &layer.sessions {
                if seen.insert(id.clone())
                    && let Some(session) = session
                    && session.project == key.project
                    && session.user == key.user
                {
                    found.push(session.clone());
                }
            }
        }
        // In one order, whatever that of the maps is.
        found.sort_by(|one, other| one.id.cmp(&other.id));
        found
    }

    pub(super) fn user_document(
        &self,
        staged: &Staged,
        user: &DocumentId,
    ) -> Result<Arc<Document>, WriteError> {
        let collection = self.find(staged, USERS)?;
        let key = DocumentKey { collection: collection.id.clone(), id: user.clone() };
        self.document(staged, &key).ok_or(WriteError::UnknownDocument)
    }
}

pub(super) fn to_data(user: &UserData) -> Result<Data, WriteError> {
    Ok(user.to_data().map_err(Arc::new)?)
}
