//! Principals, and the kinds and scopes of their keys.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, atomic::AtomicI64},
};

use crate::{
    domain::{
        AskedFrom, Collection, CollectionId, CollectionName, DocumentId, Email, HeldKey, KeyId, Origins,
        ProjectId, Seen, SessionId, Timestamp, seen::network_of,
    },
    query::rule::Params,
    shares::Account,
};

/// A caller of the server: the holder of an API key, of a user's token, of both, or of a ticket that was made with one.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The only project that the principal can reach.
    pub project: ProjectId,
    /// [`keyless`] for a user without a key.
    pub key: KeyId,
    pub kind: KeyKind,
    pub scopes: Scopes,
    /// The other limits of the key.
    pub limits: Arc<KeyLimits>,
    /// The only collection that a stream ticket opens; `None` opens all of them.
    pub collection: Option<TicketCollection>,
    /// The user who is signed in. Whoever has a key as well acts as this user, with the scopes of the key.
    pub user: Option<SignedIn>,
    /// The parameters of the request, which rules can use. Often empty.
    pub params: Params,
    /// The device from which the request comes. Only requests about users look for it.
    pub seen: Option<Arc<Seen>>,
}

/// The limits of a key besides its scopes, as they were when it was read.
#[derive(Debug, Default)]
pub struct KeyLimits {
    /// How often the key was changed. A change of its scopes or origins ends the connections with a lower one.
    pub revision: u64,
    pub expires_at: Option<Timestamp>,
    /// The origins of pages that may use it.
    pub origins: Origins,
    /// The last minute in which its use was noted.
    pub(super) used_in: AtomicI64,
}

/// A user who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The id of the user's document.
    pub id: DocumentId,
    pub session: SessionId,
    /// The first moment at which the token is good for nothing. A stream that was opened with a ticket goes on after the ticket,
    /// so for a ticket this is the end of the session.
    pub expires_at: Timestamp,
    /// When the user last proved who they are.
    pub signed_in_at: Timestamp,
    /// The round of [`Sessions`](super::Sessions) in which the session was found.
    pub round: u64,
}

/// Stands for the key of users who send none. They share its account.
pub fn keyless() -> KeyId {
    KeyId::from_stored("users")
}

/// The only collection that a stream ticket opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketCollection {
    Existing(CollectionId),
    /// It did not exist when the ticket was made. The ticket opens the one that has this name.
    Awaited(CollectionName),
}

impl TicketCollection {
    pub fn admits(&self, collection: &Collection) -> bool {
        match self {
            Self::Existing(id) => *id == collection.id,
            Self::Awaited(name) => *name == collection.name,
        }
    }
}

impl Principal {
    /// Returns the account on which its requests hold what is bounded.
    pub fn account(&self) -> Account {
        let account = Account::new(self.project.clone(), self.key.clone());
        match &self.user {
            Some(user) => account.of_member(user.id.as_str()),
            None => account,
        }
    }

    /// Returns the account on which one visitor holds what all visitors of a key share: the key and the address. So a client that
    /// floods an app with its public key does not keep the app's other users out.
    pub fn visitor_account(&self) -> Account {
        match self.address() {
            Some(address) => {
                let key = KeyId::from_stored(&format!("{}@{}", self.key, network_of(address)));
                Account::new(self.project.clone(), key)
            }
            None => self.account(),
        }
    }

    /// Returns the address from which the request comes, if it was looked for.
    pub fn address(&self) -> Option<IpAddr> {
        self.seen.as_ref().and_then(|seen| seen.address)
    }

    /// Whether it is a server that does not say for whom it asks, so that its address is that of all its users.
    pub fn asks_for_many(&self) -> bool {
        self.kind == KeyKind::Secret && !self.seen.as_ref().is_some_and(|seen| seen.is_told)
    }

    /// Returns what stands for whoever asks, where those who ask are told apart: the network, or else the server.
    pub fn asked_from(&self) -> Option<AskedFrom> {
        match self.asks_for_many() {
            true => Some(AskedFrom::of_server(&self.key)),
            false => self.address().map(AskedFrom::of_address),
        }
    }

    /// Returns the account on which a visitor waits for a password to be compared. Those who were there before, and the users of a
    /// server, have lines of their own, as if they were of other projects. So whoever comes from many networks at once doesn't
    /// keep them out: they have half of the turns, or more.
    pub fn sign_in_account(&self, email: &Email, is_known: bool) -> Account {
        let line = match (self.asks_for_many(), is_known) {
            (true, _) => "servers",
            (false, true) => "known",
            (false, false) => return self.visitor_account(),
        };
        let project = ProjectId::from_stored(&format!("{}/{line}", self.project));
        Account::new(project, KeyId::from_stored(&format!("{}/{}", self.key, email.as_str())))
    }

    /// Returns the same principal with the device from which the request comes.
    pub fn seen_from(&self, seen: Seen) -> Arc<Self> {
        Arc::new(Self { seen: Some(Arc::new(seen)), ..self.clone() })
    }

    /// Returns the same principal with the parameters of a request.
    pub fn with_params(&self, params: Params) -> Arc<Self> {
        Arc::new(Self { params, ..self.clone() })
    }

