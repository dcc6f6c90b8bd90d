//! Rows on their way in: many of them as one bound JSON text, so that a batch of any size is one constant statement.

use serde_json::Value;

use super::Param;

/// Builds the text `[[…],[…]]` of a multi-row statement, one inner array a row.
///
/// SQLite unfolds it with `json_each`, PostgreSQL with `json_array_elements`; a column is `value ->> 0`.
#[derive(Default)]
pub(super) struct Rows {
    text: String,
}

/// One row of [`Rows`]; dropped, it is complete.
pub(super) struct Row<'a> {
    text: &'a mut String,
    first: bool,
}

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn row(&mut self) -> Row<'_> {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        self.text.push('[');
        Row { text: &mut self.text, first: true }
    }

    pub(super) fn into_param(mut self) -> Param {
        if self.text.is_empty() {
            self.text.push('[');
        }
        self.text.push(']');
        Param::Text(self.text)
    }
}

impl Row<'_> {
    fn separate(&mut self) -> &mut String {
        if !std::mem::take(&mut self.first) {
            self.text.push(',');
        }
        self.text
    }

    /// Text, which is escaped.
    pub(super) fn text(mut self, value: &str) -> Self {
        let escaped = Value::from(value).to_string();
        self.separate().push_str(&escaped);
        self
    }

    /// Text or `NULL`.
    pub(super) fn optional_text(mut self, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(value),
            None => {
                self.separate().push_str("null");
                self
            }
        }
    }

    /// An integer.
    pub(super) fn integer(mut self, value: i64) -> Self {
        let text = value.to_string();
        self.separate().push_str(&text);
        self
    }

    /// JSON text as it is, which must be well-formed.
    pub(super) fn json(mut self, value: &str) -> Self {
        self.separate().push_str(value);
        self
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        self.text.push(']');
    }
}
