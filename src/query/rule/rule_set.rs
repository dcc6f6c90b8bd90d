//! The rules of a collection.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use super::{
    condition::{Condition, Missing},
    set::SetQuery,
    stamp::Stamps,
    update::UpdateRule,
    variable::Values,
};
use crate::{
    domain::FieldPath,
    query::{Filter, Mask},
};

/// Why rules can't be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{place}`: {message}")]
pub struct RuleError {
    /// The member that is wrong, as in `rules.update[1].only`.
    pub place: String,
    pub message: String,
}

/// Something that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleAction {
    Read,
    Create,
    Update,
    Delete,
}

impl RuleAction {
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Update, Self::Delete];

    /// Returns the member of the rules that is about it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for RuleAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The callers who may write a field.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteRule {
    /// It is set when the document is created, and stays as it is.
    OnCreate,
    /// Callers of whom this holds: on the new document when it is created, and else on the document as it was.
    If(Condition),
}

/// The part of a collection that a caller may read.
#[derive(Clone, Debug)]
pub struct Reading {
    pub filter: Filter,
    pub mask: Mask,
    /// The sets of other collections that both were made of.
    pub queries: Vec<SetQuery>,
}

/// The rules of a collection. An action without a rule is denied.
#[derive(Clone, Debug)]
pub struct RuleSet {
    pub(super) source: Value,
    pub(super) read: Condition,
    pub(super) create: Condition,
    pub(super) update: Vec<UpdateRule>,
    pub(super) delete: Condition,
    pub(super) reads: BTreeMap<FieldPath, Condition>,
    pub(super) writes: BTreeMap<FieldPath, WriteRule>,
    pub(super) stamps_on_create: Stamps,
    pub(super) stamps_on_update: Stamps,
}

impl PartialEq for RuleSet {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for RuleSet {}

impl RuleSet {
    /// Returns the rules that deny everything.
    pub(super) fn denying(source: Value) -> Self {
        Self {
            source,
            read: Condition::Known(false),
            create: Condition::Known(false),
            update: Vec::new(),
            delete: Condition::Known(false),
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
            stamps_on_create: Stamps::default(),
            stamps_on_update: Stamps::default(),
        }
    }

    /// Returns the rules as they were set.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Returns the condition under which a document may be read.
    pub fn read(&self) -> &Condition {
        &self.read
    }

    /// Returns the condition under which a document may be created, as it will be.
    pub fn create(&self) -> &Condition {
        &self.create
    }

    /// Returns the alternatives under which a document may be changed. One of them is enough.
    pub fn update(&self) -> &[UpdateRule] {
        &self.update
    }

    /// Returns the condition under which a document may be deleted.
    pub fn delete(&self) -> &Condition {
        &self.delete
    }

    /// Returns who may read which fields, in the order of the fields. Others are read with the document.
    pub fn field_reads(&self) -> impl Iterator<Item = (&FieldPath, &Condition)> {
        self.reads.iter()
    }

    /// Returns the documents that a caller may read, and the fields of these that stay hidden.
    ///
    /// # Errors
    /// [`Missing`] if sets of other collections have to be read first.
    pub fn bind_reading(&self, values: &Values) -> Result<Reading, Missing> {
        let (filter, mut queries) = self.read.bind_with_queries(values)?;
        let mut hides = Vec::new();
        // A caller who may read no document needs no mask.
        if !filter.is_nothing() {
            for (path, condition) in &self.reads {
                let (except, used) = condition.bind_with_queries(values)?;
                for query in used {
                    if !queries.contains(&query) {
                        queries.push(query);
                    }
                }
                hides.push((path.clone(), except));
            }
        }
        Ok(Reading { filter, mask: Mask::new(hides), queries })
    }

    /// Returns the fields of a document that a caller may not read.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn mask(&self, values: &Values) -> Result<Mask, Missing> {
        let hide = |(path, condition): (&FieldPath, &Condition)| Ok((path.clone(), condition.bind(values)?));
        Ok(Mask::new(self.reads.iter().map(hide).collect::<Result<Vec<_>, _>>()?))
    }

    /// Whether some fields may not be read by everybody who reads the document.
    pub fn has_mask(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Whether what may be read depends on what only the document of the user says.
    pub fn reading_needs_user_document(&self) -> bool {
        self.read.needs_user_document() || self.reads.values().any(Condition::needs_user_document)
    }

    /// Returns who may write which fields, in the order of the fields. Others are free.
    pub fn writes(&self) -> impl Iterator<Item = (&FieldPath, &WriteRule)> {
        self.writes.iter()
    }

    /// Returns what the server sets when a document is created.
    pub fn stamps_on_create(&self) -> &Stamps {
        &self.stamps_on_create
    }

    /// Returns what the server sets when a document is changed.
    pub fn stamps_on_update(&self) -> &Stamps {
        &self.stamps_on_update
    }

    /// Whether a rule uses what only the document of the user says: the address, the roles or the profile.
    pub fn needs_user_document(&self) -> bool {
        self.conditions().any(Condition::needs_user_document)
            || self.stamps_on_create.needs_user_document()
            || self.stamps_on_update.needs_user_document()
    }

    /// Whether a condition asks other collections.
    pub fn has_relations(&self) -> bool {
        self.related_collections().next().is_some()
    }

    /// Returns the sets that conditions ask for and that `values` lacks.
    pub fn missing_sets(&self, values: &Values) -> Vec<SetQuery> {
        let missing = |condition: &Condition| match condition.bind(values) {
            Ok(_) => Vec::new(),
            Err(Missing(missing)) => missing,
        };
        self.conditions().flat_map(missing).collect()
    }

    /// Returns the names of the other collections that its conditions ask, some of them repeatedly.
    pub fn related_collections(&self) -> impl Iterator<Item = &str> {
        self.conditions().flat_map(Condition::related_collections)
    }

    pub(super) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let conditions = [&self.read, &self.create, &self.delete].into_iter();
        let of_update = self.update.iter().flat_map(UpdateRule::conditions);
        let of_fields = self.writes.values().filter_map(|rule| match rule {
            WriteRule::OnCreate => None,
            WriteRule::If(condition) => Some(condition),
        });
        conditions.chain(of_update).chain(of_fields).chain(self.reads.values())
    }
}
