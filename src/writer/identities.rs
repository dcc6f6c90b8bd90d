//! The operations on identities: sign-ins with other providers, and which account an identity belongs to.
//!
//! An identity joins an account that exists only if the person is signed in to it, or if both sides have verified the address. An
//! account whose address nobody has verified may be somebody else's trap: the first verified sign-in takes it over.

use std::{collections::HashSet, sync::Arc};

use serde_json::json;

use super::{
    batch::Batch,
    error::{SecondFactorRefusal, WriteError},
    outcome::Outcome,
    staged::Staged,
    user_operation::{Admission, NewSession, ProviderSignIn, UsedState},
    users::to_data,
};
use crate::{
    domain::{
        Claimed, Document, DocumentId, Email, Identity, IdentityKey, Session, USERS, UserData, UserKey,
        audit::AuditEvent,
    },
    store::Trouble,
};

impl Batch {
    /// Signs in whoever has the identity. It joins the account with its address, or makes a new one.
    pub(super) fn sign_in_by_provider(
        &self,
        staged: &mut Staged,
        sign_in: &ProviderSignIn,
    ) -> Result<Outcome, WriteError> {
        let ProviderSignIn { claimed, found, admission, state, session, ticket_hash } = sign_in;
        self.use_state(staged, state)?;
        let (document, is_new) = match self.owner_of_identity(staged, claimed, found.as_ref())? {
            Some(document) => (document, false),
            None => self.join_by_address(staged, claimed, found.as_ref(), (admission, session))?,
        };
        let key = UserKey { project: staged.project.clone(), user: document.id.clone() };
        let outcome = self.begin_or_ask(staged, &key, document, session, ticket_hash)?;
        if !is_new && matches!(outcome, Outcome::SignedIn { .. }) {
            note_entry(staged, AuditEvent::SignIn, &key.user, claimed, session);
        }
        Ok(outcome)
    }

    /// Lets the holder of a token of another issuer be a user, whose roles are those that the token names, and who has a session for
    /// as long as the token is good.
    pub(super) fn adopt(
        &self,
        staged: &mut Staged,
        claimed: &Claimed,
        found: Option<&DocumentId>,
        session: &NewSession,
    ) -> Result<Outcome, WriteError> {
        let (mut document, is_new) = match self.owner_of_identity(staged, claimed, found)? {
            Some(document) => (document, false),
            None if found.is_some() => return Err(WriteError::AccountChanged),
            None => {
                // A token shows no second factor, so it never joins an account that exists.
                let is_free = |email: &&Email| self.owner_of_address(staged, email).is_none();
                let email = claimed.verified_email().filter(is_free).cloned();
                (self.create_with_identity(staged, claimed, email, (&Admission::Settings, session))?, true)
            }
        };
        self.check_enabled(&document)?;
        let key = UserKey { project: staged.project.clone(), user: document.id.clone() };
        // The token is a sign-in at the issuer, and nobody can be asked for the second factor here.
        if self.credentials(staged, &key).is_some_and(|credentials| credentials.second_factor().is_some()) {
            return Err(SecondFactorRefusal::NotShown.into());
        }
        let mut data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
        if let Some(roles) = &claimed.roles
            && *roles != data.roles
        {
            data.roles.clone_from(roles);
            if let Outcome::Document { document: changed, .. } =
                self.write_user(staged, document.clone(), &data)?
            {
                document = changed;
            }
        }
        let now = self.now();
        let mut own = self.sessions_of(staged, &key).into_iter();
        let session = match own.find(|own| *own.method == *session.method && own.expires_at > now) {
            Some(own) if own.expires_at >= session.expires_at => own,
            Some(own) => {
                let longer =
                    Arc::new(Session { used_at: now, expires_at: session.expires_at, ..(*own).clone() });
                staged.accounts.sessions.insert(longer.id.clone(), Some(longer.clone()));
                longer
            }
            None => {
                if !is_new {
                    note_entry(staged, AuditEvent::SignIn, &key.user, claimed, session);
                }
                self.begin_session(staged, &key, session)?
            }
        };
        Ok(Outcome::SignedIn { user: document, session })
    }

