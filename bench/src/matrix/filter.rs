//! Which cells `--filter` keeps.

use super::spec::{CellSpec, Group};

/// A filter such as `encoder=zstd|raw,!workload=ingest`, or any part of a cell's name.
#[derive(Clone, Debug)]
pub(super) struct Filter(Vec<Term>);

#[derive(Clone, Debug)]
struct Term {
    exclude: bool,
    axis: Option<String>,
    values: Vec<String>,
}

const AXES: [&str; 11] = [
    "storer",
    "log",
    "encoder",
    "order",
    "durability",
    "block",
    "store",
    "dataset",
    "workload",
    "threads",
    "batch",
];

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let term = |text: &str| {
            let (exclude, text) =
                text.trim().strip_prefix('!').map_or((false, text.trim()), |rest| (true, rest));
            let (axis, values) =
                text.split_once('=').map_or((None, text), |(axis, values)| (Some(axis), values));
            if let Some(unknown) = axis.filter(|axis| !AXES.contains(axis)) {
                return Err(format!("there is no axis `{unknown}`; there are: {}", AXES.join(", ")));
            }
            let values = values.split('|').map(String::from).collect();
            Ok(Term { exclude, axis: axis.map(String::from), values })
        };
        text.split(',').map(term).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn keeps(&self, group: &Group, cell: &CellSpec) -> bool {
        self.0.iter().all(|term| {
            let name = format!("{}/{}/{cell}", group.dataset, group.workload.name());
            let (threads, batch) = (group.threads.to_string(), group.batch.to_string());
            let value = match term.axis.as_deref() {
                None => None,
                Some("dataset") => Some(group.dataset.as_str()),
                Some("workload") => Some(group.workload.name()),
                Some("threads") => Some(threads.as_str()),
                Some("batch") => Some(batch.as_str()),
                Some(axis) => cell.axis(axis),
            };
            let holds = match value {
                Some(value) => term.values.iter().any(|wanted| wanted == value),
                None => term.values.iter().any(|part| name.contains(part)),
            };
            holds != term.exclude
        })
    }
}
