//! Sign-ins with GitHub, which has no ID tokens: the API says who somebody is.

use serde_json::{Map, Value, json};
use url::Url;

use super::{
    Fetcher, ProviderError,
    openid::{Arrival, Departure, tokens_of},
};
use crate::domain::{
    Claimed, Email, ProjectId,
    provider::{ClientSecret, GITHUB, Provider},
};

const PUBLIC: &str = "https://github.com";
const PUBLIC_API: &str = "https://api.github.com";

/// GitHub, or a GitHub Enterprise Server.
pub struct GitHub<'a> {
    pub fetcher: &'a Fetcher,
    pub project: &'a ProjectId,
    pub settings: &'a Provider,
}

impl GitHub<'_> {
    /// Returns where to send the browser.
    ///
    /// # Errors
    /// [`ProviderError::Address`].
    pub fn authorize(&self, departure: &Departure<'_>) -> Result<Url, ProviderError> {
        let mut url = self.fetcher.check(&format!("{}/login/oauth/authorize", self.base()))?;
        let scopes = self.settings.scopes.as_ref().map(|scopes| scopes.join(" "));
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", departure.redirect)
            .append_pair("scope", scopes.as_deref().unwrap_or("read:user user:email"))
            .append_pair("state", departure.state)
            .append_pair("code_challenge", departure.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Exchanges a code for an access token, and asks with it who signed in.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn exchange(&self, arrival: &Arrival<'_>) -> Result<Claimed, ProviderError> {
        if arrival
            .issuer
            .is_some_and(|issuer| issuer != self.base() && !issuer.starts_with(&format!("{}/", self.base())))
        {
            return Err(ProviderError::OtherIssuer);
        }
        let mut form = vec![
            ("client_id", self.settings.client_id.as_str()),
            ("code", arrival.code),
            ("redirect_uri", arrival.redirect),
        ];
        form.extend(arrival.verifier.map(|verifier| ("code_verifier", verifier)));
        if let Some(ClientSecret(secret)) = &self.settings.client_secret {
            form.push(("client_secret", secret));
        }
        let url = format!("{}/login/oauth/access_token", self.base());
        let answer = self.fetcher.post(self.project, &url, &form, None).await?;
        let access = tokens_of(&answer)?.get("access_token").and_then(Value::as_str);
        let access = access.ok_or(ProviderError::BadAnswer("it has no `access_token`"))?;
        let user = self.ask("/user", access).await?;
        // The number stays, and the login can be given to somebody else.
        let id = user.get("id").and_then(Value::as_u64);
        let subject = id.ok_or(ProviderError::BadAnswer("it has no `id` of the user"))?.to_string();
        let emails = self.ask("/user/emails", access).await?;
        let (email, is_verified) = primary(&emails).unzip();
        let mut profile = Map::new();
        for (name, source) in [("name", "name"), ("picture", "avatar_url")] {
            if let Some(value) = user.get(source).and_then(Value::as_str).filter(|value| value.len() <= 512) {
                profile.insert(name.to_owned(), json!(value));
            }
        }
        Ok(Claimed {
            issuer: self.base().into(),
            subject: subject.into(),
            provider: GITHUB.into(),
            email,
            is_verified: is_verified.unwrap_or_default(),
            profile,
            roles: None,
        })
    }

    async fn ask(&self, path: &str, access: &str) -> Result<Value, ProviderError> {
        let url = match self.base() {
            PUBLIC => format!("{PUBLIC_API}{path}"),
            base => format!("{base}/api/v3{path}"),
        };
        let answer = self.fetcher.get(self.project, &url, Some(access)).await?;
        match answer.status {
            status if status.is_success() => Ok(answer.body),
            status if status.is_server_error() => Err(ProviderError::Away),
            // The app may not ask for addresses.
            _ if path == "/user/emails" => Ok(Value::Null),
            _ => Err(ProviderError::CodeRefused),
        }
    }

    fn base(&self) -> &str {
        self.settings.issuer(GITHUB).trim_end_matches('/')
    }
}

/// Returns the primary address, and whether it is verified. The others may be anybody's.
fn primary(emails: &Value) -> Option<(Email, bool)> {
    let is_true = |email: &Value, member: &str| email.get(member) == Some(&Value::Bool(true));
    let primary = emails.as_array()?.iter().find(|email| is_true(email, "primary"))?;
    let email = Email::parse(primary.get("email")?.as_str()?).ok()?;
    Some((email, is_true(primary, "verified")))
}
