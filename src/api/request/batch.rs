//! The items of a batch or a transaction, which both doors read. They are counted before any is parsed, and parsed one after
//! the other, so that a body cannot make the server hold more than a mutation may take. An error names its item.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::body::Body,
    },
    domain::{Data, DocumentId, Patch},
    service::ServiceError,
    writer::{MAX_MUTATION_BYTES, WriteError},
};

/// Items past this place are counted but not kept. At least the largest `COIR_MAX_BATCH`.
const KEPT: usize = 10_000;
/// The member that has the updates of a batch, in both doors.
const UPDATES: &str = "updates";

/// The items of a JSON array, unparsed.
pub struct Items<'a> {
    all: Vec<&'a RawValue>,
    count: usize,
}

/// The members of a JSON object, unparsed and in order. A name that comes twice is there twice.
pub struct Members<'a> {
    all: Vec<(String, &'a RawValue)>,
    count: usize,
}

impl Items<'_> {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Parses each item in order. `list` is the name of the array in messages.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE` for more than `limit` items; the first error of `parse`, with the item's place before it.
    pub fn parse<T>(
        &self,
        list: &str,
        limit: usize,
        mut parse: impl FnMut(&RawValue) -> Result<T, ApiError>,
    ) -> Result<Vec<T>, ApiError> {
        check_count(list, self.count, limit)?;
        let name = place_in(list);
        let mut all = Vec::with_capacity(self.all.len());
        for (place, raw) in self.all.iter().enumerate() {
            all.push(parse(raw).map_err(|err| err.about(&name(place)))?);
        }
        Ok(all)
    }

    /// Parses each item as a document of `body`.
    ///
    /// # Errors
    /// As [`Items::parse`] and [`Documents::parse`].
    pub fn parse_documents(&self, list: &str, limit: usize, body: &Body) -> Result<Vec<Data>, ApiError> {
        self.parse_checked(list, limit, body, |_| Ok(()))
    }

    /// Parses each item as a document of `body`, and checks it.
    ///
    /// # Errors
    /// As [`Items::parse`] and [`Documents::parse`], and those of `check`.
    pub fn parse_checked(
        &self,
        list: &str,
        limit: usize,
        body: &Body,
        check: impl Fn(&Data) -> Result<(), ApiError>,
    ) -> Result<Vec<Data>, ApiError> {
        let mut documents = Documents::new(body);
        self.parse(list, limit, |raw| {
            let data = documents.parse(raw)?;
            check(&data)?;
            Ok(data)
        })
    }

    /// Parses each item as a document's id.
    ///
    /// # Errors
    /// As [`Items::parse`], and `INVALID_BODY` for an item that is no id.
    pub fn parse_ids(&self, list: &str, limit: usize) -> Result<Vec<DocumentId>, ApiError> {
        self.parse(list, limit, parse_id)
    }
}

