//! The permissions of a principal: one table of actions, and the check against it.

use super::{Principal, principal::MANAGES_KEYS};
use crate::{
    domain::{Collection, Document, DocumentId, FieldPath, Patch},
    query::{Filter, mask::Masked, of_users},
};

/// Something that takes a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read or list documents, or list collections.
    ReadDocuments,
    /// Create, replace, merge or delete documents.
    WriteDocuments,
    /// See how the database reads a list, which says which indexes there are and how many documents.
    ExplainQuery,
    /// See what the rules of collections decide, also for somebody else.
    SeeRules,
    /// Open a live stream.
    Subscribe,
    /// Create a collection without schema and indexes.
    CreateCollection,
    /// Change a collection's name, schema or indexes, create one with them, or see its indexes.
    ChangeCollection,
    /// Remove a collection with its documents.
    RemoveCollection,
    /// Sign users up, in and out, and change one's own account.
    UseAccount,
    /// See and change every user's account.
    ManageUsers,
    /// See and change the settings of the project.
    ManageProject,
    /// Read the security events of the project.
    ReadAudit,
    /// See, make, change and revoke the keys of the project.
    ManageKeys,
}

/// Why a known principal may not do something. The message can be shown to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("this request needs a secret key (sk_…)")]
    SecretKeyOnly,
    #[error("this key lacks the scope `{0}`")]
    Scope(&'static str),
    #[error("a user may see and change only their own account")]
    OtherUser,
    #[error(
        "the rules of this collection ask for more than 10,000 values, or 256 KiB, of another collection, which is the limit"
    )]
    TooManyValues,
    #[error("the rules of this collection let you read none of its documents")]
    Rule,
    #[error(
        "this project is closed and the collection has no rules, so that only a server may use it, with a secret key (sk_…); \
         PATCH /collections/{{collection}}/settings sets rules"
    )]
    Closed,
    #[error(
        "this project is closed, so that only a server may create a collection, with a secret key (sk_…) and with rules for others"
    )]
    ClosedToNew,
    #[error(
        "the rules of this collection hide the field `{0}` from you, so that no filter, sort, group or aggregate can ask for it"
    )]
    HiddenField(FieldPath),
    #[error(
        "this filter asks many things of fields that you may read in some documents only; with their rules it is too large"
    )]
    FilterTooLarge,
    #[error("a user may change only their `profile` here")]
    ProfileOnly,
    #[error("somebody else is asking now, who may read other documents of this collection; subscribe again")]
    OtherReader,
    #[error("this ticket is for another collection; POST /realtime/tickets gives one for this collection")]
    Collection,
}

/// Checks that a principal may do something: its key has the scope, and is of the kind, that the action takes.
pub fn check(principal: &Principal, action: Action) -> Result<(), Forbidden> {
    let (scope, secret) = match action {
        Action::ReadDocuments => ("documents:read", false),
        Action::ExplainQuery | Action::SeeRules => ("documents:read", true),
        Action::WriteDocuments => ("documents:write", false),
        Action::Subscribe => ("realtime", false),
        Action::CreateCollection => ("collections:write", false),
        Action::ChangeCollection | Action::RemoveCollection => ("collections:write", true),
        Action::UseAccount => ("users", false),
        Action::ManageUsers => ("users", true),
        Action::ManageProject => ("settings", true),
        Action::ReadAudit => ("audit", true),
        Action::ManageKeys => (MANAGES_KEYS, true),
    };
    if secret && !principal.is_server() {
        return Err(Forbidden::SecretKeyOnly);
    }
    if !principal.scopes.allow(scope) {
        return Err(Forbidden::Scope(scope));
    }
    Ok(())
}

impl From<Masked> for Forbidden {
    fn from(masked: Masked) -> Self {
        match masked {
            Masked::Hidden(path) => Self::HiddenField(path),
            Masked::TooLarge => Self::FilterTooLarge,
        }
    }
}

