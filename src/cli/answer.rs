//! Reads a server's answers, for the commands that are its clients.

use reqwest::{StatusCode, Url};
use serde_json::Value;

/// The sentence of an answer that is an error.
pub(super) fn describe(status: StatusCode, body: &str) -> String {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    let error = &answer["error"];
    match (error["code"].as_str(), error["message"].as_str()) {
        (Some(code), Some(message)) => match error["hint"].as_str() {
            Some(hint) => format!("{code}: {message}; {hint}"),
            None => format!("{code}: {message}"),
        },
        _ => format!("the server answered {status}; is this a Coir server?"),
    }
}

/// A server's URL with this path behind it; `None` if the text is no such URL.
pub(super) fn path_url(base: &str, path: &[&str]) -> Option<Url> {
    let mut url = Url::parse(base).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    Some(url)
}
