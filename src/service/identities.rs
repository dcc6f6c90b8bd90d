//! Sign-ins with other providers, and the identities that users have there.

use std::sync::Arc;

use url::Url;

use super::{
    ServiceError, Users,
    users::{SignIn, is_recent, own_key, signed_in},
};
use crate::{
    auth::{Action, Principal, codes::Secret, limits::Class, permission, tokens::hash_token},
    domain::{
        Claimed, Document, DocumentId, Identity, ProjectId, ProjectSettings, Seen, Timestamp,
        provider::{GITHUB, Provider, is_local, page_origin},
    },
    providers::{
        ProviderError,
        error::StateError,
        github::GitHub,
        openid::{Arrival, Departure, LONGEST, OpenId},
        state::{Home, State, challenge_of},
    },
    store::{
        Lane,
        access::{credentials, identities},
    },
    writer::{
        UserOperation, WriteError,
        user_operation::{Admission, ProviderSignIn, UsedState},
    },
};

/// How often a write is tried whose user was changed meanwhile.
const TRIES: usize = 4;
/// How long a code that was not asked for by this server is remembered, in milliseconds. Providers forget one sooner.
const REMEMBERED: i64 = 15 * 60 * 1000;

/// A provider as a page shows it.
pub struct ShownProvider {
    /// For the paths of requests.
    pub id: String,
    /// For a button.
    pub name: String,
}

/// The answer that the provider gave the browser, and the page sends on.
pub struct ProviderAnswer {
    pub code: String,
    pub state: String,
    pub verifier: Option<String>,
    /// The issuer that stood beside the code (RFC 9207).
    pub issuer: Option<String>,
}

/// The outcome of a sign-in with a provider.
pub enum Finished {
    SignedIn(SignIn),
    /// The user who was signed in has the identity now.
    Linked(Arc<Document>),
}

/// What proves to this server who somebody is at a provider, if it was not there at the beginning of the sign-in.
pub enum AppProof {
    /// An ID token that the app got.
    IdToken(String),
    /// A code that the app got, and the page to which the provider sent it.
    Code { code: String, redirect: String },
}

