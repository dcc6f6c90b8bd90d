//! The credentials, sessions, codes and identities of users, as the database has them, and as mutations leave them.

use std::{collections::HashMap, sync::Arc};

use crate::domain::{
    Code, Credentials, DocumentId, Email, Identity, IdentityKey, Invitation, ProjectId, Session, SessionId,
    Timestamp, UserKey,
};

/// Credentials, sessions, codes and identities by their keys. `None` stands for what doesn't exist any more.
///
/// A batch has three layers of them: what the database holds, what the mutations so far make of it, and what the mutation at hand
/// does. The upper ones hide the lower ones.
#[derive(Debug, Default)]
pub struct Accounts {
    pub credentials: HashMap<UserKey, Option<Arc<Credentials>>>,
    pub sessions: HashMap<SessionId, Option<Arc<Session>>>,
    /// By the hashes of their tokens.
    pub codes: HashMap<String, Option<Arc<Code>>>,
    pub identities: HashMap<IdentityKey, Option<Arc<Identity>>>,
    /// The states of sign-ins that were used, by their hashes, with the times at which they expire.
    pub states: HashMap<String, Timestamp>,
    /// Accounts that wait for their owners, by the hashes of their tokens.
    pub invitations: HashMap<String, Option<Arc<Invitation>>>,
    /// Whose an address is.
    pub owners: HashMap<(ProjectId, Email), Option<DocumentId>>,
}

impl Accounts {
    /// Adds what was found in the database.
    pub fn add_found(&mut self, credentials: Vec<Credentials>, sessions: Vec<Session>) {
        for found in credentials {
            self.put_credentials(None, Arc::new(found));
        }
        for found in sessions {
            self.sessions.insert(found.id.clone(), Some(Arc::new(found)));
        }
    }

    /// Adds codes that were found in the database.
    pub fn add_codes(&mut self, codes: Vec<Code>) {
        self.codes.extend(codes.into_iter().map(|code| (code.hash.clone(), Some(Arc::new(code)))));
    }

    /// Adds identities that were found in the database.
    pub fn add_identities(&mut self, identities: Vec<Identity>) {
        let identities = identities.into_iter().map(Arc::new);
        self.identities.extend(identities.map(|identity| (identity.key.clone(), Some(identity))));
    }

    /// Adds invitations that were found in the database.
    pub fn add_invitations(&mut self, invitations: Vec<Invitation>) {
        let found = invitations.into_iter().map(|found| (found.hash.clone(), Some(Arc::new(found))));
        self.invitations.extend(found);
    }

    /// Sets the credentials of a user, who had the address `before`.
    pub fn put_credentials(&mut self, before: Option<&Email>, credentials: Arc<Credentials>) {
        let project = &credentials.key.project;
        if let Some(before) = before.filter(|before| Some(*before) != credentials.email.as_ref()) {
            self.owners.insert((project.clone(), before.clone()), None);
        }
        if let Some(email) = &credentials.email {
            self.owners.insert((project.clone(), email.clone()), Some(credentials.key.user.clone()));
        }
        self.credentials.insert(credentials.key.clone(), Some(credentials));
    }

    /// Takes the credentials of a user away.
    pub fn remove_credentials(&mut self, credentials: &Credentials) {
        if let Some(email) = &credentials.email {
            self.owners.insert((credentials.key.project.clone(), email.clone()), None);
        }
        self.credentials.insert(credentials.key.clone(), None);
    }

    /// Adds an upper layer to this one.
    pub fn extend(&mut self, upper: Self) {
        self.credentials.extend(upper.credentials);
        self.sessions.extend(upper.sessions);
        self.codes.extend(upper.codes);
        self.identities.extend(upper.identities);
        self.states.extend(upper.states);
        self.invitations.extend(upper.invitations);
        self.owners.extend(upper.owners);
    }

    pub fn is_empty(&self) -> bool {
        self.credentials.is_empty()
            && self.sessions.is_empty()
            && self.codes.is_empty()
            && self.identities.is_empty()
            && self.states.is_empty()
            && self.invitations.is_empty()
    }
}
