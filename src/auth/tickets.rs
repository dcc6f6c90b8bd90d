//! Stream tickets: signed text that opens live streams for an hour, as the caller that asked. Nothing is stored of them.
//!
//! A browser's `EventSource` can send no header, and a URL ends up in logs and histories: a ticket is worth little there.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use super::Principal;
use crate::domain::{CollectionId, KeyId, Timestamp};

/// The name of the secret that tickets are signed with.
pub const SECRET: &str = "tickets";

/// How long a ticket can open streams. One that is open goes on.
const LIFETIME: Duration = Duration::from_secs(3600);
/// What tells a ticket from other text signed by this server.
const AUDIENCE: &str = "realtime";

/// Signs and reads tickets. Cheap to clone.
#[derive(Clone)]
pub struct Tickets {
    signing: EncodingKey,
    reading: DecodingKey,
}

/// A ticket, and when it ends.
pub struct Ticket {
    /// The text.
    pub text: String,
    /// From then on it opens nothing.
    pub expires_at: Timestamp,
}

/// Whom a ticket stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct Holder {
    /// The key that asked for it; whether it is still good is not known here.
    pub key: KeyId,
    /// The one collection that it opens; `None` is all of them.
    pub collection: Option<CollectionId>,
}

/// Why a text is no ticket that opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It was one.
    #[error("the ticket has expired; POST /realtime/tickets gives another one")]
    Expired,
    /// It is none of this server's.
    #[error("this is no stream ticket of this server")]
    Unknown,
    /// It could not be signed.
    #[error("a ticket could not be signed")]
    NotSigned,
}

/// What is signed. Members that a later version adds are not looked at by this one, so one that limits a ticket further
/// needs another audience.
#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// Seconds since the epoch.
    exp: u64,
    iat: u64,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
}

impl Tickets {
    /// Signs with a secret.
    pub fn new(secret: &[u8]) -> Self {
        Self { signing: EncodingKey::from_secret(secret), reading: DecodingKey::from_secret(secret) }
    }

    /// Makes a ticket for a caller; for one collection, if one is given.
    ///
    /// # Errors
    /// [`TicketError::NotSigned`].
    pub fn issue(
        &self,
        principal: &Principal,
        collection: Option<&CollectionId>,
    ) -> Result<Ticket, TicketError> {
        let now = Timestamp::now().0.unsigned_abs() / 1000;
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            exp: now + LIFETIME.as_secs(),
            iat: now,
            key: principal.key.to_string(),
            collection: collection.map(CollectionId::to_string),
        };
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
            .map_err(|_| TicketError::NotSigned)?;
        Ok(Ticket { text, expires_at: Timestamp(claims.exp as i64 * 1000) })
    }

    /// Whether a text has the form of a ticket: that of a JWT.
    pub fn is_ticket(text: &str) -> bool {
        text.matches('.').count() == 2
    }

    /// Reads a ticket.
    ///
    /// # Errors
    /// [`TicketError::Expired`] and [`TicketError::Unknown`].
    pub fn read(&self, text: &str) -> Result<Holder, TicketError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["aud", "exp"]);
        validation.leeway = 0;
        let read = jsonwebtoken::decode::<Claims>(text, &self.reading, &validation);
        let claims = read.map_err(|err| match err.kind() {
            ErrorKind::ExpiredSignature => TicketError::Expired,
            _ => TicketError::Unknown,
        })?;
        let Claims { key, collection, .. } = claims.claims;
        Ok(Holder {
            key: KeyId::from_stored(&key),
            collection: collection.map(|id| CollectionId::from_stored(&id)),
        })
    }
}