    /// Gives an identity to a user who is signed in.
    pub(super) fn link_identity(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        claimed: &Claimed,
        state: &UsedState,
    ) -> Result<Outcome, WriteError> {
        self.use_state(staged, state)?;
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let document = self.user_document(staged, user)?;
        match self.identity(staged, &claimed.key(&staged.project)) {
            Some(identity) if identity.user == *user => return self.unchanged(staged, document),
            Some(_) => return Err(WriteError::IdentityTaken),
            None => self.put_identity(staged, &key, claimed)?,
        }
        note_identity(staged, AuditEvent::IdentityLinked, user, &claimed.provider);
        let mut data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
        let Some(email) = claimed.verified_email() else { return self.unchanged(staged, document) };
        match &data.email {
            Some(own) if own == email && !data.email_verified => {}
            None if self.may_take(staged, &data, email) => data.email = Some(email.clone()),
            _ => return self.unchanged(staged, document),
        }
        data.email_verified = true;
        self.write_user(staged, document, &data)
    }

    /// Takes an identity from its user, who must have another way to sign in.
    pub(super) fn unlink_identity(
        &self,
        staged: &mut Staged,
        user: &DocumentId,
        provider: &str,
    ) -> Result<Outcome, WriteError> {
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let document = self.user_document(staged, user)?;
        let data = UserData::from_stored(&document.data).map_err(WriteError::User)?;
        let credentials = self.credentials(staged, &key).ok_or(WriteError::UnknownDocument)?;
        let (gone, left): (Vec<_>, Vec<_>) = self
            .identities_of(staged, &key)
            .into_iter()
            .partition(|identity| *identity.provider == *provider);
        if gone.is_empty() {
            return Err(WriteError::UnknownIdentity);
        }
        if credentials.password.is_none() && !data.email_verified && left.is_empty() {
            return Err(WriteError::LastWayIn);
        }
        for identity in gone {
            note_identity(staged, AuditEvent::IdentityUnlinked, user, &identity.provider);
            staged.accounts.identities.insert(identity.key.clone(), None);
        }
        Ok(Outcome::Done)
    }

    /// Forgets the identities of a user, and returns them.
    pub(super) fn drop_identities(&self, staged: &mut Staged, key: &UserKey) -> Vec<Arc<Identity>> {
        let identities = self.identities_of(staged, key);
        let places = identities.iter().map(|identity| (identity.key.clone(), None));
        staged.accounts.identities.extend(places);
        identities
    }

    /// Returns the user who has the identity, if anybody has.
    ///
    /// # Errors
    /// [`WriteError::AccountChanged`] if it is not the one that was found before.
    fn owner_of_identity(
        &self,
        staged: &Staged,
        claimed: &Claimed,
        found: Option<&DocumentId>,
    ) -> Result<Option<Arc<Document>>, WriteError> {
        match self.identity(staged, &claimed.key(&staged.project)) {
            None => Ok(None),
            Some(identity) if Some(&identity.user) == found => {
                self.user_document(staged, &identity.user).map(Some)
            }
            Some(_) => Err(WriteError::AccountChanged),
        }
    }

    /// Returns the account that an identity joins, and whether it is new.
    fn join_by_address(
        &self,
        staged: &mut Staged,
        claimed: &Claimed,
        found: Option<&DocumentId>,
        (admission, session): (&Admission, &NewSession),
    ) -> Result<(Arc<Document>, bool), WriteError> {
        if claimed.email.is_some() && !claimed.is_verified {
            return Err(WriteError::EmailNotVerified);
        }
        let owner = claimed.email.as_ref().and_then(|email| self.owner_of_address(staged, email));
        if owner.as_ref() != found {
            return Err(WriteError::AccountChanged);
        }
        let Some(user) = owner else {
            let email = claimed.email.clone();
            return Ok((self.create_with_identity(staged, claimed, email, (admission, session))?, true));
        };
        let key = UserKey { project: staged.project.clone(), user: user.clone() };
        let document = self.user_document(staged, &user)?;
        let document = self.take_over(staged, &key, document)?;
        self.put_identity(staged, &key, claimed)?;
        note_identity(staged, AuditEvent::IdentityLinked, &user, &claimed.provider);
        Ok((document, false))
    }

