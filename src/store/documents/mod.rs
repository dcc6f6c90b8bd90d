//! Documents: reads by id, lists, snapshots, exports, relations and aggregates.
//!
//! Reading order: [`one`], [`list`], [`snapshots`], [`exports`], [`relations`], [`aggregates`], [`plans`].

pub mod aggregates;
pub mod exports;
pub mod list;
pub mod one;
pub mod plans;
pub mod relations;
pub mod snapshots;
