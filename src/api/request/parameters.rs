//! The parameters of a URL: those of the API by name, and all others as filters.

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};

use crate::{
    api::error::{ApiError, ErrorCode},
    query::{
        Field, Filter,
        parse::{self, PARAMETERS, parse_field},
    },
};

/// The parameters of a URL, decoded, in their order.
pub struct Parameters(Vec<(String, String)>);

impl FromRequest for Parameters {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let parsed = pairs.map(|pairs| Self(pairs.into_inner()));
        std::future::ready(
            parsed.map_err(|err| invalid_parameter(format!("the query string is not valid: {err}"))),
        )
    }
}

impl Parameters {
    /// Returns name and value of each.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the values of those that have one of `names`.
    pub fn all<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.pairs().filter(|(name, _)| names.contains(name)).map(|(_, value)| value)
    }

    /// Returns the value of a parameter that may be given once.
    ///
    /// # Errors
    /// `INVALID_FILTER` if it is given more than once.
    pub fn single(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.pairs().filter(|(key, _)| *key == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(invalid_parameter(format!("`{name}` is given more than once; give it once"))),
            (value, None) => Ok(value),
        }
    }

    /// Reads a whole number from `least` to `most`.
    ///
    /// # Errors
    /// `INVALID_FILTER` for anything else.
    pub fn number(&self, name: &str, default: u64, least: u64, most: u64) -> Result<u64, ApiError> {
        let Some(text) = self.single(name)? else { return Ok(default) };
        text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(|| {
            invalid_parameter(format!("`{name}` must be a whole number from {least} to {most}"))
        })
    }

    /// Reads a parameter that names a field of documents.
    ///
    /// # Errors
    /// `INVALID_FILTER` if it is empty or no field.
    pub fn field(&self, name: &str) -> Result<Option<Field>, ApiError> {
        let refuse = |why: &dyn std::fmt::Display| {
            Err(invalid_parameter(format!("`{name}` must be the name of a field: {why}")))
        };
        match self.single(name)? {
            None => Ok(None),
            Some("") => refuse(&"it is empty"),
            Some(text) => parse_field(text).map(Some).or_else(|err| refuse(&err)),
        }
    }

    /// Reads the filter: `filters=<JSON>` and every parameter that is not one of the API's. All of them must hold.
    ///
    /// # Errors
    /// `INVALID_FILTER`, which names the term.
    pub fn filter(&self) -> Result<Filter, ApiError> {
        let from_json =
            self.single("filters")?.map(parse::parse_json).transpose()?.unwrap_or_else(Filter::all);
        Ok(from_json.and(parse::parse_pairs(self.pairs())?))
    }

    /// Refuses parameters of the API that this route does not serve: ignored, they would mislead. All other names are filters.
    ///
    /// # Errors
    /// `INVALID_FILTER` that names the first.
    pub fn refuse_all_but(&self, served: &[&str]) -> Result<(), ApiError> {
        let is_foreign = |name: &str| PARAMETERS.contains(&name) && !served.contains(&name);
        match self.pairs().find(|(name, _)| is_foreign(name)) {
            Some((name, _)) => Err(invalid_parameter(format!(
                "the parameter `{name}` is not available here; to filter by a field of this name, use `{name}__eq`"
            ))),
            None => Ok(()),
        }
    }
}

/// The error of a parameter, with a sentence that names it.
pub fn invalid_parameter(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidFilter, message)
}

/// The error of a parameter that is needed.
pub fn missing_parameter(name: &str) -> ApiError {
    invalid_parameter(format!("the parameter `{name}` is missing"))
}
