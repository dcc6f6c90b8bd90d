//! Accounts that wait for their owners.

use super::{Email, ProjectId, Timestamp, UserData};

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
    /// Whether it is a sign-up that is to be confirmed, and not an invitation.
    pub is_sign_up: bool,
    /// The roles and the profile that the user will have. A sign-up has none: whoever asked for the link may be a stranger, so the
    /// holder of the link chooses.
    pub user: UserData,
    pub created_at: Timestamp,
    /// The first moment at which it is good for nothing.
    pub expires_at: Timestamp,
}

impl Invitation {
    /// Makes an invitation whose link has a token with this hash.
    pub fn new(project: ProjectId, hash: String, email: Email, user: UserData) -> Self {
        Self::waiting(project, hash, email, user, false)
    }

    /// Makes a sign-up whose link has a token with this hash.
    pub fn sign_up(project: ProjectId, hash: String, email: Email) -> Self {
        Self::waiting(project, hash, email, UserData::default(), true)
    }

    fn waiting(project: ProjectId, hash: String, email: Email, user: UserData, is_sign_up: bool) -> Self {
        let now = Timestamp::now();
        let lifetime = if is_sign_up { CONFIRMATION_LIFETIME } else { INVITATION_LIFETIME };
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            project,
            hash,
            email,
            is_sign_up,
            user,
            created_at: now,
            expires_at: Timestamp(now.0 + lifetime),
        }
    }
}
