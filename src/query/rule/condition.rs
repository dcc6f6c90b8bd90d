//! Conditions of rules, and how they become filters.

use serde_json::{Map, Value};

use super::variable::{Template, Values, Variable};
use crate::{
    domain::{Data, Document, DocumentId, Timestamp},
    query::{
        Filter,
        parse::{Typing, parse_value},
    },
};

/// A condition of a rule: true, false or unknown, of a document and a caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Known(bool),
    /// `@user`: there is a user.
    HasUser,
    /// False if one of them is false, else unknown if one is, else true.
    All(Vec<Condition>),
    /// True if one of them is true, else unknown if one is, else false.
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// A term without variables.
    Fixed(Filter),
    /// A term on the document, whose value has variables.
    Term(Term),
    /// A term on the caller.
    OnCaller(TermOnCaller),
}

/// A term on the document, whose value has variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Fields and operator, as in a filter.
    pub(super) key: String,
    pub(super) value: Template,
}

/// A term on a variable.
#[derive(Clone, Debug, PartialEq)]
pub struct TermOnCaller {
    pub(super) variable: Variable,
    /// The operator with the line before it; empty for `eq`.
    pub(super) ending: String,
    pub(super) value: Template,
}

impl Condition {
    /// Returns the filter that a document matches if, and only if, the condition is true of it and of the caller.
    pub fn bind(&self, values: &Values) -> Filter {
        self.when(true, values)
    }

    /// Returns the filter of the documents of which the condition is `wanted`, and not unknown.
    fn when(&self, wanted: bool, values: &Values) -> Filter {
        match self {
            Self::Known(holds) => constant(*holds == wanted),
            Self::HasUser => constant(values.user.is_some() == wanted),
            Self::All(members) if wanted => conjunction(members.iter().map(|one| one.when(true, values))),
            Self::All(members) => disjunction(members.iter().map(|one| one.when(false, values))),
            Self::Any(members) if wanted => disjunction(members.iter().map(|one| one.when(true, values))),
            Self::Any(members) => conjunction(members.iter().map(|one| one.when(false, values))),
            Self::Not(inner) => inner.when(!wanted, values),
            Self::Fixed(filter) => of(filter.clone(), wanted),
            Self::Term(term) => term.bind(values).map_or(nothing(), |filter| of(filter, wanted)),
            Self::OnCaller(term) => constant(term.holds(values) == Some(wanted)),
        }
    }

    /// Whether it uses what only the document of the user says.
    pub(super) fn needs_user_document(&self) -> bool {
        self.variables().into_iter().any(Variable::needs_user_document)
    }

    /// Returns its variables.
    pub(super) fn variables(&self) -> Vec<&Variable> {
        match self {
            Self::Known(_) | Self::HasUser | Self::Fixed(_) => Vec::new(),
            Self::All(members) | Self::Any(members) => members.iter().flat_map(Self::variables).collect(),
            Self::Not(inner) => inner.variables(),
            Self::Term(term) => term.value.variables(),
            Self::OnCaller(term) => {
                let mut all = term.value.variables();
                all.push(&term.variable);
                all
            }
        }
    }

    /// Counts its terms.
    pub(super) fn terms(&self) -> usize {
        match self {
            Self::All(members) | Self::Any(members) => members.iter().map(Self::terms).sum(),
            Self::Not(inner) => inner.terms(),
            _ => 1,
        }
    }
}

impl Term {
    /// Returns the filter for a caller. `None` if it is unknown: a variable has no value, or one that the operator does not take.
    fn bind(&self, values: &Values) -> Option<Filter> {
        filter_of(&self.key, self.value.fill(values)?).ok()
    }
}

impl TermOnCaller {
    /// Judges the caller as a document whose field `caller` has the value of the variable.
    fn holds(&self, values: &Values) -> Option<bool> {
        let fields = Map::from_iter([("caller".to_owned(), self.variable.value(values)?)]);
        let document = Document {
            id: DocumentId::from_stored("caller"),
            data: Data::from_value(Value::Object(fields)).ok()?,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            version: 1,
        };
        let filter = filter_of(&self.key(), self.value.fill(values)?).ok()?;
        Some(filter.matches(&document))
    }

    /// Returns the key of the term on the document that stands for the caller.
    pub(super) fn key(&self) -> String {
        format!("caller{}", self.ending)
    }
}

/// Parses one term of a filter.
///
/// # Errors
/// A sentence about the term.
pub(super) fn filter_of(key: &str, value: Value) -> Result<Filter, String> {
    let object = Value::Object(Map::from_iter([(key.to_owned(), value)]));
    match parse_value(object, Typing::Typed).map_err(|err| err.to_string())? {
        Filter::And(mut terms) if terms.len() == 1 => Ok(terms.remove(0)),
        filter => Ok(filter),
    }
}

fn of(filter: Filter, wanted: bool) -> Filter {
    if wanted { filter } else { filter.negate() }
}

fn constant(holds: bool) -> Filter {
    if holds { Filter::all() } else { nothing() }
}

fn nothing() -> Filter {
    Filter::nothing()
}

/// Returns the filter of all members, without those that are always true.
fn conjunction(members: impl Iterator<Item = Filter>) -> Filter {
    let mut all = Filter::all();
    for member in members {
        if member.is_nothing() {
            return nothing();
        }
        all = all.and(member);
    }
    match all {
        Filter::And(mut terms) if terms.len() == 1 => terms.remove(0),
        all => all,
    }
}

/// Returns the filter of any member, without those that are never true.
fn disjunction(members: impl Iterator<Item = Filter>) -> Filter {
    let mut any = Vec::new();
    for member in members {
        match member {
            member if member == Filter::all() => return member,
            Filter::Or(inner) => any.extend(inner),
            member => any.push(member),
        }
    }
    if any.len() == 1 { any.remove(0) } else { Filter::Or(any) }
}
