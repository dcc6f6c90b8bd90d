//! The settings of a project about other providers of sign-ins, and about other issuers of users' tokens.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// The most providers, issuers, scopes, client ids and redirects of a project.
const MAX_MANY: usize = 20;
/// Bytes of an id, a secret, a scope or a URL.
const MAX_TEXT: usize = 2048;
/// Stands for a secret that is not shown. A change that has it keeps the secret.
pub const HIDDEN: &str = "********";
/// The name of the provider that is no OpenID provider.
pub const GITHUB: &str = "github";
const GOOGLE: &str = "google";

/// The providers of a project by their names, which stand in paths.
pub type Providers = BTreeMap<String, Provider>;

/// A provider of sign-ins: an OpenID provider, or GitHub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Provider {
    /// What it calls itself. `google` and `github` have one.
    pub issuer: Option<String>,
    pub client_id: String,
    /// A client that can keep no secret has none.
    pub client_secret: Option<ClientSecret>,
    /// Other client ids, such as those of phone apps, whose ID tokens are taken.
    pub client_ids: Vec<String>,
    /// What is asked for, instead of the usual.
    pub scopes: Option<Vec<String>>,
    /// What a button calls it.
    pub name: Option<String>,
    /// Whether its addresses count as verified though it doesn't say so.
    pub trust_email: bool,
}

/// Another issuer, whose tokens users send instead of this server's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Issuer {
    pub issuer: String,
    /// Its public keys.
    pub jwks: Option<Value>,
    /// Where its public keys are. Without either, the issuer says it itself.
    pub jwks_url: Option<String>,
    pub audience: String,
    /// The clients for which a token may have been made (`azp`). If there are none, that is not looked at.
    pub authorized_parties: Vec<String>,
    pub claims: IssuerClaims,
}

impl Eq for Issuer {}

/// The names of claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IssuerClaims {
    /// Dots lead into objects. Without one, the roles are the server's to set.
    pub roles: Option<String>,
}

/// A secret that proves to a provider which client asks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientSecret(pub String);

/// Hides the secret, which must not reach a log.
impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

impl Provider {
    /// Returns what the provider of this name calls itself.
    pub fn issuer<'a>(&'a self, name: &str) -> &'a str {
        match (&self.issuer, name) {
            (Some(issuer), _) => issuer,
            (None, GOOGLE) => "https://accounts.google.com",
            (None, GITHUB) => "https://github.com",
            (None, _) => "",
        }
    }

    /// Returns every client id whose ID tokens are taken.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.client_id.as_str()).chain(self.client_ids.iter().map(String::as_str))
    }

    /// Returns what a button calls the provider of this name.
    pub fn shown_name(&self, name: &str) -> String {
        match (&self.name, name) {
            (Some(shown), _) => shown.clone(),
            (None, GITHUB) => "GitHub".to_owned(),
            (None, name) => {
                let mut letters = name.chars();
                letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
            }
        }
    }
}

/// Checks the providers of a project. Returns the path of the first fault and what is wrong there.
pub fn check_providers(providers: &Providers) -> Result<(), (String, String)> {
    if providers.len() > MAX_MANY {
        return refuse("oauth", format!("it may have at most {MAX_MANY} providers"));
    }
    for (name, provider) in providers {
        let path = |member: &str| format!("oauth.{name}.{member}");
        let is_name = (1..=32).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_name {
            return refuse("oauth", "a provider's name has 1 to 32 lower-case letters, digits and hyphens");
        }
        if provider.issuer(name).is_empty() {
            let advice = "give the URL of the OpenID provider, such as https://login.example.com";
            return refuse(&path("issuer"), advice);
        }
        check_issuer(&path("issuer"), provider.issuer(name))?;
        check_text(&path("clientId"), &provider.client_id)?;
        if let Some(secret) = &provider.client_secret {
            check_text(&path("clientSecret"), &secret.0)?;
        }
        let scopes = provider.scopes.iter().flatten();
        if provider.client_ids.len() + scopes.clone().count() > MAX_MANY {
            return refuse(&path("scopes"), format!("there may be at most {MAX_MANY} scopes and client ids"));
        }
        for text in provider.client_ids.iter().chain(scopes) {
            check_text(&path("scopes"), text)?;
        }
    }
    Ok(())
}

