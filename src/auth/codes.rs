//! Makes the secrets of codes: tokens for links, and six digits for people. Only their hashes are stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::tokens::{TokenError, hash_token};

/// Bytes of a token, which nobody can guess.
const TOKEN_BYTES: usize = 32;
/// The first number that has seven digits.
const DIGITS_END: u64 = 1_000_000;

/// A secret that was just made, with its hash.
pub struct Secret {
    /// For the mail, and for nothing else.
    pub text: String,
    pub hash: String,
}

impl Secret {
    /// Makes a token for a link.
    ///
    /// # Errors
    /// [`TokenError::NotSigned`] if the operating system has no random numbers.
    pub fn token() -> Result<Self, TokenError> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| TokenError::NotSigned)?;
        let text = URL_SAFE_NO_PAD.encode(bytes);
        Ok(Self { hash: hash_token(&text), text })
    }

    /// Makes six digits, which are good for the code whose token has this hash.
    ///
    /// # Errors
    /// [`TokenError::NotSigned`] if the operating system has no random numbers.
    pub fn digits(token_hash: &str) -> Result<Self, TokenError> {
        let number = getrandom::u64().map_err(|_| TokenError::NotSigned)? % DIGITS_END;
        let text = format!("{number:06}");
        Ok(Self { hash: hash_digits(token_hash, &text), text })
    }
}

/// Hashes the digits of a code. The hash of its token stands for a salt: the same digits have another hash in each code.
pub fn hash_digits(token_hash: &str, digits: &str) -> String {
    hash_token(&format!("{token_hash}:{digits}"))
}
