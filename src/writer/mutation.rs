//! A write that was asked for and has not committed yet.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    author::Author, error::WriteError, key_operation::KeyOperation, precondition::Precondition,
    user_operation::UserOperation,
};
use crate::{
    domain::{
        CollectionName, Data, DocumentId, Email, HeldKey, IndexId, KeyId, Mail, Patch, Position, ProjectId,
        Schema, Seen, SessionId, Timestamp, USERS, Violation, audit::AuditEntry,
    },
    query::{
        index_definition::{IndexDefinition, IndexState},
        rule::RuleSet,
    },
    store::{access::secrets::SecretRotation, log::idempotency::IdempotencyKey},
};

/// A write that was asked for. Either all of its operations happen or none.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub project: ProjectId,
    /// The API key that asks for it; `None` for the server itself. Callers share the writer's time.
    pub caller: Option<HeldKey>,
    /// The session of the user who asks for it, if there is one.
    pub session: Option<SessionId>,
    /// Set for a caller whom the rules of collections bind.
    pub author: Option<Author>,
    /// The device from which it comes, for the audit.
    pub seen: Option<Arc<Seen>>,
    pub operations: Vec<Operation>,
    /// Set if repetitions of this request are to be answered without being done again.
    pub idempotency: Option<Idempotency>,
}

/// The identity of a request that may be repeated.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key, within its project.
    pub key: IdempotencyKey,
    /// Hash of the request. The same key with another request is a conflict.
    pub request: String,
}

/// One step of a mutation. `collection` is a name or an id, as the caller wrote it.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Creates a document with a generated id, and the collection if it is missing.
    CreateDocument {
        collection: String,
        data: Data,
        /// Set if the data was checked against the schema before it was queued.
        checked: Option<Checked>,
    },
    /// Creates the document or replaces all of its data. Creates the collection if it is missing.
    PutDocument {
        collection: String,
        id: DocumentId,
        data: Data,
        precondition: Precondition,
        /// Set if the data was checked against the schema before it was queued.
        checked: Option<Checked>,
    },
    /// Merges top-level members into an existing document, and applies operators.
    MergeDocument {
        collection: String,
        id: DocumentId,
        patch: Patch,
        precondition: Precondition,
    },
    DeleteDocument {
        collection: String,
        id: DocumentId,
        precondition: Precondition,
        missing: Missing,
    },
    CreateCollection {
        name: CollectionName,
        schema: Option<Arc<Schema>>,
    },
    /// Replaces or removes the schema of a collection. Such a mutation is a batch of its own.
    SetSchema {
        collection: String,
        schema: Option<Arc<Schema>>,
        /// All documents fit the schema as of this position of the log. Later changes are still to be checked.
        fits_at: Position,
    },
    /// Replaces or removes the rules of a collection.
    SetRules {
        collection: String,
        rules: Option<Arc<RuleSet>>,
    },
    /// Makes a collection declare these indexes and no others. Such a mutation is a batch of its own.
    SetIndexes {
        collection: String,
        /// In the order in which the settings show them.
        indexes: Vec<IndexDefinition>,
    },
    /// Records the state of an index that was being built. Such a mutation is a batch of its own.
    FinishIndex {
        collection: String,
        index: IndexId,
        state: IndexState,
    },
    RenameCollection {
        collection: String,
        name: CollectionName,
    },
    RemoveCollection {
        collection: String,
    },
    /// Makes, changes, rotates or revokes an API key. Such a mutation is a batch of its own.
    Key(Box<KeyOperation>),
    /// Notes when keys were used last. The log has no entry for it.
    NoteKeyUses(Vec<(KeyId, Timestamp)>),
    /// Changes a user's account.
    User(Box<UserOperation>),
    /// Replaces a secret that the server signs with. The log of the mutation's project tells every node.
    RotateSecret(SecretRotation),
    /// Merges a change into the settings of the project.
    ChangeSettings(Map<String, Value>),
    /// Notes security events that no other operation is.
    Audit(Vec<AuditEntry>),
    /// Puts a mail into the outbox.
    KeepMail(Box<Mail>),
    /// Confirms that the clock is right: appends an entry with its time to the log, also if that ends later. Such a mutation is a
    /// batch of its own.
    AcceptClock,
}

/// The outcome of checking new data against a schema. The writer uses it if the collection still has that schema, so that the
/// check runs outside of the write path.
#[derive(Clone, Debug)]
pub struct Checked {
    schema: Arc<Schema>,
    outcome: Result<(), Arc<[Violation]>>,
}

