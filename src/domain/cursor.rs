//! Cursors to resume from: a [`Position`] as opaque text, bound to its project and to the epoch of its log.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Position, ProjectId, Timestamp, checksum::checksum};

/// The history that a log belongs to. After a restore the log may get another epoch, with sequences of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Returns the stored form: 16 hexadecimal digits.
    pub fn to_text(self) -> String {
        format!("{:016x}", self.0)
    }

    /// Reads the stored form. Any other text gives an epoch that no cursor has.
    pub fn from_stored(text: &str) -> Self {
        Self(u64::from_str_radix(text, 16).unwrap_or(0))
    }
}

/// The position from which a client resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub epoch: Epoch,
    /// The client has seen every change up to here.
    pub position: Position,
}

/// Why a text is not a cursor of this project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    #[error("this is not a valid cursor; send the text of a cursor exactly as the server gave it")]
    Garbled,
    #[error("this cursor belongs to another project")]
    Foreign,
}

/// Layout: 1 byte for the form, 4 for the checksum of the project, 8 for the epoch, 8 for the sequence, 8 for the time, 4 for
/// the checksum of all that. Big-endian.
const LENGTH: usize = 33;
const FORM: u8 = 1;

impl Cursor {
    /// Returns the text for clients: 44 characters that need no escaping in a URL, in JSON or in an SSE stream.
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

    /// Reads a cursor of `project`. The log may have pruned its position since.
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
