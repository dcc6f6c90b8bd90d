//! The sets of values of other collections, which conditions ask for.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use crate::query::{Field, Filter};

/// A set of values of another collection, as a question to the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetQuery {
    /// The name of the collection. One that doesn't exist has no documents.
    pub collection: String,
    /// The field whose values are the set. Null and missing are none.
    pub select: Field,
    pub filter: Filter,
}

/// The sets that were read.
pub type Sets = HashMap<SetQuery, Arc<[Value]>>;
