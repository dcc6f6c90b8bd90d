//! Documents and collections as the client libraries read them.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    api::cocobase::users::shape::UserFields,
    domain::{Data, Document, DocumentStamp},
    query::select::Selection,
    service::populate::{Joined, Related},
    wire::cocobase::CollectionBody,
};

/// A document. Its times have a zone, because the Go library needs one. Its `collection` is an object, because the Flutter
/// library needs one.
#[derive(Serialize)]
pub struct DocumentBody<'a> {
    id: &'a str,
    collection_id: &'a str,
    /// Missing in the minimal form.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    created_at: String,
    updated_at: String,
    collection: &'a CollectionBody,
}

impl<'a> DocumentBody<'a> {
    /// Shows a document; without `data`, it is the minimal form.
    pub fn new(stamp: &'a DocumentStamp, data: Option<&'a Data>, collection: &'a CollectionBody) -> Self {
        Self {
            id: stamp.id.as_str(),
            collection_id: &collection.id,
            // A document's text is JSON by construction. `null` would be a bug, but not a crash.
            data: data.map(|data| serde_json::from_str(data.text()).unwrap_or(RawValue::NULL)),
            created_at: stamp.created_at.to_string(),
            updated_at: stamp.updated_at.to_string(),
            collection,
        }
    }
}

/// A document with its selected fields and its joined documents. A joined document is under the relation's name in `data`,
/// where the libraries' types have it, and beside `data`, where the vendor's server has it.
pub struct ShownBody<'a> {
    pub document: &'a Document,
    pub collection: &'a CollectionBody,
    /// `None` keeps all fields.
    pub selection: Option<&'a Selection>,
    pub relations: &'a [(String, Related)],
}

/// The members of a document itself. A relation of the same name does not replace them.
const OWN: [&str; 6] = ["id", "collection_id", "data", "created_at", "updated_at", "collection"];

impl Serialize for ShownBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { document, collection, selection, relations } = self;
        let selected = selection.map(|selection| selection.of(document.data.fields()));
        let fields = selected.as_ref().unwrap_or(document.data.fields());
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("id", document.id.as_str())?;
        members.serialize_entry("collection_id", &collection.id)?;
        members.serialize_entry("data", &JoinedFields { fields, relations, own: &[] })?;
        members.serialize_entry("created_at", &document.created_at.to_string())?;
        members.serialize_entry("updated_at", &document.updated_at.to_string())?;
        members.serialize_entry("collection", collection)?;
        for (name, related) in relations.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
            members.serialize_entry(name, &RelatedBody(related))?;
        }
        members.end()
    }
}

/// Fields, where a joined document replaces a field of the same name.
struct JoinedFields<'a> {
    fields: &'a Map<String, Value>,
    relations: &'a [(String, Related)],
    /// Names that are left out, because another member has them.
    own: &'a [&'a str],
}

impl JoinedFields<'_> {
    fn write<M: SerializeMap>(&self, members: &mut M) -> Result<(), M::Error> {
        let is_own = |name: &str| self.own.contains(&name);
        for (name, value) in self.fields.iter().filter(|(name, _)| !is_own(name)) {
            if !self.relations.iter().any(|(relation, _)| relation == name) {
                members.serialize_entry(name, value)?;
            }
        }
        for (name, related) in self.relations.iter().filter(|(name, _)| !is_own(name)) {
            members.serialize_entry(name, &RelatedBody(related))?;
        }
        Ok(())
    }
}

impl Serialize for JoinedFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        self.write(&mut members)?;
        members.end()
    }
}

/// The documents at the other end of a relation: one, null, or a list.
struct RelatedBody<'a>(&'a Related);

impl Serialize for RelatedBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Related::One(joined) => joined.as_deref().map(JoinedBody).serialize(serializer),
            Related::Many(joined) => serializer.collect_seq(joined.iter().map(|joined| JoinedBody(joined))),
        }
    }
}

/// A joined document. Its fields are in `data`, and beside its own members.
struct JoinedBody<'a>(&'a Joined);

impl Serialize for JoinedBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Joined { collection, document, relations } = self.0;
        if collection.name.is_users() {
            return JoinedUser(document).serialize(serializer);
        }
        let fields = document.data.fields();
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("id", document.id.as_str())?;
        members.serialize_entry("collection_id", collection.id.as_str())?;
        members.serialize_entry("created_at", &document.created_at.to_string())?;
        members.serialize_entry("updated_at", &document.updated_at.to_string())?;
        members.serialize_entry("data", &JoinedFields { fields, relations, own: &[] })?;
        JoinedFields { fields, relations, own: &OWN }.write(&mut members)?;
        members.end()
    }
}

/// A user who is joined to a document. The fields of the user's own data are in `data`, and beside the members of the user.
struct JoinedUser<'a>(&'a Document);

/// The members of a joined user. A field of the same name does not replace them.
const OF_USER: [&str; 7] = ["id", "email", "data", "created_at", "updated_at", "roles", "email_verified"];

impl Serialize for JoinedUser<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(document) = self;
        let UserFields { email, profile, roles, is_verified } = UserFields::of(document);
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("id", document.id.as_str())?;
        members.serialize_entry("email", email)?;
        members.serialize_entry("created_at", &document.created_at.to_string())?;
        members.serialize_entry("updated_at", &document.updated_at.to_string())?;
        members.serialize_entry("roles", roles)?;
        members.serialize_entry("email_verified", &is_verified)?;
        members.serialize_entry("data", profile)?;
        JoinedFields { fields: profile, relations: &[], own: &OF_USER }.write(&mut members)?;
        members.end()
    }
}