    /// Returns the name under which what it has sent is remembered: its key, and its user if it has one.
    pub fn caller_name(&self) -> String {
        match &self.user {
            Some(user) => format!("{}/{}", self.key, user.id),
            None => self.key.to_string(),
        }
    }

    /// Whether it is a server that acts for itself, whom no rule binds.
    pub fn is_server(&self) -> bool {
        self.kind == KeyKind::Secret && self.user.is_none()
    }

    /// Checks that a page of this origin may use the key.
    ///
    /// # Errors
    /// [`OriginRefused`].
    pub fn check_origin(&self, origin: &str) -> Result<(), OriginRefused> {
        match self.limits.origins.admits(origin) {
            true => Ok(()),
            false => Err(OriginRefused(origin.chars().take(MAX_SHOWN_ORIGIN).collect())),
        }
    }

    /// Returns its project, its key and its session, for the writer, who looks once more whether they are good.
    pub fn callers(&self) -> (ProjectId, Option<HeldKey>, Option<SessionId>) {
        let session = self.user.as_ref().map(|user| user.session.clone());
        (self.project.clone(), Some(self.held_key()), session)
    }

    /// Returns its key as it was when it was read.
    pub fn held_key(&self) -> HeldKey {
        HeldKey { id: self.key.clone(), revision: self.limits.revision }
    }
}

/// The kind of a key says where it may be kept, and so what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `pk_…`: goes into apps, which anyone can read.
    Publishable,
    /// `sk_…`: stays on servers.
    Secret,
}

impl KeyKind {
    /// Returns the word in the database and in the output of `coir keys list`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publishable => "publishable",
            Self::Secret => "secret",
        }
    }

    /// Reads the word that [`KeyKind::as_str`] returns.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "publishable" => Some(Self::Publishable),
            "secret" => Some(Self::Secret),
            _ => None,
        }
    }

    /// Returns the beginning of every key of this kind.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Publishable => "pk_",
            Self::Secret => "sk_",
        }
    }

    /// Returns the kind of a key by its text. `None` for text that is not a key: a prefix with 16 to 128 ASCII letters and digits.
    pub fn of_key(text: &str) -> Option<Self> {
        let kind =
            [Self::Publishable, Self::Secret].into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        let rest = &text[kind.prefix().len()..];
        ((16..=128).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(kind)
    }
}

/// The words that a key can be limited to.
const SCOPES: [&str; 8] = [
    "documents:read",
    "documents:write",
    "collections:write",
    "realtime",
    "users",
    "settings",
    "audit",
    MANAGES_KEYS,
];
/// The scope of keys that manage keys.
pub const MANAGES_KEYS: &str = "keys";
/// The most characters of an origin that a refusal repeats.
const MAX_SHOWN_ORIGIN: usize = 100;

/// The scopes of a key: a list, or `None` for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Option<Vec<&'static str>>);

/// A page of an origin uses a key that is for others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "pages of the origin `{0}` may not use this key; PATCH /keys/{{id}} or `coir keys change` adds the origin to it"
)]
pub struct OriginRefused(String);

/// A word that is not a scope.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a scope; the scopes are {known}", word = .0, known = SCOPES.join(", "))]
pub struct UnknownScope(String);

impl Scopes {
    /// Returns the scopes of a key without limits.
    pub fn all() -> Self {
        Self(None)
    }

    /// Reads a comma-separated list.
    ///
    /// # Errors
    /// [`UnknownScope`] for the first word that is not a scope.
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        let scope =
            |word: &str| SCOPES.into_iter().find(|s| *s == word).ok_or_else(|| UnknownScope(word.to_owned()));
        Ok(Self(Some(text.split(',').map(|word| scope(word.trim())).collect::<Result<_, _>>()?)))
    }

    /// Reads a list of words.
    ///
    /// # Errors
    /// [`UnknownScope`] for the first word that is not a scope.
    pub fn of_words(words: &[String]) -> Result<Self, UnknownScope> {
        let scope = |word: &String| {
            let unknown = || UnknownScope(word.chars().take(60).collect());
            SCOPES.into_iter().find(|scope| scope == word).ok_or_else(unknown)
        };
        Ok(Self(Some(words.iter().map(scope).collect::<Result<_, _>>()?)))
    }

    /// Reads the form in the database. Text that only another version can read gives no scope.
    pub fn from_stored(text: Option<&str>) -> Self {
        text.map_or(Self::all(), |text| Self::parse(text).unwrap_or(Self(Some(Vec::new()))))
    }

    /// Returns the words; `None` for all scopes, also those of later versions.
    pub fn words(&self) -> Option<&[&'static str]> {
        self.0.as_deref()
    }

    /// Returns a scope that others have and these don't. `all` stands for those of later versions.
    pub fn find_missing(&self, others: &Self) -> Option<&'static str> {
        match (&self.0, &others.0) {
            (None, _) => None,
            (Some(_), None) => Some("all"),
            (Some(own), Some(others)) => others.iter().copied().find(|other| !own.contains(other)),
        }
    }

    /// Whether the key has the scope.
    pub fn allow(&self, scope: &str) -> bool {
        self.0.as_ref().is_none_or(|scopes| scopes.contains(&scope))
    }

    /// Returns the form in the database, where null means all.
    pub fn to_stored(&self) -> Option<String> {
        self.0.as_ref().map(|scopes| scopes.join(","))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_stored().as_deref().unwrap_or("all"))
    }
}
