//! Claims about the book: the internals name files and tests, and what they name exists.

use std::{
    fs,
    path::{Path, PathBuf},
};

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

/// Returns each page with its code spans.
fn spans_of_pages() -> Vec<(String, Vec<String>)> {
    let pages = PAGES.iter().flat_map(|page| find_files(&root().join(page), &["md"]));
    let pages = pages.filter(|page| !page.ends_with("style.md"));
    pages
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

#[test]
fn tests_that_the_internals_name_exist() {
    let sources: Vec<_> = ["tests/suite", "tests/simulation", "src"]
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
