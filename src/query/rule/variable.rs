//! Variables of rules, their values, and values with variables in them.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::set::Sets;
use crate::{
    domain::{Data, FieldPath, Segment, Timestamp},
    query::matches::value_at,
};

/// Parameters that a caller gives to rules, by name.
pub type Params = Arc<Map<String, Value>>;

/// What rules know of a user.
#[derive(Clone, Debug)]
pub struct UserValues {
    pub id: String,
    /// The data of the user's document. `None` if no rule at hand needs it, or if it is gone.
    pub data: Option<Data>,
}

/// The values of variables for one caller.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// `None` for a caller without a user.
    pub user: Option<UserValues>,
    /// The id of the key; `None` for a caller without one.
    pub key: Option<String>,
    /// The parameters that the caller sent with the request or the subscription.
    pub params: Params,
    /// The sets of other collections that were read.
    pub sets: Arc<Sets>,
    /// The time of the write. `None` when a rule about reading is bound, because a document must not come or go without a change.
    pub now: Option<Timestamp>,
}

/// Callers of whom nothing else is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// Holders of a key, without a user.
    Guest,
    User,
}

/// A value that a rule takes from the caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Variable {
    UserId,
    UserEmail,
    UserEmailVerified,
    UserRoles,
    UserProfile(FieldPath),
    KeyId,
    Param(String),
    /// The SHA-256 of a parameter that is a text, in lower-case hexadecimal.
    ParamHash(String),
    Now,
}

/// The names of all variables, for messages.
const NAMES: [&str; 9] = [
    "$user.id",
    "$user.email",
    "$user.emailVerified",
    "$user.roles",
    "$user.profile.<path>",
    "$key.id",
    "$param.<name>",
    "$paramHash.<name>",
    "$now",
];

impl Variable {
    /// Parses a text that begins with `$`.
    ///
    /// # Errors
    /// The end of a sentence that names it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let named = |prefix: &str| text.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        Ok(match text {
            "$user.id" => Self::UserId,
            "$user.email" => Self::UserEmail,
            "$user.emailVerified" => Self::UserEmailVerified,
            "$user.roles" => Self::UserRoles,
            "$key.id" => Self::KeyId,
            "$now" => Self::Now,
            _ => {
                if let Some(path) = named("$user.profile.") {
                    Self::UserProfile(FieldPath::parse(path).map_err(|err| err.to_string())?)
                } else if let Some(name) = named("$param.") {
                    Self::Param(name.to_owned())
                } else if let Some(name) = named("$paramHash.") {
                    Self::ParamHash(name.to_owned())
                } else {
                    return Err(unknown(text));
                }
            }
        })
    }

    /// Returns its value for a caller; `None` if it has none. A `null` in a list is no value of its list: it would match what is
    /// missing.
    pub(super) fn value(&self, values: &Values) -> Option<Value> {
        match self.found(values)? {
            Value::Array(items) => Some(items.into_iter().filter(|item| !item.is_null()).collect()),
            value => Some(value),
        }
    }

    fn found(&self, values: &Values) -> Option<Value> {
        let of_user = |path: &[Segment]| {
            let data = values.user.as_ref()?.data.as_ref()?;
            value_at(path, data).filter(|value| !value.is_null()).cloned()
        };
        let member = |name: &str| of_user(&[Segment::Key(name.to_owned())]);
        match self {
            Self::UserId => Some(Value::from(values.user.as_ref()?.id.as_str())),
            Self::UserEmail => member("email"),
            Self::UserEmailVerified => member("emailVerified"),
            Self::UserRoles => member("roles"),
            Self::UserProfile(path) => {
                let profile = std::iter::once(Segment::Key("profile".to_owned()));
                of_user(&profile.chain(path.segments().iter().cloned()).collect::<Vec<_>>())
            }
            Self::KeyId => values.key.as_deref().map(Value::from),
            Self::Param(name) => values.params.get(name).filter(|value| !value.is_null()).cloned(),
            Self::ParamHash(name) => {
                let digest = Sha256::digest(values.params.get(name)?.as_str()?.as_bytes());
                Some(Value::from(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
            }
            Self::Now => values.now.map(|now| Value::from(now.to_string())),
        }
    }

    /// Whether its value is never a list.
    pub(super) fn is_single(&self) -> bool {
        matches!(
            self,
            Self::UserId
                | Self::UserEmail
                | Self::UserEmailVerified
                | Self::KeyId
                | Self::ParamHash(_)
                | Self::Now
        )
    }

    /// Whether some caller of a kind has a value for it.
    pub(super) fn may_have_value(&self, kind: CallerKind) -> bool {
        match self {
            Self::UserId
            | Self::UserEmail
            | Self::UserEmailVerified
            | Self::UserRoles
            | Self::UserProfile(_) => kind == CallerKind::User,
            Self::KeyId | Self::Param(_) | Self::ParamHash(_) | Self::Now => true,
        }
    }

    /// Whether only the user's document says it.
    pub(super) fn needs_user_document(&self) -> bool {
        matches!(self, Self::UserEmail | Self::UserEmailVerified | Self::UserRoles | Self::UserProfile(_))
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserId => f.write_str("$user.id"),
            Self::UserEmail => f.write_str("$user.email"),
            Self::UserEmailVerified => f.write_str("$user.emailVerified"),
            Self::UserRoles => f.write_str("$user.roles"),
            Self::UserProfile(path) => write!(f, "$user.profile.{path}"),
            Self::KeyId => f.write_str("$key.id"),
            Self::Param(name) => write!(f, "$param.{name}"),
            Self::ParamHash(name) => write!(f, "$paramHash.{name}"),
            Self::Now => f.write_str("$now"),
        }
    }
}

