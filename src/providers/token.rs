//! Tokens that providers sign: who signed one, for whom, and until when it is good.

use jsonwebtoken::{Algorithm, Header, Validation, errors::ErrorKind};
use serde_json::{Map, Value};

use super::{
    Documents, ProviderError,
    error::TokenFault,
    keys::{self, ALGORITHMS},
};
use crate::domain::{ProjectId, Timestamp};

/// How far the clock of a provider may be from this one, in seconds.
const LEEWAY: u64 = 60;
/// Bytes of a subject (OpenID Connect Core, section 2).
const MAX_SUBJECT: usize = 255;

/// Where the keys of an issuer are.
#[derive(Clone, Copy, Debug)]
pub enum KeySource<'a> {
    Given(&'a Value),
    Url(&'a str),
}

/// The claims that a token must have.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Any of these.
    pub issuers: &'a [&'a str],
    /// Any of these.
    pub audiences: &'a [&'a str],
    /// For whom it may have been made (`azp`), if that is looked at. Where it says nothing, it must be for one audience alone.
    pub parties: Option<&'a [&'a str]>,
    /// The most seconds until it expires, if that is looked at.
    pub longest: Option<u64>,
}

/// Checks the signature, the issuer, the audience and the age of a token, and returns its claims. The subject is a text.
///
/// # Errors
/// [`ProviderError`].
pub async fn read(
    documents: &Documents,
    project: &ProjectId,
    text: &str,
    keys: KeySource<'_>,
    expected: Expected<'_>,
) -> Result<Map<String, Value>, ProviderError> {
    let header = jsonwebtoken::decode_header(text).map_err(|err| match err.kind() {
        // Such as `none`.
        ErrorKind::InvalidAlgorithmName | ErrorKind::Json(_) => TokenFault::Algorithm,
        _ => TokenFault::Unreadable,
    })?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(TokenFault::Algorithm.into());
    }
    let found = match keys {
        KeySource::Given(set) => keys::find(set, &header),
        KeySource::Url(url) => match keys::find(&*documents.get(project, url).await?, &header) {
            Some(key) => Some(key),
            // The provider may have a new one.
            None => keys::find(&*documents.refresh(project, url).await?, &header),
        },
    };
    let key = found.ok_or(TokenFault::UnknownKey)?;
    Ok(decode(text, &header, &key, expected)?)
}

fn decode(
    text: &str,
    header: &Header,
    key: &jsonwebtoken::DecodingKey,
    expected: Expected<'_>,
) -> Result<Map<String, Value>, TokenFault> {
    let algorithm: Algorithm = header.alg;
    let mut validation = Validation::new(algorithm);
    validation.set_required_spec_claims(&["exp"]);
    validation.validate_nbf = true;
    validation.validate_aud = false;
    validation.leeway = LEEWAY;
    let claims = jsonwebtoken::decode::<Map<String, Value>>(text, key, &validation);
    let claims = claims.map_err(|err| match err.kind() {
        ErrorKind::ExpiredSignature | ErrorKind::MissingRequiredClaim(_) => TokenFault::Expired,
        ErrorKind::ImmatureSignature => TokenFault::Early,
        ErrorKind::InvalidSignature => TokenFault::Signature,
        _ => TokenFault::Unreadable,
    })?;
    let claims = claims.claims;
    let now = Timestamp::now().0.unsigned_abs() / 1000;
    match claims.get("iat").map(Value::as_f64) {
        Some(None) => return Err(TokenFault::Unreadable),
        Some(Some(at)) if at > (now + LEEWAY) as f64 => return Err(TokenFault::Early),
        _ => {}
    }
    let expires = claims.get("exp").and_then(Value::as_f64).ok_or(TokenFault::Expired)?;
    if expected.longest.is_some_and(|longest| expires > (now + longest + LEEWAY) as f64) {
        return Err(TokenFault::TooLong);
    }
    let issuer = claims.get("iss").and_then(Value::as_str);
    if !issuer.is_some_and(|issuer| expected.issuers.contains(&issuer)) {
        return Err(TokenFault::Issuer);
    }
    if !audiences(&claims).any(|audience| expected.audiences.contains(&audience)) {
        return Err(TokenFault::Audience);
    }
    if let Some(parties) = expected.parties {
        let is_for_own = match claims.get("azp") {
            Some(party) => party.as_str().is_some_and(|party| parties.contains(&party)),
            None => audiences(&claims).count() == 1,
        };
        if !is_for_own {
            return Err(TokenFault::Party);
        }
    }
    let subject = claims.get("sub").and_then(Value::as_str);
    if !subject.is_some_and(|subject| (1..=MAX_SUBJECT).contains(&subject.len()) && !subject.contains('\0')) {
        return Err(TokenFault::Subject);
    }
    Ok(claims)
}

/// Returns for whom a token is: one text, or a list of them.
pub fn audiences(claims: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match claims.get("aud") {
        Some(Value::String(one)) => (Some(one.as_str()), None),
        Some(Value::Array(many)) => (None, Some(many)),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten().filter_map(Value::as_str))
}
