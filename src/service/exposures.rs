//! What is open: how much guests, users and holders of a publishable key may do in each collection at most.

use std::sync::Arc;

use super::{
    collections::{CollectionPage, Collections},
    error::ServiceError,
};
use crate::{
    auth::{Action, KeyKind, Principal, Ruling, Scopes, permission},
    domain::{Collection, FieldPath},
    query::rule::{CallerKind, Reach, RuleAction},
    store::{Lane, access::keys},
};

/// How much callers of a kind may do at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaches {
    pub read: Reach,
    pub create: Reach,
    pub update: Reach,
    pub delete: Reach,
}

/// How open a collection is.
#[derive(Clone, Debug)]
pub struct Exposure {
    pub collection: Arc<Collection>,
    /// Whether the collection has rules, so that somebody has decided how open it is.
    pub has_rules: bool,
    /// Somebody with one of the project's publishable keys, and without a user.
    pub guest: Reaches,
    /// Any user.
    pub user: Reaches,
    /// Somebody with a publishable key that has all scopes, and without a user.
    pub key: Reaches,
    /// The fields that not everybody may read who may read the document.
    pub hidden: Vec<FieldPath>,
}

/// A page of exposures, and whether none comes after it.
pub struct ExposurePage {
    pub exposures: Vec<Exposure>,
    pub is_last: bool,
}

impl Collections {
    /// Returns how open the collections of a page are, by their names.
    pub async fn exposures(
        &self,
        principal: &Principal,
        page: CollectionPage,
    ) -> Result<ExposurePage, ServiceError> {
        permission::check(principal, Action::SeeRules)?;
        let granted = self.granted(principal).await?;
        let catalog = self.catalogs.get_latest(&principal.project).await?;
        let CollectionPage { after, offset, limit } = page;
        let mut listed = catalog.list_all(after.as_ref()).skip(offset);
        let exposure = |collection: &Arc<Collection>| {
            let ruling = Ruling::of(&catalog, collection, false);
            let key = Reaches::of(ruling, CallerKind::Guest);
            let guest = key.within(&granted);
            let user = Reaches::of(ruling, CallerKind::User);
            let (has_rules, hidden) = match ruling {
                Ruling::Rules(rules) => (true, rules.hidden_fields().into_iter().cloned().collect()),
                Ruling::Free | Ruling::Closed => (false, Vec::new()),
            };
            Exposure { collection: collection.clone(), has_rules, guest, user, key, hidden }
        };
        let exposures = listed.by_ref().take(limit).map(exposure).collect();
        Ok(ExposurePage { exposures, is_last: listed.next().is_none() })
    }

    /// Returns the scopes of the publishable keys of a project that are not revoked.
    async fn granted(&self, principal: &Principal) -> Result<Vec<Scopes>, ServiceError> {
        let project = principal.project.clone();
        let keys = self.db.read(Lane::Point, |db| async move { keys::list(&db, &project).await }).await?;
        let is_good = |key: &keys::StoredKey| {
            key.revoked_at.is_none() && KeyKind::parse(&key.kind) == Some(KeyKind::Publishable)
        };
        // Scopes that this version doesn't know might be any.
        let scopes = |key: keys::StoredKey| match key.scopes {
            Some(text) => Scopes::parse(&text).unwrap_or_else(|_| Scopes::all()),
            None => Scopes::all(),
        };
        Ok(keys.into_iter().filter(is_good).map(scopes).collect())
    }
}

impl Reaches {
    fn of(ruling: Ruling<'_>, kind: CallerKind) -> Self {
        let reach = |action| match ruling {
            Ruling::Free => Reach::All,
            Ruling::Rules(rules) => rules.reach(action, kind),
            Ruling::Closed => Reach::None,
        };
        Self {
            read: reach(RuleAction::Read),
            create: reach(RuleAction::Create),
            update: reach(RuleAction::Update),
            delete: reach(RuleAction::Delete),
        }
    }

    /// Returns what is left of it with keys of these scopes. A stream and the answer to a write show documents, too.
    fn within(self, granted: &[Scopes]) -> Self {
        let has = |scope| granted.iter().any(|scopes| scopes.allow(scope));
        let can_write = has("documents:write");
        let can_read = can_write || has("documents:read") || has("realtime");
        let left = |reach, can| if can { reach } else { Reach::None };
        Self {
            read: left(self.read, can_read),
            create: left(self.create, can_write),
            update: left(self.update, can_write),
            delete: left(self.delete, can_write),
        }
    }
}
