//! OpenID providers: where to send the browser, what a code is exchanged for, and who the ID token says somebody is.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use url::Url;

use super::{
    Documents, ProviderError,
    error::TokenFault,
    fetch::Answer,
    token::{self, Expected, KeySource, audiences},
};
use crate::domain::{
    Claimed, Email, ProjectId,
    provider::{ClientSecret, Provider},
};

const GOOGLE: &str = "https://accounts.google.com";
/// The name of Google in some ID tokens.
const GOOGLE_TOO: &str = "accounts.google.com";
/// The most seconds until an ID token that an app got by itself expires. For so long it is remembered that it was used.
pub const LONGEST: u64 = 24 * 3600;
/// Bytes of a name or a picture's URL that go into a new user's profile.
const MAX_PROFILE: usize = 512;

/// A provider of a project, with what it says about itself.
pub struct OpenId<'a> {
    pub documents: &'a Documents,
    pub project: &'a ProjectId,
    pub name: &'a str,
    pub settings: &'a Provider,
    offer: Arc<Value>,
}

/// The parts of a sign-in on its way to the provider.
pub struct Departure<'a> {
    pub redirect: &'a str,
    pub state: &'a str,
    pub nonce: &'a str,
    pub challenge: &'a str,
}

/// The parts of a sign-in that come back from the provider.
pub struct Arrival<'a> {
    pub code: &'a str,
    pub redirect: &'a str,
    /// `None` if the app began the sign-in without this server, and without a verifier.
    pub verifier: Option<&'a str>,
    pub nonce: &'a str,
    /// The issuer that stood beside the code.
    pub issuer: Option<&'a str>,
}

impl<'a> OpenId<'a> {
    /// Asks a provider what it offers.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn discover(
        documents: &'a Documents,
        project: &'a ProjectId,
        name: &'a str,
        settings: &'a Provider,
    ) -> Result<Self, ProviderError> {
        let offer = discover(documents, project, settings.issuer(name)).await?;
        Ok(Self { documents, project, name, settings, offer })
    }

    /// Returns where to send the browser.
    ///
    /// # Errors
    /// [`ProviderError::BadAnswer`].
    pub fn authorize(&self, departure: &Departure<'_>) -> Result<Url, ProviderError> {
        let scopes = match &self.settings.scopes {
            Some(scopes) => {
                let others = scopes.iter().map(String::as_str).filter(|scope| *scope != "openid");
                std::iter::once("openid").chain(others).collect::<Vec<_>>().join(" ")
            }
            None => "openid email profile".to_owned(),
        };
        let mut url = self.documents.fetcher().check(self.endpoint("authorization_endpoint")?)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", departure.redirect)
            .append_pair("scope", &scopes)
            .append_pair("state", departure.state)
            .append_pair("nonce", departure.nonce)
            .append_pair("code_challenge", departure.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Exchanges a code for an ID token, and returns who signed in.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn exchange(&self, arrival: &Arrival<'_>) -> Result<Claimed, ProviderError> {
        let sends_issuer = self.offer.get("authorization_response_iss_parameter_supported");
        match arrival.issuer {
            Some(issuer) if issuer != self.issuer() => return Err(ProviderError::OtherIssuer),
            None if sends_issuer.and_then(Value::as_bool) == Some(true) => {
                return Err(ProviderError::NoIssuer);
            }
            _ => {}
        }
        let answer = self.ask_for_tokens(arrival).await?;
        let tokens = tokens_of(&answer)?;
        let text = |member: &str| tokens.get(member).and_then(Value::as_str);
        let id_token = text("id_token").ok_or(ProviderError::BadAnswer("it has no `id_token`"))?;
        let own = [self.settings.client_id.as_str()];
        let mut claims = self.read_token(id_token, &own, None).await?;
        if claims.get("nonce").and_then(Value::as_str) != Some(arrival.nonce) {
            return Err(TokenFault::Nonce.into());
        }
        let is_for_another = match claims.get("azp").and_then(Value::as_str) {
            Some(party) => party != own[0],
            None => audiences(&claims).count() > 1,
        };
        if is_for_another {
            return Err(TokenFault::Audience.into());
        }
        if !claims.contains_key("email")
            && let (Some(url), Some(access)) = (self.text("userinfo_endpoint"), text("access_token"))
        {
            self.add_user_info(&mut claims, url, access).await?;
        }
        Ok(self.claimed(&claims))
    }

    /// Reads an ID token that an app got by itself.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn verify(&self, id_token: &str) -> Result<Claimed, ProviderError> {
        let audiences: Vec<_> = self.settings.audiences().collect();
        Ok(self.claimed(&self.read_token(id_token, &audiences, Some(LONGEST)).await?))
    }

    /// Reads an ID token. One that did not come straight from the provider has a bound on the seconds until it expires, and must have
    /// been made for a client of the project.
    async fn read_token(
        &self,
        text: &str,
        audiences: &[&str],
        longest: Option<u64>,
    ) -> Result<Map<String, Value>, ProviderError> {
        let keys = KeySource::Url(self.endpoint("jwks_uri")?);
        let issuers = [self.issuer(), GOOGLE_TOO];
        let known = if self.issuer() == GOOGLE { &issuers[..] } else { &issuers[..1] };
        let parties = longest.map(|_| audiences);
        let expected = Expected { issuers: known, audiences, parties, longest };
        token::read(self.documents, self.project, text, keys, expected).await
    }

    async fn ask_for_tokens(&self, arrival: &Arrival<'_>) -> Result<Answer, ProviderError> {
        let Arrival { code, redirect, verifier, .. } = *arrival;
        let id = self.settings.client_id.as_str();
        let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect)];
        form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
        let mut basic = None;
        match &self.settings.client_secret {
            Some(ClientSecret(secret)) if self.takes_basic() => {
                // RFC 6749, section 2.3.1: encoded as in a form before they become a header.
                let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
                basic = Some((encode(id), encode(secret)));
            }
            Some(ClientSecret(secret)) => form.extend([("client_id", id), ("client_secret", secret)]),
            None => form.push(("client_id", id)),
        }
        let endpoint = self.endpoint("token_endpoint")?;
        self.documents.fetcher().post(self.project, endpoint, &form, basic).await
    }

    /// Whether the token endpoint takes the secret in a header, as it does if it says nothing.
    fn takes_basic(&self) -> bool {
        let methods = self.offer.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"))
    }

    /// Adds what the provider says apart from the ID token. Nothing of it takes the place of a claim that is signed.
    async fn add_user_info(
        &self,
        claims: &mut Map<String, Value>,
        url: &str,
        access: &str,
    ) -> Result<(), ProviderError> {
        let answer = self.documents.fetcher().get(self.project, url, Some(access)).await?;
        let Some(info) = answer.body.as_object().filter(|_| answer.status.is_success()) else {
            return Ok(());
        };
        if info.get("sub") != claims.get("sub") {
            return Err(ProviderError::BadAnswer("its user info is about somebody else"));
        }
        for name in ["email", "email_verified", "name", "picture"] {
            if let (Some(value), false) = (info.get(name), claims.contains_key(name)) {
                claims.insert(name.to_owned(), value.clone());
            }
        }
        Ok(())
    }

    fn claimed(&self, claims: &Map<String, Value>) -> Claimed {
        let mut claimed = claimed(self.issuer(), self.name, claims);
        claimed.is_verified |= self.settings.trust_email;
        claimed
    }

    fn issuer(&self) -> &str {
        self.settings.issuer(self.name)
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.offer.get(member).and_then(Value::as_str)
    }

    fn endpoint(&self, member: &str) -> Result<&str, ProviderError> {
        self.text(member).ok_or(ProviderError::BadAnswer("its discovery document lacks an endpoint"))
    }
}

