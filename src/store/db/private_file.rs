//! Files that nobody but their owner may read: a database has everybody's documents.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

/// Creates a file that its owner alone may read and write, whatever the umask is.
///
/// # Errors
/// The file exists, whose mode is left to whoever made it, or it can't be created.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
