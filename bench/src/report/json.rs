//! Content of `summary.json`.

use serde::Serialize;

pub(super) fn text(content: &impl Serialize) -> String {
    serde_json::to_string_pretty(content).expect("names as keys") + "\n"
}
