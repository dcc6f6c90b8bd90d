//! Names and ids. They are parsed once, so a value is always valid.

use std::{fmt, sync::Arc};

use super::Timestamp;

/// An id that the server makes: a UUIDv7 as text.
macro_rules! own_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Makes a new id. Later ids of this process sort after earlier ones.
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7().to_string().into())
            }

            /// Takes an id from the database without checking it.
            pub fn from_stored(text: &str) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

own_id! {
    /// Identifies a project.
    ProjectId
}
own_id! {
    /// Identifies a collection, through every rename.
    CollectionId
}
own_id! {
    /// Identifies an index that a collection declares.
    IndexId
}
own_id! {
    /// Identifies an API key. It is not the key itself.
    KeyId
}
own_id! {
    /// Identifies a session of a user. It is no secret.
    SessionId
}

/// Why a text is not a name, an id or a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(&'static str);

/// The name of a collection: `[A-Za-z][A-Za-z0-9_-]{0,63}`, case-sensitive.
///
/// It is not `documents` or `file`, which are paths of the API, and not a UUID, which would be taken for an id. The built-in
/// collections have names that no caller can choose: they begin with `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionName(Arc<str>);

/// The built-in collection of users.
pub const USERS: &str = "_users";

impl CollectionName {
    /// Whether this is a collection that every project has, and that nobody creates, renames or removes.
    pub fn is_built_in(&self) -> bool {
        self.0.starts_with('_')
    }

    /// Whether this is the collection of users.
    pub fn is_users(&self) -> bool {
        &*self.0 == USERS
    }

    /// Parses a name that a caller chose.
    ///
    /// # Errors
    /// [`NameError`], whose message is for the caller.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let form = bytes.first().is_some_and(u8::is_ascii_alphabetic)
            && bytes.len() <= 64
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !form {
            return Err(NameError(
                "a collection name must be a letter followed by at most 63 letters, digits, `_` or `-`",
            ));
        }
        if matches!(text, "documents" | "file") {
            return Err(NameError(
                "a collection name must not be `documents` or `file`, which are paths of the API",
            ));
        }
        if uuid::Uuid::try_parse(text).is_ok() {
            return Err(NameError("a collection name must not be a UUID"));
        }
        Ok(Self(text.into()))
    }

    /// Takes a name from the database without checking it.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identifies a document in its collection: `[A-Za-z0-9_-]{1,64}` if the caller chose it, and a UUIDv7 otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId(Arc<str>);

/// Path segments of the API that stand in the place of an id.
const VERBS: [&str; 6] = ["documents", "batch", "batch-delete", "query", "export", "settings"];

impl DocumentId {
    /// Makes a new id for the document whose first change has this sequence and time. The ids of a project sort as these changes.
    pub fn of(sequence: u64, at: Timestamp) -> Self {
        // RFC 9562, section 6.2, method 1: a time, a counter of 42 bits, which is the sequence, and 32 random bits.
        let random = uuid::Uuid::now_v7().as_u128() as u32;
        let rest = (u128::from(sequence) << 32) | u128::from(random);
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&((rest >> 62) as u16).to_be_bytes());
        bytes[2..].copy_from_slice(&(rest as u64 & (u64::MAX >> 2)).to_be_bytes());
        let millis = u64::try_from(at.0).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid().to_string().into())
    }

    /// Parses an id that a caller chose.
    ///
    /// # Errors
    /// [`NameError`], whose message is for the caller.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let form = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !form {
            return Err(NameError("a document id must be 1 to 64 letters, digits, `_` or `-`"));
        }
        if VERBS.contains(&text) {
            return Err(NameError(
                "a document id must not be `documents`, `batch`, `batch-delete`, `query`, `export` or `settings`, which are paths of the API",
            ));
        }
        Ok(Self(text.into()))
    }

    /// Takes an id from the database without checking it.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Enters an object and never an array.
    Key(String),
    /// Enters an array and never an object. Counted from 0.
    Index(u32),
}

/// The path to a value inside a document's data: 1 to 16 segments.
///
/// As text, dots separate the segments, and a segment of digits is an index. `\.` is a dot in a key, `\\` is a backslash, and
/// a backslash before a digit makes it a key. Any other character stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Arc<[Segment]>);

