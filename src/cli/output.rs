//! The output of commands. A closed pipe or a full disk is an error and never a panic.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Standard output can't be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output can't be written: {0}")]
pub struct OutputError(io::Error);

/// Prints the result of a command, with a line end.
///
/// # Errors
/// [`OutputError`]: the result is lost, so the command has failed.
pub(super) fn print(result: impl Display) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{result}").and_then(|()| stdout.flush()).map_err(OutputError)
}

/// Tells the person at the terminal something beside the result, on standard error. Nobody may be there.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
