//! On whose account a bounded resource is held.

use crate::domain::{KeyId, ProjectId};

/// The key on whose account a bounded resource is held, and the project of that key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    pub project: ProjectId,
    pub key: KeyId,
}

impl Account {
    /// Returns the account of a project, whichever key asks.
    pub fn of_project(project: &ProjectId) -> Self {
        Self { project: project.clone(), key: KeyId::from_stored(project.as_str()) }
    }

    /// Returns the account of everyone who has no key.
    pub fn anonymous() -> Self {
        Self { project: ProjectId::from_stored(""), key: KeyId::from_stored("") }
    }
}
