//! A write that was asked for, and what it came to.

use std::sync::Arc;

use crate::{
    domain::{
        CollectionName, Data, DataError, Document, DocumentId, IndexId, KeyId, Patch, Position, ProjectId,
        Schema, Violation, name::NameError,
    },
    query::index_definition::{IndexDefinition, IndexState},
    store::{StoreError, log::idempotency::IdempotencyKey},
};

/// A write that was asked for: its operations happen all, or none of them.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// The project whose log it goes to.
    pub project: ProjectId,
    /// In order.
    pub operations: Vec<Operation>,
    /// If the caller wants repetitions of this request to be answered and not done.
    pub idempotency: Option<Idempotency>,
}

/// What makes a repeated request known.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key, and whose it is.
    pub key: IdempotencyKey,
    /// Hash of the request: the same key with another one is a conflict.
    pub request: String,
}

/// One step of a mutation. Collections are named as the caller names them: by name or by id.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Makes a document with an id of ours; makes the collection if need be.
    CreateDocument {
        /// Name or id.
        collection: String,
        /// Chosen before the mutation is queued, so that ids sort as the requests came.
        id: DocumentId,
        /// The new data.
        data: Data,
        /// If the data was looked at before.
        checked: Option<Checked>,
    },
    /// Makes the document, or replaces all of its data; makes the collection if need be.
    PutDocument {
        /// Name or id.
        collection: String,
        /// The caller's id.
        id: DocumentId,
        /// The new data.
        data: Data,
        /// What must hold.
        precondition: Precondition,
        /// If the data was looked at before.
        checked: Option<Checked>,
    },
    /// Puts top-level members over those of a document that is there, and applies operators.
    MergeDocument {
        /// Name or id.
        collection: String,
        /// Which document.
        id: DocumentId,
        /// Members and operators.
        patch: Patch,
        /// What must hold.
        precondition: Precondition,
    },
    /// Deletes a document.
    DeleteDocument {
        /// Name or id.
        collection: String,
        /// Which document.
        id: DocumentId,
        /// What must hold.
        precondition: Precondition,
        /// What happens if it isn't there.
        missing: Missing,
    },
    /// Makes a collection.
    CreateCollection {
        /// Its name.
        name: CollectionName,
        /// What its documents must look like.
        schema: Option<Arc<Schema>>,
    },
    /// Gives a collection another schema, or none. Such a mutation is a batch of its own.
    SetSchema {
        /// Name or id.
        collection: String,
        /// What its documents must look like.
        schema: Option<Arc<Schema>>,
        /// All documents fit at this place of the log, and what came later is still to be looked at.
        fits_at: Position,
    },
    /// Has a collection declare these indexes and no others. Such a mutation is a batch of its own.
    SetIndexes {
        /// Name or id.
        collection: String,
        /// In the order in which they are shown.
        indexes: Vec<IndexDefinition>,
    },
    /// Says how far an index is that was being built. Such a mutation is a batch of its own.
    FinishIndex {
        /// Its id.
        collection: String,
        /// The index.
        index: IndexId,
        /// How far it is.
        state: IndexState,
    },
    /// Gives a collection another name.
    RenameCollection {
        /// Name or id.
        collection: String,
        /// The new name.
        name: CollectionName,
    },
    /// Removes a collection with its documents.
    RemoveCollection {
        /// Name or id.
        collection: String,
    },
    /// Revokes an API key.
    RevokeKey {
        /// By its id.
        key: KeyId,
    },
}

/// What a look at new data came to, so that the writer need not look again while the schema is still that one.
#[derive(Clone, Debug)]
pub struct Checked {
    schema: Arc<Schema>,
    outcome: Result<(), Arc<[Violation]>>,
}

impl Checked {
    /// Looks at it.
    pub fn new(schema: Arc<Schema>, data: &Data) -> Self {
        let outcome = schema.check(data);
        Self { schema, outcome }
    }

    /// What `data` comes to under `schema`.
    ///
    /// # Errors
    /// [`WriteError::SchemaViolation`].
    pub fn check(checked: Option<&Self>, schema: &Arc<Schema>, data: &Data) -> Result<(), WriteError> {
        let outcome = match checked {
            Some(checked) if Arc::ptr_eq(&checked.schema, schema) || checked.schema == *schema => {
                checked.outcome.clone()
            }
            _ => schema.check(data),
        };
        outcome.map_err(WriteError::SchemaViolation)
    }
}

/// What must hold of a document for an operation to happen (RFC 9110, section 13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// `If-Match: *`: it is there.
    Exists,
    /// `If-Match`: it has one of these entity tags.
    Tag(Vec<String>),
    /// `If-None-Match: *`: it isn't there.
    Absent,
    /// Its id is free. As [`Precondition::Absent`], but taking a taken id is a conflict.
    Free,
    /// It has this version; 0: it isn't there.
    Version(u64),
}

/// What a delete does about a document that isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It fails.
    Refused,
    /// There is nothing to do.
    Allowed,
}

