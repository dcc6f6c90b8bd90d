//! Tokens of other issuers, which a project takes for its users' tokens.

use std::{future::Future, pin::Pin};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{AuthError, Principal, SignedIn, Tokens};

/// The user who holds a token, once it is known.
pub type Reading<'a> = Pin<Box<dyn Future<Output = Result<SignedIn, AuthError>> + Send + 'a>>;

/// Reads tokens of other issuers. Whoever holds one for the first time becomes a user, which only the layers above can do.
pub trait ForeignTokens: Send + Sync {
    /// Returns the user who holds a token that an issuer of the key's project has signed.
    ///
    /// # Errors
    /// [`AuthError::Foreign`] and [`AuthError::Awaited`].
    fn read<'a>(&'a self, key: &'a Principal, text: &'a str) -> Reading<'a>;
}

/// Whether a text looks like a user's token: one of this server, or one of another issuer.
pub fn is_user_token(text: &str) -> bool {
    Tokens::is_access(text) || issuer_of(text).is_some()
}

/// Returns the issuer that a token names. Nothing is checked. The tokens of this server name none.
pub fn issuer_of(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        iss: String,
    }
    let mut parts = text.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let Claims { iss } = serde_json::from_slice(&claims).ok()?;
    parts.next().is_none().then_some(iss)
}
