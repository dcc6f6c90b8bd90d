//! Creates, lists, changes and removes collections.

use std::{sync::Arc, time::Duration};

use super::{error::ServiceError, scans::Scans};
use crate::{
    auth::{Action, Principal, permission},
    domain::{Collection, CollectionName, Position, Schema},
    query::{
        index_definition::{Index, IndexDefinition, IndexState},
        rule::{RuleSet, Wanted},
    },
    store::{
        Db,
        collections::catalog::{Catalog, Catalogs},
    },
    writer::{Author, Committed, Mutation, Operation, Outcome, WriterHandle},
};

/// How long the creation of a collection waits for its unique indexes.
const INDEX_WAIT: Duration = Duration::from_secs(10);
const INDEX_LATE: ServiceError = ServiceError::Busy(
    "the collection is created, but its unique index is still being built; writes to it are refused until its settings show the index as ready",
);

/// The use cases of collections. Cheap to clone.
#[derive(Clone)]
pub struct Collections {
    /// For the documents that a new schema must fit.
    pub db: Db,
    pub catalogs: Catalogs,
    pub writer: WriterHandle,
    pub scans: Scans,
}

/// Changes to the settings of a collection. A member that is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct SettingsChange {
    pub name: Option<CollectionName>,
    /// The new schema; `Some(None)` removes the one that is set.
    pub schema: Option<Option<Arc<Schema>>>,
    /// The new rules; `Some(None)` removes those that are set.
    pub rules: Option<Option<Arc<RuleSet>>>,
    /// All indexes that the collection is to have. The others are dropped.
    pub indexes: Option<Vec<IndexDefinition>>,
}

/// What only those see of a collection's settings who may change them.
#[derive(Clone, Debug)]
pub struct HiddenSettings {
    /// In the order of their declaration.
    pub indexes: Vec<Arc<Index>>,
    pub rules: Option<Arc<RuleSet>>,
    /// The indexes that the rules want and that are not declared.
    pub advice: Vec<IndexAdvice>,
}

/// An index that would make rules cheap.
#[derive(Clone, Debug)]
pub struct IndexAdvice {
    /// The name of the collection that should declare it.
    pub collection: String,
    pub fields: Vec<String>,
}

/// A page of the list of collections.
#[derive(Clone, Debug)]
pub struct CollectionPage {
    /// The page begins after this name, which need not exist any more.
    pub after: Option<CollectionName>,
    /// How many collections are skipped first.
    pub offset: usize,
    /// The most collections of the page.
    pub limit: usize,
}

/// The collections of a page.
pub struct CollectionList {
    pub collections: Vec<Arc<Collection>>,
    /// The rules of each, if the principal may see them.
    pub rules: Vec<Option<Arc<RuleSet>>>,
    /// Whether none comes after them.
    pub is_last: bool,
}

