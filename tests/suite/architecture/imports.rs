//! Reads which file of a source folder uses what of which other file.
//!
//! Every path that starts with `crate`, `super`, `self`, an imported module or a child module counts, in `use` lines and in
//! code. A name that a `mod.rs` re-exports counts as an import of the file that defines it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// A module path without `crate`: `["hub", "actor"]`.
type ModulePath = Vec<String>;

/// The files of a crate, with what each imports.
pub struct SourceTree {
    files: BTreeMap<ModulePath, SourceFile>,
}

/// One module that uses another one.
pub struct Arrow {
    pub from: String,
    pub to: String,
    /// The file that has the import.
    pub file: String,
}

/// The module and the imports of one file.
struct SourceFile {
    name: String,
    imports: Vec<Import>,
    /// Public names that stand for something elsewhere: name → absolute path.
    reexports: BTreeMap<String, ModulePath>,
}

/// One absolute path that a file names.
struct Import {
    path: ModulePath,
    /// Named inside `#[cfg(test)]` code.
    is_test: bool,
    is_reexport: bool,
}

impl SourceTree {
    /// Reads and parses every `.rs` file under `folder`.
    pub fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        for path in find_files(folder, &["rs"]) {
            let relative = path.strip_prefix(folder).unwrap().to_path_buf();
            let source = fs::read_to_string(&path).unwrap();
            let parsed = syn::parse_file(&source).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
            let module = module_of(&relative);
            let mut reader = Reader::new(module.clone());
            reader.read_imports(&parsed.items, false);
            reader.visit_file(&parsed);
            let name = relative.display().to_string();
            let (imports, reexports) = (reader.imports, reader.reexports);
            // `main.rs` and `lib.rs` are both the root; the map of the crate itself is not of interest.
            let key = if name == "main.rs" { vec!["main".to_owned()] } else { module };
            files.insert(key, SourceFile { name, imports, reexports });
        }
        Self { files }
    }

    /// Names of the top-level modules, `main` among them.
    pub fn modules(&self) -> BTreeSet<String> {
        self.files.keys().filter_map(|module| module.first().cloned()).collect()
    }

    /// Every use of one top-level module by another one, test code included, each file and target once.
    pub fn arrows_between_modules(&self) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for (module, file) in &self.files {
            let Some(from) = module.first() else { continue };
            let used: BTreeSet<_> =
                file.imports.iter().filter_map(|import| self.target_module(&import.path)).collect();
            for to in used.into_iter().filter(|to| to != from) {
                arrows.push(Arrow { from: from.clone(), to, file: file.name.clone() });
            }
        }
        arrows
    }

    /// The crate's own module or the workspace's crate that a path leads to.
    fn target_module(&self, path: &ModulePath) -> Option<String> {
        let resolved = self.resolve(path, 0)?;
        resolved.first().cloned()
    }

    /// For each file the files that it imports from. Test code and re-exports don't count.
    pub fn imports_between_files(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in self.files.values() {
            let used = edges.entry(file.name.clone()).or_default();
            for import in file.imports.iter().filter(|import| !import.is_test && !import.is_reexport) {
                let target = self.resolve(&import.path, 0).and_then(|module| self.files.get(&module));
                used.extend(target.map(|target| target.name.clone()).filter(|name| *name != file.name));
            }
        }
        edges
    }

    /// Finds the file that defines what `path` names, through re-exports. `entity` and `migration` stand for themselves.
    fn resolve(&self, path: &ModulePath, depth: usize) -> Option<ModulePath> {
        if path.first().is_some_and(|first| first == "entity" || first == "migration") {
            return Some(path[..1].to_vec());
        }
        let length = (1..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let reexport = rest.first().and_then(|name| self.files[module].reexports.get(name));
        match reexport {
            // A circle of re-exports doesn't compile; the bound only keeps a bug here from hanging.
            Some(target) if depth < 10 => {
                let target: ModulePath = target.iter().chain(&rest[1..]).cloned().collect();
                self.resolve(&target, depth + 1).or_else(|| Some(module.to_vec()))
            }
            _ => Some(module.to_vec()),
        }
    }
}

/// Groups the nodes of a graph that reach each other. Empty if the graph has no circle.
pub fn find_circles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reachable: BTreeMap<_, _> =
        edges.keys().map(|node| (node.as_str(), reachable_from(node, edges))).collect();
    let reaches = |from: &str, to: &str| reachable.get(from).is_some_and(|nodes| nodes.contains(to));
    let mut circles: Vec<Vec<String>> = Vec::new();
    for node in edges.keys().filter(|node| reaches(node, node)) {
        match circles.iter_mut().find(|circle| reaches(&circle[0], node) && reaches(node, &circle[0])) {
            Some(circle) => circle.push(node.clone()),
            None => circles.push(vec![node.clone()]),
        }
    }
    circles
}

/// Every node that a way of at least one edge leads to.
fn reachable_from<'a>(start: &'a str, edges: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![start];
    while let Some(node) = waiting.pop() {
        let next = edges.get(node).into_iter().flatten();
        waiting.extend(next.map(String::as_str).filter(|next| reached.insert(*next)));
    }
    reached
}

