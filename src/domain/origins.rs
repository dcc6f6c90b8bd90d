//! The origins of pages that may use a key.

use url::Url;

/// The most origins of a key.
pub const MAX_ORIGINS: usize = 50;
/// The most characters of an origin.
const MAX_LENGTH: usize = 255;
/// Stands for the labels of a host that a pattern leaves open.
const ANY: &str = "*.";

/// Origins such as `https://app.example.com`, and patterns such as `https://*.example.com`, which stands for every host below
/// `example.com` and not for that itself. An empty list stands for all origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

/// A text that is no origin. The message is for the caller.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error(
        "`origins[{0}]` must be an origin such as https://app.example.com or https://*.example.com, without a path"
    )]
    Form(usize),
    #[error("`origins` may have at most {MAX_ORIGINS} members")]
    TooMany,
}

impl Origins {
    /// Reads a list of origins, and writes each as browsers do.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, OriginError> {
        if texts.len() > MAX_ORIGINS {
            return Err(OriginError::TooMany);
        }
        let mut origins = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            let origin = normalize(text.as_ref()).ok_or(OriginError::Form(place))?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        Ok(Self(origins))
    }

    /// Reads the form in the database. Text that this version can't read admits no page.
    pub fn from_stored(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::default() };
        Self(
            serde_json::from_str(text)
                .ok()
                .filter(|list: &Vec<_>| !list.is_empty())
                .unwrap_or(vec![String::new()]),
        )
    }

    /// Returns the form in the database; `None` for all origins.
    pub fn to_stored(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| serde_json::Value::from(self.0.clone()).to_string())
    }

    /// Returns the origins and patterns.
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }

    /// Whether a page of this origin, as a browser names it, may use the key.
    pub fn admits(&self, origin: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| fits(pattern, origin))
    }

    /// Whether all that others admit is admitted here, too.
    pub fn covers(&self, others: &Self) -> bool {
        let is_covered = |other: &String| self.0.iter().any(|own| own == other || fits(own, other));
        self.0.is_empty() || (!others.0.is_empty() && others.0.iter().all(is_covered))
    }
}

/// Returns an origin as a browser writes it. `None` if the text is none.
fn normalize(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_plain = text.len() <= MAX_LENGTH && text.bytes().all(|byte| byte.is_ascii_graphic());
    // Backslashes and credentials would be mended or left out.
    if !is_plain || rest.contains(['\\', '@', '?', '#']) {
        return None;
    }
    let (any, host) = match rest.strip_prefix(ANY) {
        Some(host) => (ANY, host),
        None => ("", rest),
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    let url = Url::parse(&format!("{scheme}://{host}")).ok()?;
    let name = url.host_str().filter(|name| !name.is_empty())?.to_owned();
    let is_whole = !host.contains(['/', '*']) && url.username().is_empty();
    // A pattern over a whole top-level domain, or over an address, is a mistake.
    let may_be_open = any.is_empty() || (url.domain().is_some() && name.contains('.'));
    if !is_whole || !may_be_open || url.scheme() == "file" {
        return None;
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{any}{}{port}", url.scheme(), name.to_ascii_lowercase()))
}

fn fits(pattern: &str, origin: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern.eq_ignore_ascii_case(origin) };
    let origin = origin.to_ascii_lowercase();
    let open = origin.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    open.is_some_and(|labels| {
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        labels.split('.').all(is_label)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact_or_leave_the_first_labels_open() {
        let origins = [
            "HTTPS://App.Example.com/",
            "http://localhost:5173",
            "https://*.example.org:8443",
            "capacitor://localhost",
        ];
        let origins = Origins::parse(&origins).unwrap();
        for (origin, is_admitted) in [
            ("https://app.example.com", true),
            ("https://app.example.com:443", false),
            ("http://app.example.com", false),
            ("https://app.example.com.evil.com", false),
            ("https://evilapp.example.com", false),
            ("http://localhost:5173", true),
            ("http://localhost", false),
            ("https://a.example.org:8443", true),
            ("https://a.b.example.org:8443", true),
            ("https://example.org:8443", false),
            ("https://a.example.org", false),
            ("https://.example.org:8443", false),
            ("https://evil.com/.example.org:8443", false),
            ("https://evil.com:1@a.example.org:8443", false),
            ("capacitor://localhost", true),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origins.admits(origin), is_admitted, "{origin}");
        }
        assert!(Origins::default().admits("null"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "null",
            "*",
            "example.com",
            "https://",
            "https://*",
            "https://*.com",
            "https://a.*.com",
            "https://a/b",
            "https://u@a.com",
            "https://a.com?x",
            "https://*.1.2.3.4",
            "file:///tmp",
            "https://a b",
            "https://a\\b",
        ] {
            assert_eq!(Origins::parse(&[text]), Err(OriginError::Form(0)), "{text}");
        }
        assert_eq!(Origins::parse(&vec!["https://a.com"; MAX_ORIGINS + 1]), Err(OriginError::TooMany));
    }

    #[test]
    fn a_list_covers_what_it_admits() {
        let list = |texts: &[&str]| Origins::parse(texts).unwrap();
        let own = list(&["https://*.example.com", "https://a.org"]);
        for (other, is_covered) in [
            (&["https://a.org"][..], true),
            (&["https://x.example.com", "https://*.example.com"], true),
            (&["https://*.x.example.com"], false),
            (&["https://example.com"], false),
            (&[], false),
        ] {
            assert_eq!(own.covers(&list(other)), is_covered, "{other:?}");
        }
        assert!(Origins::default().covers(&own) && Origins::default().covers(&Origins::default()));
        assert_eq!(Origins::from_stored(own.to_stored().as_deref()), own);
        assert!(!Origins::from_stored(Some("damaged")).admits("https://a.org"));
    }
}
