//! The state of a sign-in, which travels with the browser to the provider and back.
//!
//! It is signed and not stored, so that beginning a sign-in writes nothing and any node can finish it. What only the server and
//! the provider may know is made from its id and the secret.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::StateError;
use crate::domain::{
    DocumentId, KeyId, ProjectId, Timestamp,
    secrets::{Replaceable, Secrets},
};

/// For how long a state is good, in seconds.
const LIFETIME: u64 = 600;
/// Distinguishes states from other tokens that this server signs.
const AUDIENCE: &str = "oauth-state";
/// Characters of a code challenge: a SHA-256 hash in base64.
const CHALLENGE: usize = 43;

/// Signs and reads states. Cheap to clone; all clones have the same secrets.
#[derive(Clone)]
pub struct States(Replaceable<Secrets>);

/// A sign-in that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Random.
    pub id: String,
    pub project: ProjectId,
    pub provider: String,
    /// Where the provider sends the browser.
    pub redirect: String,
    /// The hash of a text that only the browser knows, if it has one.
    pub challenge: Option<String>,
    /// The user who links an account of the provider.
    pub user: Option<DocumentId>,
    /// Where this server sends the browser, if the provider sends it to this server.
    pub home: Option<Home>,
    pub expires_at: Timestamp,
    /// The hash of the secret that signed it.
    signer: [u8; 32],
}

/// A page that gets the outcome of a sign-in in its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub page: String,
    /// The key with which the sign-in began.
    pub key: KeyId,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    exp: u64,
    jti: String,
    pid: String,
    prv: String,
    uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chl: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usr: Option<String>,
    /// A state has both of these or neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl States {
    pub fn new(secrets: Secrets) -> Self {
        Self(Replaceable::new(secrets))
    }

    /// Goes on with other secrets. Sign-ins that began with none of them can't be finished any more.
    pub fn replace(&self, secrets: Secrets) {
        self.0.set(secrets);
    }

    /// Begins a sign-in, and returns its state with the signed text.
    ///
    /// # Errors
    /// [`StateError::Challenge`]; [`StateError::NotSigned`].
    pub fn begin(
        &self,
        (project, provider): (&ProjectId, &str),
        redirect: &str,
        challenge: Option<String>,
        user: Option<DocumentId>,
        home: Option<Home>,
    ) -> Result<(State, String), StateError> {
        let is_hash = |text: &String| {
            text.len() == CHALLENGE && URL_SAFE_NO_PAD.decode(text).is_ok_and(|hash| hash.len() == 32)
        };
        if challenge.as_ref().is_some_and(|challenge| !is_hash(challenge)) {
            return Err(StateError::Challenge);
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| StateError::NotSigned)?;
        let exp = Timestamp::now().0.unsigned_abs() / 1000 + LIFETIME;
        let secrets = self.0.get();
        let secret = secrets.signing();
        let state = State {
            id: URL_SAFE_NO_PAD.encode(id),
            project: project.clone(),
            provider: provider.to_owned(),
            redirect: redirect.to_owned(),
            challenge,
            user,
            home,
            expires_at: Timestamp(exp as i64 * 1000),
            signer: Sha256::digest(secret).into(),
        };
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            exp,
            jti: state.id.clone(),
            pid: project.to_string(),
            prv: state.provider.clone(),
            uri: state.redirect.clone(),
            chl: state.challenge.clone(),
            usr: state.user.as_ref().map(DocumentId::to_string),
            app: state.home.as_ref().map(|home| home.page.clone()),
            key: state.home.as_ref().map(|home| home.key.to_string()),
        };
        let signing = EncodingKey::from_secret(secret);
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &signing);
        Ok((state, text.map_err(|_| StateError::NotSigned)?))
    }

    /// Checks the signature and the age of a state of this project and provider.
    ///
    /// # Errors
    /// [`StateError::Unknown`] and [`StateError::Expired`].
    pub fn read(&self, (project, provider): (&ProjectId, &str), text: &str) -> Result<State, StateError> {
        let state = self.read_any(text)?;
        let is_meant = state.project == *project && state.provider == provider;
        if is_meant { Ok(state) } else { Err(StateError::Unknown) }
    }

    /// Checks the signature and the age of a state of any project and provider.
    ///
    /// # Errors
    /// As [`States::read`].
    pub fn read_any(&self, text: &str) -> Result<State, StateError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["aud", "exp"]);
        validation.leeway = 0;
        let mut outcome = Err(StateError::Unknown);
        for secret in self.0.get().all() {
            match jsonwebtoken::decode::<Claims>(text, &DecodingKey::from_secret(secret), &validation) {
                Ok(read) => outcome = Ok((read.claims, Sha256::digest(secret).into())),
                Err(err) if *err.kind() == ErrorKind::ExpiredSignature => outcome = Err(StateError::Expired),
                Err(_) => {}
            }
        }
        let (Claims { exp, jti, pid, prv, uri, chl, usr, app, key, .. }, signer) = outcome?;
        let home = app.zip(key).map(|(page, key)| Home { page, key: KeyId::from_stored(&key) });
        Ok(State {
            id: jti,
            project: ProjectId::from_stored(&pid),
            provider: prv,
            redirect: uri,
            challenge: chl,
            user: usr.as_deref().map(DocumentId::from_stored),
            home,
            expires_at: Timestamp(i64::try_from(exp).unwrap_or_default().saturating_mul(1000)),
            signer,
        })
    }

    /// Returns the nonce that the ID token of this sign-in must have.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if the secret of the state was dropped.
    pub fn nonce(&self, state: &State) -> Result<String, StateError> {
        self.derive("nonce", state)
    }

    /// Returns the code verifier of a sign-in whose browser has none.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if the secret of the state was dropped.
    pub fn verifier(&self, state: &State) -> Result<String, StateError> {
        self.derive("verifier", state)
    }

    fn derive(&self, purpose: &str, state: &State) -> Result<String, StateError> {
        let secrets = self.0.get();
        let is_signer = |secret: &&Vec<u8>| <[u8; 32]>::from(Sha256::digest(secret)) == state.signer;
        let secret = secrets.all().find(is_signer).ok_or(StateError::Unknown)?;
        // HMAC takes keys of any length.
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).map_err(|_| StateError::NotSigned)?;
        mac.update(b"coir oauth ");
        mac.update(purpose.as_bytes());
        mac.update(b"\0");
        mac.update(state.id.as_bytes());
        Ok(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

/// Returns the challenge of a code verifier (RFC 7636, S256).
pub fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}
