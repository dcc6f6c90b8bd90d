//! The parameters of a URL: those of the API by name, and all others as filters.

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};

use crate::{
    api::error::{ApiError, ErrorCode},
    query::{
        Field, Filter,
        parse::{self, Names, PARAMETERS, check_own_member, parse_field},
    },
};

/// The parameters of a URL, decoded, in their order.
pub struct Parameters {
    pairs: Vec<(String, String)>,
    /// The first parameter that is not percent-encoded text in UTF-8. Its text was replaced.
    badly_encoded: Option<String>,
}

impl FromRequest for Parameters {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Self::of(request))
    }
}

impl Parameters {
    /// Reads those of a request.
    ///
    /// # Errors
    /// `INVALID_FILTER` for a query string that is not one.
    pub fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let pairs =
            pairs.map_err(|err| invalid_parameter(format!("the query string is not valid: {err}")))?;
        Ok(Self { pairs: pairs.into_inner(), badly_encoded: find_badly_encoded(request.query_string()) })
    }

    /// Makes parameters of names and values.
    pub fn of_pairs(pairs: Vec<(String, String)>) -> Self {
        Self { pairs, badly_encoded: None }
    }

    /// Takes out those of one name, so that they are no filters.
    pub fn take(&mut self, name: &str) -> Vec<String> {
        self.pairs.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns name and value of each.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
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

    /// Reads a parameter that names a field of documents. Strict names are not those of a document's own members in another
    /// spelling.
    ///
    /// # Errors
    /// `INVALID_FILTER` if it is empty or no field.
    pub fn field(&self, name: &str, names: Names) -> Result<Option<Field>, ApiError> {
        let refuse = |why: &dyn std::fmt::Display| {
            Err(invalid_parameter(format!("`{name}` must be the name of a field: {why}")))
        };
        match self.single(name)? {
            None => Ok(None),
            Some("") => refuse(&"it is empty"),
            Some(text) => {
                if names == Names::Strict
                    && let Err(why) = check_own_member(text)
                {
                    return refuse(&why);
                }
                parse_field(text).map(Some).or_else(|err| refuse(&err))
            }
        }
    }

    /// Refuses a parameter that is not percent-encoded text in UTF-8.
    ///
    /// # Errors
    /// `INVALID_FILTER`, which names it.
    pub fn check_encoding(&self) -> Result<(), ApiError> {
        match &self.badly_encoded {
            None => Ok(()),
            Some(pair) => Err(invalid_parameter(format!(
                "the parameter `{pair}` is not percent-encoded UTF-8: `%` takes two hexadecimal digits, and `%25` is a `%`"
            ))),
        }
    }

    /// Reads the filter: `filters=<JSON>` and every parameter that is not one of the API's. All of them must hold.
    ///
    /// # Errors
    /// `INVALID_FILTER`, which names the term.
    pub fn filter(&self) -> Result<Filter, ApiError> {
        self.filter_with(Names::Strict)
    }

    /// The same, and says how strictly names are read.
    ///
    /// # Errors
    /// As [`Parameters::filter`].
    pub fn filter_with(&self, names: Names) -> Result<Filter, ApiError> {
        if names == Names::Strict {
            self.check_encoding()?;
        }
        let from_json =
            self.single("filters")?.map(|text| parse::parse_json_with(text, names)).transpose()?;
        Ok(from_json.unwrap_or_else(Filter::all).and(parse::parse_pairs_with(self.pairs(), names)?))
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

/// Finds the first parameter of a query string that is not percent-encoded text in UTF-8.
fn find_badly_encoded(query: &str) -> Option<String> {
    let is_bad = |pair: &&str| {
        let (mut decoded, mut bytes) = (Vec::with_capacity(pair.len()), pair.bytes());
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                decoded.push(byte);
                continue;
            }
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else { return true };
            decoded.push((high * 16 + low) as u8);
        }
        std::str::from_utf8(&decoded).is_err()
    };
    // The name is enough: a value may be a secret.
    query
        .split('&')
        .find(is_bad)
        .map(|pair| pair.split('=').next().unwrap_or_default().chars().take(60).collect())
}

/// The error of a parameter, with a sentence that names it.
pub fn invalid_parameter(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidFilter, message)
}

/// The error of a parameter that is needed.
pub fn missing_parameter(name: &str) -> ApiError {
    invalid_parameter(format!("the parameter `{name}` is missing"))
}
