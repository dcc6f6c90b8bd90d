//! The clauses of rules: what decides, its place, and the variables that it uses.

use std::fmt;

use serde_json::{Map, Value};

use super::{
    rule_set::{RuleAction, RuleSet, WriteRule},
    update::Unmet,
    variable::{Values, Variable},
};
use crate::domain::FieldPath;

/// The clause that decided. Its text is its place, as in `rules.update[0].before`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// The rule of an action, also if there is none.
    Action(RuleAction),
    /// An alternative of `update`.
    Update {
        index: usize,
        /// Whether the alternatives are a list.
        is_listed: bool,
        /// The part that was not met; `None` if all of them were.
        unmet: Option<Unmet>,
    },
    /// Who may write a field.
    Write(FieldPath),
    /// A stamp without a value for the caller.
    Stamp(RuleAction, FieldPath),
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(action) => write!(f, "rules.{action}"),
            Self::Update { index, is_listed, unmet } => {
                f.write_str("rules.update")?;
                if *is_listed {
                    write!(f, "[{index}]")?;
                }
                unmet.map_or(Ok(()), |part| write!(f, ".{}", part.as_str()))
            }
            Self::Write(path) => write!(f, "rules.fields.{path}.write"),
            Self::Stamp(action, path) => write!(f, "rules.stamp.{action}.{path}"),
        }
    }
}

impl RuleSet {
    /// Returns the clause of an alternative of `update`.
    pub fn clause_of_update(&self, index: usize, unmet: Option<Unmet>) -> Clause {
        let is_listed = self.source.get("update").is_some_and(Value::is_array);
        Clause::Update { index, is_listed, unmet }
    }

    /// Returns the variables that a clause uses, with their values for a caller; `null` for one without a value. A parameter is a
    /// secret, so it says only that it was sent.
    pub fn shown_values(&self, clause: &Clause, values: &Values) -> Map<String, Value> {
        let shown = |variable: &Variable| {
            let value = match (variable, variable.value(values)) {
                (Variable::Param(_), Some(_)) => Value::from("(sent)"),
                (_, value) => value.unwrap_or_default(),
            };
            (variable.to_string(), value)
        };
        self.variables_of(clause).into_iter().map(shown).collect()
    }

    fn variables_of(&self, clause: &Clause) -> Vec<&Variable> {
        match clause {
            Clause::Action(RuleAction::Read) => self.read.variables(),
            Clause::Action(RuleAction::Create) => self.create.variables(),
            Clause::Action(RuleAction::Delete) => self.delete.variables(),
            Clause::Action(RuleAction::Update) => Vec::new(),
            Clause::Update { index, unmet, .. } => {
                let Some(rule) = self.update.get(*index) else { return Vec::new() };
                let (before, after) = (rule.before.variables(), rule.after.variables());
                match unmet {
                    Some(Unmet::Before) => before,
                    Some(Unmet::After) => after,
                    Some(Unmet::Unchanged | Unmet::Only) => Vec::new(),
                    None => [before, after].concat(),
                }
            }
            Clause::Write(path) => match self.writes.get(path) {
                Some(WriteRule::If(condition)) => condition.variables(),
                Some(WriteRule::OnCreate) | None => Vec::new(),
            },
            Clause::Stamp(action, path) => {
                let stamps = match action {
                    RuleAction::Create => &self.stamps_on_create,
                    _ => &self.stamps_on_update,
                };
                let of_path = stamps.0.iter().filter(|(stamped, _)| stamped == path);
                of_path.flat_map(|(_, template)| template.variables()).collect()
            }
        }
    }
}
