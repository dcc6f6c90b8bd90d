//! The form of a setting.

/// One setting: a variable of the environment and a flag of the command line.
#[derive(Debug)]
pub struct Setting {
    pub variable: &'static str,
    /// The flag without its dashes: the variable in lower case, without `COIR_`, with `-` for `_`.
    pub flag: &'static str,
    pub value_name: &'static str,
    /// `None` where the value depends on the machine, or where unset means something of its own.
    pub default: Option<&'static str>,
    pub bounds: Bounds,
    /// One sentence or two for `--help`, with the unit of a number.
    pub help: &'static str,
    pub group: Group,
}

/// The values that a setting may have, as far as a table can say.
#[derive(Clone, Copy, Debug)]
pub enum Bounds {
    /// Whatever its reader in [`Config::read`](super::Config::read) accepts.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number, both ends included.
    Number { least: usize, most: usize },
    /// An API key. Its value never appears in a message.
    Key,
}

/// The heading of `--help` under which a setting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Network,
    /// Also taken by the commands that open the database without serving.
    Database,
    Keys,
    Users,
    Log,
    Retention,
    Limits,
}

impl Group {
    pub fn heading(self) -> &'static str {
        match self {
            Self::Network => "Network",
            Self::Database => "Database",
            Self::Keys => "Keys",
            Self::Users => "Users",
            Self::Log => "Log of the server",
            Self::Retention => "Change log",
            Self::Limits => "Limits",
        }
    }
}

pub(super) const fn text(
    variable: &'static str,
    flag: &'static str,
    value_name: &'static str,
    default: Option<&'static str>,
    group: Group,
    help: &'static str,
) -> Setting {
    Setting { variable, flag, value_name, default, bounds: Bounds::Text, help, group }
}

pub(super) const fn number(
    variable: &'static str,
    flag: &'static str,
    default: Option<&'static str>,
    (least, most): (usize, usize),
    group: Group,
    help: &'static str,
) -> Setting {
    Setting {
        variable,
        flag,
        value_name: "NUMBER",
        default,
        bounds: Bounds::Number { least, most },
        help,
        group,
    }
}

/// The greatest number of a setting without a bound of its own; it fits into every type that a setting is read into.
pub(super) const UNBOUNDED: usize = usize::MAX >> 1;