impl Checked {
    /// Checks `data` against `schema`.
    pub fn new(schema: Arc<Schema>, data: &Data) -> Self {
        let outcome = schema.check(data);
        Self { schema, outcome }
    }

    /// Checks `data` against `schema`, with the earlier outcome if it is about the same schema.
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

/// The treatment of a document to delete that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The mutation fails.
    Refused,
    /// There is nothing to delete, which is no error.
    Allowed,
}

impl Operation {
    /// Returns the document that must be read first: the name or id of its collection, and its id.
    pub fn needs(&self) -> Option<(&str, &DocumentId)> {
        match self {
            Self::PutDocument { collection, id, .. }
            | Self::MergeDocument { collection, id, .. }
            | Self::DeleteDocument { collection, id, .. } => Some((collection, id)),
            Self::User(operation) => operation.user().map(|user| (USERS, user)),
            _ => None,
        }
    }

    /// Returns the name or id of its collection, as the caller wrote it.
    pub fn collection(&self) -> Option<&str> {
        match self {
            Self::CreateDocument { collection, .. }
            | Self::PutDocument { collection, .. }
            | Self::MergeDocument { collection, .. }
            | Self::DeleteDocument { collection, .. }
            | Self::SetSchema { collection, .. }
            | Self::SetRules { collection, .. }
            | Self::SetIndexes { collection, .. }
            | Self::FinishIndex { collection, .. }
            | Self::RenameCollection { collection, .. }
            | Self::RemoveCollection { collection } => Some(collection),
            Self::CreateCollection { name, .. } => Some(name.as_str()),
            Self::User(_) => Some(USERS),
            Self::Key(_)
            | Self::NoteKeyUses(_)
            | Self::RotateSecret(_)
            | Self::ChangeSettings(_)
            | Self::Audit(_)
            | Self::KeepMail(_)
            | Self::AcceptClock => None,
        }
    }

    /// Returns the e-mail address that it gives to a user, if its collection is that of users.
    pub fn given_email(&self) -> Option<Email> {
        let fields = match self {
            Self::CreateDocument { data, .. } | Self::PutDocument { data, .. } => data.fields(),
            Self::MergeDocument { patch, .. } => patch.members(),
            _ => return None,
        };
        Email::parse(fields.get("email")?.as_str()?).ok()
    }

    /// Names what it does, for the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateDocument { .. } => "create",
            Self::PutDocument { .. } => "replace",
            Self::MergeDocument { .. } => "merge",
            Self::DeleteDocument { .. } => "delete",
            Self::CreateCollection { .. } => "create of a collection",
            Self::SetSchema { .. } => "change of a schema",
            Self::SetRules { .. } => "change of rules",
            Self::SetIndexes { .. } | Self::FinishIndex { .. } => "change of indexes",
            Self::RenameCollection { .. } => "rename of a collection",
            Self::RemoveCollection { .. } => "removal of a collection",
            Self::Key(_) => "change of a key",
            Self::NoteKeyUses(_) => "uses of keys",
            Self::RotateSecret(_) => "rotation of a secret",
            Self::User(_) => "change of an account",
            Self::ChangeSettings(_) => "change of a project's settings",
            Self::Audit(_) => "entries of the audit",
            Self::KeepMail(_) => "mail for the outbox",
            Self::AcceptClock => "confirmation of the clock",
        }
    }

    /// Returns the bytes of memory that its data takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::CreateDocument { data, .. } | Self::PutDocument { data, .. } => data.weight(),
            Self::MergeDocument { patch, .. } => patch.weight(),
            _ => 0,
        }
    }
}

impl Mutation {
    /// Returns whether it must be a batch of its own.
    pub fn is_alone(&self) -> bool {
        let is_alone = |operation: &Operation| {
            matches!(
                operation,
                Operation::SetSchema { .. }
                    | Operation::SetIndexes { .. }
                    | Operation::FinishIndex { .. }
                    | Operation::Key(_)
                    | Operation::AcceptClock
            )
        };
        self.operations.iter().any(is_alone)
    }

    /// Returns the bytes of memory that it takes while it waits, with some for each operation.
    pub fn bytes(&self) -> usize {
        self.operations.iter().map(|operation| operation.bytes() + 200).sum()
    }
}
