//! A server and the key to it.

use std::fmt;

use url::Url;

use crate::{Error, Subscribe, Watch};

/// A server and the key to it. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    base: Url,
    key: String,
    #[cfg(feature = "sse")]
    http: reqwest::Client,
}

impl Client {
    /// A client of the server at `base`, such as `http://127.0.0.1:8080`, which shows this key. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] unless `base` is an absolute `http` or `https` URL.
    pub fn new(base: &str, key: impl Into<String>) -> Result<Self, Error> {
        let invalid = || Error::InvalidUrl(base.to_owned());
        let url = Url::parse(base).map_err(|_| invalid())?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(invalid());
        }
        Ok(Self {
            base: url,
            key: key.into(),
            #[cfg(feature = "sse")]
            http: crate::event_stream::http_client()?,
        })
    }

    /// Uses an HTTP client of yours for server-sent events: with a proxy, a certificate or other timeouts.
    ///
    /// Give it a read timeout above 15 seconds, which is how often an idle stream sends something. Give it no timeout for a
    /// whole request, since a stream doesn't end.
    #[cfg(feature = "sse")]
    pub fn with_http(mut self, http: reqwest::Client) -> Self {
        self.http = http;
        self
    }

    /// Begins to watch a collection, named alone or in a [`Subscribe`]. Nothing is sent before the stream is first asked for a message.
    pub fn watch(&self, wanted: impl Into<Subscribe>) -> Watch {
        Watch::new(self.clone(), wanted.into())
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    #[cfg(feature = "sse")]
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The server's URL with this path behind it.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

/// Without the key, so that it gets into no log.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_needs_the_url_of_a_server() {
        for base in ["nowhere", "127.0.0.1:8080", "ftp://host", "mailto:a@b", ""] {
            assert!(matches!(Client::new(base, "k"), Err(Error::InvalidUrl(text)) if text == base), "{base}");
        }
        for base in ["http://127.0.0.1:8080", "https://host/", "http://host/behind/a/proxy/"] {
            let url = Client::new(base, "k").unwrap().url(&["realtime", "sse", "a/b"]).to_string();
            assert!(url.starts_with(base) && url.ends_with("/realtime/sse/a%2Fb"), "{url}");
        }
    }

    #[test]
    fn a_client_does_not_show_its_key() {
        let client = Client::new("http://127.0.0.1:8080", "sk_secret").unwrap();
        let shown = format!("{client:?} {:?}", client.watch("books"));
        assert!(!shown.contains("secret") && shown.contains("127.0.0.1"), "{shown}");
    }
}
