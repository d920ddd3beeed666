//! The work that the matrix times.

mod cell;
mod digest;
mod latency;
mod model;
mod outcome;
mod passes;
mod peer_cell;
mod queries;
mod threads;

use serde::{Deserialize, Serialize};

pub(crate) use cell::Cell;
pub(crate) use latency::{Latency, Pace, SLOT, Span};
#[cfg(test)]
pub(crate) use outcome::Pass;
pub(crate) use outcome::{Figure, Outcome};
pub(crate) use passes::NextPass;
pub(crate) use peer_cell::PeerCell;
pub(crate) use threads::in_threads;

/// Points of one write in most workloads.
pub(crate) const BATCH_POINTS: usize = 5000;

/// Most writes of one repetition. Small batches write only a part of the dataset.
pub(crate) const CALLS_MAX: usize = 1000;

/// The timed work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    Ingest,
    Snapshot,
    Compact,
    Scan,
    Range,
    Delete,
    Recover,
    Latency,
}

impl Workload {
    pub(crate) const ALL: [Self; 8] = [
        Self::Ingest,
        Self::Snapshot,
        Self::Compact,
        Self::Scan,
        Self::Range,
        Self::Delete,
        Self::Recover,
        Self::Latency,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Snapshot => "snapshot",
            Self::Compact => "compact",
            Self::Scan => "scan",
            Self::Range => "range",
            Self::Delete => "delete",
            Self::Recover => "recover",
            Self::Latency => "latency",
        }
    }

    pub(crate) fn summary(self) -> &'static str {
        match self {
            Self::Ingest => {
                "write batches of points until they are acknowledged; no part affects parsing, so it is not timed"
            }
            Self::Snapshot => "write the dataset from the cache to a published file",
            Self::Compact => "merge up to eight files into one with full blocks",
            Self::Scan => "read, verify and decode every key from files",
            Self::Range => "read all fields of one series in one hour from files, for random series",
            Self::Delete => "delete 20 ranges of points in files, each of one random series",
            Self::Recover => "open an engine whose dataset is still in its log",
            Self::Latency => {
                "write at a fixed rate, with snapshots and compactions in the background; runs only if it is named"
            }
        }
    }

    /// Whether cells are compared with the reference by speed. At a fixed rate there is no speed to compare.
    pub(crate) fn is_compared(self) -> bool {
        self != Self::Latency
    }

    /// Whether the workload uses threads.
    pub(crate) fn is_threaded(self) -> bool {
        matches!(self, Self::Ingest | Self::Scan | Self::Range | Self::Latency)
    }

    /// Whether the timed work appends to the log.
    pub(crate) fn logs(self) -> bool {
        matches!(self, Self::Ingest | Self::Delete | Self::Latency)
    }

    /// Whether the number of points in a write affects the timed work.
    pub(crate) fn takes_batches(self) -> bool {
        matches!(self, Self::Ingest | Self::Recover | Self::Latency)
    }

    /// Points of one write, unless `--batch` says otherwise. Percentiles need many calls.
    pub(crate) fn batch_points(self) -> usize {
        if self == Self::Latency { 100 } else { BATCH_POINTS }
    }

    /// Whether this axis can affect the timed work.
    pub(crate) fn varies(self, axis: &str) -> bool {
        let axes: &[&str] = match self {
            Self::Ingest => &["storer", "log", "order", "durability", "store"],
            Self::Snapshot => &["storer", "encoder", "block"],
            Self::Compact => &["encoder", "block"],
            Self::Scan | Self::Range => &["encoder", "block", "store"],
            Self::Delete => &["log", "durability"],
            Self::Recover => &["storer", "log"],
            Self::Latency => &["storer", "log", "encoder", "order", "durability", "block"],
        };
        axes.contains(&axis)
    }
}
