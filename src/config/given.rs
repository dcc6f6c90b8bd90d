//! The settings as they were given: the text of each, and whether it was typed, set in the environment or the default.

use std::{collections::HashMap, fmt, net::SocketAddr, str::FromStr};

use super::{
    address::parse_address,
    settings::{Bounds, SETTINGS, Setting, setting},
};
use crate::auth::KeyKind;

/// A setting that cannot be used. The message names it as the user gave it: `--listen` or `COIR_LISTEN`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct ConfigError {
    name: String,
    reason: String,
}

/// Where the text of a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Variable,
    Default,
}

/// The text of each setting that has one.
#[derive(Clone, Default)]
pub struct Given(HashMap<&'static str, (String, Origin)>);

impl fmt::Debug for Given {
    /// Shows which settings were given, and no text, which may be a key or a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Given {
    /// Takes every setting from `lookup`, or its default. The tests give settings so.
    pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let mut given = Self::default();
        for Setting { variable, default, .. } in SETTINGS {
            match (lookup(variable), default) {
                (Some(text), _) => given.insert(variable, text, Origin::Variable),
                (None, Some(text)) => given.insert(variable, (*text).to_owned(), Origin::Default),
                (None, None) => {}
            }
        }
        given
    }

    pub(super) fn insert(&mut self, variable: &'static str, text: String, origin: Origin) {
        self.0.insert(variable, (text, origin));
    }

    /// Adds the flags that were typed after the command's name; they win over those before it.
    pub fn with_flags_of(mut self, other: Self) -> Self {
        self.0.extend(other.0.into_iter().filter(|(_, (_, origin))| *origin == Origin::Flag));
        self
    }

    /// Returns the text of a setting, if it was given or has a default.
    ///
    /// # Errors
    /// [`ConfigError`] if it was given as an empty text.
    pub fn text(&self, variable: &str) -> Result<Option<&str>, ConfigError> {
        let setting = setting(variable);
        match self.0.get(setting.variable) {
            Some((text, _)) if text.trim().is_empty() => {
                Err(self.error(setting, "is empty; give it a value or remove it"))
            }
            found => Ok(found.map(|(text, _)| text.as_str())),
        }
    }

    /// Whether a setting was given, rather than left at its default.
    pub(super) fn is_chosen(&self, variable: &str) -> bool {
        self.0.get(variable).is_some_and(|(_, origin)| *origin != Origin::Default)
    }

    /// The text of a setting that has a default.
    fn required(&self, setting: &Setting) -> Result<&str, ConfigError> {
        self.text(setting.variable)?.ok_or_else(|| self.error(setting, "has no value"))
    }

    pub(super) fn address(&self, variable: &str) -> Result<SocketAddr, ConfigError> {
        let setting = setting(variable);
        parse_address(self.required(setting)?).map_err(|reason| self.error(setting, reason))
    }

    /// Reads a number within the bounds of the table; `None` if it was not given and has no default.
    pub(super) fn number<T: TryFrom<usize>>(&self, variable: &str) -> Result<Option<T>, ConfigError> {
        let setting = setting(variable);
        let Some(text) = self.text(variable)? else { return Ok(None) };
        let Bounds::Number { least, most } = setting.bounds else {
            return Err(self.error(setting, "is not a number"));
        };
        let number = usize::from_str(text).ok().filter(|number| (least..=most).contains(number));
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => {
                Err(self.error(setting, format!("`{text}` must be a whole number from {least} to {most}")))
            }
        }
    }

    /// Reads a number that has a default.
    pub(super) fn required_number<T: TryFrom<usize>>(&self, variable: &str) -> Result<T, ConfigError> {
        self.number(variable)?.ok_or_else(|| self.error(setting(variable), "has no value"))
    }

    /// Reads one of the words of the table; returns the value that stands at its place in `values`.
    pub(super) fn choice<T: Copy>(&self, variable: &str, values: &[(&str, T)]) -> Result<T, ConfigError> {
        let setting = setting(variable);
        let text = self.required(setting)?;
        let found = values.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let words: Vec<_> = values.iter().map(|(word, _)| *word).collect();
        found.ok_or_else(|| self.error(setting, format!("`{text}` must be one of: {}", words.join(", "))))
    }

    /// Reads a key. The message does not repeat a wrong one, since it may be a good key with a typing mistake.
    pub(super) fn key(&self, variable: &str, kind: KeyKind) -> Result<Option<String>, ConfigError> {
        match self.text(variable)? {
            Some(key) if KeyKind::of_key(key) != Some(kind) => {
                let reason = format!("must be `{}` and 16 to 128 letters or digits", kind.prefix());
                Err(self.error(setting(variable), reason))
            }
            key => Ok(key.map(str::to_owned)),
        }
    }

    /// Builds the error for a setting, under the name by which it was given.
    pub fn error(&self, setting: &Setting, reason: impl Into<String>) -> ConfigError {
        let origin = self.0.get(setting.variable).map(|(_, origin)| *origin);
        let name = match origin {
            Some(Origin::Flag) => format!("--{}", setting.flag),
            _ => setting.variable.to_owned(),
        };
        ConfigError { name, reason: reason.into() }
    }
}
