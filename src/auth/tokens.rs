//! The tokens of users: access tokens, which are signed and hold a user's session, and refresh tokens, which give the next pair.
//!
//! A token is good only while its session is, which [`Sessions`](super::Sessions) knows.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use jsonwebtoken::{Validation, errors::ErrorKind, jwk::JwkSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::access_keys::{AccessKeys, TYPE};
use crate::domain::{
    DocumentId, KeyId, ProjectId, Session, SessionId, Timestamp,
    secrets::{Replaceable, Secrets},
    session::PresentedToken,
};

/// How far a token's `iat` may be ahead of this clock, in seconds: two nodes' clocks differ.
const CLOCK_LEEWAY: u64 = 60;
/// The beginning of every refresh token.
const REFRESH_PREFIX: &str = "rt_";
/// Bytes of a refresh token's session, generation and signature.
const REFRESH_BYTES: (usize, usize, usize) = (16, 8, 32);

/// Signs and reads the tokens of users. Cheap to clone; all clones have the same keys.
#[derive(Clone)]
pub struct Tokens {
    access: Replaceable<AccessKeys>,
    refresh: Replaceable<Secrets>,
}

/// The content of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub project: ProjectId,
    pub user: DocumentId,
    pub session: SessionId,
    /// The key with which the session began.
    pub key: Option<KeyId>,
    /// From here on it is good for nothing.
    pub expires_at: Timestamp,
}

/// Why a token is good for nothing. The message is a hint for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the user token has expired; POST /users/refresh with the refresh token gives the next one")]
    Expired,
    #[error("this is not a user token of this server")]
    Unknown,
    #[error("the token could not be signed")]
    NotSigned,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    sub: String,
    /// The same, by the name that the client libraries know.
    user_id: String,
    sid: String,
    pid: String,
    /// The id of the key with which the session began. The token alone can do what this key can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// In seconds since 1970, as `exp`.
    iat: u64,
    exp: u64,
}

impl Tokens {
    pub fn new(access: AccessKeys, refresh: Secrets) -> Self {
        Self { access: Replaceable::new(access), refresh: Replaceable::new(refresh) }
    }

    /// Goes on with other keys. Tokens of keys that are not among them are good for nothing from now on.
    pub fn replace(&self, access: AccessKeys, refresh: Secrets) {
        self.access.set(access);
        self.refresh.set(refresh);
    }

    /// Returns the public keys by which other services verify access tokens.
    pub fn published_keys(&self) -> JwkSet {
        self.access.get().published().clone()
    }

    /// Whether a text looks like an access token, and not like another kind of token.
    pub fn is_access(text: &str) -> bool {
        text.matches('.').count() == 2
            && jsonwebtoken::decode_header(text).is_ok_and(|header| header.typ.as_deref() == Some(TYPE))
    }

    /// Makes an access token that is good for so many seconds.
    ///
    /// # Errors
    /// [`TokenError::NotSigned`].
    pub fn sign(
        &self,
        (project, user): (&ProjectId, &DocumentId),
        (session, api_key): (&SessionId, Option<&KeyId>),
        seconds: u64,
    ) -> Result<(String, Timestamp), TokenError> {
        let keys = self.access.get();
        let key = keys.signing().ok_or(TokenError::NotSigned)?;
        let now = Timestamp::now().0.unsigned_abs() / 1000;
        let claims = Claims {
            sub: user.to_string(),
            user_id: user.to_string(),
            sid: session.to_string(),
            pid: project.to_string(),
            key: api_key.map(ToString::to_string),
            iat: now,
            exp: now + seconds,
        };
        let text =
            jsonwebtoken::encode(&key.header, &claims, &key.signing).map_err(|_| TokenError::NotSigned)?;
        Ok((text, Timestamp(claims.exp as i64 * 1000)))
    }

    /// Checks the signature and the age of an access token, and returns what it says. Only this server's own keys are looked at.
    ///
    /// # Errors
    /// [`TokenError::Expired`] and [`TokenError::Unknown`].
    pub fn read(&self, text: &str) -> Result<Access, TokenError> {
        let header = jsonwebtoken::decode_header(text).map_err(|_| TokenError::Unknown)?;
        let keys = self.access.get();
        let key = keys.find(&header).ok_or(TokenError::Unknown)?;
        let mut validation = Validation::new(key.header.alg);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_aud = false;
        validation.leeway = 0;
        let read = jsonwebtoken::decode::<Claims>(text, &key.reading, &validation);
        let Claims { sub, user_id, sid, pid, key: api_key, iat, exp } = read
            .map_err(|err| match err.kind() {
                ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Unknown,
            })?
            .claims;
        let now = Timestamp::now().0.unsigned_abs() / 1000;
        if sub != user_id || iat > now + CLOCK_LEEWAY {
            return Err(TokenError::Unknown);
        }
        Ok(Access {
            project: ProjectId::from_stored(&pid),
            user: DocumentId::from_stored(&sub),
            session: SessionId::from_stored(&sid),
            key: api_key.as_deref().map(KeyId::from_stored),
            expires_at: Timestamp(i64::try_from(exp).unwrap_or(i64::MAX / 1000).saturating_mul(1000)),
        })
    }

