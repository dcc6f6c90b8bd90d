//! Settings: flags, variables and defaults are the same in the binary, in `.env.example` and in the docs.

use std::path::Path;

use coir::config::settings::SETTINGS;

use crate::harness::process::{self, Process};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_help_of_serve_lists_every_setting_with_its_variable_and_default() {
    let output = process::command(&["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for setting in SETTINGS {
        let entry = help.split_once(&format!("--{} <", setting.flag));
        let (_, entry) = entry.unwrap_or_else(|| panic!("--{} is missing: {help}", setting.flag));
        let entry = entry.split("\n      --").next().unwrap();
        assert!(entry.contains(&format!("[env: {}]", setting.variable)), "{entry}");
        if let Some(default) = setting.default {
            assert!(entry.contains(&format!("[default: {default}]")), "{entry}");
        }
    }
    assert!(!help.contains("0123456789abcdef"), "the help shows no key of the environment: {help}");
}

#[test]
fn the_example_file_has_every_setting_with_its_default_and_no_other() {
    let example = read(".env.example");
    let lines =
        example.lines().filter_map(|line| line.strip_prefix('#')).filter_map(|line| line.split_once('='));
    let lines =
        lines.filter(|(name, _)| name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_'));
    let mut listed: Vec<(&str, Option<&str>)> =
        lines.map(|(name, value)| (name, Some(value).filter(|value| !value.is_empty()))).collect();
    listed.sort_unstable();
    let mut settings: Vec<_> = SETTINGS.iter().map(|setting| (setting.variable, setting.default)).collect();
    settings.sort_unstable();
    assert_eq!(listed, settings);
}

#[test]
fn the_page_of_settings_has_every_setting_with_its_default() {
    let page = read("docs/reference/settings.md");
    for setting in SETTINGS {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}`", setting.variable)));
        // Variables that belong together may share a row, each in backticks.
        let row = row.unwrap_or_else(|| panic!("`{}` has no row in settings.md", setting.variable));
        if let Some(default) = setting.default {
            assert!(row.contains(&format!("`{default}`")), "the default {default} is missing: {row}");
        }
    }
}

#[test]
fn an_error_names_the_flag_or_the_variable_that_was_given() {
    for (why, arguments, variable, named) in [
        ("a variable", &["serve"][..], ("COIR_MAX_PAGE", "many"), "coir: COIR_MAX_PAGE: `many` must be"),
        (
            "a flag of serve",
            &["serve", "--max-page", "many"],
            ("COIR_MAX_BATCH", "5"),
            "coir: --max-page: `many` must be",
        ),
        (
            "a flag without a command",
            &["--listen", "here"],
            ("COIR_MAX_BATCH", "5"),
            "coir: --listen: `here`",
        ),
        (
            "a flag wins over a variable",
            &["--listen", "here"],
            ("COIR_LISTEN", "127.0.0.1:0"),
            "coir: --listen: `here`",
        ),
        (
            "a key is not repeated",
            &["--api-key", "sk_short"],
            ("COIR_MAX_BATCH", "5"),
            "coir: --api-key: must be `sk_`",
        ),
    ] {
        let output = process::command(arguments).env(variable.0, variable.1).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(named) && !said.contains("sk_short"), "{why}: {said}");
        assert!(!output.status.success(), "{why}");
    }
}

#[test]
fn an_unknown_variable_is_a_warning_with_the_nearest_name() {
    let directory = tempfile::tempdir().unwrap();
    let output = process::command(&["migrate", "--data-dir"])
        .arg(directory.path())
        .envs([("COIR_LISTNE", "8081"), ("COIR_TEST_SEED", "7")])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("unknown setting `COIR_LISTNE` is ignored; did you mean `COIR_LISTEN`?"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_alone_is_on_loopback_in_each_of_its_forms() {
    let directory = tempfile::tempdir().unwrap();
    for (number, listen) in ["0", ":0", "localhost:0"].into_iter().enumerate() {
        let url = format!("sqlite://{}", directory.path().join(format!("{number}.db")).display());
        let mut server = tokio::task::spawn_blocking(move || Process::start(&url, listen)).await.unwrap();
        assert!(server.url.starts_with("http://127.0.0.1:"), "{listen}: {}", server.url);
        let answer = reqwest::get(format!("{}/health/ready", server.url)).await.unwrap();
        assert_eq!(answer.status(), 200, "{listen}");
        server.kill();
    }
}
