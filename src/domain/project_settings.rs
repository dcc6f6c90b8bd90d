//! The settings of a project, which a server changes while everything runs.
//!
//! A new section is a member of [`ProjectSettings`], a type with defaults, and a check in [`ProjectSettings::check`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Email,
    json_mistake::explain_alone,
    mail_templates::MailTemplates,
    nearest,
    provider::{HIDDEN, Issuer, Providers, check_issuers, check_providers, check_redirects},
};

/// The most bytes of a project's settings, as JSON.
const MAX_BYTES: usize = 64 * 1024;
/// The most domains that sign-up can be limited to.
const MAX_DOMAINS: usize = 100;
/// The most characters of an unknown name that an error repeats.
const MAX_SHOWN: usize = 60;

/// The settings of a project. Each member is a section. Members that are missing have their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProjectSettings {
    /// Whether collections without rules are open to every key of the project, and to its users. Otherwise they are for servers
    /// only. A project without this member was made before it existed, and is open.
    pub open: bool,
    pub signup: SignUp,
    /// The providers of sign-ins, by their names.
    pub oauth: Providers,
    /// The origins of the pages on which a sign-in with a provider may end. Empty for the user's own machine and the public URL of
    /// the server.
    pub redirects: Vec<String>,
    /// Other issuers, whose tokens are taken for users' tokens.
    pub issuers: Vec<Issuer>,
    pub mails: MailTemplates,
}

/// Who may make an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SignUp {
    pub mode: SignUpMode,
    /// The domains whose addresses may be used, in lower case. Empty if any may.
    pub domains: Vec<String>,
    /// Whether there may be users without an address.
    pub anonymous: bool,
    /// Whether the answer to a sign-up tells nobody that an address is taken.
    pub conceal: bool,
}

/// How an account is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SignUpMode {
    /// By anybody.
    #[default]
    Open,
    /// By those who were invited.
    Invitation,
    /// By nobody but a server.
    Closed,
}

/// Why the settings let nobody make such an account. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignUpRefusal {
    #[error("this project lets nobody sign up")]
    Closed,
    #[error("this project takes only those who were invited; sign up with the `invitation` from the mail")]
    InvitationOnly,
    #[error("this project takes no addresses of this domain")]
    Domain,
    #[error("this project has no anonymous users; sign up with an e-mail address")]
    Anonymous,
}

/// Why settings can't be changed so. The message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("unknown setting `{path}`; {advice}")]
    Unknown { path: String, advice: String },
    #[error("the setting `{path}` is not valid: {problem}")]
    Invalid { path: String, problem: String },
    #[error("the settings of a project may take at most {MAX_BYTES} bytes")]
    TooLarge,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        Self {
            open: true,
            signup: SignUp::default(),
            oauth: Providers::default(),
            redirects: Vec::new(),
            issuers: Vec::new(),
            mails: MailTemplates::default(),
        }
    }
}

impl Default for SignUp {
    fn default() -> Self {
        Self { mode: SignUpMode::Open, domains: Vec::new(), anonymous: true, conceal: false }
    }
}

impl SignUp {
    /// Checks that anybody may make an account with this address, or one without an address. Every way of making an account asks
    /// this, unless a server asks or the address was invited.
    ///
    /// # Errors
    /// [`SignUpRefusal`].
    pub fn check(&self, email: Option<&Email>) -> Result<(), SignUpRefusal> {
        match self.mode {
            SignUpMode::Open => {}
            SignUpMode::Invitation => return Err(SignUpRefusal::InvitationOnly),
            SignUpMode::Closed => return Err(SignUpRefusal::Closed),
        }
        match email {
            Some(email) => self.check_address(email),
            None if self.anonymous => Ok(()),
            None => Err(SignUpRefusal::Anonymous),
        }
    }

    /// Checks that somebody who was invited may make an account.
    ///
    /// # Errors
    /// [`SignUpRefusal::Closed`].
    pub fn check_invited(&self) -> Result<(), SignUpRefusal> {
        if self.mode == SignUpMode::Closed { Err(SignUpRefusal::Closed) } else { Ok(()) }
    }

    /// Checks that a user may take this address.
    ///
    /// # Errors
    /// [`SignUpRefusal::Domain`].
    pub fn check_address(&self, email: &Email) -> Result<(), SignUpRefusal> {
        let is_admitted =
            self.domains.is_empty() || self.domains.iter().any(|domain| domain == email.domain());
        if is_admitted { Ok(()) } else { Err(SignUpRefusal::Domain) }
    }
}

impl ProjectSettings {
    /// Returns the settings of a new project that is closed.
    pub fn closed() -> Self {
        Self { open: false, ..Self::default() }
    }

