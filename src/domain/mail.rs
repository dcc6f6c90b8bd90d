//! Mails to users.

use std::fmt;

use super::{Email, ProjectId, Timestamp};

/// A mail, written and not sent yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// A UUIDv7.
    pub id: String,
    pub project: ProjectId,
    /// Why it was written, such as `reset-password`.
    pub kind: String,
    pub to: Email,
    pub subject: String,
    /// Plain text. It may hold a secret.
    pub text: String,
    pub created_at: Timestamp,
}

/// Hides the address and the text, which must not reach a log.
impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}
