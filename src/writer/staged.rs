//! The effects of one mutation while it is applied, and what a batch writes beside documents.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::json;

use super::{accounts::Accounts, author::Author, error::WriteError, state::MAX_MUTATION_BYTES};
use crate::{
    domain::{
        Change, Collection, CollectionId, Control, Document, DocumentId, DocumentKey, Entry, IndexId, KeyId,
        LogEnds, Mail, Position, ProjectId, ProjectSettings, Seen, SessionId, Timestamp,
        audit::{AuditEntry, AuditEvent},
    },
    query::{
        index_definition::{Index, IndexState},
        rule::{Clause, RuleSet},
    },
    store::{
        access::{keys::StoredKey, secrets::SecretRotation},
        collections::catalog::Catalog,
        log::idempotency::{IdempotencyKey, StoredOutcome},
    },
};

/// Everything that a batch writes except documents, in order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub changes: Vec<Arc<Change>>,
    pub new_collections: Vec<(ProjectId, Collection)>,
    /// Collections whose name or schema changed, as they are now.
    pub changed_collections: Vec<Arc<Collection>>,
    pub removed_collections: Vec<CollectionId>,
    /// The new rules of collections; `None` for one that has none any more.
    pub rules: Vec<(CollectionId, Option<Arc<RuleSet>>)>,
    /// Indexes to build.
    pub new_indexes: Vec<(ProjectId, CollectionId, Index)>,
    /// New states of indexes; `None` for one that is no longer declared.
    pub index_states: Vec<(IndexId, Option<IndexState>)>,
    pub revoked_keys: Vec<KeyId>,
    pub new_keys: Vec<StoredKey>,
    /// Keys as they are now.
    pub changed_keys: Vec<StoredKey>,
    /// When keys were used last.
    pub key_uses: Vec<(KeyId, Timestamp)>,
    /// Secrets to replace, in order.
    pub secrets: Vec<SecretRotation>,
    /// The new settings of projects.
    pub settings: Vec<(ProjectId, Arc<ProjectSettings>)>,
    /// Security events.
    pub audit: Vec<AuditEntry>,
    /// Mails for the outbox.
    pub mails: Vec<Mail>,
    /// Outcomes to store under their idempotency keys.
    pub outcomes: Vec<(IdempotencyKey, StoredOutcome)>,
    /// Up to where a log has times of a wrong clock, which are after what follows.
    pub corrected: HashMap<ProjectId, u64>,
}

impl Plan {
    /// Adds what another mutation writes.
    pub(super) fn extend(&mut self, other: Self) {
        let Self {
            changes,
            new_collections,
            changed_collections,
            removed_collections,
            rules,
            new_indexes,
            index_states,
            revoked_keys,
            new_keys,
            changed_keys,
            key_uses,
            secrets,
            settings,
            audit,
            mails,
            outcomes,
            corrected,
        } = other;
        self.changes.extend(changes);
        self.new_collections.extend(new_collections);
        self.changed_collections.extend(changed_collections);
        self.removed_collections.extend(removed_collections);
        self.rules.extend(rules);
        self.new_indexes.extend(new_indexes);
        self.index_states.extend(index_states);
        self.revoked_keys.extend(revoked_keys);
        self.new_keys.extend(new_keys);
        self.changed_keys.extend(changed_keys);
        self.key_uses.extend(key_uses);
        self.secrets.extend(secrets);
        self.settings.extend(settings);
        self.audit.extend(audit);
        self.mails.extend(mails);
        self.outcomes.extend(outcomes);
        self.corrected.extend(corrected);
    }

    /// Returns whether a collection is created, changed or removed more than once. The statements of a bulk write have one
    /// fixed order, whatever the order of the mutations was, so such a batch must be written in parts.
    pub fn needs_order(&self) -> bool {
        let mut seen = HashSet::new();
        let new = self.new_collections.iter().map(|(_, collection)| &collection.id);
        let changed = self.changed_collections.iter().map(|collection| &collection.id);
        !new.chain(changed).chain(&self.removed_collections).all(|id| seen.insert(id))
    }
}