    /// Returns the URLs to which the server makes requests, with the paths of their settings.
    pub fn requested_urls(&self) -> Vec<(String, String)> {
        let providers = self.oauth.iter();
        let providers = providers
            .map(|(name, provider)| (format!("oauth.{name}.issuer"), provider.issuer(name).to_owned()));
        let issuers = self.issuers.iter().enumerate().filter_map(|(place, issuer)| {
            match (&issuer.jwks, &issuer.jwks_url) {
                (Some(_), _) => None,
                (None, Some(url)) => Some((format!("issuers[{place}].jwksUrl"), url.clone())),
                (None, None) => Some((format!("issuers[{place}].issuer"), issuer.issuer.clone())),
            }
        });
        providers.chain(issuers).collect()
    }

    /// Reads settings that were stored. Members that only a newer version knows are left out.
    ///
    /// # Errors
    /// [`SettingsError`] for a value that only a newer version knows.
    pub fn from_stored(text: &str) -> Result<Self, SettingsError> {
        let mut json = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut json).map_err(|err| invalid(&err))
    }

    /// Returns the settings with every member.
    pub fn to_value(&self) -> Value {
        // Texts, numbers and maps of these can always be written.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Returns the settings with every member, and with a sign in the place of each secret.
    pub fn to_shown(&self) -> Value {
        let mut shown = self.to_value();
        let providers = shown.get_mut("oauth").and_then(Value::as_object_mut);
        for provider in providers.into_iter().flat_map(|providers| providers.values_mut()) {
            if let Some(secret) = provider.get_mut("clientSecret").filter(|secret| secret.is_string()) {
                *secret = HIDDEN.into();
            }
        }
        shown
    }

    /// Merges a change into the settings (RFC 7396): a member that is null has its default again.
    ///
    /// # Errors
    /// [`SettingsError`], which names the first member that is unknown or not valid.
    pub fn merge(&self, change: &Map<String, Value>) -> Result<Self, SettingsError> {
        // Whoever clears a setting must not open a project with it.
        if change.get("open").is_some_and(Value::is_null) {
            let problem = "it must be true or false".to_owned();
            return Err(SettingsError::Invalid { path: "open".to_owned(), problem });
        }
        let before = self.to_value();
        let change = &without_hidden(change);
        let mut merged = before.clone();
        merge(&mut merged, change);
        let mut settings: Self = serde_path_to_error::deserialize(merged).map_err(|err| invalid(&err))?;
        find_unknown("", change, &before, &settings.to_value())?;
        self.check_kept_secrets(change, &settings)?;
        settings.check()?;
        let after = settings.to_value();
        if after.to_string().len() > MAX_BYTES {
            return Err(SettingsError::TooLarge);
        }
        Ok(settings)
    }

    /// Checks that no secret that stays is sent to another issuer than the one it was given for: whoever may change settings could
    /// read it there.
    fn check_kept_secrets(&self, change: &Map<String, Value>, after: &Self) -> Result<(), SettingsError> {
        for (name, provider) in &after.oauth {
            let Some(before) = self.oauth.get(name) else { continue };
            let given = change.get("oauth").and_then(|oauth| oauth.get(name)?.get("clientSecret"));
            let is_kept = provider.client_secret.is_some() && given.is_none();
            if is_kept && provider.issuer(name) != before.issuer(name) {
                let problem =
                    "another issuer takes the secret anew, with the same change; or null, if it has none";
                return Err(SettingsError::Invalid {
                    path: format!("oauth.{name}.clientSecret"),
                    problem: problem.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Checks the values, and writes them in one way.
    fn check(&mut self) -> Result<(), SettingsError> {
        let refuse =
            |path: &str, problem: String| Err(SettingsError::Invalid { path: path.to_owned(), problem });
        if self.signup.domains.len() > MAX_DOMAINS {
            return refuse("signup.domains", format!("it may have at most {MAX_DOMAINS} domains"));
        }
        for (place, domain) in self.signup.domains.iter_mut().enumerate() {
            let text = domain.trim().trim_start_matches('@');
            let path = format!("signup.domains[{place}]");
            if let Some(domain) = text.strip_prefix("*.") {
                let advice =
                    format!("a `*` stands for nothing here; name each domain by itself, such as {domain}");
                return refuse(&path, advice);
            }
            let Ok(email) = Email::parse(&format!("a@{text}")) else {
                return refuse(&path, "it must be a domain, such as example.com".to_owned());
            };
            *domain = email.domain().to_owned();
        }
        let refused = |(path, problem)| SettingsError::Invalid { path, problem };
        check_providers(&self.oauth).map_err(refused)?;
        check_redirects(&mut self.redirects).map_err(refused)?;
        check_issuers(&self.issuers).map_err(refused)?;
        self.mails.check().map_err(refused)
    }
}

/// Leaves out the signs that stand for secrets, which stay as they are.
fn without_hidden(change: &Map<String, Value>) -> Map<String, Value> {
    let mut change = change.clone();
    let providers = change.get_mut("oauth").and_then(Value::as_object_mut);
    for provider in providers.into_iter().flat_map(|providers| providers.values_mut()) {
        if let Some(members) = provider.as_object_mut()
            && members.get("clientSecret").is_some_and(|secret| secret == HIDDEN)
        {
            members.remove("clientSecret");
        }
    }
    change
}

fn merge(target: &mut Value, change: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(members) = target.as_object_mut() else { return };
    for (name, value) in change {
        match value {
            Value::Null => drop(members.remove(name)),
            Value::Object(inner) => merge(members.entry(name).or_insert(Value::Null), inner),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
}

/// Finds a member of a change that no setting has. The settings have every member that they know, so one that is neither in
/// those before the change nor in those after it is unknown.
fn find_unknown(
    path: &str,
    change: &Map<String, Value>,
    before: &Value,
    after: &Value,
) -> Result<(), SettingsError> {
    let Some(known) = after.as_object() else { return Ok(()) };
    for (name, value) in change {
        let own = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        let old = before.get(name).unwrap_or(&Value::Null);
        match (known.get(name), value) {
            (Some(new), Value::Object(inner)) => find_unknown(&own, inner, old, new)?,
            (Some(Value::Array(news)), Value::Array(values)) => {
                for (place, (new, value)) in news.iter().zip(values).enumerate() {
                    if let Value::Object(inner) = value {
                        find_unknown(&format!("{own}[{place}]"), inner, &Value::Null, new)?;
                    }
                }
            }
            (Some(_), _) => {}
            (None, Value::Null) if before.get(name).is_some() => {}
            (None, _) => {
                let names: Vec<_> = known.keys().map(String::as_str).collect();
                let advice = match nearest(name, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the settings here are {}", names.join(", ")),
                };
                let path = own.chars().take(MAX_SHOWN).collect();
                return Err(SettingsError::Unknown { path, advice });
            }
        }
    }
    Ok(())
}

fn invalid(err: &serde_path_to_error::Error<serde_json::Error>) -> SettingsError {
    let path: String = err.path().to_string().chars().take(MAX_SHOWN).collect();
    SettingsError::Invalid { path, problem: explain_alone(err.inner()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(settings: &ProjectSettings, change: Value) -> Result<ProjectSettings, String> {
        settings.merge(change.as_object().unwrap()).map_err(|err| err.to_string())
    }

    #[test]
    fn a_change_is_merged_and_null_brings_the_default_back() {
        let settings = ProjectSettings::default();
        let closed = json!({"signup":{"mode":"closed","domains":["@Example.COM"]}});
        let closed = change(&settings, closed).unwrap();
        assert_eq!(closed.signup.mode, SignUpMode::Closed);
        assert_eq!(closed.signup.domains, ["example.com"]);
        let concealed = change(&closed, json!({"signup":{"conceal":true}})).unwrap();
        assert_eq!((concealed.signup.mode, concealed.signup.conceal), (SignUpMode::Closed, true));
        assert_eq!(
            change(&concealed, json!({"signup":{"mode":null}})).unwrap().signup.mode,
            SignUpMode::Open
        );
        assert_eq!(change(&concealed, json!({"signup":null})), Ok(settings.clone()));
        let stored = concealed.to_value().to_string();
        assert_eq!(ProjectSettings::from_stored(&stored), Ok(concealed));
        let newer = r#"{"signup":{"mode":"open","captcha":true},"billing":{"plan":"free"}}"#;
        assert_eq!(ProjectSettings::from_stored(newer), Ok(settings));
    }

    #[test]
    fn what_is_unknown_or_of_another_kind_is_refused_by_its_path() {
        for (wrong, told) in [
            (json!({"singup":{"mode":"open"}}), "unknown setting `singup`; did you mean `signup`?"),
            (json!({"signup":{"mod":"open"}}), "unknown setting `signup.mod`; did you mean `mode`?"),
            (json!({"signup":{"mod":null}}), "unknown setting `signup.mod`; did you mean `mode`?"),
            (json!({"signup":{"mode":"opne"}}), "`signup.mode` is not valid: `opne` is not one of"),
            (
                json!({"signup":{"anonymous":"no"}}),
                "`signup.anonymous` is not valid: a boolean must stand here",
            ),
            (json!({"signup":7}), "`signup` is not valid: an object must stand here"),
            (json!({"signup":{"domains":["a b"]}}), "`signup.domains[0]` is not valid"),
        ] {
            let err = change(&ProjectSettings::default(), wrong.clone()).unwrap_err();
            assert!(err.contains(told), "{wrong}: {err}");
        }
    }
}
