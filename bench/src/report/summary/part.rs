//! What reports say of a part.

use std::fmt;

use serde::{Deserialize, Serialize};
use tsmith_engine::Registry;

use crate::adapter::{DURABILITIES, INTERVAL, supports};
use crate::matrix::spec::{CellSpec, Group};

/// A part that a run compares. Everything comes from its registry entry, whichever crate it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartLabel {
    /// `storer`, `log` or `encoder`.
    pub(crate) part: String,
    pub(crate) name: String,
    pub(crate) summary: String,
    /// The durabilities of a log. A log that keeps nothing has none, and so have other parts.
    pub(crate) durabilities: Vec<String>,
}

impl PartLabel {
    /// The parts of all cells, in the order of the registry.
    pub(crate) fn all(registry: &Registry, groups: &[Group]) -> Vec<Self> {
        let cells = || groups.iter().flat_map(|group| &group.cells);
        let mut out = Vec::new();
        for (part, names) in registry.names() {
            let used =
                names.into_iter().filter(|(name, _)| cells().any(|cell| cell.axis(part) == Some(name)));
            out.extend(used.map(|(name, summary)| Self {
                part: part.into(),
                name: name.into(),
                summary: summary.into(),
                durabilities: if part == "log" { durabilities(registry, name) } else { Vec::new() },
            }));
        }
        out
    }

    /// Whether it is a part of `cell` and not of `other`.
    pub(crate) fn tells_apart(&self, cell: &CellSpec, other: &CellSpec) -> bool {
        cell.axis(&self.part) == Some(&self.name) && other.axis(&self.part) != Some(&self.name)
    }

    /// Everything but the name, in a line.
    pub(crate) fn sentences(&self) -> String {
        if self.durabilities.is_empty() {
            return self.summary.clone();
        }
        format!("{}; durability: {}", self.summary, self.durabilities.join(", "))
    }
}

impl fmt::Display for PartLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.part, self.name, self.sentences())
    }
}

fn durabilities(registry: &Registry, log: &str) -> Vec<String> {
    if !registry.find_log(log).is_ok_and(|log| log.kind().keeps_records()) {
        return Vec::new();
    }
    let all = DURABILITIES.iter().chain([&INTERVAL]).map(|(name, _)| *name);
    let has = all.filter(|name| supports(registry, log, name));
    // `interval:10ms` stands for any time.
    has.map(|name| name.split(':').next().unwrap_or(name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_the_registry() {
        let cell = CellSpec {
            storer: "ring".into(),
            log: "file".into(),
            encoder: "tsm1".into(),
            ..CellSpec::default()
        };
        let group =
            Group { cells: vec![cell.clone(), cell.with("log", "null")], ..crate::report::tests::group() };
        let labels = PartLabel::all(&Registry::standard(), &[group]);
        let names: Vec<_> = labels.iter().map(|label| label.name.as_str()).collect();
        assert_eq!(names, ["ring", "file", "null", "tsm1"]);
        let of = |at: usize| labels[at].sentences();
        assert!(of(1).ends_with("; durability: group, each, none, interval"), "{}", of(1));
        assert_eq!(of(2), labels[2].summary);
        assert!(
            labels[2].tells_apart(&cell.with("log", "null"), &cell) && !labels[1].tells_apart(&cell, &cell)
        );
    }
}