    fn create_with_identity(
        &self,
        staged: &mut Staged,
        claimed: &Claimed,
        email: Option<Email>,
        (admission, session): (&Admission, &NewSession),
    ) -> Result<Arc<Document>, WriteError> {
        if *admission == Admission::Settings {
            self.catalog(staged).settings().signup.check(email.as_ref())?;
        }
        let user = UserData {
            email_verified: email.is_some(),
            email,
            roles: claimed.roles.clone().unwrap_or_default(),
            profile: claimed.profile.clone(),
            disabled: false,
        };
        let created = self.create_document(staged, USERS, &to_data(&user)?, None)?;
        let Outcome::Document { document, .. } = created else {
            return Err(WriteError::Unavailable(Trouble::Away));
        };
        let key = UserKey { project: staged.project.clone(), user: document.id.clone() };
        self.put_identity(staged, &key, claimed)?;
        note_entry(staged, AuditEvent::SignUp, &document.id, claimed, session);
        Ok(document)
    }

    /// Gives an identity that nobody has to a user.
    ///
    /// # Errors
    /// [`WriteError::ProviderLinked`] if the user is somebody else there. Providers give addresses to others.
    fn put_identity(&self, staged: &mut Staged, key: &UserKey, claimed: &Claimed) -> Result<(), WriteError> {
        let is_rival = |identity: &Arc<Identity>| {
            identity.key.issuer == claimed.issuer || identity.provider == claimed.provider
        };
        if self.identities_of(staged, key).iter().any(is_rival) {
            return Err(WriteError::ProviderLinked);
        }
        let identity = Identity {
            key: claimed.key(&staged.project),
            user: key.user.clone(),
            provider: claimed.provider.clone(),
            email: claimed.email.clone(),
            created_at: self.now(),
        };
        staged.accounts.identities.insert(identity.key.clone(), Some(Arc::new(identity)));
        Ok(())
    }

    /// Notes that a state was used.
    ///
    /// # Errors
    /// [`WriteError::StateUsed`] if it was used before, and if it expired while it waited.
    fn use_state(&self, staged: &mut Staged, state: &UsedState) -> Result<(), WriteError> {
        let layers = [&staged.accounts, self.next_accounts(), self.base_accounts()];
        if layers.iter().any(|layer| layer.states.contains_key(&state.hash)) || state.expires_at <= self.now()
        {
            return Err(WriteError::StateUsed);
        }
        staged.accounts.states.insert(state.hash.clone(), state.expires_at);
        Ok(())
    }

    fn may_take(&self, staged: &Staged, user: &UserData, email: &Email) -> bool {
        self.owner_of_address(staged, email).is_none() && self.check_may_have(staged, user, email).is_ok()
    }

    fn identity(&self, staged: &Staged, key: &IdentityKey) -> Option<Arc<Identity>> {
        let layers = [&staged.accounts, self.next_accounts(), self.base_accounts()];
        layers.iter().find_map(|layer| layer.identities.get(key)).cloned().flatten()
    }

    fn identities_of(&self, staged: &Staged, key: &UserKey) -> Vec<Arc<Identity>> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        for layer in [&staged.accounts, self.next_accounts(), self.base_accounts()] {
            for (place, identity) in &layer.identities {
                if seen.insert(place)
                    && let Some(identity) = identity
                    && place.project == key.project
                    && identity.user == key.user
                {
                    found.push(identity.clone());
                }
            }
        }
        found
    }

    /// Answers with a document that stays as it is.
    pub(super) fn unchanged(&self, staged: &Staged, document: Arc<Document>) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, USERS)?.name.clone();
        let sequence = staged.ends.last.sequence;
        Ok(Outcome::Document { collection, document, is_new: false, sequence })
    }
}

/// Notes that somebody got in by an identity.
fn note_entry(
    staged: &mut Staged,
    event: AuditEvent,
    user: &DocumentId,
    claimed: &Claimed,
    session: &NewSession,
) {
    let details = json!({ "method": session.method, "provider": claimed.provider });
    staged.audit(event, Some(user), Some(details));
}

fn note_identity(staged: &mut Staged, event: AuditEvent, user: &DocumentId, provider: &str) {
    staged.audit(event, Some(user), Some(json!({ "provider": provider })));
}
