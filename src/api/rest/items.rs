//! The items of a batch or transaction as they came: counted and bounded before any of them is parsed.

use std::fmt;

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
    domain::{Data, DocumentId},
    service::ServiceError,
    writer::{MAX_MUTATION_BYTES, WriteError},
};

/// More are counted and not kept. Not less than `COIR_MAX_BATCH` may be.
const KEPT: usize = 10_000;

/// The items of a JSON list, unparsed.
pub(in crate::api) struct Items<'a> {
    pub(in crate::api) all: Vec<&'a RawValue>,
    count: usize,
}

/// The members of a JSON object, unparsed and in order; one that comes twice is there twice.
pub(in crate::api) struct Members<'a> {
    pub(in crate::api) all: Vec<(String, &'a RawValue)>,
    count: usize,
}

impl Items<'_> {
    /// Refuses more than `limit`.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE`.
    pub(in crate::api) fn check_count(&self, name: &str, limit: usize) -> Result<(), ApiError> {
        check_count(name, self.count, limit)
    }
}

impl Members<'_> {
    /// Refuses more than `limit`.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE`.
    pub(in crate::api) fn check_count(&self, name: &str, limit: usize) -> Result<(), ApiError> {
        check_count(name, self.count, limit)
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

/// Reads an id from JSON.
///
/// # Errors
/// `INVALID_BODY`.
pub(in crate::api) fn parse_id(raw: &RawValue) -> Result<DocumentId, ApiError> {
    let text: String = serde_json::from_str(raw.get())
        .map_err(|_| ApiError::new(ErrorCode::InvalidBody, "an id is a string"))?;
    Ok(DocumentId::parse(&text)?)
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
