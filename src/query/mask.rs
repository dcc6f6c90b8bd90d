//! Masks: the fields that a caller may not read, and filters, sorts and documents without them.
//!
//! A mask is a view. To a masked caller a document has no such field: the answer to any question is the answer over documents from
//! which the fields were taken away. A field may be hidden in all documents, or in some of them. Where it is hidden in all of them,
//! a question about it is refused, so that nobody takes the answer for one about the data.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Field, Filter,
    matches::value_at,
    page::{Sort, SortTerm},
};
use crate::domain::{Data, Document, FieldPath, Segment};

/// The most bytes of the texts of a filter, with what the mask adds to its terms.
const MAX_TEXT: usize = 1024 * 1024;

/// The fields that a caller may not read, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mask(Vec<Hide>);

/// A field that a caller may not read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hide {
    /// A member of an object, and no element of a list.
    pub path: FieldPath,
    /// The documents in which the caller may read it after all.
    pub except: Filter,
}

/// A field of the data, as a masked caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MaskedField {
    pub path: FieldPath,
    /// Those that hide the field or a part of it.
    pub hides: Vec<Hide>,
}

/// Why a question can't be asked through a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Masked {
    /// The caller may read the field of no document.
    Hidden(FieldPath),
    /// The filter would become too large.
    TooLarge,
}

/// The images of a document before and after a change.
pub type Images<'d> = (Option<&'d Arc<Document>>, Option<&'d Arc<Document>>);

/// The same, as a masked caller sees them.
pub type SeenImages = (Option<Arc<Document>>, Option<Arc<Document>>);

/// The fields that a mask hides in the images of a document before and after a change. Callers for whom these are the same see the
/// same change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HiddenFields {
    before: Vec<FieldPath>,
    after: Vec<FieldPath>,
}

impl HiddenFields {
    /// Returns the images as the callers see them. `None` if these show no change, but only as something is hidden.
    pub fn strip(&self, (before, after): Images<'_>) -> Option<SeenImages> {
        if *self == Self::default() {
            return Some((before.cloned(), after.cloned()));
        }
        let strip = |image: Option<&Arc<Document>>, hidden: &[FieldPath]| {
            image.map(|image| match hidden {
                [] => image.clone(),
                hidden => strip_fields(image, hidden),
            })
        };
        let seen = (strip(before, &self.before), strip(after, &self.after));
        let is_same = |one: &Option<Arc<Document>>, other: &Option<Arc<Document>>| {
            one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one.data == other.data)
        };
        let is_changed = !is_same(&before.cloned(), &after.cloned());
        if is_changed && is_same(&seen.0, &seen.1) { None } else { Some(seen) }
    }
}

impl Hide {
    fn is_constant(&self) -> bool {
        self.except.is_nothing()
    }

    /// Whether it hides all of the value at a path.
    pub fn covers(&self, path: &FieldPath) -> bool {
        path.segments().starts_with(self.path.segments())
    }

    /// Whether it hides a part of the value at a path.
    fn is_within(&self, path: &FieldPath) -> bool {
        self.path != *path && self.path.segments().starts_with(path.segments())
    }
}

impl Mask {
    /// Hides each field, except in the documents that match its filter.
    pub fn new(fields: impl IntoIterator<Item = (FieldPath, Filter)>) -> Self {
        let hides = fields.into_iter().map(|(path, except)| Hide { path, except });
        Self(hides.filter(|hide| hide.except != Filter::all()).collect())
    }