/// Lists the files under `folder` with one of these endings, in the order of their names.
pub fn find_files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let is_foreign =
            path.ends_with("node_modules") || path.ends_with("target") || path.ends_with(".venv");
        if path.is_dir() && !is_foreign {
            found.extend(find_files(&path, endings));
        } else if endings.iter().any(|ending| path.extension().is_some_and(|own| own == *ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The module that a file is: `hub/actor.rs` is `hub::actor`, `hub/mod.rs` is `hub`, `lib.rs` and `main.rs` are the root.
fn module_of(relative: &Path) -> ModulePath {
    let mut module: ModulePath =
        relative.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Collects the paths of one file.
struct Reader {
    /// The module that `self` is where the reader stands.
    module: ModulePath,
    /// Names that the file's own `use` lines and `mod` lines bring in: name → absolute path.
    names: BTreeMap<String, ModulePath>,
    imports: Vec<Import>,
    reexports: BTreeMap<String, ModulePath>,
    is_test: bool,
}

impl Reader {
    fn new(module: ModulePath) -> Self {
        Self {
            module,
            names: BTreeMap::new(),
            imports: Vec::new(),
            reexports: BTreeMap::new(),
            is_test: false,
        }
    }

    /// Notes what `use` and `mod` items bring in, before the code that uses those names is read.
    fn read_imports(&mut self, items: &[Item], is_test: bool) {
        for item in items {
            if let Item::Mod(ItemMod { ident, content: None, .. }) = item {
                let child = [self.module.clone(), vec![ident.to_string()]].concat();
                self.names.insert(ident.to_string(), child);
            }
        }
        for item in items {
            if let Item::Use(item) = item {
                self.read_use(item, is_test);
            }
        }
    }

    fn read_use(&mut self, item: &ItemUse, is_test: bool) {
        let mut leaves = Vec::new();
        flatten(&item.tree, Vec::new(), &mut leaves);
        for (path, name) in leaves {
            let Some(path) = self.absolute(&path) else { continue };
            let is_reexport = !matches!(item.vis, Visibility::Inherited);
            if is_reexport {
                self.reexports.insert(name.clone(), path.clone());
            }
            self.names.insert(name, path.clone());
            self.imports.push(Import { path, is_test, is_reexport });
        }
    }

    /// The path from the crate's root; `None` for names of other crates and for the file's own.
    fn absolute(&self, path: &[String]) -> Option<ModulePath> {
        let (first, rest) = path.split_first()?;
        let base = match first.as_str() {
            "crate" | "coir" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().saturating_sub(1)].to_vec(),
            "entity" | "migration" => vec![first.clone()],
            name => self.names.get(name)?.clone(),
        };
        let mut base = base;
        let mut rest = rest;
        while let [next, after @ ..] = rest
            && next == "super"
        {
            base.pop();
            rest = after;
        }
        Some([base, rest.to_vec()].concat())
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let Some((_, items)) = &item.content else { return };
        let (was_test, outer) = (self.is_test, self.module.clone());
        self.is_test |= item.attrs.iter().any(is_cfg_test);
        self.module.push(item.ident.to_string());
        let is_test = self.is_test;
        self.read_imports(items, is_test);
        visit::visit_item_mod(self, item);
        (self.is_test, self.module) = (was_test, outer);
    }

    /// One inside a function; those of a module were read before, and count once.
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.read_use(item, self.is_test);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A single name is an item of the file, or was counted with its `use` line.
        if segments.len() > 1
            && let Some(path) = self.absolute(&segments)
        {
            self.imports.push(Import { path, is_test: self.is_test, is_reexport: false });
        }
        visit::visit_path(self, path);
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
}

/// The leaves of a `use` tree: the whole path, and the name that it has here.
fn flatten(tree: &UseTree, mut path: Vec<String>, leaves: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(node) => {
            path.push(node.ident.to_string());
            flatten(&node.tree, path, leaves);
        }
        UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, path.clone(), leaves)),
        UseTree::Name(name) if name.ident == "self" => {
            let own = path.last().cloned().unwrap_or_default();
            leaves.push((path, own));
        }
        UseTree::Name(name) => {
            path.push(name.ident.to_string());
            leaves.push((path, name.ident.to_string()));
        }
        UseTree::Rename(rename) => {
            if rename.ident != "self" {
                path.push(rename.ident.to_string());
            }
            leaves.push((path, rename.rename.to_string()));
        }
        // Everything of a module: the module itself.
        UseTree::Glob(_) => leaves.push((path, "*".to_owned())),
    }
}

#[test]
fn a_circle_is_found_and_named() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert!(find_circles(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    let circles = find_circles(&graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "e")]));
    assert_eq!(circles, [vec!["b".to_owned(), "c".to_owned()], vec!["e".to_owned()]]);
}

#[test]
fn paths_are_read_from_use_lines_and_from_code_and_reexports_lead_to_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, source: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, source).unwrap();
    };
    write("lib.rs", "pub mod low; pub mod high;");
    write("low/mod.rs", "mod part; mod rest; pub use part::Thing; pub fn own() {}");
    write("low/part.rs", "pub struct Thing;");
    write("low/rest.rs", "fn f() { super::own(); }");
    write(
        "high.rs",
        "use crate::low::{self, Thing as Other};
         fn f() { crate::low::own(); low::Thing; }
         #[cfg(test)] mod tests { use super::*; fn g() { entity::Row; } }",
    );
    let tree = SourceTree::read(folder.path());
    let edges = tree.imports_between_files();
    let expected = ["low/mod.rs", "low/part.rs"].map(str::to_owned).into();
    assert_eq!(edges["high.rs"], expected, "through the re-export, and to the folder's own function");
    assert_eq!(edges["low/rest.rs"], ["low/mod.rs".to_owned()].into());
    assert_eq!(edges["low/mod.rs"], BTreeSet::new(), "a re-export is no import");
    let arrows: Vec<_> =
        tree.arrows_between_modules().into_iter().map(|arrow| (arrow.from, arrow.to)).collect();
    let expected = [("high", "entity"), ("high", "low")].map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(arrows, expected, "test code counts for the table");
}
