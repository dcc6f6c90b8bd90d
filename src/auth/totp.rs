//! Codes of authenticator apps (RFC 6238, with the parameters that every app knows: SHA-1, 6 digits, 30 seconds), and recovery
//! codes.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;

use super::tokens::{TokenError, hash_token};
use crate::domain::Timestamp;

/// How long a code is shown.
const STEP_SECONDS: i64 = 30;
/// How many steps a code may be early or late, because clocks differ (RFC 6238, section 5.2).
const LEEWAY: u64 = 1;
/// Bytes of a secret (RFC 4226, section 4).
const SECRET_BYTES: usize = 20;
/// How many recovery codes a user gets, and the bytes of each.
const RECOVERY: (usize, usize) = (10, 10);

/// Makes a secret, in base32.
///
/// # Errors
/// [`TokenError::NotSigned`] if the operating system has no random numbers.
pub fn new_secret() -> Result<String, TokenError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| TokenError::NotSigned)?;
    Ok(BASE32_NOPAD.encode(&bytes))
}

/// Returns the address that an app reads from a QR code.
pub fn url(secret: &str, issuer: &str, account: &str) -> String {
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (issuer, account) = (encode(issuer), encode(account));
    format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period={STEP_SECONDS}"
    )
}

/// Finds the step whose code it is: the one of now or a neighbour, but none up to `last`, whose codes were used.
pub fn find_step(secret: &str, code: &str, now: Timestamp, last: u64) -> Option<u64> {
    let current = u64::try_from(now.0 / 1000 / STEP_SECONDS).ok()?;
    let steps = current.saturating_sub(LEEWAY)..=current + LEEWAY;
    // A code that fits two steps is used up to the later one.
    steps.rev().find(|step| *step > last && code_of(secret, *step).as_deref() == Some(code))
}

/// Returns the code of a step; `None` if the secret is not in base32.
pub fn code_of(secret: &str, step: u64) -> Option<String> {
    let secret = BASE32_NOPAD.decode(secret.as_bytes()).ok()?;
    let mut mac = <Hmac<Sha1> as Mac>::new_from_slice(&secret).ok()?;
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    // RFC 4226, section 5.3: the last four bits say where the number begins.
    let begin = usize::from(hash.last()? & 15);
    let bytes: [u8; 4] = hash.get(begin..begin + 4)?.try_into().ok()?;
    let number = u32::from_be_bytes(bytes) & 0x7fff_ffff;
    Some(format!("{:06}", number % 1_000_000))
}

/// Whether a text is a code of an app, and not a recovery code.
pub fn is_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Makes recovery codes for people to keep, such as `abcd-efgh-ijkl-mnop`.
///
/// # Errors
/// [`TokenError::NotSigned`] if the operating system has no random numbers.
pub fn new_recovery_codes() -> Result<Vec<String>, TokenError> {
    let code = |_| {
        let mut bytes = [0; RECOVERY.1];
        getrandom::fill(&mut bytes).map_err(|_| TokenError::NotSigned)?;
        let text = BASE32_NOPAD.encode(&bytes).to_lowercase();
        let parts: Vec<_> = (0..4).filter_map(|part| text.get(part * 4..part * 4 + 4)).collect();
        Ok(parts.join("-"))
    };
    (0..RECOVERY.0).map(code).collect()
}

/// Hashes a recovery code as it is stored, however it was typed.
pub fn hash_recovery_code(text: &str) -> String {
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    hash_token(&letters.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, with six digits.
    #[test]
    fn codes_are_those_of_the_specification() {
        let secret = BASE32_NOPAD.encode(b"12345678901234567890");
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_of(&secret, seconds / 30).as_deref(), Some(code), "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_in_its_step_and_the_neighbours_and_once() {
        let secret = BASE32_NOPAD.encode(b"12345678901234567890");
        let (step, code) = (37_037_036, "081804");
        let at = |seconds: i64| Timestamp(seconds * 1000);
        let begin = step as i64 * 30;
        for (why, seconds, last, expected) in [
            ("in its step", begin, 0, Some(step)),
            ("a step early", begin - 1, 0, Some(step)),
            ("a step late", begin + 59, 0, Some(step)),
            ("too early", begin - 31, 0, None),
            ("too late", begin + 60, 0, None),
            ("after the one before it", begin, step - 1, Some(step)),
            ("again", begin, step, None),
            ("after a later one", begin, step + 1, None),
        ] {
            assert_eq!(find_step(&secret, code, at(seconds), last), expected, "{why}");
        }
        assert_eq!(find_step("not base32!", code, at(begin), 0), None);
    }

    #[test]
    fn recovery_codes_are_read_however_they_are_typed() {
        let codes = new_recovery_codes().unwrap();
        assert_eq!((codes.len(), codes[0].len()), (10, 19));
        let typed = format!(" {} ", codes[0].to_uppercase().replace('-', " "));
        assert_eq!(hash_recovery_code(&typed), hash_recovery_code(&codes[0]));
        assert_ne!(hash_recovery_code(&codes[1]), hash_recovery_code(&codes[0]));
        assert!(is_code("012345") && !is_code(&codes[0]) && !is_code("12345a"));
    }
}
