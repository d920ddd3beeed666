//! Rules between crates: the allowed dependencies, and an example for each library.

use std::fs;
use std::path::Path;

use super::Finding;
use crate::source::{Source, code_only, words};

/// The crates of the workspace that each crate may depend on. Development dependencies follow the same rule, but a crate may
/// depend on itself with its feature `testing`.
const EDGES: [(&str, &[&str]); 8] = [
    ("codecs", &[]),
    ("cache", &["codecs"]),
    ("wal", &["codecs"]),
    ("tsm", &["codecs"]),
    ("engine", &["codecs", "cache", "wal", "tsm"]),
    ("cli", &["codecs", "cache", "wal", "tsm", "engine"]),
    ("bench", &["codecs", "cache", "wal", "tsm", "engine"]),
    ("xtask", &[]),
];

/// The crates that outside programs depend on.
const LIBRARIES: [&str; 5] = ["codecs", "cache", "wal", "tsm", "engine"];

/// Directory and package name of every member of the workspace.
pub(crate) fn packages(root: &Path) -> Result<Vec<(String, String)>, String> {
    let manifest = read(root, "Cargo.toml")?;
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ["));
    let members = members.ok_or("Cargo.toml: no line `members = [`")?.trim_end_matches(']');
    let mut out = Vec::new();
    for dir in members.split(',').map(|member| member.trim().trim_matches('"')).filter(|dir| !dir.is_empty())
    {
        let path = format!("{dir}/Cargo.toml");
        let manifest = read(root, &path)?;
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "));
        let name = name.ok_or(format!("{path}: no package name"))?;
        out.push((dir.to_owned(), name.trim_matches('"').to_owned()));
    }
    Ok(out)
}

/// Names of the packages that can be published, in the order of their dependencies.
pub(crate) fn published(root: &Path) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for (dir, package) in packages(root)? {
        if !read(root, &format!("{dir}/Cargo.toml"))?.lines().any(|line| line == "publish = false") {
            out.push(package);
        }
    }
    Ok(out)
}

/// The version of the workspace.
pub(crate) fn version(root: &Path) -> Result<String, String> {
    workspace_key(root, "version")
}

/// The oldest Rust that compiles the workspace.
pub(crate) fn rust_version(root: &Path) -> Result<String, String> {
    workspace_key(root, "rust-version")
}

fn workspace_key(root: &Path, key: &str) -> Result<String, String> {
    let manifest = read(root, "Cargo.toml")?;
    let begin = format!("{key} = \"");
    let line = manifest.lines().find_map(|line| line.strip_prefix(&begin));
    Ok(line.ok_or_else(|| format!("Cargo.toml: no line `{key} = `"))?.trim_end_matches('"').to_owned())
}

pub(super) fn findings(root: &Path, sources: &[Source]) -> Result<Vec<Finding>, String> {
    let mut wrong = Vec::new();
    for (dir, _) in packages(root)? {
        let path = format!("{dir}/Cargo.toml");
        let manifest = read(root, &path)?;
        edges(&dir, &path, &manifest, &mut wrong);
        if LIBRARIES.contains(&dir.as_str()) {
            example(&dir, &manifest, sources, &mut wrong);
        }
    }
    Ok(wrong)
}

fn read(root: &Path, path: &str) -> Result<String, String> {
    fs::read_to_string(root.join(path)).map_err(|e| format!("{path}: {e}"))
}

/// A dependency in a manifest.
struct Dependency<'a> {
    line: usize,
    name: &'a str,
    entry: &'a str,
    development: bool,
}

/// Lists the dependencies of a manifest, one for each line. Tables `[dependencies.x]` are refused.
fn dependencies(manifest: &str) -> Vec<Dependency<'_>> {
    let mut out = Vec::new();
    let mut section = "";
    for (at, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if section.ends_with("dependencies") && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                let development = section.ends_with("dev-dependencies");
                out.push(Dependency { line: at + 1, name, entry: line, development });
            }
        } else if section.contains("dependencies.") {
            out.push(Dependency { line: at + 1, name: "", entry: line, development: false });
        }
    }
    out
}

