//! Why a use case failed.

use std::sync::Arc;

use crate::{
    auth::{AuthError, Forbidden, PasswordError, TokenError, limits::Limited},
    domain::{DocumentId, Violation},
    mail::MailsWait,
    providers::ProviderError,
    store::StoreError,
    writer::WriteError,
};

/// The most documents that [`UnfitDocuments`] names.
const MAX_TOLD: usize = 20;

/// Why a use case failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Rules can't be tried for whom or what the request names. The sentence says why.
    #[error("{0}")]
    Untried(&'static str),
    #[error("collection does not exist")]
    UnknownCollection,
    #[error("document does not exist")]
    UnknownDocument,
    /// A schema cannot be set, because existing documents don't fit it.
    #[error("{} documents don't fit the schema; it was not set", .0.count)]
    Unfit(UnfitDocuments),
    /// The database took longer than a query may. Has the fields of an index that would help; none if no index would.
    #[error("the query takes too long")]
    TooCostly(Vec<String>),
    /// The e-mail address and the password fit no user. Whether the user exists is not told.
    #[error("Invalid e-mail address or password")]
    Credentials,
    /// The user who is signed in gave a password that isn't theirs. The session goes on.
    #[error("`password` is not the password of this user")]
    WrongPassword,
    /// Whoever asks has no rights any more.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A refresh token is of another project than the key beside it.
    #[error("the key and the token of the user belong to different projects")]
    OtherProject,
    /// A refresh token was used that had been replaced. Its session has ended.
    #[error("this refresh token was used before, so its session was ended; sign in again")]
    Stolen,
    #[error("give the password in `password`, or sign in again within 10 minutes before")]
    RecentSignIn,
    /// However recent the sign-in is.
    #[error("give the password of this user in `password`")]
    PasswordNeeded,
    #[error("this user has no password: leave `password` out, and sign in again within 10 minutes before")]
    NoPassword,
    #[error(
        "this request needs a user token: sign in with POST /users/login, and send the access token as `Authorization: Bearer …`"
    )]
    NoUser,
    #[error("invitation does not exist")]
    UnknownInvitation,
    /// The answer would tell whether an address is taken.
    #[error(
        "this project conceals which addresses are taken; sign up with POST /users, or ask for the address with POST /users/me/email, and follow the link in the mail"
    )]
    Concealed,
    #[error("session does not exist")]
    UnknownSession,
    /// An anonymous user asks for what takes an address.
    #[error("this user has no e-mail address; give one with POST /users/me/upgrade")]
    NoAddress,
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The same, where the provider has a name in the project.
    #[error("sign-in with `{name}`: {cause}")]
    AtProvider { name: String, cause: ProviderError },
    #[error(
        "this project has no provider `{0}`; GET /users/oauth lists them, and PATCH /settings adds one in `oauth`"
    )]
    UnknownProvider(String),
    #[error(
        "`redirectTo` must be a URL of a page, without a fragment, whose origin is in the `redirects` of the project's settings"
    )]
    Redirect,
    #[error("linking an account takes a sign-in within the last 10 minutes; sign in again first")]
    StaleSignIn,
    #[error(transparent)]
    Mails(#[from] MailsWait),
    #[error(transparent)]
    Token(TokenError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Limited(#[from] Limited),
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The answer would take more memory than it may. The sentence says what to ask for instead.
    #[error("{0}")]
    TooLarge(&'static str),
    /// A relation is neither a field of the documents nor a collection. The sentence says so.
    #[error("{0}")]
    UnknownRelation(String),
    /// The filter is on a field that no user can have. The sentence says so.
    #[error("{0}")]
    UnknownField(String),
    #[error("the operating system has no random numbers")]
    Random,
    /// All permits of a bounded resource are taken; the sentence names it.
    #[error("{0}")]
    Busy(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ServiceError {
    /// Classifies the failure of a query. `helpful` are the fields of the index that would have made it fast.
    pub fn of_query(err: StoreError, helpful: Vec<String>) -> Self {
        if err.is_timeout() { Self::TooCostly(helpful) } else { Self::Store(err) }
    }
}

/// Documents of a collection that don't fit a schema.
#[derive(Clone, Debug, Default)]
pub struct UnfitDocuments {
    /// The first 20, by id, each with its violations.
    pub told: Vec<(DocumentId, Arc<[Violation]>)>,
    /// How many there are in all.
    pub count: u64,
}

impl UnfitDocuments {
    pub(super) fn one(id: DocumentId, violations: Arc<[Violation]>) -> Self {
        Self { told: vec![(id, violations)], count: 1 }
    }

    pub(super) fn add(&mut self, id: DocumentId, violations: Arc<[Violation]>) {
        self.count += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push((id, violations));
        }
    }
}
