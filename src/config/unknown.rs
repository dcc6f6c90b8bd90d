//! Variables that look like settings and are none: almost always a typing mistake.

use super::settings::SETTINGS;

/// Prefixes of variables that the project's own tests and benchmarks read.
const FOREIGN_PREFIXES: [&str; 3] = ["COIR_TEST_", "COIR_SIMULATION_", "COIR_BENCH_"];

/// Variables of the commands that talk to a server.
const OF_CLIENTS: [&str; 2] = ["COIR_URL", "COIR_KEY"];

/// A variable that begins with `COIR_` and is no setting, with the setting whose name is nearest.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    pub name: String,
    pub nearest: &'static str,
}

/// Finds the variables among `names` that begin with `COIR_` and are no settings, in the order of their names.
pub fn find_unknown(names: impl IntoIterator<Item = String>) -> Vec<UnknownVariable> {
    let is_foreign = |name: &String| {
        OF_CLIENTS.contains(&name.as_str()) || FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let is_setting = |name: &String| SETTINGS.iter().any(|setting| setting.variable == name);
    let looks_like_one = |name: &String| name.starts_with("COIR_") && !is_foreign(name) && !is_setting(name);
    let mut names: Vec<_> = names.into_iter().filter(looks_like_one).collect();
    names.sort();
    names.into_iter().map(|name| UnknownVariable { nearest: nearest(&name), name }).collect()
}

/// Names that other products have for settings.
const SYNONYMS: [(&str, &[&str]); 3] = [
    ("COIR_LISTEN", &["COIR_PORT", "COIR_HOST", "COIR_ADDRESS", "COIR_ADDR", "COIR_BIND", "COIR_HTTP_PORT"]),
    ("DATABASE_URL", &["COIR_DATABASE_URL", "COIR_DATABASE", "COIR_DB", "COIR_DB_URL", "COIR_POSTGRES_URL"]),
    ("COIR_API_KEY", &["COIR_SECRET", "COIR_SECRET_KEY"]),
];

fn nearest(name: &str) -> &'static str {
    if let Some((setting, _)) = SYNONYMS.iter().find(|(_, synonyms)| synonyms.contains(&name)) {
        return setting;
    }
    // Jaro-Winkler favours names that begin alike, as a shortened name does.
    let similarity = |variable: &str| strsim::jaro_winkler(variable, name);
    let variables = SETTINGS.iter().map(|setting| setting.variable);
    variables.max_by(|one, other| similarity(one).total_cmp(&similarity(other))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_found_with_the_nearest_setting() {
        let names = [
            "COIR_HEARTBEAT",
            "COIR_MAX_PAGES",
            "COIR_LISTNE",
            "COIR_LISTEN",
            "COIR_PORT",
            "COIR_DATABASE_URL",
            "COIR_TEST_SEED",
            "COIR_URL",
            "COIR_KEY",
            "PATH",
            "DATABASE_URI",
        ];
        let unknown = find_unknown(names.map(str::to_owned));
        let found: Vec<_> = unknown.iter().map(|found| (found.name.as_str(), found.nearest)).collect();
        let expected = [
            ("COIR_DATABASE_URL", "DATABASE_URL"),
            ("COIR_HEARTBEAT", "COIR_HEARTBEAT_SECONDS"),
            ("COIR_LISTNE", "COIR_LISTEN"),
            ("COIR_MAX_PAGES", "COIR_MAX_PAGE"),
            ("COIR_PORT", "COIR_LISTEN"),
        ];
        assert_eq!(found, expected);
    }
}
