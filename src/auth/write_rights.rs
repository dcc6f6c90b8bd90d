//! What a principal may do with the documents that they read: the rules about changes, bound to the principal.

use super::{Action, Rights, Ruling, permission};
use crate::{
    domain::{Collection, Document, Timestamp},
    query::{
        Filter,
        rule::{Missing, RuleSet, Values},
    },
    store::StoreError,
};

/// The changes that a principal may make to the documents of a collection.
pub enum WriteRights {
    /// No rules bind the principal, or nothing is allowed.
    Any(bool),
    /// The documents that may be changed and deleted.
    Matching { update: Filter, delete: Filter },
}

/// The changes that may be made to one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether some change may be allowed: the document as it is passes, and the rest depends on the change.
    pub update: bool,
    pub delete: bool,
}

impl WriteRights {
    /// Returns what may be done with a document, which the principal may read.
    pub fn of(&self, document: &Document) -> Access {
        match self {
            Self::Any(may) => Access { update: *may, delete: *may },
            Self::Matching { update, delete } => {
                Access { update: update.matches(document), delete: delete.matches(document) }
            }
        }
    }
}

impl Rights<'_> {
    /// Returns what the principal may do with the documents of a collection, as of now. The sets that the rules ask for are read
    /// once, whatever the number of documents.
    ///
    /// # Errors
    /// A database failure.
    pub async fn write_rights(&self, collection: &Collection) -> Result<WriteRights, StoreError> {
        if permission::check(self.principal, Action::WriteDocuments).is_err() {
            return Ok(WriteRights::Any(false));
        }
        if collection.name.is_users() && permission::check(self.principal, Action::UseAccount).is_err() {
            return Ok(WriteRights::Any(false));
        }
        let rules = match Ruling::of(&self.catalog, collection, self.principal.is_server()) {
            Ruling::Rules(rules) => rules,
            Ruling::Free => return Ok(WriteRights::Any(true)),
            Ruling::Closed => return Ok(WriteRights::Any(false)),
        };
        let mut values = Values { now: Some(Timestamp::now()), ..self.values(rules).await? };
        loop {
            match bind(rules, &values) {
                Ok(rights) => return Ok(rights),
                Err(Missing(missing)) => match self.read_sets(missing).await? {
                    Some(sets) => values.sets = sets,
                    // Such a write is refused.
                    None => return Ok(WriteRights::Any(false)),
                },
            }
        }
    }
}

fn bind(rules: &RuleSet, values: &Values) -> Result<WriteRights, Missing> {
    let update = rules.update().iter().map(|rule| rule.before.bind(values)).collect::<Result<Vec<_>, _>>()?;
    Ok(WriteRights::Matching { update: Filter::Or(update), delete: rules.delete().bind(values)? })
}
