//! The rules of users: those that hold where an app sets none, and what an app may set.

use std::sync::{Arc, LazyLock};

use serde_json::json;

use super::{
    checks::refuse,
    condition::{Condition, Term},
    rule_set::{RuleError, RuleSet},
    update::UpdateRule,
    variable::{Template, Variable},
};
use crate::domain::FieldPath;

/// The members of a user's document that only the user reads, unless the rules of an app say otherwise.
const PRIVATE: [&str; 4] = ["disabled", "email", "emailVerified", "roles"];

static DEFAULT: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    let source = json!({
        "read": { "id": "$user.id" },
        "update": { "before": { "id": "$user.id" }, "only": ["profile"] },
    });
    Arc::new(RuleSet { read: own(), update: vec![own_profile()], ..RuleSet::denying(source) })
});

/// Returns the rules of users where an app has set none: whoever is signed in reads themselves, and changes their profile.
pub fn default_rules_of_users() -> &'static Arc<RuleSet> {
    &DEFAULT
}

impl RuleSet {
    /// Checks rules that an app sets for users.
    ///
    /// # Errors
    /// [`RuleError`] if they say who creates or deletes users, or what is stamped: that is decided by signing up, and not by rules.
    pub fn check_of_users(&self) -> Result<(), RuleError> {
        for member in ["create", "delete", "stamp"] {
            if self.source.get(member).is_some() {
                return refuse(
                    &format!("rules.{member}"),
                    "users are created by signing up, and deleted by themselves or a server; the rules of `_users` are `let`, `read`, `update` and `fields`",
                );
            }
        }
        Ok(())
    }

    /// Returns rules that an app has set for users with what they leave out. Without `read` and `update` the default holds. The
    /// address, the roles and whether the user is disabled stay their own, unless `fields` says who reads them.
    pub fn completed_of_users(mut self) -> Self {
        if self.source.get("read").is_none() {
            self.read = own();
        }
        if self.source.get("update").is_none() {
            self.update = vec![own_profile()];
        }
        let private = PRIVATE.iter().filter_map(|name| FieldPath::parse(name).ok());
        for path in private.filter(|_| self.read != own()) {
            self.reads.entry(path).or_insert_with(own);
        }
        self
    }
}

fn own() -> Condition {
    Condition::Term(Term { key: "id".to_owned(), value: Template::Variable(Variable::UserId) })
}

fn own_profile() -> UpdateRule {
    UpdateRule {
        before: own(),
        after: Condition::Known(true),
        unchanged: Vec::new(),
        only: FieldPath::parse("profile").ok().map(|path| vec![path]),
    }
}