impl Collections {
    /// Creates a collection. With a schema, rules or indexes it takes a secret key: a schema that nothing fits would make the
    /// name useless to everybody, and so would rules, and an index slows down every write of the whole database.
    pub async fn create(
        &self,
        principal: &Principal,
        name: CollectionName,
        schema: Option<Arc<Schema>>,
        (indexes, rules): (Vec<IndexDefinition>, Option<Arc<RuleSet>>),
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::CreateCollection)?;
        if schema.is_some() || rules.is_some() || !indexes.is_empty() {
            self.check_change(principal)?;
        }
        let (collection, is_unique) = (name.to_string(), indexes.iter().any(|index| index.unique));
        let mut operations = vec![Operation::CreateCollection { name, schema }];
        if rules.is_some() {
            operations.push(Operation::SetRules { collection: collection.clone(), rules });
        }
        if !indexes.is_empty() {
            operations.push(Operation::SetIndexes { collection, indexes });
        }
        let committed = self.write(principal, operations).await?;
        if is_unique {
            self.wait_for_indexes(principal, &committed).await?;
        }
        Ok(committed)
    }

    /// Waits until the unique indexes of a new collection are built, before which no document is written to it.
    async fn wait_for_indexes(
        &self,
        principal: &Principal,
        committed: &Committed,
    ) -> Result<(), ServiceError> {
        let Some(Outcome::Collection(collection)) = committed.outcomes.last() else { return Ok(()) };
        let is_there = |catalog: &Catalog| {
            catalog.indexes_of(&collection.id).iter().all(|index| index.state != IndexState::Awaited)
        };
        match tokio::time::timeout(INDEX_WAIT, self.catalogs.wait_until(&principal.project, is_there)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(INDEX_LATE),
        }
    }

    /// Checks that a principal may set a collection's schema or indexes. A caller asks before it compiles the schema.
    pub fn check_change(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(permission::check(principal, Action::ChangeCollection)?)
    }

    /// Returns the indexes and the rules of a collection; `None` to a principal that may not change them.
    pub async fn hidden_settings(
        &self,
        principal: &Principal,
        collection: &Collection,
    ) -> Result<Option<HiddenSettings>, ServiceError> {
        if permission::check(principal, Action::ChangeCollection).is_err() {
            return Ok(None);
        }
        let catalog = self.catalogs.get_latest(&principal.project).await?;
        let rules = catalog.rules_of(&collection.id).cloned();
        Ok(Some(HiddenSettings {
            indexes: catalog.indexes_of(&collection.id).to_vec(),
            advice: rules.iter().flat_map(|rules| advice(&catalog, collection, rules)).collect(),
            rules,
        }))
    }

    /// Lists at most `limit` collections of the principal's project by name, after the name `after` and the next `offset` ones.
    pub async fn list(
        &self,
        principal: &Principal,
        CollectionPage { after, offset, limit }: CollectionPage,
    ) -> Result<CollectionList, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let catalog = self.catalogs.get_latest(&principal.project).await?;
        let mut listed = catalog.list(after.as_ref()).skip(offset);
        let collections: Vec<_> = listed.by_ref().take(limit).cloned().collect();
        let is_last = listed.next().is_none();
        let sees_rules = permission::check(principal, Action::ChangeCollection).is_ok();
        let rules =
            |collection: &Arc<Collection>| catalog.rules_of(&collection.id).filter(|_| sees_rules).cloned();
        Ok(CollectionList { rules: collections.iter().map(rules).collect(), collections, is_last })
    }

    /// Returns the rules of a collection, if the principal may see them.
    ///
    /// # Errors
    /// A database failure.
    pub async fn rules(
        &self,
        principal: &Principal,
        name_or_id: &str,
    ) -> Result<Option<Arc<RuleSet>>, ServiceError> {
        if permission::check(principal, Action::ChangeCollection).is_err() {
            return Ok(None);
        }
        let catalog = self.catalogs.get_latest(&principal.project).await?;
        Ok(catalog.find(name_or_id).and_then(|collection| catalog.rules_of(&collection.id)).cloned())
    }

    /// Gets a collection by its name or id.
    pub async fn get(
        &self,
        principal: &Principal,
        name_or_id: &str,
    ) -> Result<Arc<Collection>, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let catalog = self.catalogs.get_latest(&principal.project).await?;
        let found = catalog.find(name_or_id).cloned().ok_or(ServiceError::UnknownCollection)?;
        if found.name.is_users() {
            permission::check(principal, Action::ManageUsers)?;
        }
        Ok(found)
    }

    /// Finds the collection of a document that the principal has just written, without asking for permission to read. `None` if
    /// it has been renamed or removed since.
    pub async fn find_written(
        &self,
        principal: &Principal,
        name: &CollectionName,
    ) -> Result<Option<Arc<Collection>>, ServiceError> {
        Ok(self.catalogs.find(&principal.project, name.as_str()).await?)
    }

    /// Changes a collection's settings, all or nothing. Subscriptions and cursors survive a new name.
    ///
    /// # Errors
    /// [`ServiceError::Unfit`] names existing documents that don't fit a new schema.
    pub async fn change(
        &self,
        principal: &Principal,
        collection: String,
        change: SettingsChange,
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::ChangeCollection)?;
        match change.schema {
            Some(Some(schema)) => {
                let others = SettingsChange { schema: None, ..change };
                self.set_schema(principal, &collection, schema, others).await
            }
            Some(None) => {
                let fits_at = Position::default();
                let remove = Operation::SetSchema { collection: collection.clone(), schema: None, fits_at };
                self.write(principal, [vec![remove], change.without_schema(&collection)].concat()).await
            }
            None => self.write(principal, change.without_schema(&collection)).await,
        }
    }

    /// Removes a collection with its documents. Its subscriptions end.
    pub async fn remove(&self, principal: &Principal, collection: String) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::RemoveCollection)?;
        self.write(principal, vec![Operation::RemoveCollection { collection }]).await
    }

    pub(super) async fn write(
        &self,
        principal: &Principal,
        operations: Vec<Operation>,
    ) -> Result<Committed, ServiceError> {
        let (project, caller, session) = principal.callers();
        let author = Author::of(principal);
        let mutation =
            Mutation { project, caller, session, author, operations, idempotency: None, seen: None };
        Ok(self.writer.submit(mutation).await?)
    }
}

/// Returns the indexes that rules want and that are not declared.
fn advice(catalog: &Catalog, collection: &Collection, rules: &RuleSet) -> Vec<IndexAdvice> {
    let advice = |wanted: Wanted| {
        let asked = match &wanted.collection {
            Some(name) => catalog.find(name)?,
            None => collection,
        };
        let is_served = catalog.indexes_of(&asked.id).iter().any(|index| wanted.is_served_by(index));
        (!is_served).then(|| IndexAdvice { collection: asked.name.to_string(), fields: wanted.fields })
    };
    rules.wanted().into_iter().filter_map(advice).collect()
}

impl SettingsChange {
    /// Returns the operations for everything but the schema. The rules come first, so that nobody sees the rest without them. The
    /// new name comes last, because the others use the old one.
    pub(super) fn without_schema(&self, collection: &str) -> Vec<Operation> {
        let collection = || collection.to_owned();
        let rules = self.rules.clone();
        let rules = rules.map(|rules| Operation::SetRules { collection: collection(), rules });
        let indexes = self.indexes.clone();
        let indexes = indexes.map(|indexes| Operation::SetIndexes { collection: collection(), indexes });
        let name = self.name.clone();
        let rename = name.map(|name| Operation::RenameCollection { collection: collection(), name });
        rules.into_iter().chain(indexes).chain(rename).collect()
    }
}
