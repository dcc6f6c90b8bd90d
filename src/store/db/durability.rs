//! What a committed write survives.

/// The failures that a committed write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: a commit waits for the disk.
    Full,
    /// A crash of the process. A power cut may take the last writes.
    Normal,
}

/// Says what a value of SQLite's `PRAGMA synchronous` means.
pub(super) fn report_of_sqlite(synchronous: i64) -> String {
    // https://www.sqlite.org/pragma.html#pragma_synchronous
    let (durability, word) = match synchronous {
        0 => ("none", "OFF"),
        1 => ("normal", "NORMAL"),
        2 => ("full", "FULL"),
        3 => ("full", "EXTRA"),
        _ => ("unknown", "unknown"),
    };
    format!("durability {durability} (SQLite synchronous={word})")
}

/// Says what a value of PostgreSQL's `synchronous_commit` means. Each but `off` waits for the disk of this server.
pub(super) fn report_of_postgres(synchronous_commit: &str) -> String {
    let durability = if synchronous_commit == "off" { "normal" } else { "full" };
    format!("durability {durability} (PostgreSQL synchronous_commit={synchronous_commit})")
}
