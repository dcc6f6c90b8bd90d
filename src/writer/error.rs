//! Why a mutation did not happen.

use std::sync::Arc;

use super::{clock_trouble::ClockTrouble, key_operation::MAX_KEYS};
use crate::{
    auth::{Forbidden, grant::GrantError},
    domain::{
        CollectionName, DataError, DocumentId, KeyEnd, KeyId, UserDataError, Violation,
        name::NameError,
        project_settings::{SettingsError, SignUpRefusal},
    },
    query::rule::{Clause, RuleError},
    store::{StoreError, Trouble},
};

/// Why a mutation did not happen. Unless a variant says otherwise, it left no trace.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    #[error("collection does not exist")]
    UnknownCollection,
    /// The collection cannot be created, because its name is not valid.
    #[error("{0}")]
    BadCollectionName(NameError),
    #[error("document does not exist")]
    UnknownDocument,
    #[error("a collection named `{0}` already exists")]
    CollectionExists(CollectionName),
    #[error("the document is not in the state that the precondition of the request names")]
    PreconditionFailed,
    #[error("a document `{0}` already exists")]
    DocumentExists(DocumentId),
    /// An operation failed, and with it the whole mutation. Only [`Batch::apply`](super::batch::Batch::apply) returns it.
    #[error("operation {place}: {cause}")]
    AtOperation {
        /// Index of the operation, from 0.
        place: usize,
        cause: Box<WriteError>,
    },
    /// An operator does not fit the current document.
    #[error("{0}")]
    Operator(String),
    #[error("the document is {actual} bytes; the limit is {limit}")]
    TooLarge {
        /// Bytes of its canonical text.
        actual: usize,
        limit: usize,
    },
    /// It reads or writes more bytes of documents than the writer may hold at once.
    #[error("the request touches more than {limit} bytes of documents; split it")]
    TooManyBytes { limit: usize },
    #[error("checking the documents of the request against their schema takes too long; split the request")]
    TooMuchChecking,
    #[error(transparent)]
    Data(#[from] Arc<DataError>),
    #[error("the document does not fit the schema of its collection: {}", first(.0))]
    SchemaViolation(Arc<[Violation]>),
    #[error("a string cannot be indexed: {}", first(.0))]
    IndexedText(Arc<[Violation]>),
    #[error(
        "the database may have at most {limit} indexes over all collections, because each slows every write; drop some first"
    )]
    TooManyIndexes { limit: usize },
    #[error(
        "the project has {limit} collections, which is the limit; remove some, or raise COIR_MAX_COLLECTIONS"
    )]
    TooManyCollections { limit: usize },
    /// An existing document does not fit the schema that is about to be set.
    #[error("the document `{id}` does not fit the schema: {}", first(.violations))]
    Unfit { id: DocumentId, violations: Arc<[Violation]> },
    /// Too much was written since the documents were checked against the schema that is about to be set.
    #[error("too many writes to the collection happened meanwhile; try again")]
    SchemaBehind,
    #[error("this idempotency key was already used with another request")]
    IdempotencyConflict,
    #[error(
        "the results that are kept for idempotency keys take all of the {limit} bytes that they may; they are kept for 24 hours; \
         send the write without an `Idempotency-Key`, or raise COIR_MAX_IDEMPOTENCY_BYTES"
    )]
    TooManyIdempotencyKeys { limit: u64 },
    #[error("another document has {}", place_of(.name, .fields))]
    UniqueViolation {
        /// `None` if the database does not tell it.
        name: Option<String>,
        /// Empty if no collection declares the index.
        fields: Vec<String>,
    },
    /// The document of a user has members that it can't have.
    #[error("{0}")]
    User(UserDataError),
    #[error(transparent)]
    Settings(SettingsError),
    #[error(transparent)]
    SignUp(#[from] SignUpRefusal),
    /// The rules of another collection ask this one.
    #[error("the rules of the collection `{0}` ask this one (`$from`); change them first")]
    AskedByRules(CollectionName),
    /// Rules ask a collection that does not exist.
    #[error("the rules ask the collection `{0}` (`$from`), which does not exist; create it first")]
    UnknownSource(String),
    /// The rules of users say what rules don't decide.
    #[error(transparent)]
    Rules(RuleError),
    /// A rule of the collection, which it names, does not allow the write.
    #[error("the rules of this collection don't allow this (`{0}`)")]
    Denied(Clause),
    /// The project is closed to the caller.
    #[error(transparent)]
    Forbidden(Forbidden),
    /// What a `$from` asks depends on what the mutation itself has changed.
    #[error(
        "the rules of this collection ask a `$from` within a `$from`, which this request changes; send it as two"
    )]
    OwnRelation,
    /// What the rules ask of other collections has changed since it was read.
    #[error("what the rules of this collection ask is changing too fast; try again")]
    RightsBehind,
    /// A server has shut the user out.
    #[error("this user is disabled")]
    Disabled,
    #[error("another user has this e-mail address")]
    EmailTaken,
    #[error("a user may change only their `profile` here")]
    ProfileOnly,
    #[error("this user has an e-mail address already")]
    NotAnonymous,
    #[error(transparent)]
    SecondFactor(#[from] SecondFactorRefusal),
    #[error("this user has a password, which POST /users/me/email takes to give them an e-mail address")]
    HasPassword,
    /// The password was changed between its comparison and this write.
    #[error("the password was changed meanwhile")]
    CredentialsChanged,
    /// A code or the token of a link. Which of these it is, is not told.
    #[error(
        "this code or link is not valid: it was used, has expired, or was never sent; ask for another one"
    )]
    WrongCode,
    #[error("too many mails were sent to this address; use the last one, or try again in an hour")]
    TooManyCodes,
    #[error("this user has a second factor; DELETE /users/me/totp turns it off")]
    SecondFactorExists,
    #[error("this user has no second factor; POST /users/me/totp begins one")]
    NoSecondFactor,
    #[error("too many wrong codes; try again in 15 minutes, or take a recovery code")]
    TooManyTries,
    /// A state was used, or has expired.
    #[error("this sign-in was finished before, or took longer than 10 minutes; begin it again")]
    StateUsed,
    /// Whose an identity or an address is has changed since it was looked up. The service looks again.
    #[error("the account was changed meanwhile; try again")]
    AccountChanged,
    #[error("the provider has not verified this e-mail address; verify it there, and sign in again")]
    EmailNotVerified,
    #[error("another user has this account of the provider")]
    IdentityTaken,
    #[error(
        "the user is linked to another account of this provider; DELETE /users/me/identities/{{provider}} unlinks it"
    )]
    ProviderLinked,
    #[error("the user has no identity of this provider; GET /users/me/identities lists them")]
    UnknownIdentity,
    #[error(
        "this is the user's last way to sign in; set a password or verify the e-mail address before you remove it"
    )]
    LastWayIn,
    /// The session is unknown, has expired or was ended.
    #[error("the session has ended")]
    SessionEnded,
    #[error("the collection `{0}` is built in; it can't be renamed or removed")]
    BuiltIn(CollectionName),
    #[error("the collection `{0}` is built in; its rules can't be changed yet")]
    BuiltInRules(CollectionName),
    #[error("no key of the project has this id, or it is revoked; GET /keys lists the keys")]
    UnknownKey,
    #[error(
        "this is the last secret key that manages keys, or the last one that doesn't expire; make another one first, or use the command `coir keys`"
    )]
    LastKey,
    #[error("the key was rotated before; its successor is the key `{0}`")]
    KeyRotated(KeyId),
    #[error("the key has expired, and has no successor; make a new one")]
    RotatedTooLate,
    #[error("a project has at most {MAX_KEYS} keys that are not revoked; revoke some")]
    TooManyKeys,
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error("the API key is not good any more")]
    KeyEnded(KeyEnd),
    /// The collection was created together with a unique index, which is not built yet.
    #[error("the unique index that the collection was created with is being built; try again")]
    IndexAwaited,
    #[error(transparent)]
    Clock(ClockTrouble),
    /// It waited when the server began to stop.
    #[error("the server is stopping; try again")]
    Stopping,
    #[error("too many writes are waiting; try again")]
    QueueFull,
    /// The database failed. The mutation may have happened; an idempotency key makes a retry safe.
    #[error("{}", describe(.0))]
    Unavailable(Trouble),
    /// The database rejects this mutation alone.
    #[error(transparent)]
    Store(StoreError),
}

