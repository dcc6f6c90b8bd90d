//! The public keys of a provider (RFC 7517).

use jsonwebtoken::{
    Algorithm, DecodingKey, Header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde_json::Value;

/// The algorithms that are taken. None of them is symmetric: a public key is no secret.
pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
/// The most keys of a set that are looked at.
const MAX_KEYS: usize = 64;

/// Returns the key that signed a token with this header. Only keys of the set count, whatever else the header names.
///
/// A token that names a key takes exactly that one. One that names none takes the only key of its kind.
pub fn find(set: &Value, header: &Header) -> Option<DecodingKey> {
    let keys = set.get("keys")?.as_array()?;
    let mut fitting = keys.iter().take(MAX_KEYS).filter_map(|key| {
        // A key of a kind that nobody here knows is no reason to refuse the others.
        let key: Jwk = serde_json::from_value(key.clone()).ok()?;
        fits(&key, header).then_some(key)
    });
    let key = fitting.next()?;
    if fitting.next().is_some() {
        return None;
    }
    DecodingKey::from_jwk(&key).ok()
}

fn fits(key: &Jwk, header: &Header) -> bool {
    let is_of_kind = match (&key.algorithm, header.alg) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => key.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    let algorithm = key.common.key_algorithm;
    let is_for_algorithm = algorithm
        .is_none_or(|algorithm| algorithm == KeyAlgorithm::from(header.alg) || is_ed25519(algorithm, header));
    let is_for_signatures =
        key.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let is_named = header.kid.is_none() || key.common.key_id == header.kid;
    is_of_kind && is_for_algorithm && is_for_signatures && is_named
}

/// Some providers name the curve where the algorithm stands, as RFC 9864 has it.
fn is_ed25519(algorithm: KeyAlgorithm, header: &Header) -> bool {
    algorithm == KeyAlgorithm::UNKNOWN_ALGORITHM && header.alg == Algorithm::EdDSA
}
