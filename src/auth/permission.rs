//! The permissions of a principal: one table of actions, and the check against it.

use super::Principal;
use crate::domain::Collection;

/// Something that takes a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read or list documents, or list collections.
    ReadDocuments,
    /// Create, replace, merge or delete documents.
    WriteDocuments,
    /// See how the database reads a list, which says which indexes there are and how many documents.
    ExplainQuery,
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
}

/// Why a known principal may not do something. The message can be shown to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("this request needs a secret key (sk_…)")]
    SecretKeyOnly,
    #[error("this key lacks the scope `{0}`")]
    Scope(&'static str),
    #[error("a user may see and change only their own account")]
    OtherUser,
    #[error("a user may change only their `profile` here")]
    ProfileOnly,
    #[error("this ticket is for another collection; POST /realtime/tickets gives one for this collection")]
    Collection,
}

/// Checks that a principal may do something: its key has the scope, and is of the kind, that the action takes.
pub fn check(principal: &Principal, action: Action) -> Result<(), Forbidden> {
    let (scope, secret) = match action {
        Action::ReadDocuments => ("documents:read", false),
        Action::ExplainQuery => ("documents:read", true),
        Action::WriteDocuments => ("documents:write", false),
        Action::Subscribe => ("realtime", false),
        Action::CreateCollection => ("collections:write", false),
        Action::ChangeCollection | Action::RemoveCollection => ("collections:write", true),
        Action::UseAccount => ("users", false),
        Action::ManageUsers => ("users", true),
    };
    if secret && !principal.is_server() {
        return Err(Forbidden::SecretKeyOnly);
    }
    if !principal.scopes.allow(scope) {
        return Err(Forbidden::Scope(scope));
    }
    Ok(())
}

/// Checks that a principal may read the documents of a collection.
pub fn check_readable(principal: &Principal, collection: &Collection) -> Result<(), Forbidden> {
    match collection.name.is_users() && !principal.is_server() {
        true => Err(Forbidden::OtherUser),
        false => Ok(()),
    }
}

/// Checks that a principal may write the documents of a collection.
pub fn check_writable(principal: &Principal, collection: &Collection) -> Result<(), Forbidden> {
    match collection.name.is_users() && !principal.is_server() {
        true => Err(Forbidden::OtherUser),
        false => Ok(()),
    }
}

/// Checks that a principal's ticket, if it has one, is not for another collection.
pub fn check_collection(principal: &Principal, collection: &Collection) -> Result<(), Forbidden> {
    match &principal.collection {
        Some(only) if !only.admits(collection) => Err(Forbidden::Collection),
        _ => Ok(()),
    }
}
