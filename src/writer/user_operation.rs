//! The writes to users' accounts that can be asked for.

use std::fmt;

use super::precondition::Precondition;
use crate::domain::{
    AskedFrom, Claimed, DocumentId, Email, Invitation, KeyId, PasswordHash, Patch, Purpose, SessionId,
    Timestamp, UserData, session::PresentedToken,
};

/// A write to a user's account.
#[derive(Clone)]
pub enum UserOperation {
    /// Creates a user and signs them in.
    SignUp { user: Box<UserData>, password: Option<PasswordHash>, session: NewSession, admission: Admission },
    /// Signs a user in whose password was compared with `password`.
    SignIn {
        user: DocumentId,
        password: PasswordHash,
        /// The same password with the parameters of now, if it was hashed with others.
        rehashed: Option<PasswordHash>,
        session: NewSession,
        /// The hash of the ticket that stands for the session until the second factor is proven, if there is one.
        ticket_hash: String,
    },
    /// Merges a patch into a user's profile, and applies operators whose fields are in it.
    ChangeProfile {
        user: DocumentId,
        profile: Option<Patch>,
        operators: Option<Patch>,
        precondition: Precondition,
    },
    /// Gives an anonymous user an address and a password.
    Upgrade { user: DocumentId, email: Email, password: PasswordHash },
    /// Gives a user another address, which is not verified.
    ChangeEmail { user: DocumentId, email: Email },
    /// Exchanges a refresh token for the next one.
    Refresh {
        token: PresentedToken,
        /// The hash of the next token.
        next_hash: String,
        expires_at: Timestamp,
        device: Option<String>,
        address: Option<String>,
        /// The key beside the token, if there is one.
        key: Option<KeyId>,
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
    /// Notes a code that is about to be sent.
    MakeCode(NewCode),
    /// Sets a new password by the link of a mail, and ends all sessions.
    ResetPassword { user: DocumentId, token_hash: String, new: PasswordHash },
    /// Verifies the address that the link of a mail was sent to, which becomes the user's if it is not yet.
    ConfirmEmail {
        user: DocumentId,
        token_hash: String,
        email: Email,
        /// Whether the user themselves has followed the link. Otherwise nobody knows whether they made the account.
        is_own: bool,
    },
    /// Signs a user in by a code or a link from a mail.
    SignInByCode { user: DocumentId, proof: CodeProof, session: NewSession, ticket_hash: String },
    /// Signs a user in by a ticket and the code of a second factor.
    AnswerSecondFactor { user: DocumentId, ticket_hash: String, code: String, session: NewSession },
    /// Notes the secret of an authenticator app.
    BeginTotp { user: DocumentId, secret: String },
    /// Turns the second factor on.
    ConfirmTotp {
        user: DocumentId,
        code: String,
        /// The hashes of the recovery codes.
        recovery: Vec<String>,
        /// The session that goes on.
        keep: SessionId,
    },
    /// Turns the second factor off. A server has no code.
    RemoveTotp { user: DocumentId, code: Option<String> },
    /// Turns the second factor by mail on or off.
    SetMailFactor { user: DocumentId, is_on: bool },
    /// Signs in whoever has an identity at another provider.
    SignInByProvider(Box<ProviderSignIn>),
    /// Gives an identity to a user who is signed in.
    LinkIdentity { user: DocumentId, claimed: Box<Claimed>, state: UsedState },
    /// Takes the identity at a provider from a user.
    UnlinkIdentity { user: DocumentId, provider: String },
    /// Makes sure that the holder of a token of another issuer is a user with the roles that it names.
    Adopt {
        claimed: Box<Claimed>,
        /// The user who has the identity, as far as is known.
        found: Option<DocumentId>,
        /// Begins if the user has none that lasts as long.
        session: NewSession,
    },
    /// Notes an account that waits for its owner.
    Invite(Box<Invitation>),
    /// Takes an invitation away. Has the hash of its token.
    Withdraw { hash: String },
}

/// Hides what it is about, such as secrets, which must not reach a log.
impl fmt::Debug for UserOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserOperation(…)")
    }
}

/// Why somebody may make an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The settings of the project must allow it.
    Settings,
    /// A server asks.
    Server,
    /// They have the link of an invitation, or of a sign-up that is to be confirmed. Has the hash of its token.
    Invited(String),
}

/// A sign-in with another provider.
#[derive(Clone)]
pub struct ProviderSignIn {
    pub claimed: Claimed,
    /// The user who has the identity, or else its verified address, as far as is known. `None` makes a new user.
    pub found: Option<DocumentId>,
    /// Why there may be a new user.
    pub admission: Admission,
    pub state: UsedState,
    pub session: NewSession,
    pub ticket_hash: String,
}

/// What was signed for one sign-in with another provider, and is used with it.
#[derive(Clone)]
pub struct UsedState {
    pub hash: String,
    /// From here on it is good for nothing.
    pub expires_at: Timestamp,
}

