//! The items of a batch or transaction: counted and bounded before any of them is parsed, then parsed one after the other.
//! An error names its item.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        extract::Body,
    },
    domain::{Data, DocumentId, Patch},
    service::ServiceError,
    writer::{MAX_MUTATION_BYTES, WriteError},
};

/// More are counted and not kept. Not less than `COIR_MAX_BATCH` may be.
const KEPT: usize = 10_000;
/// What both doors, and so their messages, call the updates of a batch.
const UPDATES: &str = "updates";

/// The items of a JSON list, unparsed.
pub(in crate::api) struct Items<'a> {
    all: Vec<&'a RawValue>,
    count: usize,
}

/// The members of a JSON object, unparsed and in order; one that comes twice is there twice.
pub(in crate::api) struct Members<'a> {
    all: Vec<(String, &'a RawValue)>,
    count: usize,
}

impl Items<'_> {
    /// Whether there is none.
    pub(in crate::api) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Parses each in order, if they are no more than `limit`; `list` is what messages call the list.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE` above that limit; the first error of `parse`, which then says at which place it arose.
    pub(in crate::api) fn parse<T>(
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

    /// Parses each as a document of `body`; as [`Items::parse`] otherwise.
    ///
    /// # Errors
    /// As [`Items::parse`] and [`Documents::parse`].
    pub(in crate::api) fn parse_documents(
        &self,
        list: &str,
        limit: usize,
        body: &Body,
    ) -> Result<Vec<Data>, ApiError> {
        let mut documents = Documents::new(body);
        self.parse(list, limit, |raw| documents.parse(raw))
    }

    /// Parses each as an id; as [`Items::parse`] otherwise.
    ///
    /// # Errors
    /// As [`Items::parse`], and `INVALID_BODY` for what is no id.
    pub(in crate::api) fn parse_ids(&self, list: &str, limit: usize) -> Result<Vec<DocumentId>, ApiError> {
        self.parse(list, limit, parse_id)
    }
}

fn check_count(name: &str, count: usize, limit: usize) -> Result<(), ApiError> {
    if count > limit {
        let message = format!("`{name}` has {count} items; the limit is {limit}");
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
                f.write_str("a list")
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

/// Parses the documents of a request one after the other, and stops where they would take too much memory.
pub(in crate::api) struct Documents<'a> {
    body: &'a Body,
    weight: usize,
}

impl<'a> Documents<'a> {
    pub(in crate::api) fn new(body: &'a Body) -> Self {
        Self { body, weight: 0 }
    }

    /// Reads one.
    ///
    /// # Errors
    /// `INVALID_BODY` or `PAYLOAD_TOO_LARGE`.
    pub(in crate::api) fn parse(&mut self, raw: &RawValue) -> Result<Data, ApiError> {
        let data = self.body.part(raw)?;
        self.weight += data.weight();
        if self.weight > MAX_MUTATION_BYTES {
            return Err(WriteError::TooManyBytes { limit: MAX_MUTATION_BYTES }.into());
        }
        Ok(data)
    }
}

/// What the updates of a request change, in its order; each is of another document.
pub(in crate::api) struct Patches<'a> {
    documents: Documents<'a>,
    seen: HashSet<DocumentId>,
    all: Vec<(DocumentId, Patch)>,
}

impl<'a> Patches<'a> {
    /// Reads updates that are called by their ids; `members_of` takes an update's wrapping off.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE` if they are more than `limit`, or would take too much memory; `INVALID_BODY` for one that is
    /// no update, or whose document had one before. It names the update by its id.
    pub(in crate::api) fn parse(
        members: &Members<'_>,
        limit: usize,
        body: &'a Body,
        members_of: impl Fn(&RawValue) -> &RawValue,
    ) -> Result<Self, ApiError> {
        check_count(UPDATES, members.count, limit)?;
        let mut patches = Self::new(body);
        for (id, raw) in &members.all {
            patches.add(id, members_of(raw))?;
        }
        Ok(patches)
    }

    /// Reads updates that are a list; `split` parts an update into its document's id and the members.
    ///
    /// # Errors
    /// As [`Patches::parse`]; that of `split` names the update by its place.
    pub(in crate::api) fn parse_listed(
        items: &Items<'_>,
        limit: usize,
        body: &'a Body,
        split: impl Fn(&RawValue) -> Result<(String, Box<RawValue>), ApiError>,
    ) -> Result<Self, ApiError> {
        check_count(UPDATES, items.count, limit)?;
        let mut patches = Self::new(body);
        for (place, raw) in items.all.iter().enumerate() {
            let (id, members) = split(raw).map_err(|err| err.about(&place_in(UPDATES)(place)))?;
            patches.add(&id, &members)?;
        }
        Ok(patches)
    }

    /// All of them, and how messages call the one at a place.
    pub(in crate::api) fn into_named(self) -> (Vec<(DocumentId, Patch)>, impl Fn(usize) -> String) {
        let ids: Vec<_> = self.all.iter().map(|(id, _)| id.clone()).collect();
        (self.all, move |place: usize| update_name(ids[place].as_str()))
    }

    fn new(body: &'a Body) -> Self {
        Self { documents: Documents::new(body), seen: HashSet::new(), all: Vec::new() }
    }

    fn add(&mut self, id: &str, raw: &RawValue) -> Result<(), ApiError> {
        let patch = self.parse_one(id, raw).map_err(|err| err.about(&update_name(id)))?;
        self.all.push(patch);
        Ok(())
    }

    fn parse_one(&mut self, id: &str, raw: &RawValue) -> Result<(DocumentId, Patch), ApiError> {
        let id = DocumentId::parse(id)?;
        if !self.seen.insert(id.clone()) {
            return Err(ApiError::new(ErrorCode::InvalidBody, "this id is there more than once"));
        }
        Ok((id, Patch::from_data(self.documents.parse(raw)?)?))
    }
}

fn update_name(id: &str) -> String {
    format!("{UPDATES}[{id:?}]")
}

fn parse_id(raw: &RawValue) -> Result<DocumentId, ApiError> {
    let text: String = serde_json::from_str(raw.get())
        .map_err(|_| ApiError::new(ErrorCode::InvalidBody, "an id is a string"))?;
    Ok(DocumentId::parse(&text)?)
}

/// How messages call the items of a list.
pub(in crate::api) fn place_in(list: &str) -> impl Fn(usize) -> String {
    move |place| format!("{list}[{place}]")
}

/// Says which item an error of the writer is about.
pub(in crate::api) fn name_item(err: ServiceError, name: impl Fn(usize) -> String) -> ApiError {
    match err {
        ServiceError::Write(WriteError::AtOperation { place, cause }) => {
            ApiError::from(*cause).about(&name(place))
        }
        other => other.into(),
    }
}
