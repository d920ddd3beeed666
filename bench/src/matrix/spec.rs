//! A cell, described by the names of its parts, and groups of cells that are compared.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::adapter;
use crate::workload::{Figure, Pace, Workload};

/// One choice of parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CellSpec {
    pub(crate) storer: String,
    pub(crate) log: String,
    pub(crate) encoder: String,
    pub(crate) order: String,
    pub(crate) durability: String,
    /// Maximum points of a block of a file.
    #[serde(rename = "points_per_block")]
    pub(crate) block: String,
    /// Whether this is the reference under a second name, whose verdict should be "same".
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) alias: bool,
    /// A whole store of another project. It has no parts of ours, so `storer`, `log`, `encoder`, `order` and `block` are empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<String>,
}

impl CellSpec {
    /// Whether an acknowledged write survives a power cut.
    pub(super) fn is_durable(&self) -> bool {
        is_durable(&self.durability)
    }

    pub(crate) fn axis(&self, axis: &str) -> Option<&str> {
        match axis {
            "storer" => Some(&self.storer),
            "log" => Some(&self.log),
            "encoder" => Some(&self.encoder),
            "order" => Some(&self.order),
            "durability" => Some(&self.durability),
            "block" => Some(&self.block),
            "store" => Some(self.store.as_deref().unwrap_or_default()),
            _ => None,
        }
    }

    pub(crate) fn with(&self, axis: &str, value: &str) -> Self {
        if axis == "store" {
            let durability = self.durability.clone();
            return Self { store: Some(value.into()), durability, ..Self::default() };
        }
        let mut other = self.clone();
        *match axis {
            "storer" => &mut other.storer,
            "log" => &mut other.log,
            "encoder" => &mut other.encoder,
            "order" => &mut other.order,
            "block" => &mut other.block,
            _ => &mut other.durability,
        } = value.into();
        other
    }
}

/// The name in tables. Default values are left out.
impl fmt::Display for CellSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(store) = &self.store {
            return write!(f, "{store}{}", if self.is_durable() { "" } else { " none" });
        }
        write!(f, "{}/{}/{}", self.storer, self.log, self.encoder)?;
        if self.order != adapter::ORDERS[0].0 {
            write!(f, " {}", self.order)?;
        }
        if self.durability != adapter::DURABILITIES[0].0 {
            write!(f, " {}", self.durability)?;
        }
        if self.block != adapter::BLOCKS[0].0 {
            write!(f, " block {}", self.block)?;
        }
        if self.alias {
            f.write_str(" alias")?;
        }
        Ok(())
    }
}

/// Whether an acknowledged write in this mode survives a power cut.
pub(super) fn is_durable(durability: &str) -> bool {
    durability == "group" || durability == "each"
}

/// Cells that are compared. The first is the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) dataset: String,
    /// The file with the prepared points. Set when the run begins.
    #[serde(skip)]
    pub(crate) points: PathBuf,
    pub(crate) workload: Workload,
    pub(crate) threads: usize,
    /// Points of one write.
    pub(crate) batch: usize,
    /// Of an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pace: Option<Pace>,
    pub(crate) durable: bool,
    pub(crate) cells: Vec<CellSpec>,
}

impl Group {
    /// What the figure of its processes is.
    pub(crate) fn figure(&self) -> Figure {
        let waits = self.durable && self.workload.logs();
        if waits { Figure::WorkAndWaits { threads: self.threads } } else { Figure::Work }
    }

    /// Whether the engines of both groups hold the same values after the timed work.
    pub(crate) fn holds_same_as(&self, other: &Self) -> bool {
        let deletes = |group: &Self| group.workload == Workload::Delete;
        // Small batches hold only a part of the dataset.
        let same = self.dataset == other.dataset && self.batch == other.batch && self.pace == other.pace;
        same && deletes(self) == deletes(other)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.workload.name(), self.dataset)?;
        if self.threads > 1 {
            write!(f, ", {} threads", self.threads)?;
        }
        if let Some(pace) = self.pace {
            write!(f, ", {} points/s", grouped(pace.points_per_s))?;
        }
        let is_usual = self.batch == self.workload.batch_points() && self.pace.is_none();
        if self.workload.takes_batches() && !is_usual {
            let unit = if self.batch == 1 { "point" } else { "points" };
            write!(f, ", {} {unit} a call", self.batch)?;
        }
        if self.workload.varies("durability") {
            let lost = if self.durable { "durable" } else { "not durable: acknowledged writes may be lost" };
            write!(f, ", {lost}")?;
        }
        Ok(())
    }
}

/// Formats 336776 as `336,776`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