/// Some of a user's sessions.
#[derive(Clone, Debug)]
pub enum Which {
    /// This one. An unknown one is an error.
    One(SessionId),
    All,
}

/// A code that is about to be sent.
#[derive(Clone, Debug)]
pub struct NewCode {
    pub user: DocumentId,
    pub purpose: Purpose,
    /// The address that it is sent to.
    pub email: Option<Email>,
    pub token_hash: String,
    pub digits_hash: Option<String>,
    pub asked_from: Option<AskedFrom>,
}

/// The secret of a code that was presented.
#[derive(Clone)]
pub enum CodeProof {
    /// The token of a link.
    Token { hash: String },
    /// Six digits, and who tries them.
    Digits { digits: String, asked_from: Option<AskedFrom> },
}

/// A session that is about to begin.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub id: SessionId,
    /// The key of the sign-in.
    pub key: KeyId,
    /// How its user signs in, such as `password`.
    pub method: &'static str,
    /// The hash of its first refresh token.
    pub token_hash: String,
    pub expires_at: Timestamp,
    pub device: Option<String>,
    pub address: Option<String>,
    /// Who signs in.
    pub asked_from: Option<AskedFrom>,
}

impl UserOperation {
    /// Returns the user it is about, if that is known before.
    pub fn user(&self) -> Option<&DocumentId> {
        match self {
            Self::SignUp { .. } | Self::Refresh { .. } | Self::Invite(_) | Self::Withdraw { .. } => None,
            Self::SignInByProvider(sign_in) => sign_in.found.as_ref(),
            Self::Adopt { found, .. } => found.as_ref(),
            Self::SignIn { user, .. }
            | Self::Upgrade { user, .. }
            | Self::ChangeEmail { user, .. }
            | Self::ChangeProfile { user, .. }
            | Self::ChangePassword { user, .. }
            | Self::EndSessions { user, .. }
            | Self::MakeCode(NewCode { user, .. })
            | Self::ResetPassword { user, .. }
            | Self::ConfirmEmail { user, .. }
            | Self::SignInByCode { user, .. }
            | Self::AnswerSecondFactor { user, .. }
            | Self::BeginTotp { user, .. }
            | Self::ConfirmTotp { user, .. }
            | Self::RemoveTotp { user, .. }
            | Self::SetMailFactor { user, .. }
            | Self::LinkIdentity { user, .. }
            | Self::UnlinkIdentity { user, .. } => Some(user),
        }
    }

    /// Returns the session it is about, if it is not one of [`UserOperation::user`].
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Refresh { token, .. } => Some(&token.session),
            _ => None,
        }
    }

    /// Returns the address that it gives to a user, or sends a code to.
    pub fn email(&self) -> Option<&Email> {
        match self {
            Self::SignUp { user, .. } => user.email.as_ref(),
            Self::Upgrade { email, .. }
            | Self::ChangeEmail { email, .. }
            | Self::ConfirmEmail { email, .. } => Some(email),
            Self::Invite(invitation) => Some(&invitation.email),
            Self::MakeCode(code) => code.email.as_ref(),
            _ => self.claimed().and_then(|claimed| claimed.email.as_ref()),
        }
    }

    /// Returns the identity that it is about.
    pub fn claimed(&self) -> Option<&Claimed> {
        match self {
            Self::SignInByProvider(sign_in) => Some(&sign_in.claimed),
            Self::LinkIdentity { claimed, .. } | Self::Adopt { claimed, .. } => Some(claimed),
            _ => None,
        }
    }

    /// Returns the state that it uses.
    pub fn state(&self) -> Option<&UsedState> {
        match self {
            Self::SignInByProvider(sign_in) => Some(&sign_in.state),
            Self::LinkIdentity { state, .. } => Some(state),
            _ => None,
        }
    }

    /// Returns the hash of the token of the invitation that it is about, if there is one.
    pub fn invitation(&self) -> Option<&str> {
        match self {
            Self::SignUp { admission: Admission::Invited(hash), .. } | Self::Withdraw { hash } => Some(hash),
            Self::Invite(invitation) => Some(&invitation.hash),
            _ => None,
        }
    }

    /// Whether it reads the user's identities.
    pub fn concerns_identities(&self) -> bool {
        let drops_them = matches!(
            self,
            Self::SignInByCode { .. }
                | Self::ResetPassword { .. }
                | Self::ConfirmEmail { .. }
                | Self::UnlinkIdentity { .. }
        );
        drops_them || self.claimed().is_some()
    }

    /// Whether it reads the user's codes.
    pub fn concerns_codes(&self) -> bool {
        matches!(
            self,
            Self::SignIn { .. }
                | Self::Upgrade { .. }
                | Self::ChangeEmail { .. }
                | Self::ChangePassword { .. }
                | Self::MakeCode(_)
                | Self::ResetPassword { .. }
                | Self::ConfirmEmail { .. }
                | Self::SignInByCode { .. }
                | Self::AnswerSecondFactor { .. }
                | Self::SignInByProvider(_)
        )
    }
}
