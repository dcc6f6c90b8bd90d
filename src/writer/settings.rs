//! The operation on the settings of a project.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{batch::Batch, error::WriteError, outcome::Outcome, staged::Staged};
use crate::domain::{Control, audit::AuditEvent};

impl Batch {
    /// Merges a change into the settings. One that changes nothing leaves no entry in the log.
    pub(super) fn change_settings(
        &self,
        staged: &mut Staged,
        change: &Map<String, Value>,
    ) -> Result<Outcome, WriteError> {
        let before = self.catalog(staged).settings().clone();
        let after = Arc::new(before.merge(change).map_err(WriteError::Settings)?);
        if after != before {
            let sections: Vec<_> = change.keys().cloned().collect();
            staged.audit(AuditEvent::SettingsChanged, None, Some(json!({ "sections": sections })));
            staged.control(match after.open == before.open {
                true => Control::SettingsChanged,
                false => Control::AccessChanged,
            });
            self.change_catalog(staged, |catalog| catalog.set_settings(after.clone()));
            staged.plan.settings.push((staged.project.clone(), after.clone()));
        }
        Ok(Outcome::Settings(after))
    }
}