/// The documents of a collection that a principal may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readable {
    Everything,
    /// Those that match. To this principal the others don't exist.
    Matching(Filter),
    Nothing(Forbidden),
}

impl Readable {
    /// Narrows a filter to the documents that may be read.
    ///
    /// # Errors
    /// [`Forbidden`] if there are none whatever the collection holds.
    pub fn narrow(self, filter: Filter) -> Result<Filter, Forbidden> {
        match self {
            Self::Everything => Ok(filter),
            Self::Matching(rule) => Ok(filter.and(rule)),
            Self::Nothing(why) => Err(why),
        }
    }

    /// Whether no document may be read, whatever the collection holds.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing(_))
    }

    /// Whether a document may be read.
    pub fn admits(&self, document: &Document) -> bool {
        match self {
            Self::Everything => true,
            Self::Matching(rule) => rule.matches(document),
            Self::Nothing(_) => false,
        }
    }
}

/// Returns what a principal may read of a collection. [`Rights`](super::Rights) binds its rule; `None` stands for a caller whom no rule
/// binds. Every door asks there: a list, a stream or an export narrows its own filter by the answer.
pub fn readable(principal: &Principal, collection: &Collection, rule: Option<Filter>) -> Readable {
    let readable = rule.map_or(Readable::Everything, of_rule);
    if !collection.name.is_users() {
        return readable;
    }
    match (check(principal, Action::UseAccount), readable) {
        (Err(why), _) => Readable::Nothing(why),
        (Ok(()), Readable::Nothing(_)) if principal.user.is_none() => Readable::Nothing(Forbidden::OtherUser),
        (Ok(()), readable) => readable,
    }
}

fn of_rule(filter: Filter) -> Readable {
    if filter == Filter::all() {
        Readable::Everything
    } else if filter.is_nothing() {
        Readable::Nothing(Forbidden::Rule)
    } else {
        Readable::Matching(filter)
    }
}

/// Reads a filter on a collection as it is meant.
pub fn meant(collection: &Collection, filter: Filter) -> Filter {
    if collection.name.is_users() { of_users(filter) } else { filter }
}

/// Why a principal may not change a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// The principal may not read it either, so that it doesn't exist to them.
    Unknown,
    Forbidden(Forbidden),
}

/// Checks that a principal may merge a patch into a document at all. Of users, only the profile can be changed here by others than
/// servers; the rules of users say by whom.
///
/// # Errors
/// [`Unwritable`].
pub fn check_merge(
    principal: &Principal,
    (collection, has_rules): (&Collection, bool),
    id: &DocumentId,
    patch: &Patch,
) -> Result<(), Unwritable> {
    if !collection.name.is_users() {
        return Ok(());
    }
    check(principal, Action::UseAccount).map_err(Unwritable::Forbidden)?;
    match &principal.user {
        None if principal.is_server() => Ok(()),
        None => Err(Unwritable::Forbidden(Forbidden::OtherUser)),
        Some(_) if patch.top_level_fields().all(|field| field == "profile") => Ok(()),
        Some(user) if user.id != *id && !has_rules => Err(Unwritable::Unknown),
        Some(_) => Err(Unwritable::Forbidden(Forbidden::ProfileOnly)),
    }
}

/// Checks that a principal may create, replace or delete documents of a collection.
pub fn check_writable(principal: &Principal, collection: &Collection) -> Result<(), Forbidden> {
    if !collection.name.is_users() {
        return Ok(());
    }
    check(principal, Action::UseAccount)?;
    if principal.is_server() { Ok(()) } else { Err(Forbidden::OtherUser) }
}

/// Checks that a principal's ticket, if it has one, is not for another collection.
pub fn check_collection(principal: &Principal, collection: &Collection) -> Result<(), Forbidden> {
    match &principal.collection {
        Some(only) if !only.admits(collection) => Err(Forbidden::Collection),
        _ => Ok(()),
    }
}
