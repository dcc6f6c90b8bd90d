//! Where a filter is found: properties that a document must have to match it.

use serde_json::Value;

use super::{
    cost::cost,
    fields::Fields,
    kind::{Kind, Side},
    text::TextSearch,
};
use crate::query::{Field, Filter, Part, key::Key};

/// The value of a posting.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Probe<'f> {
    Value(&'f Value),
    /// A needle of [`TextSearch`].
    Needle(u32),
}

/// A property that a document must have for a filter to be asked about it.
#[derive(Clone, Debug)]
pub(super) enum Wanted<'f> {
    Posting(Kind, &'f Field, Probe<'f>),
    /// A number or string beyond a bound, or equal to it.
    Threshold(&'f Field, Side, Key),
}

/// The anchors of a filter. A document that matches it has at least one of them.
pub(super) struct Choice<'f> {
    pub(super) anchors: Vec<Wanted<'f>>,
    /// How many filters have the same anchors.
    pub(super) crowd: usize,
    /// The cost of the terms that the anchors decide.
    pub(super) decided: u32,
}

impl<'f> Wanted<'f> {
    pub(super) fn field(&self) -> &'f Field {
        match self {
            Self::Posting(_, field, _) | Self::Threshold(field, ..) => field,
        }
    }
}

/// Chooses the anchors of a filter; `None` if it has none. Of several terms that must all hold, it takes the one that the
/// fewest filters are anchored on.
pub(super) fn choose<'f>(
    filter: &'f Filter,
    fields: &Fields,
    texts: &TextSearch,
    crowd: &impl Fn(&Wanted<'f>) -> usize,
) -> Option<Choice<'f>> {
    let choice = |anchors: Vec<Wanted<'f>>, decided| {
        let crowd = anchors.iter().map(crowd).sum();
        Some(Choice { anchors, crowd, decided })
    };
    match filter {
        Filter::And(terms) => terms
            .iter()
            .filter_map(|term| choose(term, fields, texts, crowd))
            .min_by_key(|choice| choice.crowd),
        Filter::Or(terms) => {
            let mut all = Choice { anchors: Vec::new(), crowd: 0, decided: 0 };
            for term in terms {
                let one = choose(term, fields, texts, crowd)?;
                all.anchors.extend(one.anchors);
                all.crowd += one.crowd;
                all.decided = all.decided.saturating_add(one.decided);
            }
            Some(all)
        }
        Filter::Not(_) => None,
        Filter::Equals(field, _)
        | Filter::Compares(field, ..)
        | Filter::HasText(field, ..)
        | Filter::HasElement(field, _)
            if matches!(field, Field::Masked(_)) || !fields.has_room_for(field) =>
        {
            None
        }
        Filter::Equals(field, values) => {
            let posting = |value| Wanted::Posting(Kind::of_value(value), field, Probe::Value(value));
            choice(values.iter().map(posting).collect(), cost(filter, texts))
        }
        Filter::HasElement(field, values) => {
            let posting = |value| Wanted::Posting(Kind::of_element(value), field, Probe::Value(value));
            choice(values.iter().map(posting).collect(), cost(filter, texts))
        }
        Filter::Compares(field, comparison, values) => {
            let side = if comparison.is_upwards() { Side::Least } else { Side::Most };
            let threshold = |value| Wanted::Threshold(field, side, Key::of(Some(value)));
            choice(values.iter().map(threshold).collect(), cost(filter, texts))
        }
        Filter::HasText(field, Part::Anywhere, text) => {
            let needle = texts.find(text)?;
            let decided = if texts.finds_whole(text) { 1 } else { 0 };
            choice(vec![Wanted::Posting(Kind::Text, field, Probe::Needle(needle))], decided)
        }
        Filter::HasText(..) => None,
    }
}
