//! The settings of a project, as a server sees and changes them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::ServiceError;
use crate::{
    auth::{Action, Principal, permission},
    domain::{ProjectSettings, audit::AuditEntry},
    store::{
        Db, Lane, Trouble,
        access::audit::{self, AuditQuery},
        collections::catalog::Catalogs,
    },
    writer::{Mutation, Operation, Outcome, WriteError, WriterHandle},
};

/// The use cases of projects. Cheap to clone.
#[derive(Clone)]
pub struct Projects {
    pub db: Db,
    pub catalogs: Catalogs,
    pub writer: WriterHandle,
}

impl Projects {
    /// Returns the settings as they are in the database.
    pub async fn settings(&self, principal: &Principal) -> Result<Arc<ProjectSettings>, ServiceError> {
        permission::check(principal, Action::ManageProject)?;
        Ok(self.catalogs.get_latest(&principal.project).await?.settings().clone())
    }

    /// Lists security events, the newest first.
    pub async fn audit(
        &self,
        principal: &Principal,
        query: AuditQuery,
    ) -> Result<Vec<AuditEntry>, ServiceError> {
        permission::check(principal, Action::ReadAudit)?;
        let project = principal.project.clone();
        let read = move |db| async move { audit::list(&db, &project, &query).await };
        Ok(self.db.read(Lane::Point, read).await?)
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
        let mutation = Mutation {
            project,
            caller,
            session,
            operations,
            idempotency: None,
            seen: principal.seen.clone(),
        };
        let committed = self.writer.submit(mutation).await.map_err(WriteError::without_place)?;
        match committed.outcomes.into_iter().next() {
            Some(Outcome::Settings(settings)) => Ok(settings),
            _ => Err(WriteError::Unavailable(Trouble::Away).into()),
        }
    }
}
