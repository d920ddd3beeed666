//! The result of a run of the matrix, and its output formats.

mod csv;
mod html;
mod json;
mod sizes;
pub(crate) mod summary;
mod table;
pub(crate) mod trust;

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;
use crate::matrix::sample::Sample;
use summary::Summary;

/// Writes `summary.json`, `summary.csv` and `report.html`. The page also shows `run`, the content of `run.json`, and the passes
/// of `samples`.
pub(crate) fn write(summary: &Summary, run: &Value, samples: &[Sample], out: &Path) -> Result<(), Failure> {
    let json = json::text(summary);
    let page = html::page(summary, run, samples);
    for (name, text) in [("summary.json", json), ("summary.csv", csv::text(summary)), ("report.html", page)] {
        let path = out.join(name);
        fs::write(&path, text).map_err(|error| Failure::io(&path, &error))?;
    }
    Ok(())
}

/// Returns the table for the terminal.
pub(crate) fn table(summary: &Summary) -> String {
    table::text(summary)
}

#[cfg(test)]
mod tests;