/// Why a mutation did not happen. It left no trace.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// No such collection.
    #[error("collection does not exist")]
    UnknownCollection,
    /// It can't be made, because its name is none.
    #[error("{0}")]
    BadCollectionName(NameError),
    /// No such document.
    #[error("document does not exist")]
    UnknownDocument,
    /// The name is taken.
    #[error("a collection named `{0}` exists already")]
    CollectionExists(CollectionName),
    /// A precondition doesn't hold.
    #[error("the document is not in the state that the request's precondition names")]
    PreconditionFailed,
    /// The id is taken.
    #[error("there is a document `{0}` already")]
    DocumentExists(DocumentId),
    /// An operation failed, and with it all of the mutation. Only [`Batch::apply`](super::batch::Batch::apply) makes it.
    #[error("operation {place}: {cause}")]
    AtOperation {
        /// Which one, counted from 0.
        place: usize,
        /// Why.
        cause: Box<WriteError>,
    },
    /// An operator doesn't fit the document as it is.
    #[error("{0}")]
    Operator(String),
    /// The document would be too large.
    #[error("the document is {actual} bytes; the limit is {limit}")]
    TooLarge {
        /// Length of its canonical text.
        actual: usize,
        /// The bound.
        limit: usize,
    },
    /// It needs more images than the writer may hold at once.
    #[error("the request touches more than {limit} bytes of documents; split it")]
    TooManyBytes {
        /// The bound.
        limit: usize,
    },
    /// The data can't be stored.
    #[error(transparent)]
    Data(#[from] Arc<DataError>),
    /// The document is not as the collection's schema says.
    #[error("the document doesn't fit the collection's schema: {}", first(.0))]
    SchemaViolation(Arc<[Violation]>),
    /// A string is too long for an index.
    #[error("a string can't be indexed: {}", first(.0))]
    IndexedText(Arc<[Violation]>),
    /// The database has as many indexes as it may.
    #[error(
        "the database may have {limit} indexes, over all collections; each costs every write, so drop some first"
    )]
    TooManyIndexes {
        /// The bound.
        limit: usize,
    },
    /// A document that is there is not as a schema says that shall be set.
    #[error("the document `{id}` doesn't fit the schema: {}", first(.violations))]
    Unfit {
        /// Which document.
        id: DocumentId,
        /// Why.
        violations: Arc<[Violation]>,
    },
    /// Too much was written since all documents were known to fit a schema that shall be set.
    #[error("too much is written to the collection at the moment; try again")]
    SchemaBehind,
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used with another request")]
    IdempotencyConflict,
    /// A unique index refused it.
    #[error("another document has {}", place_of(.name, .fields))]
    UniqueViolation {
        /// The index's name, if the database tells it.
        name: Option<String>,
        /// Its fields, if a collection declares it.
        fields: Vec<String>,
    },
    /// Too much is waiting.
    #[error("too many writes are waiting; try again")]
    QueueFull,
    /// The database failed. The write may have happened or not; an idempotency key makes trying again safe.
    #[error("the database can't be reached; try again")]
    Unavailable,
    /// This mutation alone makes the database fail.
    #[error(transparent)]
    Store(StoreError),
}

fn place_of(name: &Option<String>, fields: &[String]) -> String {
    match (name, fields) {
        (Some(name), []) => format!("this value in the unique index `{name}`"),
        (Some(name), [field]) => format!("this value of `{field}` (unique index `{name}`)"),
        (Some(name), many) => format!("these values of `{}` (unique index `{name}`)", many.join("`, `")),
        (None, _) => "this value in a unique index".to_owned(),
    }
}

fn first(violations: &[Violation]) -> String {
    match violations.first() {
        Some(Violation { pointer, message }) if pointer.is_empty() => message.clone(),
        Some(Violation { pointer, message }) => format!("at `{pointer}`: {message}"),
        None => "it is refused as a whole".to_owned(),
    }
}

impl Operation {
    /// The document that must be read before this can be done: name or id of its collection, and its id.
    pub fn needs(&self) -> Option<(&str, &DocumentId)> {
        match self {
            Self::PutDocument { collection, id, .. }
            | Self::MergeDocument { collection, id, .. }
            | Self::DeleteDocument { collection, id, .. } => Some((collection, id)),
            _ => None,
        }
    }

    /// Bytes that it brings.
    pub fn bytes(&self) -> usize {
        match self {
            Self::CreateDocument { data, .. } | Self::PutDocument { data, .. } => data.text().len(),
            Self::MergeDocument { patch, .. } => patch.bytes(),
            _ => 0,
        }
    }
}

impl Mutation {
    /// Whether it needs a batch of its own.
    pub fn is_alone(&self) -> bool {
        let is_alone = |operation: &Operation| {
            matches!(
                operation,
                Operation::SetSchema { .. } | Operation::SetIndexes { .. } | Operation::FinishIndex { .. }
            )
        };
        self.operations.iter().any(is_alone)
    }

    /// Bytes that it brings, and some for itself.
    pub fn bytes(&self) -> usize {
        self.operations.iter().map(|operation| operation.bytes() + 200).sum()
    }
}

impl Precondition {
    /// Checks it against the document as it is.
    ///
    /// # Errors
    /// [`WriteError::PreconditionFailed`], or [`WriteError::DocumentExists`] for an id that should be free.
    pub fn check(&self, document: Option<&Document>) -> Result<(), WriteError> {
        let holds = match self {
            Self::None => true,
            Self::Exists => document.is_some(),
            Self::Absent => document.is_none(),
            Self::Free => match document {
                Some(document) => return Err(WriteError::DocumentExists(document.id.clone())),
                None => true,
            },
            Self::Version(version) => document.map_or(0, |document| document.version) == *version,
            Self::Tag(tags) => document.is_some_and(|document| tags.contains(&document.entity_tag())),
        };
        if holds { Ok(()) } else { Err(WriteError::PreconditionFailed) }
    }
}
