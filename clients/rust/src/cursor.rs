//! Where a subscription stands in the server's log.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// Opaque text that names a position in the log of a server. Give it back as it is to go on after that position.
///
/// A cursor says nothing about another server's log, or about this server's after a restore from a backup.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

/// The form that servers give out today: 1 byte form, 4 bytes project, 8 epoch, 8 sequence, 8 time, 4 check.
const LENGTH: usize = 33;
const FORM: u8 = 1;
const SEQUENCE: std::ops::Range<usize> = 13..21;

impl Cursor {
    /// A cursor with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for a header, a URL or a file.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the sequence of the last change before this position: 1, 2, 3 … in each project.
    ///
    /// The protocol doesn't promise that a cursor can be read. This reads the form that servers give out today and returns
    /// `None` for every other text, so use it to check an order, and do without the check if there is none.
    pub fn sequence(&self) -> Option<u64> {
        let mut bytes = [0; LENGTH];
        let length = URL_SAFE_NO_PAD.decode_slice(&self.0, &mut bytes).ok()?;
        if length != LENGTH || bytes[0] != FORM {
            return None;
        }
        bytes[SEQUENCE].try_into().ok().map(u64::from_be_bytes)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Cursor {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Cursor {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cursor as a server makes it; nothing here looks at its project, epoch, time and check.
    pub(crate) fn cursor(sequence: u64) -> Cursor {
        let mut bytes = [0; LENGTH];
        bytes[0] = FORM;
        bytes[SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
        Cursor(URL_SAFE_NO_PAD.encode(bytes))
    }

    #[test]
    fn the_sequence_of_a_known_form_is_read() {
        assert_eq!(cursor(77).sequence(), Some(77));
        assert_eq!(cursor(u64::MAX).sequence(), Some(u64::MAX));
        let other_form = URL_SAFE_NO_PAD.encode([&[2_u8] as &[u8], &[0; 32]].concat());
        for text in
            ["", "x", "not base64!", &cursor(7).as_str()[4..], &format!("{}AAAA", cursor(7)), &other_form]
        {
            assert_eq!(Cursor::from(text).sequence(), None, "{text}");
        }
    }
}
