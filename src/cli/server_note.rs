//! The note that a server leaves beside its SQLite file while it runs: where it serves, and who it is. The commands that talk to
//! the server of a directory find it by this.

use std::{
    fs,
    io::{self, Write},
    net::{IpAddr, UdpSocket},
    path::{Path, PathBuf},
};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::store::{DatabaseUrl, create_private};

/// Where a server serves, and who it is.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct ServerNote {
    /// Where a program on this machine reaches the server.
    pub(super) url: String,
    /// The answer of the server to the question who it is.
    pub(super) instance: String,
}

impl ServerNote {
    /// Whether the URL is one of this machine. A server writes no other, and a key must not follow a note that something else wrote.
    pub(super) fn is_of_this_machine(&self) -> bool {
        let Ok(url) = Url::parse(&self.url) else { return false };
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        url.scheme() == "http"
            && url.username().is_empty()
            && url.password().is_none()
            // The system binds a socket to its own addresses only.
            && host.parse().is_ok_and(|host: IpAddr| host.is_loopback() || UdpSocket::bind((host, 0)).is_ok())
    }
}

/// The file of a note. The process that wrote it takes it away when it stops; a process that is killed leaves it.
#[derive(Clone, Debug)]
pub(super) struct NoteFile(PathBuf);

impl NoteFile {
    /// Returns the file beside a database; `None` for a database that is no file.
    pub(super) fn of(database: &DatabaseUrl) -> Option<Self> {
        let mut path = database.file()?.into_os_string();
        path.push(".server");
        Some(Self(path.into()))
    }

    /// Returns the note, if there is a readable one.
    pub(super) fn read(&self) -> Option<ServerNote> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }

    /// Replaces the note.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write(&self, note: &ServerNote) -> io::Result<()> {
        let mut new = self.0.clone().into_os_string();
        new.push("-new");
        // A file that was left may have another mode, or be a link.
        match fs::remove_file(&new) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
        create_private(Path::new(&new))?.write_all(&serde_json::to_vec(note)?)?;
        fs::rename(new, &self.0)
    }

    /// Takes the note away, unless another server has replaced it, and puts back the one that was there before.
    pub(super) fn take_away(&self, note: &ServerNote, before: Option<&ServerNote>) {
        if self.read().as_ref() != Some(note) {
            return;
        }
        let outcome = match before {
            Some(before) => self.write(before),
            None => fs::remove_file(&self.0),
        };
        if let Err(err) = outcome {
            tracing::debug!("could not take {} away: {err}", self.0.display());
        }
    }
}
