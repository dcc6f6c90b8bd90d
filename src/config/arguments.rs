//! The settings as arguments of the command line, each with its variable of the environment.

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, parser::ValueSource};

use super::{
    given::{Given, Origin},
    settings::{Group, SETTINGS, Setting},
};

/// All settings before a command's name: `coir --listen 8099`. Those of the database also apply after it, to every command.
pub struct SettingArgs(pub Given);

/// The settings after `serve`: `coir serve --listen 8099`. Its help lists all of them.
pub struct ServeArgs(pub Given);

/// Settings that the short help of `coir` shows; `coir serve --help` shows the others too.
const OFTEN_TYPED: [&str; 3] = ["COIR_LISTEN", "COIR_DATA_DIR", "DATABASE_URL"];

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().map(|setting| {
            let is_often_typed = OFTEN_TYPED.contains(&setting.variable);
            argument(setting).global(is_global(setting)).hide(!is_often_typed)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().filter(|setting| !is_global(setting)).map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self(read(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0 = read(matches);
        Ok(())
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self(read(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0 = read(matches);
        Ok(())
    }
}

/// Whether every command takes the setting: they all open the same database.
fn is_global(setting: &Setting) -> bool {
    ["COIR_DATA_DIR", "DATABASE_URL"].contains(&setting.variable)
}

fn argument(setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.variable)
        .long(setting.flag)
        .env(setting.variable)
        // A variable may hold a key or a password.
        .hide_env_values(true)
        .value_name(setting.value_name)
        .help(setting.help)
        .help_heading(Group::heading(setting.group));
    // People type what other programs take. The value may be a port alone.
    let argument = if setting.variable == "COIR_LISTEN" { argument.alias("port") } else { argument };
    match setting.default {
        Some(default) => argument.default_value(default),
        None => argument,
    }
}

fn read(matches: &ArgMatches) -> Given {
    let mut given = Given::default();
    for setting in SETTINGS {
        let Ok(Some(text)) = matches.try_get_one::<String>(setting.variable) else { continue };
        let origin = match matches.value_source(setting.variable) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => Origin::Variable,
            _ => Origin::Default,
        };
        given.insert(setting.variable, text.clone(), origin);
    }
    given
}
