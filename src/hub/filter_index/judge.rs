//! Asks filters about one document. What several of them need of it is found out once.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use memchr::memmem;
use serde_json::Value;

use super::text::{Found, TextSearch, is_short};
use crate::{
    domain::Document,
    query::{Field, Filter, Lookup},
};

/// Lists up to this length are compared element by element.
const SHORT_LIST: usize = 16;

/// A document, and what is known of it so far.
pub(super) struct Judge<'f, 'd> {
    document: &'d Document,
    texts: &'f TextSearch,
    strings: RefCell<HashMap<&'f Field, Arc<Text>>>,
    lists: RefCell<HashMap<&'f Field, HashSet<&'d Value>>>,
}

/// The string of a field.
pub(super) struct Text {
    lower: String,
    pub(super) found: Found,
}

impl<'f, 'd> Judge<'f, 'd> {
    pub(super) fn new(document: &'d Document, texts: &'f TextSearch) -> Self {
        Self { document, texts, strings: RefCell::default(), lists: RefCell::default() }
    }

    pub(super) fn matches(&self, filter: &'f Filter) -> bool {
        filter.matches_by(self.document, self)
    }

    /// Returns what is in the string of a field.
    pub(super) fn text_in(&self, field: &'f Field, string: &str) -> Arc<Text> {
        let mut strings = self.strings.borrow_mut();
        let text = strings.entry(field).or_insert_with(|| {
            let lower = string.to_ascii_lowercase();
            let found = self.texts.search(lower.as_bytes());
            Arc::new(Text { lower, found })
        });
        text.clone()
    }
}

impl<'f, 'd> Lookup<'f, 'd> for Judge<'f, 'd> {
    fn has_text(&self, field: &'f Field, found: &str, text: &str) -> bool {
        if text.is_empty() {
            return true;
        }
        let string = self.text_in(field, found);
        let is_there = || memmem::find(string.lower.as_bytes(), text.as_bytes()).is_some();
        match self.texts.find(text) {
            None => is_there(),
            Some(needle) => string.found.contains(needle) && (is_short(text) || is_there()),
        }
    }

    fn has_element(&self, field: &'f Field, items: &'d [Value], values: &[Value]) -> bool {
        if items.len() <= SHORT_LIST {
            return items.iter().any(|item| values.contains(item));
        }
        let mut lists = self.lists.borrow_mut();
        let list = lists.entry(field).or_insert_with(|| items.iter().collect());
        values.iter().any(|value| list.contains(value))
    }
}
