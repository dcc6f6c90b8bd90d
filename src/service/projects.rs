//! The settings of a project, as a server sees and changes them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::ServiceError;
use crate::{
    auth::{Action, Principal, permission},
    domain::ProjectSettings,
    store::{Trouble, collections::catalog::Catalogs},
    writer::{Mutation, Operation, Outcome, WriteError, WriterHandle},
};

/// The use cases of projects. Cheap to clone.
#[derive(Clone)]
pub struct Projects {
    pub catalogs: Catalogs,
    pub writer: WriterHandle,
}

impl Projects {
    /// Returns the settings as they are in the database.
    pub async fn settings(&self, principal: &Principal) -> Result<Arc<ProjectSettings>, ServiceError> {
        permission::check(principal, Action::ManageProject)?;
        Ok(self.catalogs.get_latest(&principal.project).await?.settings().clone())
    }

    /// Merges a change into the settings, and returns them as they are then.
    ///
    /// # Errors
    /// [`WriteError::Settings`].
    pub async fn change_settings(
        &self,
        principal: &Principal,
        change: Map<String, Value>,
    ) -> Result<Arc<ProjectSettings>, ServiceError> {
        permission::check(principal, Action::ManageProject)?;
        let (project, caller, session) = principal.callers();
        let operations = vec![Operation::ChangeSettings(change)];
        let mutation = Mutation { project, caller, session, operations, idempotency: None };
        let committed = self.writer.submit(mutation).await.map_err(WriteError::without_place)?;
        match committed.outcomes.into_iter().next() {
            Some(Outcome::Settings(settings)) => Ok(settings),
            _ => Err(WriteError::Unavailable(Trouble::Away).into()),
        }
    }
}