/// Checks the issuers of a project, as [`check_providers`].
pub fn check_issuers(issuers: &[Issuer]) -> Result<(), (String, String)> {
    if issuers.len() > MAX_MANY {
        return refuse("issuers", format!("there may be at most {MAX_MANY} issuers"));
    }
    for (place, issuer) in issuers.iter().enumerate() {
        let path = |member: &str| format!("issuers[{place}].{member}");
        check_issuer(&path("issuer"), &issuer.issuer)?;
        check_text(&path("audience"), &issuer.audience)?;
        if issuer.authorized_parties.len() > MAX_MANY {
            return refuse(&path("authorizedParties"), format!("there may be at most {MAX_MANY} clients"));
        }
        for party in &issuer.authorized_parties {
            check_text(&path("authorizedParties"), party)?;
        }
        if issuers[..place].iter().any(|other| other.issuer == issuer.issuer) {
            return refuse(&path("issuer"), "another one stands above");
        }
        if let Some(url) = &issuer.jwks_url {
            check_url(&path("jwksUrl"), url)?;
        }
        let has_keys = |set: &Value| set.get("keys").is_some_and(Value::is_array);
        match (&issuer.jwks, &issuer.jwks_url) {
            (Some(_), Some(_)) => return refuse(&path("jwks"), "give either `jwks` or `jwksUrl`"),
            (Some(set), None) if !has_keys(set) => {
                return refuse(&path("jwks"), "it must be a key set: {\"keys\":[…]}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks where a sign-in may end, and writes each as an origin.
pub fn check_redirects(redirects: &mut [String]) -> Result<(), (String, String)> {
    if redirects.len() > MAX_MANY {
        return refuse("redirects", format!("there may be at most {MAX_MANY} redirects"));
    }
    for (place, redirect) in redirects.iter_mut().enumerate() {
        let origin = Url::parse(redirect).ok().filter(|url| is_page(url) && matches!(url.path(), "" | "/"));
        let Some(url) = origin else {
            let advice =
                "it must be the origin of a page, such as https://app.example.com, or http://localhost:5173";
            return refuse(&format!("redirects[{place}]"), advice);
        };
        *redirect = url.origin().ascii_serialization();
    }
    Ok(())
}

/// Returns the origin of a page to which a sign-in may lead, if the URL is one: over TLS, or on the user's own machine. The text is
/// sent on as it is, so it has nothing that one reader of URLs mends and another doesn't.
pub fn page_origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let is_whole = !rest.is_empty() && !rest.starts_with('/');
    let is_plain = !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\');
    let is_page = is_whole && is_plain && is_page(&url) && url.fragment().is_none();
    is_page.then(|| url.origin().ascii_serialization())
}

/// Whether an origin is on the user's own machine.
pub fn is_local(origin: &str) -> bool {
    Url::parse(origin).is_ok_and(|url| is_local_host(&url))
}

fn is_page(url: &Url) -> bool {
    let is_plain = url.username().is_empty() && url.password().is_none() && url.host().is_some();
    is_plain && (url.scheme() == "https" || (url.scheme() == "http" && is_local_host(url)))
}

fn is_local_host(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn check_url(path: &str, text: &str) -> Result<(), (String, String)> {
    let is_good = text.len() <= MAX_TEXT
        && Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none());
    if is_good { Ok(()) } else { refuse(path, "it must be a URL that begins with https://") }
}

/// Checks the URL of an issuer. The place of its discovery document is none, though consoles show it.
fn check_issuer(path: &str, text: &str) -> Result<(), (String, String)> {
    check_url(path, text)?;
    match text.split_once("/.well-known/") {
        None => Ok(()),
        Some((issuer, _)) => {
            refuse(path, format!("it is the URL before `/.well-known/openid-configuration`: {issuer}"))
        }
    }
}

fn check_text(path: &str, text: &str) -> Result<(), (String, String)> {
    let is_good = (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(|c| c.is_control());
    if is_good { Ok(()) } else { refuse(path, format!("it must be a text of 1 to {MAX_TEXT} bytes")) }
}

fn refuse(path: &str, problem: impl Into<String>) -> Result<(), (String, String)> {
    Err((path.to_owned(), problem.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_ends_on_pages_over_tls_or_on_the_users_own_machine() {
        for (text, origin) in [
            ("https://app.example.com/in?a=b", Some("https://app.example.com")),
            ("http://localhost:5173/in", Some("http://localhost:5173")),
            ("http://127.0.0.1:8080/", Some("http://127.0.0.1:8080")),
            ("http://[::1]:8080/", Some("http://[::1]:8080")),
            ("http://app.example.com/", None),
            ("https://app.example.com/#in", None),
            ("https://app.example.com@evil.example/", None),
            ("javascript:alert(1)", None),
            ("data:text/html,a", None),
            ("//app.example.com", None),
            ("/in", None),
            ("https:app.example.com", None),
            ("https:/app.example.com", None),
            ("https:///app.example.com", None),
            ("https:\\\\app.example.com", None),
            ("https://app.example.com\\@evil.example", None),
            (" https://app.example.com", None),
            ("https://app.exa\tmple.com", None),
            ("https://app.example.com/\r\nin", None),
            ("https://app.example.com/\u{2028}", None),
        ] {
            assert_eq!(page_origin(text).as_deref(), origin, "{text}");
        }
        let mut redirects = ["https://App.Example.com:443/".to_owned()];
        assert_eq!(check_redirects(&mut redirects), Ok(()));
        assert_eq!(redirects, ["https://app.example.com"]);
        assert!(check_redirects(&mut ["https://app.example.com/in".to_owned()]).is_err());
    }
}
