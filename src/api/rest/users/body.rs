//! The bodies of requests about users.

use serde_json::{Map, Value};

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::Body,
    },
    auth::PasswordError,
    domain::{Data, Email, nearest, user_members},
    service::ServiceError,
    writer::WriteError,
};

pub use crate::api::request::client::seen;

/// The most characters of an unknown member that an error repeats.
const MAX_SHOWN: usize = 60;
/// The advice for what a user's document has, and the user can't change.
const ONLY_SERVERS: &str =
    "a user can't set it; a server does, with PATCH /collections/_users/{id} and a secret key";

/// The members of a request's body, which are taken out one by one.
pub struct Members {
    fields: Map<String, Value>,
}

impl Members {
    /// Reads the members of a body, of which it may have only those in `known`. A member that is null counts as missing.
    ///
    /// # Errors
    /// `INVALID_BODY`, which names the nearest known member.
    pub fn read(body: &Body, known: &[&str]) -> Result<Self, ApiError> {
        let mut fields = body.document().map_err(|err| of_members(err, known))?.fields().clone();
        if let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(refuse(unknown_member(unknown, known)));
        }
        fields.retain(|_, value| !value.is_null());
        Ok(Self { fields })
    }

    /// Reads the members of a body that may be left out. Some clients send `null` where they have none.
    pub fn read_optional(body: &Body, known: &[&str]) -> Result<Self, ApiError> {
        match matches!(body.bytes.trim_ascii(), b"" | b"null") {
            true => Ok(Self { fields: Map::new() }),
            false => Self::read(body, known),
        }
    }

    /// Takes a text out.
    ///
    /// # Errors
    /// `INVALID_BODY` if it is missing or no text.
    pub fn text(&mut self, name: &str) -> Result<String, ApiError> {
        let missing = || refuse(format!("the body must have `{name}`, which is a text"));
        self.optional_text(name)?.ok_or_else(missing)
    }

    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.fields.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(refuse(format!("`{name}` must be a text"))),
        }
    }

    /// Takes an e-mail address out, in lower case.
    pub fn email(&mut self) -> Result<Email, ApiError> {
        Email::parse(&self.text("email")?).map_err(|err| refuse(err.to_string()))
    }

    /// Takes an e-mail address out that may be left out.
    pub fn optional_email(&mut self) -> Result<Option<Email>, ApiError> {
        let text = self.optional_text("email")?;
        text.map(|text| Email::parse(&text).map_err(|err| refuse(err.to_string()))).transpose()
    }

    /// Takes a list of roles out, which must be empty: nobody gives themselves a role.
    pub fn refuse_roles(&mut self) -> Result<(), ApiError> {
        match self.fields.remove("roles") {
            None => Ok(()),
            Some(Value::Array(roles)) if roles.is_empty() => Ok(()),
            Some(_) => Err(refuse(format!("`roles`: {ONLY_SERVERS}"))),
        }
    }

    /// Takes an object out.
    pub fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, ApiError> {
        match self.fields.remove(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(fields)),
            Some(_) => Err(refuse(format!("`{name}` must be an object"))),
        }
    }

    /// Returns the members that are left.
    pub fn into_data(self) -> Result<Data, ApiError> {
        Ok(Data::from_value(Value::Object(self.fields))?)
    }
}

/// Says which members the body has, where an error of a body shows a document.
fn of_members(err: ApiError, known: &[&str]) -> ApiError {
    let names: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
    let names = match known {
        [] => "without members (`{}`), or leave it out".to_owned(),
        _ => format!("with {}", names.join(", ")),
    };
    let message = err.message.replace("such as {\"title\":\"Hello\"}", &names);
    ApiError { message: message.replace(" (`title=Hello`)", " (`name=value`)"), ..err }
}

fn unknown_member(unknown: &str, known: &[&str]) -> String {
    let shown: String = unknown.chars().take(MAX_SHOWN).collect();
    let near = nearest(unknown, known.iter().copied());
    let advice = match (unknown, near) {
        _ if known.is_empty() => "it takes none, so leave the body out".to_owned(),
        ("roles" | "emailVerified", _) => ONLY_SERVERS.to_owned(),
        (name, _) if name.starts_with('$') && known.contains(&"profile") => format!(
            "a field of the profile is set by its name alone, as in {{\"profile\":{{\"name\":\"Ada\"}}}}; it may have {}",
            known.join(", ")
        ),
        (_, Some(near)) => format!("did you mean `{near}`?"),
        (name, None) if let Some(place) = user_members::place_of(name) => place.to_owned(),
        (_, None) if known.contains(&"profile") => {
            format!("it may have {}; what is your app's own goes into `profile`", known.join(", "))
        }
        (_, None) => format!("it may have {}", known.join(", ")),
    };
    format!("the body of this request has no member `{shown}`; {advice}")
}

pub fn refuse(message: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidBody, message)
}

/// Names the member of the body that an error is about, where the current password and the new one have these names.
pub fn about_passwords(err: ServiceError, current: &str, new: &str) -> ApiError {
    let (told, member) = match &err {
        ServiceError::Password(PasswordError::Length) => (err.to_string(), new),
        ServiceError::WrongPassword
        | ServiceError::PasswordNeeded
        | ServiceError::NoPassword
        | ServiceError::RecentSignIn => (err.to_string(), current),
        _ => return err.into(),
    };
    ApiError { message: told.replacen("`password`", &format!("`{member}`"), 1), ..err.into() }
}

/// Answers 401 to a code or a link that signs nobody in.
pub fn not_signed_in(err: ServiceError) -> ApiError {
    match err {
        ServiceError::Write(WriteError::WrongCode) => {
            ApiError { code: ErrorCode::Unauthorized, ..err.into() }
        }
        err => err.into(),
    }
}