/// Who asks for a mutation, and from where.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    pub key: Option<KeyId>,
    pub session: Option<SessionId>,
    /// `None` for whom no rules bind.
    pub author: Option<Author>,
    pub seen: Option<Arc<Seen>>,
}

/// The effects of one mutation, until it is known that all of its operations succeed.
pub(super) struct Staged {
    pub(super) project: ProjectId,
    pub(super) asker: Asker,
    pub(super) ends: LogEnds,
    pub(super) at: Timestamp,
    pub(super) catalog: Option<Catalog>,
    pub(super) documents: HashMap<DocumentKey, Option<Arc<Document>>>,
    pub(super) order: Vec<DocumentKey>,
    pub(super) accounts: Accounts,
    pub(super) plan: Plan,
    pub(super) weight: usize,
    /// The time that checks against schemas took.
    pub(super) checking: Duration,
    /// The clause of the rules that allowed the last operation; `None` if no rules bind the caller.
    pub(super) allowed_by: Option<Clause>,
}

impl Staged {
    /// Returns the position of the next entry.
    pub(super) fn next(&self) -> Position {
        Position { sequence: self.ends.last.sequence + 1, at: self.at }
    }

    /// Appends an entry to the log, with the next sequence.
    pub(super) fn log(&mut self, entry: Entry) {
        let position = self.next();
        self.ends.last = position;
        let change = Change { project: self.project.clone(), position, entry };
        self.weight += images_weight(&change);
        self.plan.changes.push(Arc::new(change));
    }

    /// Checks the bound on a mutation's images. Each change of a large document counts, but a single document may have any size
    /// that the limit of documents allows.
    ///
    /// # Errors
    /// [`WriteError::TooManyBytes`].
    pub(super) fn check_weight(&self) -> Result<(), WriteError> {
        if !self.documents.is_empty() && self.weight > MAX_MUTATION_BYTES {
            return Err(WriteError::TooManyBytes { limit: MAX_MUTATION_BYTES });
        }
        Ok(())
    }

    /// Notes a security event. `details` never has a secret or an address of a user.
    pub(super) fn audit(
        &mut self,
        event: AuditEvent,
        user: Option<&DocumentId>,
        details: Option<serde_json::Value>,
    ) {
        let Asker { key, session, seen, .. } = &self.asker;
        // Whoever replays a refresh token may be anybody.
        let is_sign_in =
            matches!(event, AuditEvent::SignUp | AuditEvent::SignIn | AuditEvent::IdentityLinked);
        let is_own = session.is_some() || is_sign_in;
        let entry = AuditEntry {
            user: user.cloned(),
            by_user: user.filter(|_| is_own).cloned(),
            by_key: key.clone(),
            address: seen.as_ref().and_then(|seen| seen.address_text()),
            device: seen.as_ref().and_then(|seen| seen.device.clone()),
            details,
            ..AuditEntry::new(self.project.clone(), event, self.at)
        };
        self.plan.audit.push(entry);
    }

    pub(super) fn control(&mut self, control: Control) {
        self.log(Entry::Control(control));
        self.ends.control = self.ends.last;
    }

    pub(super) fn rotate_secret(&mut self, rotation: &SecretRotation) {
        self.control(Control::SecretsRotated);
        let details =
            json!({ "secret": rotation.name.as_str(), "previousRevoked": !rotation.keeps_previous });
        self.audit(AuditEvent::SecretRotated, None, Some(details));
        self.plan.secrets.push(rotation.clone());
    }

    /// Goes on at `now`, also if the log ends later.
    pub(super) fn accept_clock(&mut self, now: Timestamp) {
        let last = self.ends.last;
        if last.at > now {
            self.plan.corrected.insert(self.project.clone(), last.sequence);
        }
        self.at = now;
        self.control(Control::ClockAccepted);
    }

    pub(super) fn set_document(&mut self, key: DocumentKey, document: Option<Arc<Document>>) {
        if self.documents.insert(key.clone(), document).is_none() {
            self.order.push(key);
        }
    }
}

fn images_weight(change: &Change) -> usize {
    let Entry::Document { before, after, .. } = &change.entry else { return 0 };
    let texts = before.iter().chain(after).map(|document| document.data.text().len());
    texts.sum::<usize>() + after.as_ref().map_or(0, |document| document.data.weight())
}