impl FieldPath {
    /// Parses the text form.
    ///
    /// # Errors
    /// [`NameError`], whose message is for the caller: an empty segment beside others, too many segments, or U+0000.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.contains('\0') {
            return Err(NameError("a field name must not contain the character U+0000"));
        }
        let mut segments = Vec::new();
        let (mut key, mut escaped) = (String::new(), false);
        let mut chars = text.chars();
        loop {
            match chars.next() {
                Some('\\') => {
                    escaped = true;
                    match chars.next() {
                        Some(next @ ('.' | '\\' | '0'..='9')) => key.push(next),
                        Some(other) => key.extend(['\\', other]),
                        None => key.push('\\'),
                    }
                }
                Some('.') => segments.push(segment(&mut key, &mut escaped)),
                Some(other) => key.push(other),
                None => break,
            }
        }
        segments.push(segment(&mut key, &mut escaped));
        if segments.len() > 1 && segments.contains(&Segment::Key(String::new())) {
            return Err(NameError(
                "a field path must not have an empty part; a dot enters an object, as in `a.b`, and `\\.` is a dot in a field's name",
            ));
        }
        if segments.len() > 16 {
            return Err(NameError("a field path must have at most 16 parts"));
        }
        Ok(Self(segments.into()))
    }

    /// Returns the segments, the outermost first.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Returns the path as a JSON pointer (RFC 6901).
    pub fn to_pointer(&self) -> String {
        let step = |segment: &Segment| match segment {
            Segment::Key(key) => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Index(index) => format!("/{index}"),
        };
        self.0.iter().map(step).collect()
    }
}

/// Writes the text form that [`FieldPath::parse`] reads.
impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(".")?;
            }
            match segment {
                Segment::Index(index) => write!(f, "{index}")?,
                Segment::Key(key) => {
                    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit()) {
                        f.write_str("\\")?;
                    }
                    f.write_str(&key.replace('\\', "\\\\").replace('.', "\\."))?;
                }
            }
        }
        Ok(())
    }
}

fn segment(key: &mut String, escaped: &mut bool) -> Segment {
    let was_escaped = std::mem::take(escaped);
    let key = std::mem::take(key);
    let digits = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
    match key.parse::<u32>() {
        // Databases count array elements with 32-bit signed integers.
        Ok(index) if digits && !was_escaped && index <= i32::MAX as u32 => Segment::Index(index),
        _ => Segment::Key(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Segment {
        Segment::Key(text.to_owned())
    }

    #[test]
    fn dots_and_digits_and_backslashes_of_a_path_have_their_meaning() {
        for (text, expected) in [
            ("status", vec![key("status")]),
            ("Major Genre", vec![key("Major Genre")]),
            ("author.name", vec![key("author"), key("name")]),
            ("tags.0", vec![key("tags"), Segment::Index(0)]),
            (r"a\.b", vec![key("a.b")]),
            (r"a.\0", vec![key("a"), key("0")]),
            (r"back\\slash", vec![key(r"back\slash")]),
            ("", vec![key("")]),
            ("99999999999", vec![key("99999999999")]),
        ] {
            let path = FieldPath::parse(text);
            assert_eq!(FieldPath::parse(&path.clone().unwrap().to_string()), path, "{text}");
            assert_eq!(path.map(|path| path.0.to_vec()), Ok(expected), "{text}");
        }
        for text in ["a..b", ".a", "a.", "a\0"] {
            assert!(FieldPath::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_that_are_paths_of_the_api_are_rejected() {
        for (name, valid) in [
            ("posts", true),
            ("P-1_x", true),
            ("documents", false),
            ("file", false),
            ("1posts", false),
            ("", false),
            ("b1a4e6f0-0000-7000-8000-000000000000", false),
            ("b1a4e6f0000070008000000000000000", false),
            ("naïve", false),
        ] {
            assert_eq!(CollectionName::parse(name).is_ok(), valid, "{name}");
        }
        assert!(CollectionName::parse(&"a".repeat(64)).is_ok());
        assert!(CollectionName::parse(&"a".repeat(65)).is_err());
        assert!(DocumentId::parse("settings").is_err());
        assert!(DocumentId::parse("a b").is_err());
    }
}
