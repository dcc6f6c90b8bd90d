//! Security events: what was done to accounts, keys and settings, by whom, and from where.

use serde_json::Value;

use super::{DocumentId, KeyId, ProjectId, Timestamp};

/// How long entries are kept, in milliseconds.
pub const AUDIT_AGE: i64 = 90 * 24 * 3600 * 1000;

/// A kind of security event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditEvent {
    SignUp,
    SignIn,
    /// A password, a code or a link was wrong.
    SignInFailed,
    SignOut,
    SessionsRevoked,
    /// A refresh token was used that had been replaced, so its session ended.
    RefreshTokenReplayed,
    PasswordChanged,
    EmailChanged,
    EmailVerified,
    EmailUnverified,
    RolesChanged,
    TotpOn,
    TotpOff,
    RecoveryCodeUsed,
    IdentityLinked,
    IdentityUnlinked,
    UserInvited,
    UserDisabled,
    UserEnabled,
    UserDeleted,
    KeyCreated,
    KeyChanged,
    KeyRotated,
    KeyRevoked,
    SettingsChanged,
    /// A secret that the server signs with was replaced.
    SecretRotated,
    /// The rules of a collection.
    RulesChanged,
}

impl AuditEvent {
    const ALL: [Self; 27] = [
        Self::SignUp,
        Self::SignIn,
        Self::SignInFailed,
        Self::SignOut,
        Self::SessionsRevoked,
        Self::RefreshTokenReplayed,
        Self::PasswordChanged,
        Self::EmailChanged,
        Self::EmailVerified,
        Self::EmailUnverified,
        Self::RolesChanged,
        Self::TotpOn,
        Self::TotpOff,
        Self::RecoveryCodeUsed,
        Self::IdentityLinked,
        Self::IdentityUnlinked,
        Self::UserInvited,
        Self::UserDisabled,
        Self::UserEnabled,
        Self::UserDeleted,
        Self::KeyCreated,
        Self::KeyChanged,
        Self::KeyRotated,
        Self::KeyRevoked,
        Self::SettingsChanged,
        Self::SecretRotated,
        Self::RulesChanged,
    ];

    /// Returns the word in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignUp => "signUp",
            Self::SignIn => "signIn",
            Self::SignInFailed => "signInFailed",
            Self::SignOut => "signOut",
            Self::SessionsRevoked => "sessionsRevoked",
            Self::RefreshTokenReplayed => "refreshTokenReplayed",
            Self::PasswordChanged => "passwordChanged",
            Self::EmailChanged => "emailChanged",
            Self::EmailVerified => "emailVerified",
            Self::EmailUnverified => "emailUnverified",
            Self::RolesChanged => "rolesChanged",
            Self::TotpOn => "totpOn",
            Self::TotpOff => "totpOff",
            Self::RecoveryCodeUsed => "recoveryCodeUsed",
            Self::IdentityLinked => "identityLinked",
            Self::IdentityUnlinked => "identityUnlinked",
            Self::UserInvited => "userInvited",
            Self::UserDisabled => "userDisabled",
            Self::UserEnabled => "userEnabled",
            Self::UserDeleted => "userDeleted",
            Self::KeyCreated => "keyCreated",
            Self::KeyChanged => "keyChanged",
            Self::KeyRotated => "keyRotated",
            Self::KeyRevoked => "keyRevoked",
            Self::SettingsChanged => "settingsChanged",
            Self::SecretRotated => "secretRotated",
            Self::RulesChanged => "rulesChanged",
        }
    }

    /// Returns every word.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(Self::as_str)
    }
}

/// One security event. It never holds a secret or an e-mail address.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// A UUIDv7, so that ids are in the order of time.
    pub id: String,
    pub project: ProjectId,
    /// A word of [`AuditEvent`], or of a newer version.
    pub event: String,
    /// The user to whom it happened.
    pub user: Option<DocumentId>,
    /// The user who did it.
    pub by_user: Option<DocumentId>,
    /// The API key with which it was done.
    pub by_key: Option<KeyId>,
    pub address: Option<String>,
    pub device: Option<String>,
    /// How often it happened within a minute.
    pub count: u64,
    /// More about it, as an object.
    pub details: Option<Value>,
    pub at: Timestamp,
}

impl AuditEntry {
    /// Makes an entry that says what happened, and as yet nothing else.
    pub fn new(project: ProjectId, event: AuditEvent, at: Timestamp) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            project,
            event: event.as_str().to_owned(),
            user: None,
            by_user: None,
            by_key: None,
            address: None,
            device: None,
            count: 1,
            details: None,
            at,
        }
    }
}
