//! What a principal may do.

use super::{KeyKind, Principal};
use crate::domain::CollectionId;

/// What someone wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read or list documents, or see which collections there are.
    ReadDocuments,
    /// Create, replace, merge or delete documents.
    WriteDocuments,
    /// Open a live stream.
    Subscribe,
    /// Make a collection.
    CreateCollection,
    /// Rename a collection.
    ChangeCollection,
    /// Remove a collection with its documents.
    RemoveCollection,
}

/// The principal is known, but may not do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It takes another kind of key.
    #[error("this takes a secret key (sk_…)")]
    SecretKeyOnly,
    /// The key is limited.
    #[error("this key lacks the scope `{0}`")]
    Scope(&'static str),
    /// The stream ticket is limited.
    #[error("this ticket opens another collection")]
    Collection,
}

/// Checks one action. REST, WebSocket and SSE all ask here.
///
/// # Errors
/// [`Forbidden`], whose message can be shown to the caller.
pub fn check(principal: &Principal, action: Action) -> Result<(), Forbidden> {
    let (scope, secret) = match action {
        Action::ReadDocuments => ("documents:read", false),
        Action::WriteDocuments => ("documents:write", false),
        Action::Subscribe => ("realtime", false),
        Action::CreateCollection => ("collections:write", false),
        Action::ChangeCollection | Action::RemoveCollection => ("collections:write", true),
    };
    if secret && principal.kind != KeyKind::Secret {
        return Err(Forbidden::SecretKeyOnly);
    }
    if !principal.scopes.allow(scope) {
        return Err(Forbidden::Scope(scope));
    }
    Ok(())
}

/// Checks that a principal isn't limited to another collection.
///
/// # Errors
/// [`Forbidden::Collection`].
pub fn check_collection(principal: &Principal, collection: &CollectionId) -> Result<(), Forbidden> {
    match &principal.collection {
        Some(only) if only != collection => Err(Forbidden::Collection),
        _ => Ok(()),
    }
}
