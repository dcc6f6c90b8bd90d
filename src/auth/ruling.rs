//! The ruling that binds a caller in a collection: nothing, its rules, or that the project is closed. Every door that reads, the writer and
//! open streams ask here.

use std::sync::Arc;

use crate::{domain::Collection, query::rule::RuleSet, store::collections::catalog::Catalog};

/// The ruling that binds a caller in a collection.
#[derive(Clone, Copy, Debug)]
pub enum Ruling<'a> {
    /// Nothing but the scopes of the key.
    Free,
    Rules(&'a Arc<RuleSet>),
    /// The collection has no rules and its project is closed, so that it is for servers only.
    Closed,
}

impl<'a> Ruling<'a> {
    /// Returns what binds a caller in a collection. Nothing binds a server that acts for itself. Built-in collections have checks
    /// of their own.
    pub fn of(catalog: &'a Catalog, collection: &Collection, is_server: bool) -> Self {
        match catalog.rules_of(&collection.id) {
            _ if is_server => Self::Free,
            Some(rules) => Self::Rules(rules),
            None if collection.name.is_built_in() || is_open(catalog) => Self::Free,
            None => Self::Closed,
        }
    }
}

/// Whether collections without rules are open to every key of the project, and to its users. Such keys also create collections.
pub fn is_open(catalog: &Catalog) -> bool {
    catalog.settings().open
}
