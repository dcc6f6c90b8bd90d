//! Conditions of rules, and how they become filters.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    set::SetQuery,
    variable::{Template, Values, Variable},
};
use crate::{
    domain::{Data, Document, DocumentId, Timestamp},
    query::{
        Field, Filter,
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
    /// A field has one of the values of another collection.
    Related(Field, Box<Relation>),
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
    ///
    /// # Errors
    /// [`Missing`] if sets of other collections have to be read first.
    pub fn bind(&self, values: &Values) -> Result<Filter, Missing> {
        self.bind_with_queries(values).map(|(filter, _)| filter)
    }

    /// Does the same, and returns the sets that the filter was made of.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn bind_with_queries(&self, values: &Values) -> Result<(Filter, Vec<SetQuery>), Missing> {
        let mut binding = Binding { values, missing: Vec::new(), used: Vec::new() };
        let filter = self.when(true, &mut binding);
        if binding.missing.is_empty() { Ok((filter, binding.used)) } else { Err(Missing(binding.missing)) }
    }

    /// Returns the filter of the documents of which the condition is `wanted`, and not unknown.
    pub(super) fn when(&self, wanted: bool, binding: &mut Binding<'_>) -> Filter {
        match self {
            Self::Known(holds) => constant(*holds == wanted),
            Self::HasUser => constant(binding.values.user.is_some() == wanted),
            Self::All(members) if wanted => conjunction(members.iter().map(|one| one.when(true, binding))),
            Self::All(members) => disjunction(members.iter().map(|one| one.when(false, binding))),
            Self::Any(members) if wanted => disjunction(members.iter().map(|one| one.when(true, binding))),
            Self::Any(members) => conjunction(members.iter().map(|one| one.when(false, binding))),
            Self::Not(inner) => inner.when(!wanted, binding),
            Self::Fixed(filter) => of(filter.clone(), wanted),
            Self::Term(term) => term.bind(binding.values).map_or(nothing(), |filter| of(filter, wanted)),
            Self::OnCaller(term) => constant(term.holds(binding.values) == Some(wanted)),
            Self::Related(_, relation) if !wanted && !relation.is_whole(binding) => nothing(),
            Self::Related(field, relation) => match relation.values(binding) {
                Some(values) => of(among(field, &values), wanted),
                None => nothing(),
            },
        }
    }

    /// Whether it uses what only the document of the user says.
    pub fn needs_user_document(&self) -> bool {
        self.variables().into_iter().any(Variable::needs_user_document)
    }

    /// Returns its variables.
    pub(super) fn variables(&self) -> Vec<&Variable> {
        match self {
            Self::Known(_) | Self::HasUser | Self::Fixed(_) => Vec::new(),
            Self::All(members) | Self::Any(members) => members.iter().flat_map(Self::variables).collect(),
            Self::Not(inner) => inner.variables(),
            Self::Related(_, relation) => relation.variables(),
            Self::Term(term) => term.value.variables(),
            Self::OnCaller(term) => {
                let mut all = term.value.variables();
                all.push(&term.variable);
                all
            }
        }
    }

    /// Returns the names of the other collections that it asks.
    pub fn related_collections(&self) -> Vec<&str> {
        match self {
            Self::All(members) | Self::Any(members) => {
                members.iter().flat_map(Self::related_collections).collect()
            }
            Self::Not(inner) => inner.related_collections(),
            Self::Related(_, relation) => {
                let mut all = relation.filter.related_collections();
                all.push(&relation.collection);
                all
            }
            _ => Vec::new(),
        }
    }

    /// Counts its terms.
    pub(super) fn terms(&self) -> usize {
        match self {
            Self::All(members) | Self::Any(members) => members.iter().map(Self::terms).sum(),
            Self::Not(inner) => inner.terms(),
            Self::Related(_, relation) => 1 + relation.filter.terms(),
            _ => 1,
        }
    }
}

/// The sets of other collections that must be read before a condition can be bound. Those of a relation within a relation come
/// first, and the others are found by the next try.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing(pub Vec<SetQuery>);

/// A condition that is being bound.
pub(super) struct Binding<'a> {
    pub(super) values: &'a Values,
    pub(super) missing: Vec<SetQuery>,
    used: Vec<SetQuery>,
}

impl Binding<'_> {
    /// Whether a variable has a value.
    pub(super) fn has(&self, variable: &Variable) -> bool {
        variable.value(self.values).is_some()
    }

    pub(super) fn note_query(&mut self, query: SetQuery, is_known: bool) {
        let noted = if is_known { &mut self.used } else { &mut self.missing };
        if !noted.contains(&query) {
            noted.push(query);
        }
    }
}

/// A question to another collection: `{"$from":"members","select":"team","where":…}`. It has nothing to do with the document that
/// is judged, so its answer is a set of values: it is read once, and then the condition is an ordinary comparison with a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    /// The name of the other collection.
    pub(super) collection: String,
    pub(super) select: Field,
    pub(super) filter: Condition,
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

impl Relation {
    /// Whether all of its variables have values. Otherwise it is not certain which values are missing in the set, so that no value
    /// counts as one that is not there.
    pub(super) fn is_whole(&self, binding: &Binding<'_>) -> bool {
        self.filter.variables().iter().all(|variable| binding.has(variable))
    }

    /// Returns the values of the documents that match. `None` if they were not read, which `binding` notes.
    pub(super) fn values(&self, binding: &mut Binding<'_>) -> Option<Arc<[Value]>> {
        let known = binding.missing.len();
        let filter = self.filter.when(true, binding);
        if binding.missing.len() > known {
            return None;
        }
        if filter.is_nothing() {
            return Some(Arc::from([]));
        }
        let query = SetQuery { collection: self.collection.clone(), select: self.select.clone(), filter };
        let found = binding.values.sets.get(&query).cloned();
        binding.note_query(query, found.is_some());
        found
    }

    pub(super) fn variables(&self) -> Vec<&Variable> {
        self.filter.variables()
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
    match wanted {
        true => filter,
        false if filter.is_nothing() => Filter::all(),
        false => filter.negate(),
    }
}

fn constant(holds: bool) -> Filter {
    if holds { Filter::all() } else { nothing() }
}

fn nothing() -> Filter {
    Filter::nothing()
}

/// Returns the filter of the documents whose field has one of these values.
fn among(field: &Field, values: &[Value]) -> Filter {
    if values.is_empty() { nothing() } else { Filter::Equals(field.clone(), values.to_vec()) }
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
