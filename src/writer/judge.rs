//! Judges writes by the rules of their collection, under the lock of the log: the rules, the document and the user are those of
//! this moment.

use std::{sync::Arc, time::Instant};

use serde_json::{Map, Value};

use super::{author::Author, batch::Batch, error::WriteError, staged::Staged};
use crate::{
    auth::{Forbidden, Ruling, principal::keyless, ruling::is_open},
    domain::{Collection, Data, Document, DocumentId, DocumentKey, FieldPath, USERS},
    query::rule::{
        Clause, Condition, Missing, RuleAction, RuleSet, SetQuery, Sets, StampError, Stamps, Unmet,
        UserValues, Values, WriteRule, is_changed,
    },
};

/// The rules of a collection, and the values of their variables for the caller.
pub(super) struct Judge {
    rules: Arc<RuleSet>,
    values: Values,
    /// Whether the mutation has changed what the rules ask of other collections.
    has_own_sets: bool,
}

impl Batch {
    /// Returns the judge of a write to a collection. `None` if no rules bind the caller.
    ///
    /// # Errors
    /// [`WriteError::Forbidden`] if the collection is for servers only.
    pub(super) fn judge(
        &self,
        staged: &Staged,
        collection: &Collection,
    ) -> Result<Option<Judge>, WriteError> {
        let Some(author) = &staged.asker.author else { return Ok(None) };
        let rules = match Ruling::of(self.catalog(staged), collection, false) {
            Ruling::Rules(rules) => rules.clone(),
            Ruling::Free => return Ok(None),
            Ruling::Closed => return Err(WriteError::Forbidden(Forbidden::Closed)),
        };
        let user = author.user.as_ref().map(|id| UserValues {
            id: id.to_string(),
            data: rules.needs_user_document().then(|| self.data_of_user(staged, id)).flatten(),
        });
        let key = staged.asker.key.as_ref().filter(|key| **key != keyless());
        let values = Values {
            user,
            key: key.map(ToString::to_string),
            params: author.params.clone(),
            sets: self.sets(staged, author),
            now: Some(staged.at),
        };
        let has_own_sets = !Arc::ptr_eq(&values.sets, &author.sets);
        Ok(Some(Judge { rules, values, has_own_sets }))
    }

    /// Checks that the caller may create a collection.
    ///
    /// # Errors
    /// [`WriteError::Forbidden`] for everybody but a server, if the project is closed.
    pub(super) fn check_new_collection(&self, staged: &Staged) -> Result<(), WriteError> {
        match staged.asker.author.is_some() && !is_open(self.catalog(staged)) {
            true => Err(WriteError::Forbidden(Forbidden::ClosedToNew)),
            false => Ok(()),
        }
    }

    /// Returns the sets that the rules ask of other collections, with what the mutation at hand has made of them. Of a value that
    /// it takes away nothing is known of other documents that have it, so it is gone: the caller may lose a right too early, and
    /// never too late.
    fn sets(&self, staged: &Staged, author: &Author) -> Arc<Sets> {
        let catalog = self.catalog(staged);
        let is_asked = |key: &DocumentKey| {
            let of = |query: &SetQuery| {
                catalog.find(&query.collection).is_some_and(|one| one.id == key.collection)
            };
            author.sets.keys().any(of)
        };
        if author.sets.is_empty() || !staged.documents.keys().any(is_asked) {
            return author.sets.clone();
        }
        let with_own_changes = |(query, values): (&SetQuery, &Arc<[Value]>)| {
            let Some(collection) = catalog.find(&query.collection) else {
                return (query.clone(), values.clone());
            };
            let mut values = values.to_vec();
            for (key, after) in staged.documents.iter().filter(|(key, _)| key.collection == collection.id) {
                let value_of = |document: &Document| {
                    let value = query.select.value_in(document).filter(|value| !value.is_null())?;
                    query.filter.matches(document).then(|| value.into_owned())
                };
                let before = self.document_before(key).and_then(|document| value_of(&document));
                let after = after.as_ref().and_then(|document| value_of(document));
                values.retain(|value| Some(value) != before.as_ref());
                values.extend(after);
            }
            (query.clone(), values.into())
        };
        Arc::new(author.sets.iter().map(with_own_changes).collect())
    }

    /// Checks that the sets of the author are still true: no document of theirs has changed since they were read.
    ///
    /// # Errors
    /// [`WriteError::RightsBehind`].
    pub(super) fn check_sets(&self, staged: &Staged) -> Result<(), WriteError> {
        let Some(author) = staged.asker.author.as_ref().filter(|author| !author.sets.is_empty()) else {
            return Ok(());
        };
        let catalog = self.catalog(staged);
        let is_written = |query: &SetQuery| {
            let collection = catalog.find(&query.collection);
            collection.is_some_and(|collection| self.has_written(&collection.id))
        };
        // Behind a control entry, a name may stand for another collection.
        match staged.ends.control.sequence > author.sets_at || author.sets.keys().any(is_written) {
            true => Err(WriteError::RightsBehind),
            false => Ok(()),
        }
    }

    fn data_of_user(&self, staged: &Staged, id: &DocumentId) -> Option<Data> {
        let users = self.catalog(staged).find(USERS)?.id.clone();
        let document = self.document(staged, &DocumentKey { collection: users, id: id.clone() })?;
        Some(document.data.clone())
    }
}

impl Judge {
    /// Whether a write of this kind gets stamps.
    pub(super) fn has_stamps(&self, is_new: bool) -> bool {
        !self.stamps(is_new).is_empty()
    }