fn check_count(name: &str, count: usize, limit: usize) -> Result<(), ApiError> {
    if count > limit {
        let message = format!("`{name}` has {count} items; it must have at most {limit}");
        return Err(ApiError::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(())
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Items { all: Vec::new(), count: 0 };
                while items.all.len() < KEPT {
                    let Some(item) = list.next_element()? else { break };
                    items.all.push(item);
                    items.count += 1;
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    items.count += 1;
                }
                Ok(items)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut members = Members { all: Vec::new(), count: 0 };
                while members.all.len() < KEPT {
                    let Some(member) = object.next_entry()? else { break };
                    members.all.push(member);
                    members.count += 1;
                }
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    members.count += 1;
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Parses the documents of one request one after the other, and stops where they take too much memory together.
pub struct Documents<'a> {
    body: &'a Body,
    weight: usize,
}

impl<'a> Documents<'a> {
    pub fn new(body: &'a Body) -> Self {
        Self { body, weight: 0 }
    }

    /// Parses the next document.
    ///
    /// # Errors
    /// `INVALID_BODY` or `PAYLOAD_TOO_LARGE`.
    pub fn parse(&mut self, raw: &RawValue) -> Result<Data, ApiError> {
        let data = self.body.part(raw)?;
        self.weight += data.weight();
        if self.weight > MAX_MUTATION_BYTES {
            return Err(WriteError::TooManyBytes { limit: MAX_MUTATION_BYTES }.into());
        }
        Ok(data)
    }
}

/// The updates of one request, in its order. No two are of the same document.
pub struct Patches<'a> {
    documents: Documents<'a>,
    seen: HashSet<DocumentId>,
    all: Vec<(DocumentId, Patch)>,
}

impl<'a> Patches<'a> {
    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Parses `{"<id>":{…}}`. `members_of` unwraps an update, and `check` looks at it.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE` for more than `limit` updates, or for updates that take too much memory together. `INVALID_BODY` for
    /// an update that is not valid, and for the second one of a document. The message names the update by its id.
    pub fn parse(
        members: &Members<'_>,
        limit: usize,
        body: &'a Body,
        members_of: impl Fn(&RawValue) -> &RawValue,
        check: impl Fn(&Data) -> Result<(), ApiError>,
    ) -> Result<Self, ApiError> {
        check_count(UPDATES, members.count, limit)?;
        let mut patches = Self::new(body);
        for (id, raw) in &members.all {
            patches.add(id, members_of(raw), &check)?;
        }
        Ok(patches)
    }

    /// Parses an array of updates. `split` divides an update into its document's id and its members.
    ///
    /// # Errors
    /// As [`Patches::parse`]. An error of `split` names the update by its place.
    pub fn parse_listed(
        items: &Items<'_>,
        limit: usize,
        body: &'a Body,
        split: impl Fn(&RawValue) -> Result<(String, Box<RawValue>), ApiError>,
    ) -> Result<Self, ApiError> {
        check_count(UPDATES, items.count, limit)?;
        let mut patches = Self::new(body);
        for (place, raw) in items.all.iter().enumerate() {
            let (id, members) = split(raw).map_err(|err| err.about(&place_in(UPDATES)(place)))?;
            patches.add(&id, &members, |_| Ok(()))?;
        }
        Ok(patches)
    }

    /// Returns the updates, and the name that messages give to the update at a place.
    pub fn into_named(self) -> (Vec<(DocumentId, Patch)>, impl Fn(usize) -> String) {
        let ids: Vec<_> = self.all.iter().map(|(id, _)| id.clone()).collect();
        (self.all, move |place: usize| update_name(ids[place].as_str()))
    }

    fn new(body: &'a Body) -> Self {
        Self { documents: Documents::new(body), seen: HashSet::new(), all: Vec::new() }
    }

    fn add(
        &mut self,
        id: &str,
        raw: &RawValue,
        check: impl Fn(&Data) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let patch = self.parse_one(id, raw, check).map_err(|err| err.about(&update_name(id)))?;
        self.all.push(patch);
        Ok(())
    }

    fn parse_one(
        &mut self,
        id: &str,
        raw: &RawValue,
        check: impl Fn(&Data) -> Result<(), ApiError>,
    ) -> Result<(DocumentId, Patch), ApiError> {
        let id = DocumentId::parse(id)?;
        if !self.seen.insert(id.clone()) {
            return Err(ApiError::new(
                ErrorCode::InvalidBody,
                "this id is there more than once; an id must have one update",
            ));
        }
        let data = self.documents.parse(raw)?;
        check(&data)?;
        Ok((id, Patch::from_data(data)?))
    }
}

fn update_name(id: &str) -> String {
    format!("{UPDATES}[{id:?}]")
}

fn parse_id(raw: &RawValue) -> Result<DocumentId, ApiError> {
    let text: String = serde_json::from_str(raw.get())
        .map_err(|_| ApiError::new(ErrorCode::InvalidBody, "an id must be a string"))?;
    Ok(DocumentId::parse(&text)?)
}

/// Returns the name that messages give to the item at a place of `list`: `documents[3]`.
pub fn place_in(list: &str) -> impl Fn(usize) -> String {
    move |place| format!("{list}[{place}]")
}

/// Turns an error of the writer into one that names its item.
pub fn name_item(err: ServiceError, name: impl Fn(usize) -> String) -> ApiError {
    match err {
        ServiceError::Write(WriteError::AtOperation { place, cause }) => {
            ApiError::from(*cause).about(&name(place))
        }
        other => other.into(),
    }
}
