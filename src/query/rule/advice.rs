//! The indexes that rules want: of their own collection for what may be read, and of those that they ask.

use serde_json::json;

use super::{
    checks::with_probe,
    condition::{Condition, Term, filter_of},
    rule_set::RuleSet,
};
use crate::query::{
    Field, Filter,
    index_definition::Index,
    page::{Direction, Sort},
    planner::helpful_fields,
};

/// The most alternatives of a rule that are looked at.
const MAX_ALTERNATIVES: usize = 8;

/// A question that rules ask of a collection, which an index can answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The collection that is asked; `None` for that of the rules.
    pub collection: Option<String>,
    filter: Filter,
    /// The fields of the index, as they would be declared.
    pub fields: Vec<String>,
}

impl Wanted {
    fn new(collection: Option<&str>, filter: Filter) -> Option<Self> {
        // A list is sorted by age unless it says otherwise. A set has no order.
        let by_age = Sort::by_age(Direction::Descending);
        let fields = helpful_fields(&filter, collection.is_none().then_some(&by_age));
        let has_terms = filter.terms().iter().any(|term| narrowing_field(term).is_some());
        has_terms.then(|| Self { collection: collection.map(str::to_owned), filter, fields })
    }

    /// Whether an index narrows the question, also one that is still being built.
    pub fn is_served_by(&self, index: &Index) -> bool {
        let first = index.definition.fields.first().map(|term| &term.field);
        first.is_some() && self.filter.terms().iter().any(|term| narrowing_field(term) == first)
    }
}

impl RuleSet {
    /// Returns what indexes should answer, each once.
    pub fn wanted(&self) -> Vec<Wanted> {
        let own = alternatives(&self.read).into_iter().filter_map(|filter| Wanted::new(None, filter));
        let mut wanted: Vec<Wanted> = Vec::new();
        let asked =
            self.conditions().flat_map(asked).filter_map(|(name, filter)| Wanted::new(Some(name), filter));
        for one in own.chain(asked) {
            if wanted.iter().all(|known| (&known.collection, &known.fields) != (&one.collection, &one.fields))
            {
                wanted.push(one);
            }
        }
        wanted
    }
}

/// Returns the conjunctions of which a document must match one, for a caller who has a value for every variable.
fn alternatives(condition: &Condition) -> Vec<Filter> {
    match condition {
        Condition::Known(false) => Vec::new(),
        Condition::Known(true) | Condition::HasUser | Condition::OnCaller(_) | Condition::Not(_) => {
            vec![Filter::all()]
        }
        Condition::Fixed(Filter::Or(any)) => any.iter().take(MAX_ALTERNATIVES).cloned().collect(),
        Condition::Fixed(filter) => vec![filter.clone()],
        Condition::Term(Term { key, value }) => {
            let probes = [json!("x"), json!("2026-01-01T00:00:00Z"), json!(1), json!(true), json!(["x"])];
            let probed = probes.iter().find_map(|probe| filter_of(key, with_probe(value, probe)).ok());
            vec![probed.unwrap_or_else(Filter::all)]
        }
        Condition::Related(field, _) => vec![Filter::Equals(field.clone(), vec![json!("x")])],
        Condition::Any(members) => members.iter().flat_map(alternatives).take(MAX_ALTERNATIVES).collect(),
        Condition::All(members) => members.iter().fold(vec![Filter::all()], |all, member| {
            let more = alternatives(member);
            let with =
                |one: &Filter| more.iter().map(|other| one.clone().and(other.clone())).collect::<Vec<_>>();
            all.iter().flat_map(with).take(MAX_ALTERNATIVES).collect()
        }),
    }
}

/// Returns the questions to other collections, those of a relation within a relation included.
fn asked(condition: &Condition) -> Vec<(&str, Filter)> {
    match condition {
        Condition::All(members) | Condition::Any(members) => members.iter().flat_map(asked).collect(),
        Condition::Not(inner) => asked(inner),
        Condition::Related(_, relation) => {
            let own = alternatives(&relation.filter).into_iter();
            own.map(|filter| (relation.collection.as_str(), filter)).chain(asked(&relation.filter)).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the field of a term by which an index narrows a search. Every collection has indexes by id and by creation time.
fn narrowing_field(term: &Filter) -> Option<&Field> {
    match term {
        Filter::Equals(field, _) | Filter::Compares(field, ..) => {
            Some(field).filter(|field| !matches!(field, Field::Id | Field::CreatedAt))
        }
        _ => None,
    }
}