fn unknown(text: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    let hint = match crate::domain::nearest(text, NAMES) {
        Some(near) => format!("did you mean `{near}`"),
        None => format!("the variables are {}", NAMES.join(", ")),
    };
    format!("`{shown}` is not a variable; {hint}. A text that begins with `$` is written `\\$`")
}

/// A value in which some parts are variables.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Template {
    Fixed(Value),
    Variable(Variable),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

impl Template {
    /// Reads a value of a rule. A string that begins with `$` is a variable, and `\$` begins a text with `$`.
    ///
    /// # Errors
    /// The end of a sentence that names the value.
    pub(super) fn parse(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) if text.starts_with('$') => Self::Variable(Variable::parse(&text)?),
            Value::String(text) => Self::Fixed(Value::from(match text.strip_prefix("\\$") {
                Some(rest) => format!("${rest}"),
                None => text,
            })),
            Value::Array(items) => {
                Self::List(items.into_iter().map(Self::parse).collect::<Result<_, _>>()?).settle()
            }
            Value::Object(fields) => {
                let member = |(name, value)| Ok((name, Self::parse(value)?));
                Self::Object(fields.into_iter().map(member).collect::<Result<_, String>>()?).settle()
            }
            other => Self::Fixed(other),
        })
    }

    /// Returns the value for a caller; `None` if one of its variables has none.
    pub(super) fn fill(&self, values: &Values) -> Option<Value> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Variable(variable) => variable.value(values),
            Self::List(items) => items.iter().map(|item| item.fill(values)).collect(),
            Self::Object(fields) => {
                let member = |(name, value): &(String, Self)| Some((name.clone(), value.fill(values)?));
                fields.iter().map(member).collect::<Option<Map<_, _>>>().map(Value::Object)
            }
        }
    }

    /// Returns its variables.
    pub(super) fn variables(&self) -> Vec<&Variable> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Variable(variable) => vec![variable],
            Self::List(items) => items.iter().flat_map(Self::variables).collect(),
            Self::Object(fields) => fields.iter().flat_map(|(_, value)| value.variables()).collect(),
        }
    }

    /// Makes a plain value of one without variables.
    fn settle(self) -> Self {
        if !self.variables().is_empty() {
            return self;
        }
        self.fill(&Values::default()).map_or(self, Self::Fixed)
    }
}