    /// Returns the data with the stamps that a write of this kind gets.
    ///
    /// # Errors
    /// [`WriteError::Denied`] if a stamp has no value for the caller.
    pub(super) fn stamp(&self, is_new: bool, data: Data) -> Result<Data, WriteError> {
        let action = if is_new { RuleAction::Create } else { RuleAction::Update };
        self.stamps(is_new).apply(data, &self.values).map_err(|err| match err {
            StampError::Unknown(path) => WriteError::Denied(Clause::Stamp(action, path)),
            StampError::Data(err) => WriteError::Data(Arc::new(err)),
        })
    }

    /// Checks that the caller may read a document. Otherwise it does not exist to them.
    ///
    /// # Errors
    /// [`WriteError::RightsBehind`].
    pub(super) fn can_read(&self, document: &Document) -> Result<bool, WriteError> {
        Ok(self.bound(self.rules.read().bind(&self.values_of_reads()))?.matches(document))
    }

    /// Returns the variables that a clause uses, with their values.
    pub(super) fn shown_values(&self, clause: &Clause) -> Map<String, Value> {
        match clause {
            Clause::Action(RuleAction::Read) => self.rules.shown_values(clause, &self.values_of_reads()),
            _ => self.rules.shown_values(clause, &self.values),
        }
    }

    fn values_of_reads(&self) -> Values {
        Values { now: None, ..self.values.clone() }
    }

    /// Returns what the caller makes of a document with `data`: fields stay that they can't see and haven't sent. `concerns` says for
    /// which of them.
    ///
    /// # Errors
    /// [`WriteError::RightsBehind`].
    pub(super) fn keep_hidden(
        &self,
        before: &Document,
        data: Data,
        concerns: impl Fn(&FieldPath) -> bool,
    ) -> Result<Data, WriteError> {
        if !self.rules.has_mask() {
            return Ok(data);
        }
        let values = Values { now: None, ..self.values.clone() };
        Ok(self.bound(self.rules.mask(&values))?.keep(before, data, concerns))
    }

    /// Returns what was bound. A set that is missing is read anew by the caller, unless it depends on what the mutation itself has
    /// written: that no read shows.
    fn bound<T>(&self, outcome: Result<T, Missing>) -> Result<T, WriteError> {
        outcome.map_err(|Missing(_)| match self.has_own_sets {
            true => WriteError::OwnRelation,
            false => WriteError::RightsBehind,
        })
    }

    fn holds(&self, condition: &Condition, document: &Document) -> Result<bool, WriteError> {
        Ok(self.bound(condition.bind(&self.values))?.matches(document))
    }

    /// Checks that the caller may make `after` of `before`, and returns the clause that allows it.
    ///
    /// # Errors
    /// [`WriteError::Denied`].
    pub(super) fn check_write(
        &self,
        staged: &mut Staged,
        before: Option<&Document>,
        after: &Document,
    ) -> Result<Clause, WriteError> {
        let begun = Instant::now();
        let outcome = match before {
            None => self.check_create(after),
            Some(before) => self.check_update(before, after),
        };
        staged.checking += begun.elapsed();
        outcome
    }

    /// Checks that the caller may delete a document, and returns the clause that allows it.
    ///
    /// # Errors
    /// [`WriteError::Denied`].
    pub(super) fn check_delete(&self, document: &Document) -> Result<Clause, WriteError> {
        let clause = Clause::Action(RuleAction::Delete);
        if self.holds(self.rules.delete(), document)? { Ok(clause) } else { Err(WriteError::Denied(clause)) }
    }

    fn stamps(&self, is_new: bool) -> &Stamps {
        if is_new { self.rules.stamps_on_create() } else { self.rules.stamps_on_update() }
    }

    fn check_create(&self, document: &Document) -> Result<Clause, WriteError> {
        let clause = Clause::Action(RuleAction::Create);
        if !self.holds(self.rules.create(), document)? {
            return Err(WriteError::Denied(clause));
        }
        let own = self.rules.stamps_on_create().strip(&document.data);
        for (path, rule) in self.rules.writes() {
            let may = match rule {
                WriteRule::OnCreate => true,
                WriteRule::If(condition) => self.holds(condition, document)?,
            };
            if !may && is_changed(path, &Data::empty(), &own) {
                return Err(WriteError::Denied(Clause::Write(path.clone())));
            }
        }
        Ok(clause)
    }

    fn check_update(&self, before: &Document, after: &Document) -> Result<Clause, WriteError> {
        let stamps = self.rules.stamps_on_update();
        let (own_before, own_after) = (stamps.strip(&before.data), stamps.strip(&after.data));
        for (path, rule) in self.rules.writes() {
            if is_changed(path, &own_before, &own_after) {
                let may = match rule {
                    WriteRule::OnCreate => false,
                    WriteRule::If(condition) => self.holds(condition, before)?,
                };
                if !may {
                    return Err(WriteError::Denied(Clause::Write(path.clone())));
                }
            }
        }
        // The alternative that was met furthest says most of why the change is refused.
        let mut nearest: Option<(usize, Unmet)> = None;
        for (index, rule) in self.rules.update().iter().enumerate() {
            match self.bound(rule.check((before, after), stamps, &self.values))? {
                Ok(()) => return Ok(self.rules.clause_of_update(index, None)),
                Err(part) if nearest.is_none_or(|(_, known)| known < part) => nearest = Some((index, part)),
                Err(_) => {}
            }
        }
        Err(WriteError::Denied(match nearest {
            Some((index, part)) => self.rules.clause_of_update(index, Some(part)),
            None => Clause::Action(RuleAction::Update),
        }))
    }
}
