//! Users: what the document of a user holds, and what is kept beside it and never shown.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    Data, DataError, DocumentId, Email, ProjectId, Timestamp, Totp, email::EmailError, user_members::place_of,
};

/// The most roles of a user, and the most bytes of one.
pub const MAX_ROLES: usize = 64;
pub const MAX_ROLE_BYTES: usize = 64;

/// Identifies a user. The user's id is that of a document in the collection `_users` of the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey {
    pub project: ProjectId,
    pub user: DocumentId,
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
    /// An authenticator app as the second factor, on or about to be.
    pub totp: Option<Totp>,
    /// Whether a code by mail is the second factor, unless there is an app.
    pub has_mail_factor: bool,
    pub created_at: Timestamp,
}

/// What a sign-in takes beside the first factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondFactor {
    /// A code of an authenticator app.
    App,
    /// A code that was mailed to the user's address.
    Mail,
}

impl Credentials {
    /// Returns the second factor that a sign-in takes, if it takes one.
    pub fn second_factor(&self) -> Option<SecondFactor> {
        let has_app = self.totp.as_ref().is_some_and(|totp| totp.is_confirmed);
        match (has_app, self.has_mail_factor) {
            (true, _) => Some(SecondFactor::App),
            (false, true) => Some(SecondFactor::Mail),
            (false, false) => None,
        }
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
        "a user has `email`, `emailVerified`, `roles` and `profile`, and not `{0}`; {place}",
        place = place_of(.0).unwrap_or("put it into `profile`")
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
    /// Reads data that a caller gives.
    ///
    /// # Errors
    /// [`UserDataError`].
    pub fn parse(data: &Data) -> Result<Self, UserDataError> {
        Self::read(data, |text| Ok(Email::parse(text)?))
    }

    /// Reads the data of a document. The address is taken as it is: an older version may have stored one that is no address today.
    ///
    /// # Errors
    /// [`UserDataError`].
    pub fn from_stored(data: &Data) -> Result<Self, UserDataError> {
        Self::read(data, |text| Ok(Email::from_stored(text)))
    }

    /// Reads what becomes of the data of a document. An address that stays is taken as it is.
    ///
    /// # Errors
    /// [`UserDataError`].
    pub fn parse_change(data: &Data, before: Option<&Data>) -> Result<Self, UserDataError> {
        let old = before.and_then(|before| before.fields().get("email"));
        match data.fields().get("email") {
            Some(email) if Some(email) == old => Self::from_stored(data),
            _ => Self::parse(data),
        }
    }

    fn read(
        data: &Data,
        read_email: impl Fn(&str) -> Result<Email, UserDataError>,
    ) -> Result<Self, UserDataError> {
        let mut user = Self::default();
        for (name, value) in data.fields() {
            match (name.as_str(), value) {
                ("email", Value::Null) => {}
                ("email", Value::String(text)) => user.email = Some(read_email(text)?),
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
