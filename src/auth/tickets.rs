//! Stream tickets: signed tokens that open live streams for an hour, with the rights of the key, and of the user, that asked for
//! them.
//!
//! A browser's `EventSource` cannot send headers, so its credential stands in the URL, which ends up in logs and histories. A
//! ticket that leaks there soon opens nothing. The server stores nothing about a ticket.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use super::{Principal, TicketCollection};
use crate::domain::{
    CollectionId, CollectionName, DocumentId, KeyId, SessionId, Timestamp,
    secrets::{Replaceable, Secrets},
};

/// How long a ticket can open streams. An open stream does not end with its ticket.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Stands before the name of a collection in the place of an id. An earlier version takes it for the id of none.
const AWAITED: &str = "name:";
/// Distinguishes tickets from other tokens that this server signs.
const AUDIENCE: &str = "realtime";
/// The same for the ticket of a user. An earlier version would ignore the user, so it must not know this audience.
const USER_AUDIENCE: &str = "realtime-user";

/// Signs and reads tickets. Cheap to clone; all clones have the same secrets.
#[derive(Clone)]
pub struct Tickets(Replaceable<Secrets>);

/// A new ticket.
pub struct Ticket {
    pub text: String,
    /// The first moment at which it opens no stream any more.
    pub expires_at: Timestamp,
}

/// The key, the user and the limits that a ticket stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct Holder {
    /// The key that asked for the ticket. It may have been revoked since.
    pub key: KeyId,
    /// The user who asked for the ticket, if a user was signed in.
    pub user: Option<TicketUser>,
    /// The only collection that the ticket opens; `None` opens all of them.
    pub collection: Option<TicketCollection>,
}

/// The user of a ticket.
#[derive(Debug, PartialEq, Eq)]
pub struct TicketUser {
    pub id: DocumentId,
    /// The session that asked for the ticket. It may have ended since.
    pub session: SessionId,
}

/// Why a ticket opens no stream, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("the ticket has expired; POST /realtime/tickets gives another one")]
    Expired,
    #[error("this is not a stream ticket of this server")]
    Unknown,
    #[error("the ticket could not be signed")]
    NotSigned,
}

/// The signed claims. A version of the server ignores claims that a later version adds. So a later version that limits tickets
/// further must change the audience.
#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// In seconds since 1970.
    exp: u64,
    iat: u64,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    /// A ticket with [`USER_AUDIENCE`] has both, and any other ticket neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

impl Tickets {
    pub fn new(secrets: Secrets) -> Self {
        Self(Replaceable::new(secrets))
    }

    /// Goes on with other secrets. Tickets that none of them signed are good for nothing from now on.
    pub fn replace(&self, secrets: Secrets) {
        self.0.set(secrets);
    }

    /// Makes a ticket with the rights of a principal, for one collection or for all.
    ///
    /// # Errors
    /// [`TicketError::NotSigned`].
    pub fn issue(
        &self,
        principal: &Principal,
        collection: Option<&TicketCollection>,
    ) -> Result<Ticket, TicketError> {
        let now = Timestamp::now().0.unsigned_abs() / 1000;
        let user = principal.user.as_ref();
        let claims = Claims {
            aud: if user.is_some() { USER_AUDIENCE } else { AUDIENCE }.to_owned(),
            exp: now + LIFETIME.as_secs(),
            iat: now,
            key: principal.key.to_string(),
            collection: collection.map(|collection| match collection {
                TicketCollection::Existing(id) => id.to_string(),
                TicketCollection::Awaited(name) => format!("{AWAITED}{name}"),
            }),
            user: user.map(|user| user.id.to_string()),
            session: user.map(|user| user.session.to_string()),
        };
        let signing = EncodingKey::from_secret(self.0.get().signing());
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &signing)
            .map_err(|_| TicketError::NotSigned)?;
        Ok(Ticket { text, expires_at: Timestamp(claims.exp as i64 * 1000) })
    }

    /// Whether a text has the form of a ticket, which is that of a JWT.
    pub fn is_ticket(text: &str) -> bool {
        text.matches('.').count() == 2
    }

    /// Checks the signature and the age of a ticket, and returns what it stands for.
    ///
    /// # Errors
    /// [`TicketError::Expired`] and [`TicketError::Unknown`].
    pub fn read(&self, text: &str) -> Result<Holder, TicketError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE, USER_AUDIENCE]);
        validation.set_required_spec_claims(&["aud", "exp"]);
        validation.leeway = 0;
        let mut outcome = Err(TicketError::Unknown);
        for secret in self.0.get().all() {
            match jsonwebtoken::decode::<Claims>(text, &DecodingKey::from_secret(secret), &validation) {
                Ok(read) => outcome = Ok(read.claims),
                Err(err) if *err.kind() == ErrorKind::ExpiredSignature => outcome = Err(TicketError::Expired),
                Err(_) => {}
            }
        }
        let Claims { aud, key, collection, user, session, .. } = outcome?;
        let user = match (aud == USER_AUDIENCE, user, session) {
            (false, None, None) => None,
            (true, Some(user), Some(session)) => Some(TicketUser {
                id: DocumentId::from_stored(&user),
                session: SessionId::from_stored(&session),
            }),
            _ => return Err(TicketError::Unknown),
        };
        let to_collection = |claim: String| match claim.strip_prefix(AWAITED) {
            None => Ok(TicketCollection::Existing(CollectionId::from_stored(&claim))),
            Some(name) => CollectionName::parse(name).map(TicketCollection::Awaited),
        };
        let collection = collection.map(to_collection).transpose().map_err(|_| TicketError::Unknown)?;
        Ok(Holder { key: KeyId::from_stored(&key), user, collection })
    }
}
