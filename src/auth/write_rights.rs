//! What a principal may do with the documents that they read: the rules about changes, bound to the principal.

use super::{Action, Principal, Rights, Ruling, permission};
use crate::{
    domain::{Collection, Data, Document, Patch, Timestamp},
    query::{
        Filter,
        rule::{Missing, RuleSet, Values},
    },
    store::StoreError,
};

/// What a principal may do with the documents of a collection.
pub enum WriteRights<'a> {
    /// No rules bind the principal, or nothing is allowed.
    Any(bool),
    /// The documents that may be changed and deleted.
    Matching { update: Filter, delete: Filter },
    /// Those of the collection of users.
    Users(&'a Principal, &'a Collection),
}

/// What may be done with one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether some change may be allowed: the document as it is passes, and the rest depends on the change.
    pub update: bool,
    pub delete: bool,
}

impl WriteRights<'_> {
    /// Returns what may be done with a document, which the principal may read.
    pub fn of(&self, document: &Document) -> Access {
        match self {
            Self::Any(may) => Access { update: *may, delete: *may },
            Self::Matching { update, delete } => {
                Access { update: update.matches(document), delete: delete.matches(document) }
            }
            Self::Users(principal, collection) => {
                let update = Patch::from_data(Data::empty()).is_ok_and(|patch| {
                    permission::check_merge(principal, collection, &document.id, &patch).is_ok()
                });
                Access { update, delete: permission::check_writable(principal, collection).is_ok() }
            }
        }
    }
}

impl<'a> Rights<'a> {
    /// Returns what the principal may do with the documents of a collection, as of now. The sets that the rules ask for are read
    /// once, whatever the number of documents.
    ///
    /// # Errors
    /// A database failure.
    pub async fn write_rights(&self, collection: &'a Collection) -> Result<WriteRights<'a>, StoreError> {
        if permission::check(self.principal, Action::WriteDocuments).is_err() {
            return Ok(WriteRights::Any(false));
        }
        if collection.name.is_users() {
            return Ok(WriteRights::Users(self.principal, collection));
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

fn bind(rules: &RuleSet, values: &Values) -> Result<WriteRights<'static>, Missing> {
    let update = rules.update().iter().map(|rule| rule.before.bind(values)).collect::<Result<Vec<_>, _>>()?;
    Ok(WriteRights::Matching { update: Filter::Or(update), delete: rules.delete().bind(values)? })
}
