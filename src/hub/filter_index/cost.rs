//! The cost of a filter: how much work it is to ask it about a document.

use super::text::TextSearch;
use crate::query::{Filter, Part};

/// The most work for one document that the filters of a collection may cause, in terms, besides those that a value selects.
/// Asking a term takes some 50 ns, so this is a millisecond.
pub const MAX_COST: u32 = 20_000;
/// The part of it that the subscriptions of one key may take. The rest is for the other keys: whoever has an app's publishable
/// key must not lock out its servers.
pub const MAX_COST_OF_KEY: u32 = 16_000;
/// The work behind one anchor that is free. A document reaches few anchors, and those of a popular value have some filters.
pub(super) const FREE_COST_OF_ANCHOR: u64 = 256;
/// The values of a term that are compared while another term is asked.
const VALUES_OF_TERM: usize = 32;
/// The cost of a text that is too long for the pass over a document, and is looked for by itself.
const LONG_TEXT: u32 = 20;

/// Returns the cost of asking all terms of a filter, at least 1.
pub(super) fn cost(filter: &Filter, texts: &TextSearch) -> u32 {
    let of_values = |count: usize| 1 + u32::try_from(count / VALUES_OF_TERM).unwrap_or(u32::MAX / 2);
    let cost = match filter {
        Filter::And(terms) | Filter::Or(terms) => {
            terms.iter().map(|term| cost(term, texts)).fold(0, u32::saturating_add)
        }
        Filter::Not(term) => cost(term, texts),
        Filter::Equals(_, values) | Filter::Compares(_, _, values) | Filter::HasElement(_, values) => {
            of_values(values.len())
        }
        Filter::HasText(_, Part::Anywhere, text) if !texts.finds_whole(text) => LONG_TEXT,
        Filter::HasText(..) => 1,
    };
    cost.max(1)
}