/// Why the second factor of a user forbids something. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecondFactorRefusal {
    /// A user who has one wants another address, and has no link to it.
    #[error("this user has a second factor; POST /users/me/email sends a link, which gives them the address")]
    AddressByLink,
    /// On the address of somebody else, it would keep its owner out.
    #[error(
        "a second factor takes an e-mail address that is verified; POST /users/email/verify/send sends the link"
    )]
    UnverifiedAddress,
    /// A user with a code by mail as the second factor has shown only that.
    #[error("this user has a second factor by mail; sign in with the password first, and then send the code")]
    PasswordFirst,
    /// A code by mail would be the only factor.
    #[error("a second factor by mail takes a password and an e-mail address; set them first")]
    NoPassword,
    /// The user is signed in by a token of another issuer, which would be good for nothing then.
    #[error(
        "this sign-in is that of another issuer, whose tokens show no second factor here; turn one on there"
    )]
    ForeignSignIn,
    /// A token of another issuer is for a user who has one.
    #[error(
        "this user has a second factor, which a token of another issuer doesn't show; sign in with POST /users/login, or with a \
         provider"
    )]
    NotShown,
}

impl WriteError {
    /// The seconds after which to try again, as the message says. `None` where any later moment is as good.
    pub fn retry_after(&self) -> Option<u16> {
        match self {
            Self::TooManyCodes => Some(3600),
            Self::TooManyTries => Some(15 * 60),
            _ => None,
        }
    }

    /// Whether it is [`WriteError::RightsBehind`], also of one operation. The caller reads anew what the rules ask, and tries again.
    pub fn is_behind(&self) -> bool {
        match self {
            Self::RightsBehind => true,
            Self::AtOperation { cause, .. } => cause.is_behind(),
            _ => false,
        }
    }

    /// Leaves out which operation failed, for a mutation that has one.
    pub fn without_place(self) -> Self {
        match self {
            Self::AtOperation { cause, .. } => *cause,
            err => err,
        }
    }
}

fn describe(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Away => "the database cannot be reached; try again".to_owned(),
        trouble => format!("{trouble}; try again"),
    }
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
        None => "it is rejected as a whole".to_owned(),
    }
}
