//! The operations on collections: create, rename, remove, and set the schema and the rules.

use std::{collections::HashSet, sync::Arc};

use super::{batch::Batch, error::WriteError, outcome::Outcome, staged::Staged};
use crate::{
    domain::{
        Change, Collection, CollectionId, CollectionName, Control, Entry, Schema, Timestamp,
        audit::AuditEvent,
    },
    query::rule::RuleSet,
};
use serde_json::json;

impl Batch {
    /// Finds a collection by name or id.
    pub(super) fn find(&self, staged: &Staged, name_or_id: &str) -> Result<Arc<Collection>, WriteError> {
        self.catalog(staged).find(name_or_id).cloned().ok_or(WriteError::UnknownCollection)
    }

    /// Finds a collection by name or id. A valid name that no collection has creates one.
    pub(super) fn find_or_create(
        &self,
        staged: &mut Staged,
        name_or_id: &str,
    ) -> Result<Arc<Collection>, WriteError> {
        if let Some(collection) = self.catalog(staged).find(name_or_id) {
            return Ok(collection.clone());
        }
        let name = CollectionName::parse(name_or_id).map_err(WriteError::BadCollectionName)?;
        self.check_new_collection(staged)?;
        self.add_collection(staged, name, None)
    }

    pub(super) fn create_collection(
        &self,
        staged: &mut Staged,
        name: &CollectionName,
        schema: Option<&Arc<Schema>>,
    ) -> Result<Outcome, WriteError> {
        if self.catalog(staged).find(name.as_str()).is_some() {
            return Err(WriteError::CollectionExists(name.clone()));
        }
        self.check_new_collection(staged)?;
        Ok(Outcome::Collection(self.add_collection(staged, name.clone(), schema.cloned())?))
    }

