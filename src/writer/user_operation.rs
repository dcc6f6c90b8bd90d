//! The writes to users' accounts that can be asked for.

use crate::domain::{
    DocumentId, Email, PasswordHash, Patch, SessionId, Timestamp, UserData, session::PresentedToken,
};

/// A write to a user's account.
#[derive(Clone, Debug)]
pub enum UserOperation {
    /// Creates a user and signs them in.
    SignUp { user: Box<UserData>, password: Option<PasswordHash>, session: NewSession },
    /// Signs a user in whose password was compared with `password`.
    SignIn {
        user: DocumentId,
        password: PasswordHash,
        /// The same password with the parameters of now, if it was hashed with others.
        rehashed: Option<PasswordHash>,
        session: NewSession,
    },
    /// Merges a patch into a user's profile, and applies operators whose fields are in it.
    ChangeProfile { user: DocumentId, profile: Option<Patch>, operators: Option<Patch> },
    /// Gives an anonymous user an address and a password.
    Upgrade { user: DocumentId, email: Email, password: PasswordHash },
    /// Exchanges a refresh token for the next one.
    Refresh {
        token: PresentedToken,
        /// The hash of the next token.
        next_hash: String,
        expires_at: Timestamp,
        device: Option<String>,
        address: Option<String>,
    },
    /// Replaces a password that was compared with `current`, and ends the user's other sessions.
    ChangePassword {
        user: DocumentId,
        current: Option<PasswordHash>,
        new: PasswordHash,
        /// The session that goes on.
        keep: Option<SessionId>,
    },
    /// Ends sessions. Those that have ended are no error.
    EndSessions { user: DocumentId, which: Which },
}

/// Some of a user's sessions.
#[derive(Clone, Debug)]
pub enum Which {
    /// This one. An unknown one is an error.
    One(SessionId),
    All,
}

/// A session that is about to begin.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub id: SessionId,
    /// How its user signs in, such as `password`.
    pub method: &'static str,
    /// The hash of its first refresh token.
    pub token_hash: String,
    pub expires_at: Timestamp,
    pub device: Option<String>,
    pub address: Option<String>,
}

impl UserOperation {
    /// Returns the user it is about, if that is known before.
    pub fn user(&self) -> Option<&DocumentId> {
        match self {
            Self::SignUp { .. } | Self::Refresh { .. } => None,
            Self::SignIn { user, .. }
            | Self::Upgrade { user, .. }
            | Self::ChangeProfile { user, .. }
            | Self::ChangePassword { user, .. }
            | Self::EndSessions { user, .. } => Some(user),
        }
    }

    /// Returns the session it is about, if it is not one of [`UserOperation::user`].
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Refresh { token, .. } => Some(&token.session),
            _ => None,
        }
    }

    /// Returns the address that it gives to a user.
    pub fn email(&self) -> Option<&Email> {
        match self {
            Self::SignUp { user, .. } => user.email.as_ref(),
            Self::Upgrade { email, .. } => Some(email),
            _ => None,
        }
    }
}
