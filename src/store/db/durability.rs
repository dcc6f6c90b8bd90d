//! What a committed write survives.

/// The failures that a committed write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: a commit waits for the disk.
    Full,
    /// A crash of the process. A power cut may take the last writes.
    Normal,
}
