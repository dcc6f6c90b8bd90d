//! On whose account a bounded resource is held.

use std::sync::Arc;

use crate::domain::{KeyId, ProjectId};

/// The key on whose account a bounded resource is held, the project of that key, and who of those that share the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    pub project: ProjectId,
    pub key: KeyId,
    /// The user who is signed in. All of an app's users have the same key, or none.
    pub member: Option<Arc<str>>,
}

impl Account {
    /// Returns the account of a key for itself.
    pub fn new(project: ProjectId, key: KeyId) -> Self {
        Self { project, key, member: None }
    }

    /// Returns the account of a project, whichever key asks.
    pub fn of_project(project: &ProjectId) -> Self {
        Self::new(project.clone(), KeyId::from_stored(project.as_str()))
    }

    /// Returns the account of everyone who has no key.
    pub fn anonymous() -> Self {
        Self::new(ProjectId::from_stored(""), KeyId::from_stored(""))
    }

    /// Returns the account of one of those who share the key.
    pub fn of_member(self, member: &str) -> Self {
        Self { member: Some(member.into()), ..self }
    }
}
