//! What the rules decide about a write, without the write: it is applied in memory, as the writer does, and dropped.

use std::{collections::HashMap, time::Duration};

use serde_json::{Map, Value};

use super::{
    accounts::Accounts,
    batch::Batch,
    error::WriteError,
    mutation::Mutation,
    staged::{Asker, Plan, Staged},
};
use crate::{
    query::rule::{Clause, RuleAction},
    store::Trouble,
};

/// The decision of the rules about one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub is_allowed: bool,
    /// The clause that decided; `None` if there are no rules, and the project decides by being open or closed.
    pub clause: Option<Clause>,
    /// The variables that the clause uses, with their values as they may be shown.
    pub values: Map<String, Value>,
}

impl Batch {
    /// Begins a mutation, which has no effects yet.
    ///
    /// # Errors
    /// [`WriteError::RightsBehind`] if the sets that its author has read are no longer true.
    pub(super) fn begin(&self, mutation: &Mutation) -> Result<Staged, WriteError> {
        // The principal's project was read from the database, and projects are never removed.
        let ends = self.log_ends(&mutation.project).cloned().ok_or(WriteError::Unavailable(Trouble::Away))?;
        let staged = Staged {
            project: mutation.project.clone(),
            asker: Asker {
                key: mutation.caller.as_ref().map(|caller| caller.id.clone()),
                session: mutation.session.clone(),
                author: mutation.author.clone(),
                seen: mutation.seen.clone(),
            },
            // Log order and time order agree, even if the clock goes back a little.
            at: self.now().max(ends.last.at),
            ends,
            catalog: None,
            documents: HashMap::new(),
            order: Vec::new(),
            accounts: Accounts::default(),
            plan: Plan::default(),
            weight: 0,
            checking: Duration::ZERO,
            allowed_by: None,
        };
        self.check_sets(&staged)?;
        Ok(staged)
    }

    /// Returns what the rules decide about the first operation of a mutation, whose document exists unless the operation creates it.
    /// Nothing of it is kept.
    ///
    /// # Errors
    /// As [`Batch::apply`], for everything that is not for the rules to decide.
    pub fn explain(&self, mutation: &Mutation) -> Result<Verdict, WriteError> {
        let mut staged = self.begin(mutation)?;
        let operation = mutation.operations.first().ok_or(WriteError::UnknownDocument)?;
        let collection = operation.collection().and_then(|name| self.catalog(&staged).find(name)).cloned();
        let judge = match collection.map(|collection| self.judge(&staged, &collection)) {
            None => None,
            Some(Ok(judge)) => judge,
            Some(Err(WriteError::Forbidden(_))) => {
                return Ok(Verdict { is_allowed: false, clause: None, values: Map::new() });
            }
            Some(Err(err)) => return Err(err),
        };
        let (is_allowed, clause) = match self.apply_operation(&mut staged, operation) {
            Ok(_) => (true, staged.allowed_by),
            Err(WriteError::Denied(clause)) => (false, Some(clause)),
            // The document is there, so the caller may not read it.
            Err(WriteError::UnknownDocument) if judge.is_some() => {
                (false, Some(Clause::Action(RuleAction::Read)))
            }
            Err(err) => return Err(err),
        };
        let values = judge.zip(clause.as_ref()).map(|(judge, clause)| judge.shown_values(clause));
        Ok(Verdict { is_allowed, clause, values: values.unwrap_or_default() })
    }
}
