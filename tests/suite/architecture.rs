//! Claims about the source tree itself: which module may use which, that files do not import each other in circles, and
//! how long files and front pages may be.
//!
//! The table of allowed arrows is the first fenced block with arrows in ARCHITECTURE.md, so the page and the code cannot
//! drift apart. [`imports`] reads the source files.

mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use imports::SourceTree;

/// The longest source file, in lines. A longer one holds two nouns.
const MAX_FILE_LINES: usize = 450;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// Reads lines such as `store → domain, query, entity` of ARCHITECTURE.md. `—` stands for no arrow at all.
fn allowed_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let page = read("ARCHITECTURE.md");
    let block = page.split("```").find(|block| block.contains("→ —"));
    let block = block.expect("ARCHITECTURE.md has a fenced block with a line such as `domain → —`");
    let rows = block.lines().filter_map(|line| line.split_once('→'));
    let names =
        |text: &str| text.split(',').map(|name| name.trim().to_owned()).filter(|name| name != "—").collect();
    rows.map(|(module, uses)| (module.trim().to_owned(), names(uses))).collect()
}

#[test]
fn modules_use_only_what_the_table_in_the_architecture_page_allows() {
    let allowed = allowed_arrows();
    let tree = SourceTree::read(&root().join("src"));
    let mut forbidden = Vec::new();
    for arrow in tree.arrows_between_modules() {
        let known = allowed.get(&arrow.from);
        let known = known.unwrap_or_else(|| panic!("module `{}` has no row in ARCHITECTURE.md", arrow.from));
        if !known.contains(&arrow.to) {
            forbidden.push(format!("{}: `{}` must not use `{}`", arrow.file, arrow.from, arrow.to));
        }
    }
    assert!(forbidden.is_empty(), "arrows that ARCHITECTURE.md lacks:\n{}", forbidden.join("\n"));
}

#[test]
fn the_table_in_the_architecture_page_has_no_module_that_is_gone_and_no_circle() {
    let allowed = allowed_arrows();
    let tree = SourceTree::read(&root().join("src"));
    let modules = tree.modules();
    for module in allowed.keys() {
        assert!(modules.contains(module), "ARCHITECTURE.md has a row for `{module}`, which is not in src/");
    }
    let circles = imports::find_circles(&allowed);
    assert!(circles.is_empty(), "the table allows circles of modules: {circles:?}");
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    for folder in ["src", "bench/src"] {
        let edges = SourceTree::read(&root().join(folder)).imports_between_files();
        let mut told = String::new();
        for circle in imports::find_circles(&edges) {
            told.push_str("a circle:\n");
            for file in &circle {
                let inside: Vec<_> = edges[file].iter().filter(|used| circle.contains(used)).collect();
                told.push_str(&format!("  {file} imports {inside:?}\n"));
            }
        }
        assert!(told.is_empty(), "files of {folder} import each other in circles\n{told}");
    }
}

#[test]
fn no_source_file_is_longer_than_a_reader_can_hold() {
    let mut long = Vec::new();
    for folder in [
        "src",
        "bench",
        "clients",
        "entity",
        "migration",
        "tests/suite",
        "tests/simulation",
        "tests/chaos",
        "static",
    ] {
        for path in imports::find_files(&root().join(folder), &["rs", "js", "css"]) {
            let lines = read(&path).lines().count();
            if lines > MAX_FILE_LINES {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "files over {MAX_FILE_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn the_front_pages_stay_short() {
    for (page, most) in [("README.md", 130), ("ARCHITECTURE.md", 150)] {
        let lines = read(page).lines().count();
        assert!(lines <= most, "{page} has {lines} lines; the limit is {most}: move the rest to docs/");
    }
}

/// The calls of a `spawn` that are not of a supervised part: the file, how many there are, and why they need none.
const UNSUPERVISED: [(&str, usize, &str); 23] = [
    ("src/api/cocobase/socket.rs", 1, "a session cuts its own connection if it panics"),
    ("src/api/realtime/sse.rs", 1, "the same"),
    ("src/api/realtime/ws.rs", 1, "the same"),
    ("src/api/response.rs", 1, "watches one answer"),
    ("src/api/rest/collections.rs", 1, "awaited by its request"),
    ("src/api/sockets/socket.rs", 1, "a test's"),
    ("src/app/mod.rs", 1, "says at start which collections are open, and ends"),
    ("src/auth/lanes.rs", 3, "a hash that is awaited, and a test's"),
    ("src/auth/lookups.rs", 1, "if it panics, the next to ask starts another one"),
    ("src/cli/logging/lines.rs", 2, "the log's own thread, and a test's"),
    ("src/cli/serve.rs", 1, "awaited"),
    ("src/live/log_reading.rs", 1, "awaited"),
    ("src/mail/delivery.rs", 1, "a mail, which its supervised task waits for"),
    ("src/providers/documents.rs", 1, "asks for a newer document, while the old one is good"),
    ("src/providers/fetch.rs", 1, "a request that is awaited, and has a deadline"),
    ("src/service/codes.rs", 1, "looks whether an address is known, after the answer; it has one end"),
    ("src/service/invitations.rs", 1, "looks whether an address is taken, after the answer; it has one end"),
    ("src/service/schemas.rs", 1, "awaited by its request"),
    ("src/store/collections/catalog.rs", 1, "if it panics, the next to ask starts another one"),
    ("src/store/collections/last_controls.rs", 1, "a read that is awaited"),
    ("src/store/db/checkpoints.rs", 1, "if it ends, the writer copies the log itself"),
    ("src/store/db/database.rs", 1, "a read that is awaited"),
    ("src/supervision", 2, "the watchdog, and the thread that ends the process"),
];

#[test]
fn every_task_is_supervised_or_has_a_reason_not_to_be() {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for path in imports::find_files(&root().join("src"), &["rs"]) {
        let source = read(&path);
        let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        for spawn in ["spawn(", "spawn_blocking(", "spawn_local(", "spawn_on("] {
            for (place, _) in code.match_indices(spawn) {
                let before = code[..place].chars().next_back();
                let is_call = before.is_some_and(|before| before == ':' || before == '.');
                let argument: String =
                    code[place..].chars().take(80).filter(|c| !c.is_whitespace()).collect();
                if is_call && !argument.contains(".watch(") {
                    let file = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                    let file = if file.starts_with("src/supervision/") {
                        "src/supervision".to_owned()
                    } else {
                        file
                    };
                    *found.entry(file).or_default() += 1;
                }
            }
        }
    }
    let known: BTreeMap<String, usize> =
        UNSUPERVISED.iter().map(|(file, count, _)| ((*file).to_owned(), *count)).collect();
    assert_eq!(
        found, known,
        "wrap the task with `Supervisor::watch`, or enter it in UNSUPERVISED with the reason why it needs none"
    );
}
