//! The result of a run of the matrix, and its output formats.

mod csv;
mod html;
pub(crate) mod summary;
mod table;

use std::fs;
use std::path::Path;

use crate::error::Result;
use summary::Summary;

/// Writes `summary.json`, `summary.csv` and `report.html`.
pub(crate) fn write(summary: &Summary, out: &Path) -> Result {
    let json = serde_json::to_string_pretty(summary)? + "\n";
    for (name, text) in
        [("summary.json", json), ("summary.csv", csv::text(summary)), ("report.html", html::page(summary))]
    {
        let path = out.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Returns the table for the terminal.
pub(crate) fn table(summary: &Summary) -> String {
    table::text(summary)
}

#[cfg(test)]
mod tests;
