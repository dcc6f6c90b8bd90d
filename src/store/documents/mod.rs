//! Documents: single ones, lists, snapshots, exports, relations and aggregates, and how the database reads them.
//!
//! Reading order: [`table`], [`one`], [`several`], [`writes`], [`ordered`], [`list`], [`snapshots`], [`exports`],
//! [`relations`], [`aggregates`], [`sets`], [`explain`].

pub mod aggregates;
pub mod explain;
pub mod exports;
pub mod list;
pub mod one;
pub mod ordered;
pub mod relations;
pub mod sets;
pub mod several;
pub mod snapshots;
pub mod table;
pub mod writes;