    /// Whether it hides nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn hides(&self) -> &[Hide] {
        &self.0
    }

    /// Returns the fields that are hidden in a document.
    pub fn hidden_in(&self, document: &Document) -> Vec<&FieldPath> {
        self.0.iter().filter(|hide| !hide.except.matches(document)).map(|hide| &hide.path).collect()
    }

    /// Returns the document as the caller sees it.
    pub fn strip(&self, document: Document) -> Document {
        let hidden = self.hidden_in(&document);
        if hidden.is_empty() {
            return document;
        }
        let data = without(&document.data, hidden.into_iter());
        Document { data, ..document }
    }

    /// The same for a shared document.
    pub fn strip_shared(&self, document: &Arc<Document>) -> Arc<Document> {
        let hidden = self.hidden_in(document);
        if hidden.is_empty() { document.clone() } else { strip_fields(document, hidden) }
    }

    /// Returns the fields that are hidden in the images of a document before and after a change.
    pub fn hidden_in_images(&self, (before, after): Images<'_>) -> HiddenFields {
        let hidden = |image: Option<&Arc<Document>>| {
            image.map(|image| self.hidden_in(image).into_iter().cloned().collect()).unwrap_or_default()
        };
        HiddenFields { before: hidden(before), after: hidden(after) }
    }

    /// Returns the bytes of memory that it takes, about.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|hide| size_of::<Hide>() + hide.except.size().memory).sum()
    }

    /// Returns what a caller makes of a document who sent `data` for it: with the fields that the caller can't see and hasn't sent.
    /// `concerns` says for which of them.
    pub fn keep(&self, before: &Document, data: Data, concerns: impl Fn(&FieldPath) -> bool) -> Data {
        let is_lost = |path: &&FieldPath| concerns(path) && value_at(path.segments(), &data).is_none();
        let kept = self.hidden_in(before).into_iter().filter(is_lost);
        let kept: Vec<_> =
            kept.filter_map(|path| Some((path, value_at(path.segments(), &before.data)?))).collect();
        if kept.is_empty() {
            return data;
        }
        let mut fields = data.fields().clone();
        for (path, value) in kept {
            keep(&mut fields, path.segments(), value);
        }
        // Parts of canonical data are canonical.
        Data::from_value(Value::Object(fields)).unwrap_or(data)
    }

    /// Checks that a question about a field can be asked.
    ///
    /// # Errors
    /// [`Masked::Hidden`].
    pub fn check(&self, field: &Field) -> Result<(), Masked> {
        let Field::Data(path) = field else { return Ok(()) };
        match self.0.iter().find(|hide| hide.is_constant() && hide.covers(path)) {
            Some(hide) => Err(Masked::Hidden(hide.path.clone())),
            None => Ok(()),
        }
    }

    /// Returns a field as the caller sees it, also where nobody could ask for it.
    pub fn field(&self, field: Field) -> Field {
        let Field::Data(path) = field else { return field };
        let is_concerned = |hide: &&Hide| hide.covers(&path) || hide.is_within(&path);
        let hides: Vec<_> = self.0.iter().filter(is_concerned).cloned().collect();
        match hides.is_empty() {
            true => Field::Data(path),
            false => Field::Masked(Arc::new(MaskedField { path, hides })),
        }
    }

    /// Returns the sort of the documents as the caller sees them.
    ///
    /// # Errors
    /// [`Masked::Hidden`].
    pub fn sort(&self, sort: Sort) -> Result<Sort, Masked> {
        let term = |term: SortTerm| {
            self.check(&term.field)?;
            Ok(SortTerm { field: self.field(term.field), ..term })
        };
        let terms = sort.terms.into_iter().map(term).collect::<Result<_, _>>()?;
        Ok(Sort { terms, ..sort })
    }

    /// Returns the filter of the documents that match as the caller sees them.
    ///
    /// # Errors
    /// [`Masked`].
    pub fn filter(&self, filter: Filter) -> Result<Filter, Masked> {
        if self.is_empty() {
            return Ok(filter);
        }
        let filter = self.see(filter)?;
        if filter.size().text > MAX_TEXT { Err(Masked::TooLarge) } else { Ok(filter) }
    }

    fn see(&self, filter: Filter) -> Result<Filter, Masked> {
        let all = |terms: Vec<Filter>| terms.into_iter().map(|term| self.see(term)).collect::<Result<_, _>>();
        match filter {
            Filter::And(terms) => Ok(Filter::And(all(terms)?)),
            Filter::Or(terms) => Ok(Filter::Or(all(terms)?)),
            Filter::Not(term) => Ok(Filter::Not(Box::new(self.see(*term)?))),
            Filter::Equals(ref field, ref values) => {
                self.check(field)?;
                let holds_without = values.contains(&Value::Null);
                let within = match field {
                    Field::Data(path) => self.0.iter().any(|hide| hide.is_within(path)),
                    _ => false,
                };
                let (covers, field, values) = (self.covering(field), field.clone(), values.clone());
                // Only objects are other values without one of their members.
                let field = match within && values.iter().any(Value::is_object) {
                    true => self.field(field),
                    false => field,
                };
                Ok(where_shown(Filter::Equals(field, values), &covers, holds_without))
            }
            Filter::Compares(ref field, ..)
            | Filter::HasText(ref field, ..)
            | Filter::HasElement(ref field, _) => {
                self.check(field)?;
                let covers = self.covering(field);
                Ok(where_shown(filter, &covers, false))
            }
        }
    }

    /// Returns what hides all of a field.
    fn covering(&self, field: &Field) -> Vec<&Hide> {
        match field {
            Field::Data(path) => self.0.iter().filter(|hide| hide.covers(path)).collect(),
            _ => Vec::new(),
        }
    }
}

