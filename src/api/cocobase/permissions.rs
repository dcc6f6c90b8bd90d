//! `permissions` of the client libraries: the roles that each action takes. They are stored as rules, so that one engine serves both
//! doors.
//!
//! An empty list is open to everybody with a key. Otherwise the user needs one of the roles.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    api::error::{ApiError, ErrorCode},
    query::rule::{RuleAction, RuleSet},
    wire::cocobase::Permissions,
};

/// Stands in a list for a rule that is no list of roles.
const OWN_RULE: &str = "(rules)";
/// The left side of a term on the roles of the user.
const ROLES: &str = "$user.roles__array_contains";
/// The most bytes of a role.
const MAX_ROLE_BYTES: usize = 64;

/// Permissions as they are sent. An action that is left out stays as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of lists of roles, such as {\"create\":[\"editor\"]}")]
pub struct NewPermissions {
    create: Option<Vec<String>>,
    read: Option<Vec<String>>,
    update: Option<Vec<String>>,
    delete: Option<Vec<String>>,
}

impl NewPermissions {
    fn of(&self, action: RuleAction) -> Option<&Vec<String>> {
        match action {
            RuleAction::Create => self.create.as_ref(),
            RuleAction::Read => self.read.as_ref(),
            RuleAction::Update => self.update.as_ref(),
            RuleAction::Delete => self.delete.as_ref(),
        }
    }

    /// Whether they limit nothing.
    pub fn are_open(&self) -> bool {
        RuleAction::ALL.iter().all(|action| self.of(*action).is_none_or(Vec::is_empty))
    }

    /// Returns the rules of a collection with these permissions. What `before` says beside is kept.
    ///
    /// # Errors
    /// `INVALID_BODY` for a text that is no role, and for too many of them.
    pub fn to_rules(&self, before: Option<&RuleSet>) -> Result<Arc<RuleSet>, ApiError> {
        let refuse = |message: String| ApiError::new(ErrorCode::InvalidBody, message);
        let mut members = match before {
            Some(rules) => rules.source().as_object().cloned().unwrap_or_default(),
            // Without rules everything is open.
            None => RuleAction::ALL.iter().map(|action| (action.as_str().to_owned(), json!(true))).collect(),
        };
        for action in RuleAction::ALL {
            let Some(roles) = self.of(action) else { continue };
            // As it was shown.
            if roles.len() == 1 && roles[0] == OWN_RULE && before.is_some() {
                continue;
            }
            if let Some(bad) = roles.iter().find(|role| !is_role(role)) {
                let shown: String = bad.chars().take(MAX_ROLE_BYTES).collect();
                return Err(refuse(format!("`permissions.{action}`: `{shown}` is not a valid role")));
            }
            members.insert(action.as_str().to_owned(), rule_of(roles));
        }
        RuleSet::parse(Value::Object(members)).map(Arc::new).map_err(|err| refuse(err.to_string()))
    }
}

/// Returns the permissions of a collection as the libraries read them.
pub fn shown(rules: Option<&RuleSet>) -> Permissions {
    let of = |action: RuleAction| match rules {
        None => Vec::new(),
        Some(rules) => roles_of(rules.source().get(action.as_str())),
    };
    Permissions {
        create: of(RuleAction::Create),
        read: of(RuleAction::Read),
        update: of(RuleAction::Update),
        delete: of(RuleAction::Delete),
    }
}

fn is_role(text: &str) -> bool {
    // A backslash would escape what comes after it.
    (1..=MAX_ROLE_BYTES).contains(&text.len()) && !text.starts_with('\\') && text != OWN_RULE
}

fn rule_of(roles: &[String]) -> Value {
    let term = |role: &String| {
        // In a rule, a text that begins with `$` is a variable.
        let text = if role.starts_with('$') { format!("\\{role}") } else { role.clone() };
        Value::Object(Map::from_iter([(ROLES.to_owned(), Value::from(text))]))
    };
    match roles {
        [] => Value::Bool(true),
        [role] => term(role),
        roles => json!({ "$or": roles.iter().map(term).collect::<Vec<_>>() }),
    }
}

/// Returns the roles of a rule that [`rule_of`] has made.
fn roles_of(rule: Option<&Value>) -> Vec<String> {
    let own = || vec![OWN_RULE.to_owned()];
    let role = |term: &Value| {
        let members = term.as_object().filter(|members| members.len() == 1)?;
        let text = members.get(ROLES)?.as_str()?;
        match text.strip_prefix("\\$") {
            Some(rest) => Some(format!("${rest}")),
            None => Some(text.to_owned()).filter(|text| !text.starts_with('$')),
        }
    };
    match rule {
        Some(Value::Bool(true)) => Vec::new(),
        Some(Value::Object(members)) if members.len() == 1 && members.contains_key("$or") => {
            let terms = members["$or"].as_array().map(Vec::as_slice).unwrap_or_default();
            terms.iter().map(role).collect::<Option<Vec<_>>>().unwrap_or_else(own)
        }
        Some(term) => role(term).map_or_else(own, |role| vec![role]),
        None => own(),
    }
}
