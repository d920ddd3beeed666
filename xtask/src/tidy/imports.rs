//! No import cycles: if two files need each other's names, one of the names lives in the wrong file.
//!
//! File A needs file B if A's code names something that B defines: in a `use`, or in a path such as `crate::b::f()` or
//! `b::f()`. A re-export (`pub use`) does not count: the name belongs to the file that defines it.
//!
//! A parent and a module below it may need each other: together they are one module, and the parent's need is left out. So
//! is what `lib.rs` and `main.rs` need of their crate.
//!
//! The check reads names. It does not see a method call on a value, and it passes over `#[cfg(test)]`.

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

/// Which file of a cycle needs which, and for which names.
fn describe(graph: &Graph, cycle: &[&str]) -> String {
    let mut out =
        format!("import cycle of {} files. Move the names of one line to another file:", cycle.len());
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
    fn a_cycle_is_named_with_what_ties_it() {
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
    fn a_name_belongs_to_the_file_that_defines_it() {
        let parent = "mod a;\nmod b;\npub use a::{A, C};\npub use b::*;\n";
        let children = [("p/a.rs", "use super::B;\npub struct A(B);\n"), ("p/b.rs", "pub struct B;\n")];
        assert_eq!(cycles_of(&[("p.rs", parent), children[0], children[1]]), [""; 0]);
        // The parent uses what it hands on, and a sibling of the parent closes the cycle.
        let used = format!("{parent}fn f(a: A) {{}}\n");
        let sibling = ("q.rs", "use crate::p::f;\n");
        let below = ("p/a.rs", "use crate::q::g;\npub struct A;\n");
        assert_eq!(
            cycles_of(&[("lib.rs", "mod p;\nmod q;\n"), ("p.rs", &used), below, children[1], sibling]).len(),
            1
        );
    }

    #[test]
    fn a_parent_and_its_child_may_need_each_other() {
        let parent = "mod a;\npub struct P(a::A);\n";
        assert_eq!(cycles_of(&[("p.rs", parent), ("p/a.rs", "use super::P;\npub struct A(P);\n")]), [""; 0]);
        let root = "mod p;\nmod q;\npub struct R(p::P, q::Q);\n";
        let modules =
            [("p.rs", "use crate::q::Q;\npub struct P(Q);\n"), ("q.rs", "use crate::R;\npub struct Q;\n")];
        assert_eq!(cycles_of(&[("lib.rs", root), modules[0], modules[1]]), [""; 0]);
    }

    #[test]
    fn tests_may_need_their_parent() {
        let files = [
            ("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nuse crate::b::B;\n"),
            ("a/tests.rs", "use super::A;\nuse crate::b::B;\n"),
            ("b.rs", "use crate::a::A;\npub struct B(A);\n"),
        ];
        assert_eq!(cycles_of(&files), [""; 0]);
    }

    #[test]
    fn macros_and_modules_by_name_are_followed() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", "macro_rules! m { () => {} }\nuse crate::b;\nfn f() { b::g(); }\n"),
            ("b.rs", "pub fn g() { m!(); }\n"),
        ];
        assert_eq!(cycles_of(&files).len(), 1);
        assert_eq!(cycles_of(&[files[0], ("a.rs", "use crate::b;\n"), files[2]]), [""; 0]);
    }
}
