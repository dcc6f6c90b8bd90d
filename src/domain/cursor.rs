//! Resume cursors: a [`Position`] as opaque text, bound to its project and to its log's epoch.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::domain::{Position, ProjectId, Timestamp};

/// Which history a log is. Another epoch (after a restore) is another history, with sequences of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The form it is stored in: 16 hexadecimal digits.
    pub fn to_text(self) -> String {
        format!("{:016x}", self.0)
    }

    /// Reads the stored form. Text that is none gives an epoch that no cursor has.
    pub fn from_stored(text: &str) -> Self {
        Self(u64::from_str_radix(text, 16).unwrap_or(0))
    }
}

/// Where a project's log is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The history that the position is in.
    pub epoch: Epoch,
    /// Every change up to here was seen.
    pub position: Position,
}

/// Text that is no cursor of this project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// None that this server made.
    #[error("this is no cursor; come back with the text of one exactly as it was given out")]
    Garbled,
    /// A cursor, but not of this project.
    #[error("this cursor belongs to another project")]
    Foreign,
}

/// Layout: 1 byte form, 4 bytes project, 8 epoch, 8 sequence, 8 time, 4 check; big-endian.
const LENGTH: usize = 33;
const FORM: u8 = 1;

impl Cursor {
    /// The text that clients get: 44 characters, which need no escaping in a URL, in JSON or in an SSE stream.
    pub fn encode(&self, project: &ProjectId) -> String {
        let mut bytes = [0; LENGTH];
        bytes[0] = FORM;
        bytes[1..5].copy_from_slice(&checksum(project.as_str().as_bytes()).to_be_bytes());
        bytes[5..13].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[13..21].copy_from_slice(&self.position.sequence.to_be_bytes());
        bytes[21..29].copy_from_slice(&self.position.at.0.to_be_bytes());
        let check = checksum(&bytes[..29]);
        bytes[29..].copy_from_slice(&check.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor of `project`. Whether its position is still in the log is not known here.
    ///
    /// # Errors
    /// [`CursorError`] if the text is not one that [`Cursor::encode`] made for this project.
    pub fn decode(text: &str, project: &ProjectId) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Garbled)?;
        let bytes: [u8; LENGTH] = bytes.try_into().map_err(|_| CursorError::Garbled)?;
        let number = |from: usize| {
            bytes[from..from + 8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        if bytes[0] != FORM || bytes[29..] != checksum(&bytes[..29]).to_be_bytes() {
            return Err(CursorError::Garbled);
        }
        if bytes[1..5] != checksum(project.as_str().as_bytes()).to_be_bytes() {
            return Err(CursorError::Foreign);
        }
        let position = Position { sequence: number(13), at: Timestamp(number(21) as i64) };
        Ok(Self { epoch: Epoch(number(5)), position })
    }
}

/// FNV-1a, 32 bits: finds a slip of the hand. A cursor grants nothing, so it needs no signature.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_a_garbled_one_does_not() {
        let project = ProjectId::generate();
        let cursor = Cursor {
            epoch: Epoch(u64::MAX - 5),
            position: Position { sequence: 77, at: Timestamp(1_764_000_000_123) },
        };
        let text = cursor.encode(&project);
        assert_eq!(Cursor::decode(&text, &project), Ok(cursor));
        assert_eq!(coir_client::Cursor::from(text.as_str()).sequence(), Some(77), "as clients read it");
        assert_eq!(
            Cursor::decode(&text, &ProjectId::generate()),
            Err(CursorError::Foreign),
            "another project's"
        );
        for place in 0..text.len() {
            let mut garbled = text.clone().into_bytes();
            garbled[place] = if garbled[place] == b'A' { b'B' } else { b'A' };
            let garbled = String::from_utf8(garbled).unwrap();
            assert_eq!(Cursor::decode(&garbled, &project), Err(CursorError::Garbled), "{garbled}");
        }
        assert_eq!(Cursor::decode("", &project), Err(CursorError::Garbled));
    }
}
