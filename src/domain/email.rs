//! E-mail addresses. Each has one spelling, by which it is unique.

use std::{fmt, sync::Arc};

use unicode_normalization::UnicodeNormalization;

/// The most bytes of an e-mail address (RFC 5321, section 4.5.3.1.3, without the angle brackets).
const MAX_BYTES: usize = 254;
/// The most bytes in front of the `@` (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// An e-mail address to which mail can be sent: in lower case and in Unicode's composed form (NFC), with the domain as people read
/// it (`exämple.com` for `xn--exmple-cua.com`). It is unique in its project.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(Arc<str>);

/// Why a text is not an e-mail address. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`email` must be an e-mail address to which mail can be sent, such as ada@example.com, of at most 254 bytes"
)]
pub struct EmailError;

impl Email {
    /// Reads an address, without the white space around it. Whether somebody reads its mail is found out by sending one.
    ///
    /// # Errors
    /// [`EmailError`].
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text: String = text.trim().to_lowercase().nfc().collect();
        let (local, domain) = text.split_once('@').ok_or(EmailError)?;
        let has_other = |c: char| c.is_whitespace() || c.is_control() || is_invisible(c);
        if local.len() > MAX_LOCAL_BYTES
            || domain.starts_with('[')
            || text.contains(['<', '>', '"', ',', ';', '(', ')', '\\'])
            || text.contains(has_other)
        {
            return Err(EmailError);
        }
        // Letters, digits and hyphens, as the names of hosts that take mail have.
        let ascii = idna::domain_to_ascii_strict(domain).map_err(|_| EmailError)?;
        let (shown, _) = idna::domain_to_unicode(&ascii);
        let address = Self(format!("{local}@{shown}").into());
        // The crate that sends mails has the last word.
        let is_sendable = address.to_sendable().is_some_and(|text| text.len() <= MAX_BYTES);
        if is_sendable && address.0.len() <= MAX_BYTES { Ok(address) } else { Err(EmailError) }
    }

    /// Takes an address from the database without checking it. Those of older versions may be spelled in another way.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what is behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }

    /// Returns the address as a mail server takes it, with the domain in ASCII. `None` if it can't be sent to.
    pub fn to_sendable(&self) -> Option<String> {
        let (local, domain) = self.0.split_once('@')?;
        let text = format!("{local}@{}", idna::domain_to_ascii(domain).ok()?);
        text.parse::<lettre::Address>().is_ok().then_some(text)
    }

    /// Returns this spelling, and those in which an older version may have stored the same address.
    pub fn spellings(&self) -> Vec<Self> {
        let mut all = vec![self.clone()];
        if let Some((local, domain)) = self.0.split_once('@').filter(|_| !self.0.is_ascii()) {
            let mut locals = vec![local.to_owned()];
            locals.extend(Some(local.nfd().collect::<String>()).filter(|other| other != local));
            let mut domains = vec![domain.to_owned()];
            domains.extend(Some(domain.nfd().collect::<String>()).filter(|other| other != domain));
            domains.extend(idna::domain_to_ascii(domain).ok().filter(|other| other != domain));
            let pairs = locals.iter().flat_map(|local| domains.iter().map(move |domain| (local, domain)));
            all.extend(pairs.skip(1).map(|(local, domain)| Self(format!("{local}@{domain}").into())));
        }
        all
    }
}

/// Whether a character is not seen, so that two addresses with and without it look the same.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Hides the address, which must not reach a log.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for (spelling, address) in [
            (" Ada@Example.COM ", "ada@example.com"),
            ("jose\u{301}@example.com", "jos\u{e9}@example.com"),
            ("JOSE\u{301}@example.com", "jos\u{e9}@example.com"),
            ("ada@ex\u{e4}mple.com", "ada@ex\u{e4}mple.com"),
            ("ada@exa\u{308}mple.com", "ada@ex\u{e4}mple.com"),
            ("ada@xn--exmple-cua.com", "ada@ex\u{e4}mple.com"),
            ("ada@XN--EXMPLE-CUA.com", "ada@ex\u{e4}mple.com"),
            ("ada@\u{ff45}xample.com", "ada@example.com"),
            ("ada+tag@sub.example.com", "ada+tag@sub.example.com"),
            ("a@127.0.0.1", "a@127.0.0.1"),
        ] {
            let read = Email::parse(spelling).unwrap();
            assert_eq!(read.as_str(), address, "{spelling}");
            assert_eq!(Email::parse(address), Ok(read), "{spelling}");
        }
    }

    #[test]
    fn what_cannot_be_mailed_is_no_address() {
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a@b@c",
            "a b@c.d",
            "a@b..c",
            "a@.b",
            "<a@b.c>",
            "a@b.c,d@e.f",
            ".ada@example.com",
            "ada.@example.com",
            "a..da@example.com",
            "ada@-example.com",
            "ada@example-.com",
            "ada@exam/ple.com",
            "ada@exam_ple.com",
            "a:b@example.com",
            "ada@[127.0.0.1]",
            "ada@xn--\u{e4}.com",
            "ad\u{200b}a@example.com",
            "ad\u{202e}a@example.com",
        ] {
            assert_eq!(Email::parse(bad), Err(EmailError), "{bad}");
        }
        assert!(Email::parse(&format!("a@{}.example", "b".repeat(64))).is_err());
        assert!(Email::parse(&format!("{}@example.com", "b".repeat(65))).is_err());
        assert!(Email::parse(&format!("a@{}example", "\u{e4}.".repeat(100))).is_err(), "too long in ASCII");
    }

    #[test]
    fn the_spellings_of_older_versions_are_known() {
        let texts = |email: &str| {
            let all = Email::parse(email).unwrap().spellings();
            all.into_iter().map(|email| email.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts("ada@example.com"), ["ada@example.com"]);
        let all = texts("jos\u{e9}@ex\u{e4}mple.com");
        assert_eq!((all.len(), all[0].as_str()), (6, "jos\u{e9}@ex\u{e4}mple.com"));
        for old in ["jose\u{301}@exa\u{308}mple.com", "jos\u{e9}@xn--exmple-cua.com"] {
            assert!(all.iter().any(|one| one == old), "{all:?}");
        }
    }
}