/// Asks an issuer what it offers (OpenID Connect Discovery).
///
/// # Errors
/// [`ProviderError`]; [`ProviderError::BadAnswer`] if it calls itself otherwise.
pub async fn discover(
    documents: &Documents,
    project: &ProjectId,
    issuer: &str,
) -> Result<Arc<Value>, ProviderError> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let offer = documents.get(project, &url).await?;
    match offer.get("issuer").and_then(Value::as_str) == Some(issuer) {
        true => Ok(offer),
        false => Err(ProviderError::BadAnswer("its discovery document is of another issuer")),
    }
}

/// Returns whom the claims of a token are about. Their subject was checked.
pub fn claimed(issuer: &str, provider: &str, claims: &Map<String, Value>) -> Claimed {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let mut profile = Map::new();
    for name in ["name", "picture"] {
        if let Some(value) = text(name).filter(|value| (1..=MAX_PROFILE).contains(&value.len())) {
            profile.insert(name.to_owned(), json!(value));
        }
    }
    // Some providers send it as a text.
    let is_verified = matches!(claims.get("email_verified"), Some(Value::Bool(true)))
        || text("email_verified") == Some("true");
    Claimed {
        issuer: issuer.into(),
        subject: text("sub").unwrap_or_default().into(),
        provider: provider.into(),
        email: text("email").and_then(|email| Email::parse(email).ok()),
        is_verified,
        profile,
        roles: None,
    }
}

/// Returns the tokens in the answer to a code.
pub(super) fn tokens_of(answer: &Answer) -> Result<&Map<String, Value>, ProviderError> {
    let error = answer.body.get("error").and_then(Value::as_str);
    match (answer.body.as_object(), error) {
        // GitHub says so with 200.
        (_, Some("invalid_grant" | "bad_verification_code" | "redirect_uri_mismatch")) => {
            Err(ProviderError::CodeRefused)
        }
        (_, Some("invalid_client" | "unauthorized_client" | "incorrect_client_credentials")) => {
            Err(ProviderError::ClientRefused)
        }
        (Some(tokens), None) if answer.status.is_success() => Ok(tokens),
        _ if answer.status.is_server_error() => Err(ProviderError::Away),
        _ if answer.status == hyper::StatusCode::UNAUTHORIZED => Err(ProviderError::ClientRefused),
        _ if answer.status.is_client_error() => Err(ProviderError::CodeRefused),
        _ => Err(ProviderError::BadAnswer("it has no tokens")),
    }
}