    /// Makes the refresh token of a session's generation. The same session, generation and secret give the same token.
    ///
    /// # Errors
    /// [`TokenError::NotSigned`] if the id is none of ours.
    pub fn refresh_token(&self, session: &SessionId, generation: u64) -> Result<String, TokenError> {
        refresh_token(self.refresh.get().signing(), session, generation)
    }

    /// Makes the refresh token that a session has, which another secret may have signed than the one that signs now.
    ///
    /// # Errors
    /// [`TokenError::NotSigned`] if no secret gives the token of this hash.
    pub fn refresh_token_of(&self, session: &Session) -> Result<String, TokenError> {
        let secrets = self.refresh.get();
        let tokens = secrets.all().map(|secret| refresh_token(secret, &session.id, session.generation));
        tokens.flatten().find(|token| hash_token(token) == session.token_hash).ok_or(TokenError::NotSigned)
    }

    /// Checks the signature of a refresh token, and returns which it is.
    ///
    /// # Errors
    /// [`TokenError::Unknown`].
    pub fn read_refresh(&self, text: &str, arrived: Timestamp) -> Result<PresentedToken, TokenError> {
        let (id, generation, _) = REFRESH_BYTES;
        let encoded = text.strip_prefix(REFRESH_PREFIX).ok_or(TokenError::Unknown)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Unknown)?;
        if bytes.len() != REFRESH_BYTES.0 + REFRESH_BYTES.1 + REFRESH_BYTES.2 {
            return Err(TokenError::Unknown);
        }
        let (signed, signature) = bytes.split_at(id + generation);
        let is_ours = |secret: &Vec<u8>| {
            sign(secret, signed).is_some_and(|expected| expected.verify_slice(signature).is_ok())
        };
        if !self.refresh.get().all().any(is_ours) {
            return Err(TokenError::Unknown);
        }
        let session = uuid::Uuid::from_slice(&signed[..id]).map_err(|_| TokenError::Unknown)?;
        let number = signed[id..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Ok(PresentedToken {
            session: SessionId::from_stored(&session.to_string()),
            generation: number,
            hash: hash_token(text),
            arrived,
        })
    }
}

/// Hashes a token as it is stored. It has a signature of 256 bits, so a fast hash without salt is enough.
pub fn hash_token(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}

fn refresh_token(secret: &[u8], session: &SessionId, generation: u64) -> Result<String, TokenError> {
    let session = uuid::Uuid::parse_str(session.as_str()).map_err(|_| TokenError::NotSigned)?;
    let mut bytes = session.as_bytes().to_vec();
    bytes.extend(generation.to_be_bytes());
    let signature = sign(secret, &bytes).ok_or(TokenError::NotSigned)?.finalize().into_bytes();
    bytes.extend(signature);
    Ok(format!("{REFRESH_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn sign(secret: &[u8], bytes: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).ok()?;
    mac.update(b"coir refresh token\0");
    mac.update(bytes);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::access_keys::TokenAlgorithm;

    fn tokens(access: &[u8], previous: Option<&[u8]>) -> Tokens {
        let secrets = |current: &[u8]| Secrets::new(current.to_vec(), previous.map(<[u8]>::to_vec));
        let keys = AccessKeys::new(TokenAlgorithm::Hs256, &secrets(access), &secrets(access));
        Tokens::new(keys.unwrap(), secrets(access))
    }

    fn session() -> SessionId {
        SessionId::generate()
    }

    #[test]
    fn a_token_is_read_by_its_own_secret_and_by_the_next_one() {
        let (project, user, session) = (ProjectId::from_stored("p"), DocumentId::from_stored("u"), session());
        let (old, key) = (tokens(&[1; 32], None), KeyId::from_stored("k"));
        let (text, expires_at) = old.sign((&project, &user), (&session, Some(&key)), 60).unwrap();
        let access = Access { project, user, session: session.clone(), key: Some(key), expires_at };
        let refresh = old.refresh_token(&session, 7).unwrap();
        for (tokens, is_good) in
            [(&old, true), (&tokens(&[2; 32], Some(&[1; 32])), true), (&tokens(&[2; 32], None), false)]
        {
            let expected = if is_good { Ok(access.clone()) } else { Err(TokenError::Unknown) };
            assert_eq!(tokens.read(&text), expected);
            let read = tokens.read_refresh(&refresh, Timestamp(0));
            let read = read.ok().map(|token| (token.session, token.generation));
            assert_eq!(read, is_good.then(|| (session.clone(), 7)));
        }
    }

    #[test]
    fn a_refresh_token_that_is_changed_anywhere_is_none() {
        let tokens = tokens(&[1; 32], None);
        let good = tokens.refresh_token(&session(), 1).unwrap();
        assert!(tokens.read_refresh(&good, Timestamp(0)).is_ok());
        for place in 3..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(tokens.read_refresh(&changed, Timestamp(0)).is_err(), "{place}");
        }
        assert_eq!(tokens.read_refresh("rt_", Timestamp(0)).err(), Some(TokenError::Unknown));
    }
}
