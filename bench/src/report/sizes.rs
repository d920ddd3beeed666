//! Speeds by number of threads and points of a call, if a run has several: a row for each cell, a column for each size.

use super::summary::{GroupSummary, Summary};
use crate::matrix::spec::grouped;

/// The speeds of one workload.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) workload: &'static str,
    pub(super) columns: Vec<String>,
    /// A dataset, a cell, and its million values per second in each column.
    pub(super) rows: Vec<(String, String, Vec<Option<f64>>)>,
}

/// Threads and points of a call.
type Size = (usize, usize);

impl Sizes {
    /// Of each workload that runs with several sizes.
    pub(super) fn of(summary: &Summary) -> Vec<Self> {
        let mut workloads: Vec<_> = summary.groups.iter().map(|group| group.group.workload).collect();
        workloads.dedup();
        let mut all = Vec::new();
        for workload in workloads.into_iter().filter(|workload| workload.is_compared()) {
            let groups = summary.groups.iter().filter(|group| group.group.workload == workload);
            let groups: Vec<&GroupSummary> = groups.collect();
            let mut sizes: Vec<Size> = Vec::new();
            for size in groups.iter().map(|group| size(group)) {
                if !sizes.contains(&size) {
                    sizes.push(size);
                }
            }
            if sizes.len() > 1 {
                all.push(Self::new(workload.name(), &sizes, &groups));
            }
        }
        all
    }

    fn new(workload: &'static str, sizes: &[Size], groups: &[&GroupSummary]) -> Self {
        let mut rows: Vec<(String, String, Vec<Option<f64>>)> = Vec::new();
        for group in groups {
            let column = sizes.iter().position(|known| *known == size(group)).expect("every size is known");
            for row in &group.rows {
                let named =
                    |known: &(String, String, Vec<_>)| known.0 == group.group.dataset && known.1 == row.name;
                let at = rows.iter().position(named).unwrap_or_else(|| {
                    rows.push((group.group.dataset.clone(), row.name.clone(), vec![None; sizes.len()]));
                    rows.len() - 1
                });
                rows[at].2[column] = row.mvalues_per_s.map(|speed| speed.mid);
            }
        }
        let varies = |of: &dyn Fn(&Size) -> usize| sizes.iter().any(|size| of(size) != of(&sizes[0]));
        let (threads_vary, batch_varies) = (varies(&|size| size.0), varies(&|size| size.1));
        let label = |&(threads, batch): &Size| {
            let threads = threads_vary.then(|| counted(threads, "thread"));
            let batch = batch_varies.then(|| format!("{} a call", counted(batch, "point")));
            threads.into_iter().chain(batch).collect::<Vec<_>>().join(", ")
        };
        Self { workload, columns: sizes.iter().map(label).collect(), rows }
    }
}

fn size(group: &GroupSummary) -> Size {
    (group.group.threads, group.group.batch)
}

fn counted(number: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}
