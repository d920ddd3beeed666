//! What InfluxDB's own Go code does in a driver of its own, from the JSON lines that the driver prints.
//!
//! It ran on other input and in another process, so its figures are shown beside those of a run and never compared with them.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::json_line::five_digits;

/// Fields of a line that say what ran, in the order of the text.
const INPUT: [&str; 15] = [
    "impl",
    "server",
    "storer",
    "column",
    "kind",
    "series",
    "hosts",
    "index",
    "state",
    "text",
    "wal",
    "points_per_write",
    "fsync_delay_ms",
    "goroutines",
    "writers",
];

/// Figures of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GoLine {
    pub(crate) layer: String,
    pub(crate) input: String,
    pub(crate) mvalues_per_s: Option<f64>,
    pub(crate) cpu_s_per_mvalues: Option<f64>,
    pub(crate) bytes_per_value: Option<f64>,
}

impl GoLine {
    /// Reads a file. Lines with other figures than these are left out; a line that is no such line is an error.
    pub(crate) fn read(path: &Path) -> Result<Vec<Self>, Failure> {
        let text = fs::read_to_string(path).map_err(|error| Failure::io(path, &error))?;
        let mut all = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let read = Self::of_line(line);
            let wrong = |why| Failure::Usage(format!("{}: line {}: {why}", path.display(), at + 1));
            all.extend(read.map_err(wrong)?);
        }
        Ok(all)
    }

    /// A line about an encoder has two speeds.
    fn of_line(line: &str) -> Result<Vec<Self>, String> {
        let fields: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| format!("not a JSON object: {error}"))?;
        let Some(Value::String(bench)) = fields.get("bench") else {
            return Err("has no text `bench`".into());
        };
        let figure = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("`{name}` is not a number")),
        };
        let (input, bytes_per_value) = (input(&fields), figure("bytes_per_value")?);
        let mut all = Vec::new();
        if let Some(speed) = figure("Mvalues_per_s")? {
            let cpu_s_per_mvalues = figure("cpu_s_per_Mvalues")?.or(figure("server_cpu_s_per_Mvalues")?);
            let (layer, mvalues_per_s) = (bench.clone(), Some(speed));
            all.push(Self { layer, input, mvalues_per_s, cpu_s_per_mvalues, bytes_per_value });
            return Ok(all);
        }
        for way in ["encode", "decode"] {
            if let Some(speed) = figure(&format!("{way}_Mvals"))? {
                // The driver measures processor time.
                let cpu_s_per_mvalues = figure(&format!("{way}_ns"))?.map(|ns| five_digits(ns / 1e3));
                let (layer, input, mvalues_per_s) = (format!("{bench}, {way}"), input.clone(), Some(speed));
                all.push(Self { layer, input, mvalues_per_s, cpu_s_per_mvalues, bytes_per_value });
            }
        }
        if all.is_empty() && bytes_per_value.is_some() {
            let (mvalues_per_s, cpu_s_per_mvalues) = (None, None);
            all.push(Self { layer: bench.clone(), input, mvalues_per_s, cpu_s_per_mvalues, bytes_per_value });
        }
        Ok(all)
    }
}

/// Names and values of what ran.
fn input(fields: &Map<String, Value>) -> String {
    let of = |name: &&str| {
        let name = *name;
        Some(match fields.get(name)? {
            Value::String(text) => text.clone(),
            Value::Bool(true) => format!("with {name}"),
            Value::Bool(false) => format!("without {name}"),
            other => format!("{} {other}", name.replace('_', " ")),
        })
    };
    INPUT.iter().filter_map(of).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_driver_are_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/go_lines.jsonl");
        let all = GoLine::read(&path).expect("the driver printed them");
        let texts: Vec<String> = all.iter().map(|line| format!("{}: {}", line.layer, line.input)).collect();
        let expected = [
            "cache: ring16, series 100, goroutines 1",
            "codec, encode: 1.6.7, ts_jitter_ms",
            "codec, decode: 1.6.7, ts_jitter_ms",
            "engine-write: f2, hosts 1000, without text, with wal, goroutines 1",
            "server-write: influxd-1.6.7, f2, hosts 1000, writers 1",
            "server-disk: influxd-1.6.7, just after, data only",
        ];
        assert_eq!(texts, expected);
        assert_eq!((all[1].mvalues_per_s, all[1].cpu_s_per_mvalues), (Some(56.491), Some(0.017_702)));
        assert_eq!((all[4].cpu_s_per_mvalues, all[5].bytes_per_value), (Some(2.6806), Some(37.371)));
    }

    #[test]
    fn a_wrong_line_is_an_error_with_its_number() {
        let dir = tempfile::tempdir().expect("a directory");
        for (line, why) in [
            ("{\"bench\": \"cache\"", "not a JSON object"),
            ("{\"Mvalues_per_s\": 1}", "has no text `bench`"),
            ("{\"bench\": \"cache\", \"Mvalues_per_s\": \"fast\"}", "`Mvalues_per_s` is not a number"),
        ] {
            let path = dir.path().join("x.jsonl");
            fs::write(&path, format!("{{\"bench\": \"limit\"}}\n\n{line}\n")).expect("writes");
            let error = GoLine::read(&path).expect_err("wrong").to_string();
            assert!(error.contains("x.jsonl: line 3: ") && error.contains(why), "{error}");
        }
    }
}
