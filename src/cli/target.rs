//! The server that a command talks to. The command asks it who it is before it sends a key or data there.

use std::{error::Error, time::Duration};

use reqwest::{Client, Url, redirect::Policy};

use super::{
    address::browser_address,
    answer::path_url,
    output::note,
    server_note::{NoteFile, ServerNote},
};
use crate::{
    api::health::INSTANCE_HEADER,
    config::{self, ConfigError, Given},
};

/// How long a server may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that has said that it is one of Coir.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: String,
}

/// Why there is no server to talk to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("`{0}` is not the URL of a server, such as http://127.0.0.1:8080{hint}", hint = with_scheme(.0))]
    BadUrl(String),
    #[error("no server runs on {0}; start it with `coir`, or name a running server with --url or COIR_URL")]
    NoServer(String),
    #[error(
        "the note beside {0} names {1}, which is not an address of this machine, so no server wrote it; no key and no data were sent. Name the server with --url or COIR_URL, or start it with `coir`, which writes the note anew"
    )]
    ForeignNote(String, String),
    #[error("the HTTP client can't be made: {0}")]
    Client(reqwest::Error),
    #[error("the server at {0} can't be reached: {1}. Is it running? --url or COIR_URL names another")]
    Unreachable(String, String),
    #[error(
        "no Coir server answers at {0}, but something else ({1}); no key and no data were sent to it. --url or COIR_URL names another server"
    )]
    NotCoir(String, String),
    #[error(
        "the server that answers at {0} is not the one of {1}, which has stopped; no key and no data were sent to it. Start the right one with `coir`, or name another with --url or COIR_URL"
    )]
    Another(String, String),
}

/// Finds the server at `url`, or else the one of this directory, asks it who it is, and says so on standard error.
///
/// # Errors
/// [`TargetError`].
pub(super) async fn find(url: Option<&str>, given: &Given) -> Result<Target, TargetError> {
    let (url, known, origin) = match url {
        Some(url) => (url.to_owned(), None, "named by --url or COIR_URL".to_owned()),
        None => server_of_this_directory(given)?,
    };
    let shown = without_password(&url)?;
    let instance = ask(&url, &shown).await?;
    match known {
        Some(known) if known.instance != instance => Err(TargetError::Another(shown, origin)),
        Some(_) => Ok(tell(url, &shown, &format!("the server of {origin}"))),
        None => Ok(tell(url, &shown, &origin)),
    }
}

fn tell(url: String, shown: &str, who: &str) -> Target {
    note(format_args!("Talking to {shown}, {who}."));
    Target { url }
}

/// Returns the URL, what the server must answer to the question who it is, and where the URL comes from.
fn server_of_this_directory(given: &Given) -> Result<(String, Option<ServerNote>, String), TargetError> {
    let database = config::database_of(given)?;
    let file = NoteFile::of(&database);
    if let Some(note) = file.as_ref().and_then(NoteFile::read) {
        if !note.is_of_this_machine() {
            let shown = without_password(&note.url).unwrap_or_else(|_| "no URL".to_owned());
            return Err(TargetError::ForeignNote(database.to_string(), shown));
        }
        return Ok((note.url.clone(), Some(note), database.to_string()));
    }
    let (listen, is_chosen) = config::listen_of(given)?;
    if file.is_some() && !is_chosen {
        return Err(TargetError::NoServer(database.to_string()));
    }
    Ok((format!("http://{}", browser_address(listen)), None, "where COIR_LISTEN says".to_owned()))
}

/// Says how the text would be a URL, if it lacks nothing but `http://`.
fn with_scheme(text: &str) -> String {
    let url = format!("http://{text}");
    let is_host = |url: Url| {
        let host = url.host_str().unwrap_or_default().to_owned();
        !text.contains("://") && (url.port().is_some() || host == "localhost" || host.contains('.'))
    };
    match Url::parse(&url).is_ok_and(is_host) {
        true => format!("; did you mean {url}?"),
        false => String::new(),
    }
}

/// Returns a URL as it may be shown.
fn without_password(url: &str) -> Result<String, TargetError> {
    let bad = || TargetError::BadUrl(url.to_owned());
    let is_web = |url: &Url| url.has_host() && matches!(url.scheme(), "http" | "https");
    let mut shown = Url::parse(url).ok().filter(is_web).ok_or_else(bad)?;
    if !shown.username().is_empty() || shown.password().is_some() {
        shown.set_username("").and_then(|()| shown.set_password(None)).map_err(|()| bad())?;
    }
    Ok(shown.as_str().trim_end_matches('/').to_owned())
}

/// Asks a server who it is.
async fn ask(url: &str, shown: &str) -> Result<String, TargetError> {
    let question = path_url(url, &["health", "live"]).ok_or_else(|| TargetError::BadUrl(url.to_owned()))?;
    // A redirect would lead somewhere that nobody named.
    let client = Client::builder().timeout(PATIENCE).redirect(Policy::none()).build();
    let answer = client.map_err(TargetError::Client)?.get(question).send().await;
    let answer = answer.map_err(|err| {
        let err = err.without_url();
        let mut reason: &dyn Error = &err;
        while let Some(source) = reason.source() {
            reason = source;
        }
        TargetError::Unreachable(shown.to_owned(), reason.to_string())
    })?;
    let instance = answer.headers().get(INSTANCE_HEADER).and_then(|value| value.to_str().ok());
    match instance {
        Some(instance) => Ok(instance.to_owned()),
        None => Err(TargetError::NotCoir(shown.to_owned(), format!("it answers {}", answer.status()))),
    }
}
