//! Identities: who a user is to another provider of sign-ins.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{DocumentId, Email, ProjectId, Timestamp};

/// Names somebody at another provider. The issuer is its URL and never the name that a project gives it, so that nobody becomes
/// another one when the name is given to another provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdentityKey {
    pub project: ProjectId,
    pub issuer: Arc<str>,
    pub subject: Arc<str>,
}

/// An identity that belongs to a user. The user signs in with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub key: IdentityKey,
    pub user: DocumentId,
    /// The name of the provider when the identity was linked.
    pub provider: Arc<str>,
    /// The address that the provider named then.
    pub email: Option<Email>,
    pub created_at: Timestamp,
}

/// The claims of a provider about somebody who has just signed in there.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    pub issuer: Arc<str>,
    pub subject: Arc<str>,
    pub provider: Arc<str>,
    pub email: Option<Email>,
    /// Whether the provider knows that they read mail to the address.
    pub is_verified: bool,
    /// The profile of a user who is created.
    pub profile: Map<String, Value>,
    /// The roles of the user. `None` leaves them as they are.
    pub roles: Option<Vec<String>>,
}

impl Claimed {
    pub fn key(&self, project: &ProjectId) -> IdentityKey {
        IdentityKey { project: project.clone(), issuer: self.issuer.clone(), subject: self.subject.clone() }
    }

    /// Returns the address if the provider has verified it.
    pub fn verified_email(&self) -> Option<&Email> {
        self.email.as_ref().filter(|_| self.is_verified)
    }
}
