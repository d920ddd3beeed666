//! Finds import cycles. If two files use each other's names, one of the names is in the wrong file.
//!
//! File A uses file B if the code of A contains a name that B defines: in a `use`, or in a path such as `crate::b::f()` or
//! `b::f()`. A re-export (`pub use`) does not count: a name belongs to the file that defines it.
//!
//! A parent and a module below it may use each other, so the imports of the parent are ignored. The imports of `lib.rs` and
//! `main.rs` are ignored, too.
//!
//! The check reads names. It does not find method calls on values, and it skips `#[cfg(test)]`.

mod graph;
mod krate;
mod parse;

use super::Finding;
use crate::source::Source;
use graph::{Graph, cycles};
use krate::Crate;

pub(super) fn findings(crates: &[(String, String)], sources: &[Source], wrong: &mut Vec<Finding>) {
    for (dir, _) in crates {
        let graph = Crate::new(&format!("{dir}/src/"), sources).graph();
        for cycle in cycles(&graph) {
            wrong.push(Finding::new(cycle[0], 0, describe(&graph, &cycle)));
        }
    }
}

/// Lists the imports of a cycle, with their names.
fn describe(graph: &Graph, cycle: &[&str]) -> String {
    let mut out = format!(
        "import cycle of {} files. Move the names of one of these lines to another file:",
        cycle.len()
    );
    for file in cycle {
        for (needed, names) in graph.get(*file).into_iter().flatten() {
            if cycle.contains(&needed.as_str()) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                out.extend(["\n  ", file, " -> ", needed, ": ", &names.join(", ")]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles_of(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(name, text)| Source { path: format!("tsm/src/{name}"), text: (*text).to_owned() })
            .collect();
        let mut wrong = Vec::new();
        findings(&[("tsm".to_owned(), "tsmith-tsm".to_owned())], &sources, &mut wrong);
        wrong.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn cycle_is_reported_with_its_names() {
        let found = cycles_of(&[
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", "use crate::b::B;\npub struct A(B);\n"),
            ("b.rs", "pub struct B;\nfn f() { super::a::g(); }\n"),
        ]);
        let arrows = "\n  tsm/src/a.rs -> tsm/src/b.rs: B\n  tsm/src/b.rs -> tsm/src/a.rs: super::a::g";
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with(arrows), "{}", found[0]);
    }

    #[test]
    fn name_belongs_to_its_defining_file() {
        let parent = "mod a;\nmod b;\npub use a::{A, C};\npub use b::*;\n";
        let children = [("p/a.rs", "use super::B;\npub struct A(B);\n"), ("p/b.rs", "pub struct B;\n")];
        assert_eq!(cycles_of(&[("p.rs", parent), children[0], children[1]]), [""; 0]);
        // The parent uses a name that it re-exports, and a sibling of the parent closes the cycle.
        let used = format!("{parent}fn f(a: A) {{}}\n");
        let sibling = ("q.rs", "use crate::p::f;\n");
        let below = ("p/a.rs", "use crate::q::g;\npub struct A;\n");
        assert_eq!(
            cycles_of(&[("lib.rs", "mod p;\nmod q;\n"), ("p.rs", &used), below, children[1], sibling]).len(),
            1
        );
    }

    #[test]
    fn parent_and_child_may_use_each_other() {
        let parent = "mod a;\npub struct P(a::A);\n";
        assert_eq!(cycles_of(&[("p.rs", parent), ("p/a.rs", "use super::P;\npub struct A(P);\n")]), [""; 0]);
        let root = "mod p;\nmod q;\npub struct R(p::P, q::Q);\n";
        let modules =
            [("p.rs", "use crate::q::Q;\npub struct P(Q);\n"), ("q.rs", "use crate::R;\npub struct Q;\n")];
        assert_eq!(cycles_of(&[("lib.rs", root), modules[0], modules[1]]), [""; 0]);
    }

    #[test]
    fn tests_may_use_their_parent() {
        let files = [
            ("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nuse crate::b::B;\n"),
            ("a/tests.rs", "use super::A;\nuse crate::b::B;\n"),
            ("b.rs", "use crate::a::A;\npub struct B(A);\n"),
        ];
        assert_eq!(cycles_of(&files), [""; 0]);
    }

    #[test]
    fn macros_and_module_names_are_followed() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", "macro_rules! m { () => {} }\nuse crate::b;\nfn f() { b::g(); }\n"),
            ("b.rs", "pub fn g() { m!(); }\n"),
        ];
        assert_eq!(cycles_of(&files).len(), 1);
        assert_eq!(cycles_of(&[files[0], ("a.rs", "use crate::b;\n"), files[2]]), [""; 0]);
    }
}
