//! Users: what the document of a user holds, and what is kept beside it and never shown.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value, json};

use super::{Data, DataError, DocumentId, ProjectId, Timestamp, Totp};

/// The most roles of a user, and the most bytes of one.
pub const MAX_ROLES: usize = 64;
pub const MAX_ROLE_BYTES: usize = 64;
/// The most bytes of an e-mail address (RFC 5321, section 4.5.3.1.3, without the angle brackets).
const MAX_EMAIL_BYTES: usize = 254;

/// Identifies a user. The user's id is that of a document in the collection `_users` of the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey {
    pub project: ProjectId,
    pub user: DocumentId,
}

/// An e-mail address in lower case, by which it is unique in its project.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(Arc<str>);

/// Why a text is not an e-mail address. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`email` must be an e-mail address, such as ada@example.com, of at most 254 bytes")]
pub struct EmailError;

impl Email {
    /// Reads an address, without the white space around it. Whether somebody reads its mail is found out by sending one.
    ///
    /// # Errors
    /// [`EmailError`].
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim().to_lowercase();
        let is_plain =
            |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
        let is_good = text.len() <= MAX_EMAIL_BYTES
            && text.split_once('@').is_some_and(|(name, domain)| {
                is_plain(name)
                    && is_plain(domain)
                    && name.len() <= 64
                    && !text.contains(['<', '>', '"', ',', ';', '(', ')', '\\'])
                    && !domain.contains('@')
                    && !domain.split('.').any(str::is_empty)
            });
        if is_good { Ok(Self(text.into())) } else { Err(EmailError) }
    }

    /// Takes an address from the database without checking it.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what is behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Hides the address, which must not reach a log.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

/// A password's hash as text, with its algorithm and parameters (PHC string format).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<str>);

impl PasswordHash {
    /// Takes a hash that was just made, or one from the database.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hides the hash, which must not reach a log.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// What is kept beside the document of a user, is never shown and never in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub key: UserKey,
    /// The address in the document, once more, because here it is unique.
    pub email: Option<Email>,
    /// `None` for a user who signs in by other means only.
    pub password: Option<PasswordHash>,
    /// The second factor, on or about to be.
    pub totp: Option<Totp>,
    pub created_at: Timestamp,
}

impl Credentials {
    /// Whether a sign-in takes a second factor.
    pub fn has_second_factor(&self) -> bool {
        self.totp.as_ref().is_some_and(|totp| totp.is_confirmed)
    }
}

/// What the document of a user holds. Other members are refused: an app's own data goes into the profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserData {
    /// `None` for an anonymous user.
    pub email: Option<Email>,
    /// Whether somebody has shown that they read mail to this address.
    pub email_verified: bool,
    /// Words that the app gives a meaning.
    pub roles: Vec<String>,
    /// Whether a server has shut the user out. In the document only while it is true.
    pub disabled: bool,
    /// The app's own data.
    pub profile: Map<String, Value>,
}

/// Why an object can't be the document of a user. The message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    #[error(
        "a user has `email`, `emailVerified`, `roles` and `profile`, and not `{0}`; put it into `profile`"
    )]
    UnknownMember(String),
    #[error(transparent)]
    Email(#[from] EmailError),
    #[error("`{0}` must be {1}")]
    WrongType(&'static str, &'static str),
    #[error("a user may have at most 64 roles, each a text of 1 to 64 bytes")]
    Roles,
}

impl UserData {
    /// Reads the data of a document.
    ///
    /// # Errors
    /// [`UserDataError`].
    pub fn parse(data: &Data) -> Result<Self, UserDataError> {
        let mut user = Self::default();
        for (name, value) in data.fields() {
            match (name.as_str(), value) {
                ("email", Value::Null) => {}
                ("email", Value::String(text)) => user.email = Some(Email::parse(text)?),
                ("email", _) => return Err(UserDataError::WrongType("email", "a text or null")),
                ("emailVerified", Value::Bool(is_verified)) => user.email_verified = *is_verified,
                ("emailVerified", _) => {
                    return Err(UserDataError::WrongType("emailVerified", "true or false"));
                }
                ("disabled", Value::Bool(is_disabled)) => user.disabled = *is_disabled,
                ("disabled", _) => return Err(UserDataError::WrongType("disabled", "true or false")),
                ("roles", Value::Array(roles)) => user.roles = parse_roles(roles)?,
                ("roles", _) => return Err(UserDataError::WrongType("roles", "a list of texts")),
                ("profile", Value::Object(profile)) => user.profile = profile.clone(),
                ("profile", _) => return Err(UserDataError::WrongType("profile", "an object")),
                _ => return Err(UserDataError::UnknownMember(name.clone())),
            }
        }
        Ok(user)
    }

    /// Returns the data of the document, with every member.
    ///
    /// # Errors
    /// [`DataError`] if the profile is nested too deep.
    pub fn to_data(&self) -> Result<Data, DataError> {
        let mut members = json!({
            "email": self.email.as_ref().map(Email::as_str),
            "emailVerified": self.email_verified,
            "roles": self.roles,
            "profile": self.profile,
        });
        if self.disabled {
            members["disabled"] = Value::Bool(true);
        }
        Data::from_value(members)
    }
}

fn parse_roles(roles: &[Value]) -> Result<Vec<String>, UserDataError> {
    if roles.len() > MAX_ROLES {
        return Err(UserDataError::Roles);
    }
    let role = |value: &Value| match value {
        Value::String(role) if (1..=MAX_ROLE_BYTES).contains(&role.len()) => Ok(role.clone()),
        _ => Err(UserDataError::Roles),
    };
    roles.iter().map(role).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_lower_case_and_other_texts_refused() {
        assert_eq!(Email::parse(" Ada@Example.COM ").unwrap().as_str(), "ada@example.com");
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a@b@c",
            "a b@c.d",
            "a@b..c",
            "a@.b",
            "<a@b.c>",
            "a@b.c,d@e.f",
        ] {
            assert_eq!(Email::parse(bad), Err(EmailError), "{bad}");
        }
        assert!(Email::parse(&format!("a@{}.example", "b".repeat(300))).is_err());
    }

    #[test]
    fn a_user_has_its_members_and_no_others() {
        let data = |value| Data::from_value(value).unwrap();
        let user =
            UserData::parse(&data(json!({"email":"A@b.c","roles":["editor"],"profile":{"name":"Ada"}})))
                .unwrap();
        assert_eq!(
            user.to_data().unwrap().value(),
            &json!({"email":"a@b.c","emailVerified":false,"roles":["editor"],"profile":{"name":"Ada"}})
        );
        for bad in [
            json!({"name":"Ada"}),
            json!({"email":7}),
            json!({"emailVerified":"yes"}),
            json!({"roles":"editor"}),
            json!({"roles":[7]}),
            json!({"profile":[]}),
            json!({"disabled":"yes"}),
        ] {
            assert!(UserData::parse(&data(bad.clone())).is_err(), "{bad}");
        }
    }
}
