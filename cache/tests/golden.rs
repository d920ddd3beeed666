//! Compares partitions with those that InfluxDB computed.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tsmith_cache::{SeriesKey, partition};

/// The vectors in the directory `TSMITH_VECTORS_TSM1`, or else the copy here.
fn vectors(name: &str) -> Vec<Value> {
    let dir = std::env::var_os("TSMITH_VECTORS_TSM1")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), PathBuf::from);
    let path = dir.join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("each line is a JSON object")).collect()
}

#[test]
fn partitions_equal_those_of_influxdb() {
    let vectors = vectors("codecs.jsonl");
    let rings: Vec<&Value> = vectors.iter().filter(|vector| vector["codec"] == "ring-partition").collect();
    assert!(!rings.is_empty(), "no ring partitions");
    for vector in rings {
        let key = vector["input"].as_str().expect("a key");
        let hash = SeriesKey(key.as_bytes()).hash64();
        assert_eq!(Value::from(format!("{hash:016x}")), vector["encoded"], "{key}");
        assert_eq!(Value::from(partition(hash)), vector["decoded"], "{key}");
    }
}
