//! The settings of a project, as a server sees and changes them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::ServiceError;
use crate::{
    auth::{Action, Principal, permission},
    domain::{ProjectSettings, audit::AuditEntry, project_settings::SettingsError},
    providers::{Hosts, ProviderError},
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
    /// Where the server makes requests.
    pub hosts: Hosts,
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

    /// Refuses new URLs to which the server makes no requests, because a sign-in would fail there later. Those that are there already
    /// stay.
    async fn check_hosts(
        &self,
        principal: &Principal,
        change: &Map<String, Value>,
    ) -> Result<(), ServiceError> {
        let before = self.catalogs.get_latest(&principal.project).await?.settings().clone();
        // The writer says what else is wrong.
        let Ok(after) = before.merge(change) else { return Ok(()) };
        let old = before.requested_urls();
        let refused = |err: ProviderError| err.to_string();
        for (path, url) in after.requested_urls() {
            if old.iter().any(|(_, old)| *old == url) {
                continue;
            }
            if let Err(problem) = self.hosts.check(&url).map_err(refused) {
                return Err(WriteError::Settings(SettingsError::Invalid { path, problem }).into());
            }
        }
        Ok(())
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
        self.check_hosts(principal, &change).await?;
        let (project, caller, session) = principal.callers();
        let operations = vec![Operation::ChangeSettings(change)];
        let mutation = Mutation {
            project,
            caller,
            session,
            author: None,
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
