//! How far rules reach: what callers of a kind may do at most, whoever they are and whatever the documents hold.
//!
//! This reads a condition as [`Condition::bind`] does, for all callers of a kind at once. It never says less than what is possible.

use super::{
    condition::{Condition, Relation, Term, TermOnCaller},
    rule_set::{RuleAction, RuleSet, WriteRule},
    update::UpdateRule,
    variable::{CallerKind, Variable},
};
use crate::{domain::FieldPath, query::Filter};

/// How much callers of a kind may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Nothing, whoever they are.
    None,
    /// It depends on the document, on the change, or on who asks. It may be everything.
    Some,
    /// Everything, whoever they are.
    All,
}

impl Reach {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Some => "some",
            Self::All => "all",
        }
    }
}

impl RuleSet {
    /// Returns the fields that not everybody may read who may read the document.
    pub fn hidden_fields(&self) -> Vec<&FieldPath> {
        let is_hidden = |condition: &Condition| {
            [CallerKind::Guest, CallerKind::User]
                .iter()
                .any(|kind| condition.reach(true, *kind) != Reach::All)
        };
        self.reads.iter().filter(|(_, condition)| is_hidden(condition)).map(|(path, _)| path).collect()
    }

    /// Returns how much callers of a kind may do.
    pub fn reach(&self, action: RuleAction, kind: CallerKind) -> Reach {
        let read = self.read.reach(true, kind);
        match action {
            RuleAction::Read => read,
            RuleAction::Create => {
                let stamps = reach_of_stamps(self.stamps_on_create.variables(), kind);
                let fields = self.writes.values().map(|rule| match rule {
                    WriteRule::OnCreate => Reach::All,
                    WriteRule::If(condition) => condition.reach(true, kind).max(Reach::Some),
                });
                fields.fold(self.create.reach(true, kind).min(stamps), Ord::min)
            }
            RuleAction::Update => {
                let stamps = reach_of_stamps(self.stamps_on_update.variables(), kind);
                let fields = self.writes.values().map(|rule| match rule {
                    WriteRule::OnCreate => Reach::Some,
                    WriteRule::If(condition) => condition.reach(true, kind).max(Reach::Some),
                });
                let alternatives = self.update.iter().map(|rule| rule.reach(kind));
                let any = alternatives.max().unwrap_or(Reach::None);
                // A document that may not be read does not exist to the caller.
                fields.fold(any.min(stamps).min(read), Ord::min)
            }
            RuleAction::Delete => self.delete.reach(true, kind).min(read),
        }
    }
}

impl UpdateRule {
    fn reach(&self, kind: CallerKind) -> Reach {
        let is_limited = self.only.is_some() || !self.unchanged.is_empty();
        let most = if is_limited { Reach::Some } else { Reach::All };
        self.before.reach(true, kind).min(self.after.reach(true, kind)).min(most)
    }
}

impl Condition {
    /// Returns how far the condition is `wanted`, and not unknown.
    fn reach(&self, wanted: bool, kind: CallerKind) -> Reach {
        match self {
            Self::Known(holds) => constant(*holds == wanted),
            Self::HasUser => constant((kind == CallerKind::User) == wanted),
            Self::All(members) if wanted => least(members, wanted, kind),
            Self::All(members) => most(members, wanted, kind),
            Self::Any(members) if wanted => most(members, wanted, kind),
            Self::Any(members) => least(members, wanted, kind),
            Self::Not(inner) => inner.reach(!wanted, kind),
            Self::Fixed(filter) if *filter == Filter::all() => constant(wanted),
            Self::Fixed(filter) if filter.is_nothing() => constant(!wanted),
            Self::Fixed(_) => Reach::Some,
            Self::Term(Term { value, .. }) => depends(&value.variables(), kind),
            Self::OnCaller(TermOnCaller { variable, value, .. }) => {
                depends(&[value.variables(), vec![variable]].concat(), kind)
            }
            Self::Related(_, relation) => relation.reach(wanted, kind),
        }
    }
}

impl Relation {
    fn reach(&self, wanted: bool, kind: CallerKind) -> Reach {
        let is_empty = self.filter.reach(true, kind) == Reach::None;
        match wanted {
            true => {
                if is_empty {
                    Reach::None
                } else {
                    Reach::Some
                }
            }
            false => match depends(&self.variables(), kind) {
                Reach::Some if is_empty => Reach::All,
                reach => reach,
            },
        }
    }
}

/// Returns how far a term reaches whose variables these are: a variable without a value makes it unknown.
fn depends(variables: &[&Variable], kind: CallerKind) -> Reach {
    if variables.iter().all(|variable| variable.may_have_value(kind)) { Reach::Some } else { Reach::None }
}

/// A stamp without a value denies.
fn reach_of_stamps<'a>(mut variables: impl Iterator<Item = &'a Variable>, kind: CallerKind) -> Reach {
    let mut reach = Reach::All;
    for variable in variables.by_ref() {
        reach = reach.min(match variable {
            variable if !variable.may_have_value(kind) => Reach::None,
            Variable::Now => Reach::All,
            Variable::UserId => Reach::All,
            _ => Reach::Some,
        });
    }
    reach
}

fn least(members: &[Condition], wanted: bool, kind: CallerKind) -> Reach {
    members.iter().map(|member| member.reach(wanted, kind)).min().unwrap_or(Reach::All)
}

fn most(members: &[Condition], wanted: bool, kind: CallerKind) -> Reach {
    members.iter().map(|member| member.reach(wanted, kind)).max().unwrap_or(Reach::None)
}

fn constant(holds: bool) -> Reach {
    if holds { Reach::All } else { Reach::None }
}
