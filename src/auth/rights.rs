//! The rights of a principal to read: the rules of a collection, bound to the principal.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::{Mutex, OnceCell};

use super::{
    Forbidden, Principal, Ruling,
    facts::{Facts, StoredFacts},
    permission::{self, Readable},
    principal::keyless,
};
use crate::{
    domain::{Collection, CollectionId, Data, DocumentKey, USERS},
    query::{
        Field, Filter, Mask,
        rule::{Clause, Missing, Reading, RuleSet, SetQuery, Sets, UserValues, Values},
    },
    store::{Db, Lane, StoreError, collections::catalog::Catalog},
};

/// The documents of a collection that a principal may read, and on what that depends besides the rules.
pub struct ReadRights {
    pub readable: Readable,
    /// The fields of these documents that the principal may not read.
    pub mask: Arc<Mask>,
    /// A change of a matching document may change it: the filters by their collections, each collection once. The name of a
    /// collection that doesn't exist takes the place of its id.
    pub watched: Vec<(CollectionId, Filter)>,
    /// The sequence of the control entry up to which the rules are those of the log.
    pub control: u64,
}

impl ReadRights {
    /// Narrows a filter to the documents that may be read and that match as the principal sees them.
    ///
    /// # Errors
    /// [`Forbidden`] if there are none whatever the collection holds, or if the filter asks for what is hidden.
    pub fn narrow(&self, filter: Filter) -> Result<Filter, Forbidden> {
        // A caller who may read nothing is told so first.
        match &self.readable {
            Readable::Nothing(why) => Err(why.clone()),
            readable => readable.clone().narrow(self.mask.filter(filter)?),
        }
    }
}

/// The rights of one principal, as of the moment at which they are first asked for. What they depend on is read once, and only if
/// a rule asks for it.
pub struct Rights<'a, F = StoredFacts<'a>> {
    facts: F,
    pub(super) catalog: Arc<Catalog>,
    pub(super) principal: &'a Principal,
    user: OnceCell<Option<Data>>,
    sets: Mutex<Arc<Sets>>,
}

impl<'a> Rights<'a> {
    /// Reads sets of other collections in this lane.
    pub fn new(db: &'a Db, lane: Lane, catalog: Arc<Catalog>, principal: &'a Principal) -> Self {
        Self::over(StoredFacts { db, lane }, catalog, principal)
    }
}

impl<'a, F: Facts> Rights<'a, F> {
    pub fn over(facts: F, catalog: Arc<Catalog>, principal: &'a Principal) -> Self {
        Self { facts, catalog, principal, user: OnceCell::new(), sets: Mutex::default() }
    }

    /// Returns what the principal may read of a collection, and on what else the answer depends.
    ///
    /// # Errors
    /// A database failure.
    pub async fn read_rights(&self, collection: &Collection) -> Result<ReadRights, StoreError> {
        let control = self.catalog.control.sequence;
        let of = |rule| permission::readable(self.principal, collection, rule);
        let (mask, mut watched) = (Arc::default(), Vec::new());
        let rules = match Ruling::of(&self.catalog, collection, self.principal.is_server()) {
            Ruling::Rules(rules) => rules,
            Ruling::Free => return Ok(ReadRights { readable: of(None), mask, watched, control }),
            Ruling::Closed => {
                let readable = Readable::Nothing(Forbidden::Closed);
                return Ok(ReadRights { readable, mask, watched, control });
            }
        };
        let mut values = self.values(rules).await?;
        if let Some(key) = self.user_key().filter(|_| rules.reading_needs_user_document()) {
            add_watch(
                &mut watched,
                key.collection,
                Filter::Equals(Field::Id, vec![Value::from(key.id.as_str())]),
            );
        }
        loop {
            let missing = match rules.bind_reading(&values) {
                Ok(Reading { filter, mask, queries }) => {
                    for SetQuery { collection, filter, .. } in queries {
                        let id = match self.catalog.find(&collection) {
                            Some(found) => found.id.clone(),
                            None => CollectionId::from_stored(&collection),
                        };
                        add_watch(&mut watched, id, filter);
                    }
                    let (readable, mask) = (of(Some(filter)), Arc::new(mask));
                    return Ok(ReadRights { readable, mask, watched, control });
                }
                Err(Missing(missing)) => missing,
            };
            match self.read_sets(missing).await? {
                Some(sets) => values.sets = sets,
                None => {
                    let readable = Readable::Nothing(Forbidden::TooManyValues);
                    return Ok(ReadRights { readable, mask, watched, control });
                }
            }
        }
    }

