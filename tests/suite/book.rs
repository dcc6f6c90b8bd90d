//! Claims about the book: what the internals name exists, and the reference has every route, error code and reserved name.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use coir::query::parse::PARAMETERS;

/// Pages that explain the code. The style page is not among them: it names tests and files as examples.
const PAGES: [&str; 2] = ["ARCHITECTURE.md", "docs/internals"];
/// A path in the book begins with one of these.
const FOLDERS: [&str; 9] =
    ["src/", "tests/", "docs/", "entity/", "migration/", "bench/", "clients/", ".ci/", ".cargo/"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files under `path` that have one of these extensions, or `path` itself if it is a file.
fn find_files(path: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let is_wanted = path.extension().is_some_and(|own| extensions.iter().any(|wanted| own == *wanted));
        if path.is_dir() {
            found.extend(find_files(&path, extensions));
        } else if is_wanted {
            found.push(path);
        }
    }
    found
}

/// Returns what stands between backticks, outside of fenced blocks.
fn code_spans(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

fn pages() -> impl Iterator<Item = PathBuf> {
    let pages = PAGES.iter().flat_map(|page| find_files(&root().join(page), &["md"]));
    pages.filter(|page| !page.ends_with("style.md"))
}

/// Returns each page with its code spans.
fn spans_of_pages() -> Vec<(String, Vec<String>)> {
    pages()
        .map(|page| {
            let text = fs::read_to_string(&page).unwrap();
            let spans = code_spans(&text).into_iter().map(str::to_owned).collect();
            (page.display().to_string(), spans)
        })
        .collect()
}

#[test]
fn files_that_the_internals_name_exist() {
    let mut missing = Vec::new();
    for (page, spans) in spans_of_pages() {
        for path in spans.iter().filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder))) {
            // A command has arguments after it.
            let path = path.split_whitespace().next().unwrap_or_default();
            if !root().join(path).exists() {
                missing.push(format!("{page}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "these files do not exist:\n{}", missing.join("\n"));
}

/// Pages say `src/hub/relay.rs` (`skip_to`) for something in a file.
#[test]
fn names_in_files_that_the_internals_name_exist() {
    let mut missing = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (before, after) in
            text.match_indices("` (`").map(|(at, mark)| (&text[..at], &text[at + mark.len()..]))
        {
            let (path, name) = (before.rsplit('`').next().unwrap(), after.split('`').next().unwrap());
            let name = name.rsplit("::").next().unwrap();
            let file = root().join(path);
            if path.starts_with("src/")
                && file.is_file()
                && !fs::read_to_string(&file).unwrap().contains(name)
            {
                missing.push(format!("{}: {name} in {path}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "these files do not have these names:\n{}", missing.join("\n"));
}

#[test]
fn tests_that_the_internals_name_exist() {
    let sources: Vec<_> = ["tests/suite", "tests/simulation", "tests/chaos", "src"]
        .iter()
        .flat_map(|folder| find_files(&root().join(folder), &["rs"]))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    // The name of a test is a sentence.
    let is_sentence = |span: &&String| {
        span.matches('_').count() >= 4
            && span.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
    };
    let (mut missing, mut found) = (Vec::new(), 0);
    for (page, spans) in spans_of_pages() {
        for name in spans.iter().filter(is_sentence) {
            if sources.iter().any(|source| source.contains(name.as_str())) {
                found += 1;
            } else {
                missing.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "no test has one of these names:\n{}", missing.join("\n"));
    assert!(found > 50, "the pages name tests; only {found} were found");
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Returns the texts of the Rust files under `folder`.
fn read_sources(folder: &str) -> Vec<String> {
    find_files(&root().join(folder), &["rs"]).iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Returns the text between `heading` and the next heading of its level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap_or_default();
    let rest = page.split_once(&format!("\n{heading}\n")).expect("the page has this heading").1;
    rest.split(&format!("\n{level} ")).next().unwrap_or_default()
}

#[test]
fn the_reference_explains_every_error_code() {
    let source = read("src/api/error_code.rs");
    let is_code = |text: &&str| text.len() > 5 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let codes: BTreeSet<&str> = source.split('"').filter(is_code).collect();
    let page = read("docs/reference/errors.md");
    let missing: Vec<_> = codes.iter().filter(|code| !page.contains(&format!("\n## {code}\n"))).collect();
    assert!(missing.is_empty(), "errors.md lacks {missing:?}");
    assert!(codes.len() >= 16, "only {codes:?} were found");
}

#[test]
fn the_reference_lists_every_route() {
    let mut routes = BTreeSet::new();
    for source in read_sources("src/api") {
        // The routes of the client libraries are described in the guide.
        if source.contains("/auth-collections/") {
            continue;
        }
        let declared = source.split("resource(\"").skip(1).filter_map(|rest| rest.split('"').next());
        routes.extend(declared.map(|route| route.replace("{collection}", "{c}").replace("{file:.*}", "…")));
    }
    let pages = ["rest", "collections", "users", "project-settings", "audit", "realtime"]
        .map(|name| read(&format!("docs/reference/{name}.md")));
    let spans: Vec<_> = pages.iter().flat_map(|page| code_spans(page)).collect();
    let is_listed = |route: &&String| spans.iter().any(|span| span.ends_with(&format!(" {route}")));
    let missing: Vec<_> = routes.iter().filter(|route| !is_listed(route)).collect();
    assert!(missing.is_empty(), "the reference lacks {missing:?}");
    assert!(routes.len() > 15, "only {routes:?} were found");
}

#[test]
fn the_reference_lists_every_reserved_parameter() {
    let page = read("docs/reference/filters.md");
    let listed: Vec<_> = section(&page, "## Reserved names").split_whitespace().collect();
    let missing: Vec<_> = PARAMETERS.iter().filter(|name| !listed.contains(name)).collect();
    assert!(missing.is_empty(), "filters.md lacks {missing:?}");
}

#[test]
fn close_reasons_that_the_reference_quotes_are_those_of_the_server() {
    let page = read("docs/reference/realtime.md");
    let sources = read_sources("src").concat();
    let rows = section(&page, "### Close codes").lines().filter(|line| line.starts_with("| 1"));
    let mut quoted = Vec::new();
    for row in rows {
        let reasons = row.split(" | ").nth(1).unwrap_or_default();
        quoted.extend(reasons.split(", `").map(|reason| reason.trim_matches('`').to_owned()));
    }
    quoted.retain(|reason| reason != "none");
    let unknown: Vec<_> =
        quoted.iter().filter(|reason| !sources.contains(&format!("\"{reason}\""))).collect();
    assert!(unknown.is_empty(), "the server gives no such reasons: {unknown:?}");
    assert!(quoted.len() > 10, "only {quoted:?} were found");
}
