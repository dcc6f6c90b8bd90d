//! Finds the filters that match a document. The cost grows with the number of matches, and not with that of subscriptions.
//!
//! Equal filters are one filter with many recipients. A filter is anchored on a value that a document must have to match it:
//! one of the values of an equality, an element of a list, a value beyond a threshold, or a text that `contains` looks for.
//! For each document, every field that an anchor uses is looked up once, and one pass over a text finds all the texts that the
//! filters look for. Filters without an anchor are the residue: each of them is asked about each document.
//!
//! A filter costs as many terms as must be asked besides its anchor. The sum over the residue, and over the filters that
//! crowd at one anchor, is bounded for a collection and for each key in it.
//!
//! Reading order: `cost` (what a filter costs), `kind` and `anchor` (where a filter is found), `fields` (the fields that anchors use),
//! `text` (all texts at once), `judge` (asks filters about one document), `recipients`, `standing`, `interned`, [`index`], `search`.

mod anchor;
mod cost;
mod fields;
pub mod index;
mod interned;
mod judge;
mod kind;
mod recipients;
mod search;
mod standing;
mod text;

pub use cost::{MAX_COST, MAX_COST_OF_KEY};
pub use index::{FilterIndex, TooMuchWork};
pub use recipients::Recipient;
pub use search::Search;
