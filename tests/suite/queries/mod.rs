//! Filters, lists, indexes, aggregates, relations and exports.

mod aggregates;
mod agreement;
mod cursors;
mod explain;
mod export;
mod fairness;
mod filters;
mod indexes;
mod limits;
mod lists;
mod movies;
mod plans;
mod populate;
mod unique_from_the_start;