impl Users {
    /// Lists the providers of the project.
    pub async fn list_providers(&self, principal: &Principal) -> Result<Vec<ShownProvider>, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let settings = self.settings(principal).await?;
        let shown = |(id, provider): (&String, &Provider)| ShownProvider {
            id: id.clone(),
            name: provider.shown_name(id),
        };
        Ok(settings.oauth.iter().map(shown).collect())
    }

    /// Begins a sign-in, and returns where to send the browser. For a user who is signed in, the sign-in links the account of the
    /// provider.
    ///
    /// # Errors
    /// [`ServiceError::UnknownProvider`], [`ServiceError::Redirect`], [`ServiceError::StaleSignIn`], [`ServiceError::AtProvider`].
    pub async fn begin_at_provider(
        &self,
        principal: &Principal,
        name: &str,
        redirect: &str,
        challenge: Option<String>,
    ) -> Result<Url, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let settings = self.settings(principal).await?;
        find(&settings, name)?;
        self.check_redirect(&settings, redirect)?;
        if principal.user.is_some() {
            self.check_may_link(principal).await?;
        }
        Ok(self.depart(principal, (name, redirect), challenge, None).await?.0)
    }

    /// Begins a sign-in that ends on this server, at `callback`, from where the browser is sent to a page. Returns a state, with which
    /// the browser goes on at [`Users::send_to_provider`].
    ///
    /// # Errors
    /// As [`Users::begin_at_provider`].
    pub async fn begin_for_page(
        &self,
        principal: &Principal,
        (name, callback): (&str, &str),
        page: &str,
    ) -> Result<String, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let settings = self.settings(principal).await?;
        find(&settings, name)?;
        self.check_redirect(&settings, page)?;
        let home = Home { page: page.to_owned(), key: principal.key.clone() };
        let begun = self.providers.states.begin((&principal.project, name), callback, None, None, Some(home));
        Ok(begun.map_err(ProviderError::State)?.1)
    }

    /// Goes on with a sign-in that began for a page, in the browser that has the text whose hash is `challenge`. Returns where to
    /// send the browser, and the state with which it comes back.
    ///
    /// # Errors
    /// As [`Users::begin_at_provider`].
    pub async fn send_to_provider(
        &self,
        principal: &Principal,
        begun: State,
        challenge: String,
    ) -> Result<(Url, State), ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let settings = self.settings(principal).await?;
        self.check_redirect(&settings, begun.home.as_ref().map_or("", |home| &home.page))?;
        let place = (begun.provider.as_str(), begun.redirect.as_str());
        self.depart(principal, place, Some(challenge), begun.home).await
    }

    async fn depart(
        &self,
        principal: &Principal,
        (name, redirect): (&str, &str),
        challenge: Option<String>,
        home: Option<Home>,
    ) -> Result<(Url, State), ServiceError> {
        let settings = self.settings(principal).await?;
        let provider = find(&settings, name)?;
        let user = principal.user.as_ref().map(|user| user.id.clone());
        let states = &self.providers.states;
        let begun = states.begin((&principal.project, name), redirect, challenge, user, home);
        let (state, text) = begun.map_err(ProviderError::State)?;
        let challenge = match &state.challenge {
            Some(challenge) => challenge.clone(),
            None => challenge_of(&states.verifier(&state).map_err(ProviderError::State)?),
        };
        let nonce = states.nonce(&state).map_err(ProviderError::State)?;
        let departure = Departure { redirect, state: &text, nonce: &nonce, challenge: &challenge };
        let url = match name {
            GITHUB => self.github(principal, provider).authorize(&departure).map_err(at(name))?,
            name => {
                let openid = self.openid(principal, name, provider).await.map_err(at(name))?;
                openid.authorize(&departure).map_err(at(name))?
            }
        };
        Ok((url, state))
    }

    /// Finishes a sign-in with what the provider gave the browser.
    ///
    /// # Errors
    /// [`ServiceError::Provider`], [`ServiceError::AtProvider`]; [`WriteError::StateUsed`], [`WriteError::EmailNotVerified`], [`WriteError::SignUp`]; for a user who
    /// links, [`WriteError::IdentityTaken`] and [`WriteError::ProviderLinked`].
    pub async fn finish_at_provider(
        &self,
        principal: &Principal,
        name: &str,
        answer: ProviderAnswer,
        seen: Seen,
    ) -> Result<Finished, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        // Before the provider is asked, who is no target for floods.
        self.limits.check(Class::SignIn, principal)?;
        let settings = self.settings(principal).await?;
        let provider = find(&settings, name)?;
        let state = self.providers.states.read((&principal.project, name), &answer.state);
        let state = state.map_err(ProviderError::State)?;
        let linking = state.user.as_ref();
        if linking.is_some() && principal.user.as_ref().map(|user| &user.id) != linking {
            return Err(ProviderError::State(StateError::OtherUser).into());
        }
        let verifier = self.verifier(&state, answer.verifier)?;
        let nonce = self.providers.states.nonce(&state).map_err(ProviderError::State)?;
        let arrival = Arrival {
            code: &answer.code,
            redirect: &state.redirect,
            verifier: Some(&verifier),
            nonce: &nonce,
            issuer: answer.issuer.as_deref(),
        };
        let claimed = match name {
            GITHUB => self.github(principal, provider).exchange(&arrival).await,
            name => match self.openid(principal, name, provider).await {
                Ok(openid) => openid.exchange(&arrival).await,
                Err(err) => Err(err),
            },
        };
        let claimed = claimed.map_err(at(name))?;
        let used = used_state(&principal.project, &state.id, state.expires_at);
        match state.user {
            Some(user) => {
                let claimed = Box::new(claimed);
                let operation = UserOperation::LinkIdentity { user, claimed, state: used };
                Ok(Finished::Linked(self.changed(self.submit(principal, operation).await?)?))
            }
            None => self.sign_in_claimed(principal, claimed, used, seen).await.map(Finished::SignedIn),
        }
    }

    /// Signs somebody in by what their app got from a provider. The same proof is good once.
    ///
    /// # Errors
    /// As [`Users::finish_at_provider`].
    pub async fn sign_in_by_app(
        &self,
        principal: &Principal,
        name: &str,
        proof: AppProof,
        seen: Seen,
    ) -> Result<SignIn, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        self.limits.check(Class::SignIn, principal)?;
        let settings = self.settings(principal).await?;
        let provider = find(&settings, name)?;
        let (claimed, used) = match proof {
            AppProof::IdToken(token) => {
                let openid = self.openid(principal, name, provider).await.map_err(at(name))?;
                let claimed = openid.verify(&token).await.map_err(at(name))?;
                // What is signed stays the same, however its signature is written.
                let signed = token.rsplit_once('.').map_or(token.as_str(), |(signed, _)| signed);
                (claimed, signed.to_owned())
            }
            AppProof::Code { code, redirect } => {
                let arrival =
                    Arrival { code: &code, redirect: &redirect, verifier: None, nonce: "", issuer: None };
                let claimed = self.github(principal, provider).exchange(&arrival).await.map_err(at(name))?;
                (claimed, code.clone())
            }
        };
        // Longer than an ID token is good.
        let remembered = if name == GITHUB { REMEMBERED } else { LONGEST as i64 * 1000 + REMEMBERED };
        let expires_at = Timestamp(Timestamp::now().0.saturating_add(remembered));
        let used = used_state(&principal.project, &format!("{name} {used}"), expires_at);
        self.sign_in_claimed(principal, claimed, used, seen).await
    }

    /// Lists the user's own identities, the oldest first.
    pub async fn identities(&self, principal: &Principal) -> Result<Vec<Identity>, ServiceError> {
        permission::check(principal, Action::UseAccount)?;
        let key = own_key(principal)?;
        let read = move |db| async move { identities::list(&db, &key).await };
        Ok(self.documents.db.read(Lane::Point, read).await?)
    }

    /// Takes an identity from the user who asks.
    ///
    /// # Errors
    /// [`WriteError::UnknownIdentity`], [`WriteError::LastWayIn`], [`ServiceError::StaleSignIn`].
    pub async fn unlink(&self, principal: &Principal, provider: &str) -> Result<(), ServiceError> {
        if !is_recent(principal) {
            return Err(ServiceError::StaleSignIn);
        }
        let user = signed_in(principal)?.id.clone();
        let operation = UserOperation::UnlinkIdentity { user, provider: provider.to_owned() };
        self.submit(principal, operation).await.map(drop)
    }

    async fn sign_in_claimed(
        &self,
        principal: &Principal,
        claimed: Claimed,
        state: UsedState,
        seen: Seen,
    ) -> Result<SignIn, ServiceError> {
        let admission = if principal.is_server() { Admission::Server } else { Admission::Settings };
        // The person who signs in is another one than the user of the request, if it has one.
        let principal = &Principal { user: None, ..principal.clone() };
        for _ in 0..TRIES {
            let Secret { text: ticket, hash: ticket_hash } = Secret::token().map_err(ServiceError::Token)?;
            let operation = UserOperation::SignInByProvider(Box::new(ProviderSignIn {
                found: self.find_claimed(&principal.project, &claimed).await?,
                claimed: claimed.clone(),
                admission: admission.clone(),
                state: state.clone(),
                session: self.new_session(principal, "oauth", seen.clone())?,
                ticket_hash,
            }));
            match self.submit(principal, operation).await {
                // Somebody was created, linked or deleted since they were looked up.
                Err(ServiceError::Write(
                    WriteError::AccountChanged | WriteError::UnknownDocument | WriteError::EmailTaken,
                )) => {}
                outcome => return self.welcome_or_ask(outcome?, ticket),
            }
        }
        Err(WriteError::AccountChanged.into())
    }

    /// Finds the user who has an identity, or else its verified address.
    pub(super) async fn find_claimed(
        &self,
        project: &ProjectId,
        claimed: &Claimed,
    ) -> Result<Option<DocumentId>, ServiceError> {
        let (key, email) = (claimed.key(project), claimed.verified_email().cloned());
        let project = project.clone();
        let read = |db| async move {
            if let Some(identity) = identities::find(&db, &key).await? {
                return Ok(Some(identity.user));
            }
            let Some(email) = email else { return Ok(None) };
            let found = credentials::find_by_email(&db, &project, &email).await?;
            Ok(found.map(|found| found.key.user))
        };
        Ok(self.documents.db.read(Lane::Point, read).await?)
    }

    /// Whoever found the device must not give themselves a way in. An anonymous user has no way to sign in again.
    async fn check_may_link(&self, principal: &Principal) -> Result<(), ServiceError> {
        if is_recent(principal) {
            return Ok(());
        }
        let key = own_key(principal)?;
        let read = |db| async move {
            let found = credentials::find(&db, &key).await?;
            let has_way_in = found.is_some_and(|found| found.email.is_some() || found.password.is_some());
            Ok(has_way_in || !identities::list(&db, &key).await?.is_empty())
        };
        match self.documents.db.read(Lane::Point, read).await? {
            true => Err(ServiceError::StaleSignIn),
            false => Ok(()),
        }
    }

    /// Returns what proves to the provider that the code is ours, and to us that the browser is the one that began.
    fn verifier(&self, state: &State, given: Option<String>) -> Result<String, ProviderError> {
        match (&state.challenge, given) {
            (None, None) => self.providers.states.verifier(state).map_err(ProviderError::State),
            (Some(challenge), Some(given)) if challenge_of(&given) == *challenge => Ok(given),
            (Some(_), None) => Err(ProviderError::NoVerifier),
            (_, Some(_)) => Err(ProviderError::WrongVerifier),
        }
    }

    /// Checks where a sign-in is to end: nobody else may get the code.
    pub(super) fn check_redirect(
        &self,
        settings: &ProjectSettings,
        redirect: &str,
    ) -> Result<(), ServiceError> {
        let origin = page_origin(redirect).ok_or(ServiceError::Redirect)?;
        let is_allowed = match settings.redirects.is_empty() {
            true => is_local(&origin) || page_origin(self.mailer.public_url()).as_ref() == Some(&origin),
            false => settings.redirects.contains(&origin),
        };
        if is_allowed { Ok(()) } else { Err(ServiceError::Redirect) }
    }

    fn github<'a>(&'a self, principal: &'a Principal, settings: &'a Provider) -> GitHub<'a> {
        GitHub { fetcher: self.providers.documents.fetcher(), project: &principal.project, settings }
    }

    async fn openid<'a>(
        &'a self,
        principal: &'a Principal,
        name: &'a str,
        settings: &'a Provider,
    ) -> Result<OpenId<'a>, ProviderError> {
        OpenId::discover(&self.providers.documents, &principal.project, name, settings).await
    }
}

fn find<'a>(settings: &'a ProjectSettings, name: &str) -> Result<&'a Provider, ServiceError> {
    let unknown = || ServiceError::UnknownProvider(name.chars().take(32).collect());
    settings.oauth.get(name).ok_or_else(unknown)
}

/// Names the provider of the project that an error is about.
fn at(name: &str) -> impl FnOnce(ProviderError) -> ServiceError {
    |cause| ServiceError::AtProvider { name: name.to_owned(), cause }
}

fn used_state(project: &ProjectId, id: &str, expires_at: Timestamp) -> UsedState {
    UsedState { hash: hash_token(&format!("{project} {id}")), expires_at }
}
