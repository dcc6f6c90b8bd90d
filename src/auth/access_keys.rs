//! The keys that sign access tokens: secrets for HS256, and Ed25519 key pairs, whose public halves are published.

use data_encoding::HEXLOWER;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, errors,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};
use sha2::{Digest, Sha256};

use crate::domain::secrets::Secrets;

/// The `typ` of an access token (RFC 9068, section 2.1).
pub const TYPE: &str = "at+jwt";

/// The bytes before the 32 bytes of an Ed25519 private key in PKCS #8 (RFC 8410, section 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The algorithm that signs new access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// Only this server can verify them.
    Hs256,
    /// Everybody can, with the published key.
    EdDsa,
}

/// The keys of access tokens. All of them read, whatever signs, so that a switch of the algorithm signs nobody out.
pub struct AccessKeys {
    /// Those of the algorithm that signs come first, and of these the current one.
    keys: Vec<AccessKey>,
    /// The secrets of the algorithm that signs.
    secrets: Secrets,
    published: JwkSet,
}

/// A key with the only header that its tokens have.
pub struct AccessKey {
    pub header: Header,
    pub signing: EncodingKey,
    pub reading: DecodingKey,
}

impl AccessKeys {
    /// Takes the secrets of both algorithms.
    ///
    /// # Errors
    /// A secret of EdDSA that isn't 32 bytes long.
    pub fn new(algorithm: TokenAlgorithm, hs256: &Secrets, eddsa: &Secrets) -> Result<Self, errors::Error> {
        let symmetric: Vec<AccessKey> = hs256.all().map(AccessKey::symmetric).collect();
        let pairs: Vec<(AccessKey, Jwk)> =
            eddsa.all().map(|secret| AccessKey::pair(secret)).collect::<Result<_, _>>()?;
        let (pairs, public): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        Ok(match algorithm {
            TokenAlgorithm::Hs256 => Self {
                keys: symmetric.into_iter().chain(pairs).collect(),
                secrets: hs256.clone(),
                published: JwkSet::default(),
            },
            TokenAlgorithm::EdDsa => Self {
                keys: pairs.into_iter().chain(symmetric).collect(),
                secrets: eddsa.clone(),
                published: JwkSet { keys: public },
            },
        })
    }

    /// Returns the key that signs new tokens.
    pub fn signing(&self) -> Option<&AccessKey> {
        // The previous one of the same algorithm stands second.
        self.keys.get(usize::from(self.secrets.previous_signs()))
    }

    /// Returns the key whose tokens have this header. The header must be the same in every member, the algorithm among them, so that
    /// no key is used with the algorithm of another one, and nothing that a header names beside is looked at.
    pub fn find(&self, header: &Header) -> Option<&AccessKey> {
        self.keys.iter().find(|key| key.header == *header)
    }

    /// Returns the public keys by which other services verify tokens. With HS256 there are none.
    pub fn published(&self) -> &JwkSet {
        &self.published
    }
}

impl AccessKey {
    fn symmetric(secret: &Vec<u8>) -> Self {
        let id = HEXLOWER.encode(&Sha256::digest(secret)[..8]);
        Self {
            header: header(Algorithm::HS256, id),
            signing: EncodingKey::from_secret(secret),
            reading: DecodingKey::from_secret(secret),
        }
    }

    /// Makes an Ed25519 key, and its public half. Its id is the thumbprint of the public half (RFC 7638).
    fn pair(secret: &[u8]) -> Result<(Self, Jwk), errors::Error> {
        let signing = EncodingKey::from_ed_der(&[&PKCS8[..], secret].concat());
        let mut public = Jwk::from_encoding_key(&signing, Algorithm::EdDSA)?;
        let id = public.thumbprint(ThumbprintHash::SHA256)?;
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let reading = DecodingKey::from_jwk(&public)?;
        Ok((Self { header: header(Algorithm::EdDSA, id), signing, reading }, public))
    }
}

fn header(algorithm: Algorithm, id: String) -> Header {
    Header { typ: Some(TYPE.to_owned()), kid: Some(id), ..Header::new(algorithm) }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    fn secrets(current: &[u8], previous: Option<&[u8]>) -> Secrets {
        Secrets::new(current.to_vec(), previous.map(<[u8]>::to_vec))
    }

    /// The key pair and the thumbprint of RFC 8037, appendices A.1 to A.3.
    #[test]
    fn a_key_pair_is_that_of_the_standard() {
        let secret = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let keys = AccessKeys::new(TokenAlgorithm::EdDsa, &secrets(&[1; 32], None), &secrets(&secret, None))
            .unwrap();
        let published = serde_json::to_value(keys.published()).unwrap();
        let expected = serde_json::json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "alg": "EdDSA", "use": "sig", "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        }] });
        assert_eq!(published, expected);
    }

    #[test]
    fn an_ed25519_secret_of_another_length_is_refused() {
        for length in [0, 31, 33, 48, 64] {
            let eddsa = secrets(&vec![1; length], None);
            assert!(AccessKeys::new(TokenAlgorithm::Hs256, &secrets(&[1; 32], None), &eddsa).is_err());
        }
    }
}