fn edges(dir: &str, path: &str, manifest: &str, wrong: &mut Vec<Finding>) {
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == dir) else {
        wrong.push(Finding::new(path, 0, "this crate is not in the table of dependencies in xtask"));
        return;
    };
    for dependency in dependencies(manifest) {
        let (line, entry) = (dependency.line, dependency.entry);
        if dependency.name.is_empty() {
            wrong.push(Finding::new(
                path,
                line,
                "write the dependency on one line: this check does not read tables",
            ));
        }
        let Some(ours) =
            dependency.name.strip_prefix("tsmith-").or((dependency.name == "xtask").then_some("xtask"))
        else {
            continue;
        };
        let itself = ours == dir && dependency.development && entry.contains("testing");
        if !itself && !allowed.contains(&ours) {
            wrong.push(Finding::new(path, line, format!("{dir} must not depend on {ours}")));
        }
    }
}

/// Checks that an example of the crate uses only the crate and its dependencies.
fn example(dir: &str, manifest: &str, sources: &[Source], wrong: &mut Vec<Finding>) {
    let own = format!("tsmith_{dir}");
    let mut allowed: Vec<String> =
        ["std", "core", "alloc", "crate", "self", "super"].map(String::from).into();
    allowed.push(own.clone());
    let normal = dependencies(manifest).into_iter().filter(|dependency| !dependency.development);
    allowed.extend(normal.map(|dependency| dependency.name.replace('-', "_")));
    // Examples of a layer use no other layer. The engine's examples may use all layers.
    let alone = dir != "engine";

    let folder = format!("{dir}/examples/");
    let examples: Vec<_> = sources.iter().filter(|s| s.path.starts_with(&folder) && s.is_rust()).collect();
    let mut good = false;
    for source in examples {
        let code = code_only(&source.text);
        let mut foreign = words(&code).find(|(_, word)| word.starts_with("tsmith_") && *word != own);
        if let Some((line, word)) = foreign.take_if(|_| alone) {
            wrong.push(Finding::new(&source.path, line, format!("an example of {dir} must not use {word}")));
        }
        good |= roots(&code).all(|(_, root)| allowed.iter().any(|name| name == root));
    }
    if !good {
        let what = format!("no example uses only {own} and its dependencies");
        wrong.push(Finding::new(folder.trim_end_matches('/'), 0, what));
    }
}

/// The first segment of every `use`, with its line number.
fn roots(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let used = code.lines().enumerate().filter_map(|(at, line)| Some((at + 1, line.strip_prefix("use ")?)));
    used.map(|(line, path)| {
        (line, path.trim_start_matches("::").split([':', ';', ' ']).next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(dir: &str, manifest: &str) -> Vec<usize> {
        let mut wrong = Vec::new();
        edges(dir, "Cargo.toml", manifest, &mut wrong);
        wrong.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn dependencies_point_down() {
        let manifest = "[dependencies]\ntsmith-codecs.workspace = true\ntsmith-wal = { workspace = true }\nbytes.workspace = true\n";
        assert_eq!(broken("cache", manifest), [3]);
        assert_eq!(broken("engine", manifest), []);
        assert_eq!(broken("xtask", manifest), [2, 3]);
    }

    #[test]
    fn crate_may_test_only_itself() {
        let own = "[dev-dependencies]\ntsmith-wal = { path = \".\", features = [\"testing\"] }\n";
        assert_eq!((broken("wal", own), broken("cache", own)), (vec![], vec![2]));
        assert_eq!(broken("wal", "[dependencies]\ntsmith-wal.workspace = true\n"), [2]);
    }

    #[test]
    fn dependency_in_a_table_is_found() {
        assert_eq!(broken("cache", "[target.'cfg(unix)'.dependencies]\ntsmith-wal.workspace = true\n"), [2]);
        assert_eq!(broken("cache", "[dependencies.tsmith-wal]\nworkspace = true\n"), [2]);
    }

    #[test]
    fn example_uses_only_its_crate() {
        let judge = |text: &str| {
            let source = Source { path: "wal/examples/a.rs".into(), text: text.into() };
            let mut wrong = Vec::new();
            example(
                "wal",
                "[dependencies]\nbytes.workspace = true\n[dev-dependencies]\ntempfile.workspace = true\n",
                &[source],
                &mut wrong,
            );
            wrong.len()
        };
        assert_eq!(judge("use std::fs;\nuse bytes::Bytes;\nuse tsmith_wal::{Log, FileLog};\n"), 0);
        assert_eq!(judge("use tsmith_wal::Log;\nuse tempfile::TempDir;\n"), 1);
        assert_eq!(judge("use tsmith_wal::Log;\nuse tsmith_codecs::Column;\n"), 2);
    }
}
