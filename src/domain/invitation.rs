//! Accounts that wait for their owners.

use super::{Email, PasswordHash, ProjectId, Timestamp, UserData};

/// For how long an invitation is good, in milliseconds.
pub const INVITATION_LIFETIME: i64 = 7 * 24 * 3600 * 1000;
/// For how long a sign-up can be confirmed, in milliseconds.
pub const CONFIRMATION_LIFETIME: i64 = 24 * 3600 * 1000;

/// An account that waits for the reader of an address: somebody was invited, or signed up where the answer must not tell whether
/// the address is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Invitation {
    /// A UUIDv7.
    pub id: String,
    pub project: ProjectId,
    /// The SHA-256 hash of the link's token, in hexadecimal.
    pub hash: String,
    pub email: Email,
    /// The password of a sign-up that is to be confirmed; `None` for an invitation, whose owner chooses one.
    pub password: Option<PasswordHash>,
    /// What the user will have, except the address.
    pub user: UserData,
    pub created_at: Timestamp,
    /// The first moment at which it is good for nothing.
    pub expires_at: Timestamp,
}

impl Invitation {
    /// Makes one whose link has a token with this hash.
    pub fn new(
        project: ProjectId,
        hash: String,
        email: Email,
        password: Option<PasswordHash>,
        user: UserData,
    ) -> Self {
        let now = Timestamp::now();
        let lifetime = if password.is_some() { CONFIRMATION_LIFETIME } else { INVITATION_LIFETIME };
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            project,
            hash,
            email,
            password,
            user,
            created_at: now,
            expires_at: Timestamp(now.0 + lifetime),
        }
    }
}