    /// Returns the fields of a collection that the principal may not read, also in documents which they may only write. `None` if
    /// that can't be found out, as a set has too many values.
    ///
    /// # Errors
    /// A database failure.
    pub async fn mask(&self, collection: &Collection) -> Result<Option<Mask>, StoreError> {
        let rules = match Ruling::of(&self.catalog, collection, self.principal.is_server()) {
            Ruling::Rules(rules) if rules.has_mask() => rules,
            _ => return Ok(Some(Mask::default())),
        };
        let mut values = self.values(rules).await?;
        loop {
            let missing = match rules.mask(&values) {
                Ok(mask) => return Ok(Some(mask)),
                Err(Missing(missing)) => missing,
            };
            match self.read_sets(missing).await? {
                Some(sets) => values.sets = sets,
                None => return Ok(None),
            }
        }
    }

    /// Returns every set that the rules of these collections ask for. `None` if one has too many values.
    ///
    /// # Errors
    /// A database failure.
    pub async fn all_sets<'c>(
        &self,
        collections: impl Iterator<Item = &'c CollectionId>,
    ) -> Result<Option<Arc<Sets>>, StoreError> {
        for id in collections {
            let Some(rules) = self.catalog.rules_of(id).filter(|rules| rules.has_relations()) else {
                continue;
            };
            let mut values = self.values(rules).await?;
            loop {
                let missing = rules.missing_sets(&values);
                if missing.is_empty() {
                    break;
                }
                match self.read_sets(missing).await? {
                    Some(sets) => values.sets = sets,
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(self.sets.lock().await.clone()))
    }

    /// Reads sets, and returns all that were read so far. `None` if one has too many values.
    pub(super) async fn read_sets(&self, queries: Vec<SetQuery>) -> Result<Option<Arc<Sets>>, StoreError> {
        let mut sets = self.sets.lock().await;
        for query in queries {
            if sets.contains_key(&query) {
                continue;
            }
            let Some(mut values) = self.read_set(&query).await? else { return Ok(None) };
            // Databases return them in any order, and equal sets make equal filters.
            values.sort_by_cached_key(Value::to_string);
            Arc::make_mut(&mut sets).insert(query, values.into());
        }
        Ok(Some(sets.clone()))
    }

    async fn read_set(&self, query: &SetQuery) -> Result<Option<Vec<Value>>, StoreError> {
        // A collection that doesn't exist has no documents.
        let Some(collection) = self.catalog.find(&query.collection) else { return Ok(Some(Vec::new())) };
        self.facts.read_set(&collection.id, query).await
    }

    pub(super) async fn values(&self, rules: &RuleSet) -> Result<Values, StoreError> {
        let user = match &self.principal.user {
            None => None,
            Some(user) => {
                let data = match rules.needs_user_document() {
                    true => self.user.get_or_try_init(|| self.read_user()).await?.clone(),
                    false => None,
                };
                Some(UserValues { id: user.id.to_string(), data })
            }
        };
        let key = Some(&self.principal.key).filter(|key| **key != keyless());
        let (params, sets) = (self.principal.params.clone(), self.sets.lock().await.clone());
        Ok(Values { user, key: key.map(ToString::to_string), params, sets, now: None })
    }

    /// Returns the key of the user's document.
    fn user_key(&self) -> Option<DocumentKey> {
        let (user, users) = (self.principal.user.as_ref()?, self.catalog.find(USERS)?);
        Some(DocumentKey { collection: users.id.clone(), id: user.id.clone() })
    }

    /// Returns the variables that a clause of the rules about reading uses, with their values.
    ///
    /// # Errors
    /// A database failure.
    pub async fn shown_values(
        &self,
        rules: &RuleSet,
        clause: &Clause,
    ) -> Result<Map<String, Value>, StoreError> {
        Ok(rules.shown_values(clause, &self.values(rules).await?))
    }

    async fn read_user(&self) -> Result<Option<Data>, StoreError> {
        let Some(key) = self.user_key() else { return Ok(None) };
        self.facts.read_document(&key).await
    }
}

/// Adds a filter to those that are watched, with an alternative if its collection is watched already.
fn add_watch(watched: &mut Vec<(CollectionId, Filter)>, collection: CollectionId, filter: Filter) {
    match watched.iter_mut().find(|(other, _)| *other == collection) {
        Some((_, Filter::Or(any))) => any.push(filter),
        Some((_, known)) => {
            let first = std::mem::replace(known, Filter::nothing());
            *known = Filter::Or(vec![first, filter]);
        }
        None => watched.push((collection, filter)),
    }
}
