//! The modules of one crate. Resolves a path to the file that defines its item.

use std::collections::BTreeMap;

use super::graph::Graph;
use super::parse::{Import, Module, modules};
use crate::source::{Source, code_only};

/// The path of a module from the root of the crate.
type Path = Vec<String>;

/// One crate.
pub(super) struct Crate {
    /// Each module with its file.
    modules: BTreeMap<Path, (String, Module)>,
}

/// What a path names.
#[derive(PartialEq, Eq)]
enum Found<'c> {
    Module(Path),
    /// An item, with the file that defines it.
    Item(&'c str),
}

impl Crate {
    /// Reads the crate below `folder`. Files that only tests use are left out.
    pub(super) fn new(folder: &str, sources: &[Source]) -> Self {
        let mut of_crate = Self { modules: BTreeMap::new() };
        for source in sources.iter().filter(|source| source.is_rust()) {
            let Some(path) = source.path.strip_prefix(folder).and_then(module_path) else { continue };
            for module in modules(&code_only(&source.text)) {
                let path = path.iter().chain(&module.inside).cloned().collect();
                of_crate.modules.insert(path, (source.path.clone(), module));
            }
        }
        let for_tests: Vec<Path> = of_crate
            .modules
            .iter()
            .flat_map(|(path, (_, module))| {
                module
                    .test_children
                    .iter()
                    .map(|child| [path.as_slice(), std::slice::from_ref(child)].concat())
            })
            .collect();
        of_crate.modules.retain(|path, _| !for_tests.iter().any(|test| path.starts_with(test)));
        of_crate
    }

    pub(super) fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        for (path, (file, module)) in &self.modules {
            let mut need = |found: Option<Found<'_>>, name: &str| {
                if let Some(Found::Item(other)) = found
                    && other != file
                {
                    let needed = graph.entry(file.clone()).or_default();
                    needed.entry(other.to_owned()).or_default().insert(name.to_owned());
                }
            };
            for import in &module.imports {
                // A re-export counts for the file that imports it from here.
                let used = |name: &String| *name == import.name;
                let is_used = !import.public
                    || module.words.iter().any(used)
                    || module.paths.iter().any(|path| path.first().is_some_and(used));
                if is_used && import.name == "*" && !import.public {
                    if let Some(Found::Module(of)) = self.resolve(path, &import.path, 0) {
                        need(self.modules.get(&of).map(|(file, _)| Found::Item(file)), "*");
                    }
                } else if is_used {
                    need(self.resolve(path, &import.path, 0), &import.name);
                }
            }
            for named in &module.paths {
                need(self.resolve(path, named, 0), &named.join("::"));
            }
            for called in &module.called {
                let is_local = |module: &Module| module.macros.contains(called);
                let defining = self.modules.values().find(|(_, module)| is_local(module));
                if !is_local(module) {
                    need(defining.map(|(file, _)| Found::Item(file)), &format!("{called}!"));
                }
            }
        }
        self.drop_arrows_down(&mut graph);
        graph
    }

    /// Removes imports of a parent from a module below it that uses the parent, and all imports of the root.
    fn drop_arrows_down(&self, graph: &mut Graph) {
        for (below, (child, _)) in &self.modules {
            for (above, (parent, _)) in self.modules.iter().filter(|(above, _)| below.starts_with(above)) {
                let is_mutual = graph.get(child).is_some_and(|needed| needed.contains_key(parent));
                if (above.is_empty() || is_mutual)
                    && let Some(needed) = graph.get_mut(parent)
                {
                    needed.remove(child);
                }
            }
        }
    }

    /// Resolves `named`, written in module `from`. `None` if it is outside this crate.
    fn resolve(&self, from: &[String], named: &[String], depth: usize) -> Option<Found<'_>> {
        // Imports may form a cycle.
        if depth > 16 {
            return None;
        }
        let (first, mut rest) = named.split_first()?;
        let mut at: Path = match first.as_str() {
            "crate" => Path::new(),
            "self" => from.to_vec(),
            "super" => {
                let mut at = from.split_last()?.1.to_vec();
                while let Some(("super", more)) =
                    rest.split_first().map(|(first, more)| (first.as_str(), more))
                {
                    at.pop()?;
                    rest = more;
                }
                at
            }
            _ => {
                rest = named;
                from.to_vec()
            }
        };
        let mut is_first = rest.len() == named.len();
        while let Some((name, behind)) = rest.split_first() {
            match self.member(&at, name, is_first, depth)? {
                Found::Module(inner) => at = inner,
                item @ Found::Item(_) => return Some(item),
            }
            is_first = false;
            rest = behind;
        }
        Some(Found::Module(at))
    }

    /// Finds the member `name` of a module. The first name of a path may also be another crate.
    fn member(&self, at: &[String], name: &String, is_first: bool, depth: usize) -> Option<Found<'_>> {
        let (file, module) = self.modules.get(at)?;
        let inner = [at, std::slice::from_ref(name)].concat();
        if self.modules.contains_key(&inner) {
            return Some(Found::Module(inner));
        }
        if module.defined.contains(name) || module.macros.contains(name) {
            return Some(Found::Item(file));
        }
        if let Some(Import { path, .. }) = module.imports.iter().find(|import| import.name == *name) {
            return self.resolve(at, path, depth + 1);
        }
        let mut globs = module.imports.iter().filter(|import| import.name == "*");
        if let Some(found) = globs.find_map(|import| match self.resolve(at, &import.path, depth + 1)? {
            Found::Module(of) if self.defines(&of, name) => self.member(&of, name, false, depth + 1),
            _ => None,
        }) {
            return Some(found);
        }
        if is_first {
            return None;
        }
        // An exported macro, or an item that a macro of the module defines.
        let mut all = self.modules.values();
        let exporting = at.is_empty().then(|| all.find(|(_, module)| module.macros.contains(name))).flatten();
        Some(Found::Item(exporting.map_or(file, |(file, _)| file)))
    }

    fn defines(&self, at: &[String], name: &String) -> bool {
        let of = self.modules.get(at).map(|(_, module)| module);
        of.is_some_and(|module| {
            module.defined.contains(name) || module.imports.iter().any(|import| import.name == *name)
        })
    }
}

/// The module path of a file below `src/`.
fn module_path(file: &str) -> Option<Path> {
    let name = file.strip_suffix(".rs")?;
    let mut path: Path = name.split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| last == "mod") || ["lib", "main"].contains(&name) {
        path.pop();
    }
    Some(path)
}
