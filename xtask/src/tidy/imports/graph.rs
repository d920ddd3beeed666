//! The import graph of a crate, and its cycles.

use std::collections::{BTreeMap, BTreeSet};

/// For each file, the files that it uses and the names it uses from them.
pub(super) type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The groups of files that reach each other.
pub(super) fn cycles(graph: &Graph) -> Vec<Vec<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (file.as_str(), reach(graph, file))).collect();
    let mut out: Vec<Vec<&str>> = Vec::new();
    for (file, from_here) in &reached {
        if from_here.contains(file) && !out.iter().any(|cycle| cycle.contains(file)) {
            let back = |other: &&&str| reached.get(**other).is_some_and(|reached| reached.contains(file));
            out.push(from_here.iter().filter(back).copied().collect());
        }
    }
    out
}

/// The files that `file` uses, directly or indirectly.
fn reach<'g>(graph: &'g Graph, file: &str) -> BTreeSet<&'g str> {
    let mut out = BTreeSet::new();
    let mut left: Vec<&str> = vec![file];
    while let Some(file) = left.pop() {
        for needed in graph.get(file).into_iter().flat_map(BTreeMap::keys) {
            if out.insert(needed.as_str()) {
                left.push(needed);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_has_the_files_that_reach_each_other() {
        let edges = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "f"), ("f", "e")];
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default();
        }
        assert_eq!(cycles(&graph), [["b", "c"], ["e", "f"]]);
    }
}