    /// Renames a collection. The name that it already has is no change.
    pub(super) fn rename_collection(
        &self,
        staged: &mut Staged,
        collection: &str,
        name: &CollectionName,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, collection)?;
        check_own(&collection)?;
        if collection.name == *name {
            return Ok(Outcome::Collection(collection));
        }
        if self.catalog(staged).find(name.as_str()).is_some() {
            return Err(WriteError::CollectionExists(name.clone()));
        }
        self.check_unasked(staged, &collection, true)?;
        let renamed = Arc::new(Collection { name: name.clone(), ..(*collection).clone() });
        staged.control(Control::CollectionRenamed {
            collection: renamed.id.to_string(),
            name: name.to_string(),
        });
        self.change_collection(staged, &renamed);
        Ok(Outcome::Collection(renamed))
    }

    /// Replaces or removes the schema of a collection. Changes since the documents were checked must fit the new one.
    pub(super) fn set_schema(
        &self,
        staged: &mut Staged,
        collection: &str,
        schema: Option<&Arc<Schema>>,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, collection)?;
        if collection.schema.as_ref() == schema {
            return Ok(Outcome::Collection(collection));
        }
        if let Some(schema) = schema {
            let unchecked = self.unchecked().ok_or(WriteError::SchemaBehind)?;
            check_last_images(unchecked, &collection.id, schema)?;
        }
        let changed = Arc::new(Collection { schema: schema.cloned(), ..(*collection).clone() });
        staged.control(Control::SchemaChanged { collection: changed.id.to_string() });
        self.change_collection(staged, &changed);
        Ok(Outcome::Collection(changed))
    }

    /// Replaces or removes the rules of a collection.
    pub(super) fn set_rules(
        &self,
        staged: &mut Staged,
        collection: &str,
        rules: Option<&Arc<RuleSet>>,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, collection)?;
        match rules {
            Some(rules) if collection.name.is_users() => rules.check_of_users().map_err(WriteError::Rules)?,
            _ if collection.name.is_users() => {}
            _ => check_own(&collection)?,
        }
        for name in rules.iter().flat_map(|rules| rules.related_collections()) {
            if self.catalog(staged).find(name).is_none() {
                return Err(WriteError::UnknownSource(name.to_owned()));
            }
        }
        if self.catalog(staged).rules_of(&collection.id) == rules {
            return Ok(Outcome::Collection(collection));
        }
        staged.control(Control::RulesChanged { collection: collection.id.to_string() });
        staged.audit(AuditEvent::RulesChanged, None, Some(json!({ "collection": collection.name.as_str() })));
        staged.plan.rules.push((collection.id.clone(), rules.cloned()));
        self.change_catalog(staged, |catalog| catalog.set_rules(&collection, rules.cloned()));
        Ok(Outcome::Collection(collection))
    }

    /// Removes a collection. Its documents are deleted later, without log entries of their own.
    pub(super) fn remove_collection(
        &self,
        staged: &mut Staged,
        collection: &str,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, collection)?;
        check_own(&collection)?;
        self.check_unasked(staged, &collection, false)?;
        // As after a delete: documents that are created again at once must not have their old entity tags.
        staged.at = Timestamp(staged.at.0 + 1);
        staged.control(Control::CollectionRemoved { collection: collection.id.to_string() });
        staged.plan.removed_collections.push(collection.id.clone());
        self.change_catalog(staged, |catalog| catalog.remove(&collection.id));
        Ok(Outcome::Removed { collection: collection.id.clone() })
    }

    /// Checks that no rules ask a collection, which would ask another one after a rename, or none. Its own rules go with it when it is
    /// removed, and count only where `with_own`.
    fn check_unasked(
        &self,
        staged: &Staged,
        collection: &Collection,
        with_own: bool,
    ) -> Result<(), WriteError> {
        let asking = self.catalog(staged).asking(&collection.name, collection.id.as_str());
        match asking.into_iter().find(|other| with_own || other.id != collection.id) {
            Some(other) => Err(WriteError::AskedByRules(other.name.clone())),
            None => Ok(()),
        }
    }

    fn add_collection(
        &self,
        staged: &mut Staged,
        name: CollectionName,
        schema: Option<Arc<Schema>>,
    ) -> Result<Arc<Collection>, WriteError> {
        let limit = self.max_collections();
        if self.catalog(staged).count() >= limit {
            return Err(WriteError::TooManyCollections { limit });
        }
        let collection = Collection { id: CollectionId::generate(), name, created_at: staged.at, schema };
        staged.control(Control::CollectionCreated {
            collection: collection.id.to_string(),
            name: collection.name.to_string(),
        });
        staged.plan.new_collections.push((staged.project.clone(), collection.clone()));
        let collection = Arc::new(collection);
        self.change_catalog(staged, |catalog| catalog.insert(collection.clone()));
        Ok(collection)
    }

    fn change_collection(&self, staged: &mut Staged, changed: &Arc<Collection>) {
        // The operations on one collection follow each other, so that its earlier state is the last one.
        if staged.plan.changed_collections.last().is_some_and(|earlier| earlier.id == changed.id) {
            staged.plan.changed_collections.pop();
        }
        staged.plan.changed_collections.push(changed.clone());
        self.change_catalog(staged, |catalog| catalog.insert(changed.clone()));
    }
}

/// Checks that a collection is not built in.
fn check_own(collection: &Collection) -> Result<(), WriteError> {
    match collection.name.is_built_in() {
        true => Err(WriteError::BuiltIn(collection.name.clone())),
        false => Ok(()),
    }
}

/// Checks the last image of each document that `changes` wrote.
fn check_last_images(
    changes: &[Arc<Change>],
    collection: &CollectionId,
    schema: &Schema,
) -> Result<(), WriteError> {
    let mut seen = HashSet::new();
    for change in changes.iter().rev() {
        let Entry::Document { collection: own, before, after } = &change.entry else { continue };
        let Some(id) = after.as_ref().or(before.as_ref()).map(|document| &document.id) else { continue };
        if own != collection || !seen.insert(id) {
            continue;
        }
        if let Some(document) = after
            && let Err(violations) = schema.check(&document.data)
        {
            return Err(WriteError::Unfit { id: id.clone(), violations });
        }
    }
    Ok(())
}