/// Returns the filter of a term on a field that some documents hide, where the term holds or does not.
fn where_shown(term: Filter, covers: &[&Hide], holds_without: bool) -> Filter {
    if covers.is_empty() {
        return term;
    }
    let shown = covers.iter().map(|hide| hide.except.clone());
    match holds_without {
        false => shown.fold(term, Filter::and),
        true => Filter::Or(shown.map(Filter::negate).chain([term]).collect()),
    }
}

impl MaskedField {
    /// Returns the value of the field in a document, as the caller sees it. `None` if the field is missing or hidden.
    pub fn value_in<'a>(&self, document: &'a Document) -> Option<Cow<'a, Value>> {
        let hidden: Vec<_> = self.hides.iter().filter(|hide| !hide.except.matches(document)).collect();
        if hidden.iter().any(|hide| hide.covers(&self.path)) {
            return None;
        }
        let value = value_at(self.path.segments(), &document.data)?;
        if hidden.is_empty() {
            return Some(Cow::Borrowed(value));
        }
        let mut value = value.clone();
        for hide in hidden {
            let inner = &hide.path.segments()[self.path.segments().len()..];
            if let (Value::Object(fields), Some((Segment::Key(first), rest))) =
                (&mut value, inner.split_first())
            {
                remove(fields, first, rest);
            }
        }
        Some(Cow::Owned(value))
    }
}

/// Returns a document without some fields.
fn strip_fields<'p>(
    document: &Arc<Document>,
    hidden: impl IntoIterator<Item = &'p FieldPath>,
) -> Arc<Document> {
    let data = without(&document.data, hidden.into_iter());
    Arc::new(Document { data, ..(**document).clone() })
}

/// Returns the data without some fields.
fn without<'p>(data: &Data, hidden: impl Iterator<Item = &'p FieldPath>) -> Data {
    let mut fields = data.fields().clone();
    for path in hidden {
        if let Some((Segment::Key(first), rest)) = path.segments().split_first() {
            remove(&mut fields, first, rest);
        }
    }
    // The rest of canonical data is canonical.
    Data::from_value(Value::Object(fields)).unwrap_or_else(|_| Data::empty())
}

/// Sets the member at a path, unless something stands in the way that is no object.
fn keep(fields: &mut Map<String, Value>, path: &[Segment], value: &Value) {
    let Some((Segment::Key(key), rest)) = path.split_first() else { return };
    if rest.is_empty() {
        fields.insert(key.clone(), value.clone());
    } else if let Value::Object(inner) =
        fields.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()))
    {
        keep(inner, rest, value);
    }
}

/// Removes the member at a path.
fn remove(fields: &mut Map<String, Value>, first: &str, rest: &[Segment]) {
    match rest.split_first() {
        None => {
            fields.remove(first);
        }
        Some((Segment::Key(next), rest)) => {
            if let Some(Value::Object(inner)) = fields.get_mut(first) {
                remove(inner, next, rest);
            }
        }
        Some((Segment::Index(_), _)) => {}
    }
}

#[cfg(test)]
mod tests;
