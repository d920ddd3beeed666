//! Line protocol as InfluxDB 1.6.7 parses it: the points and error texts of every vector.

mod support;

use serde_json::Value as Json;
use support::{lines, unhex};
use tsmith_codecs::{BatchBuilder, Timestamp, Value};
use tsmith_engine::line::{AnySchema, LineOptions, Precision, Reason, Rejected, parse};

fn options(vector: &Json) -> LineOptions {
    let precision = vector["precision"].as_str().expect("a string");
    LineOptions {
        // InfluxDB treats an unknown precision as nanoseconds.
        precision: Precision::from_name(precision).unwrap_or_default(),
        unsigned: vector["unsigned"].as_bool().unwrap_or(false),
        ..LineOptions::new(Timestamp(vector["default_time"].as_i64().unwrap_or(0)))
    }
}

fn error_text(input: &[u8], rejected: &[Rejected]) -> Option<String> {
    let one = |r: &Rejected| {
        format!("unable to parse '{}': {}", String::from_utf8_lossy(&input[r.bytes.clone()]), r.reason)
    };
    let of_the_text = rejected.iter().filter(|r| !r.reason.is_of_the_schema());
    let texts: Vec<_> = of_the_text.map(one).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// The expected points, as `(series, field, time, value)` in a comparable form. InfluxDB's parser accepts
/// tags and fields named `time`. Its shard, and ours, refuses such a tag and skips such a field.
fn expected_points(vector: &Json) -> Vec<(Vec<u8>, Vec<u8>, i64, String)> {
    let mut out = Vec::new();
    for point in vector["points"].as_array().into_iter().flatten() {
        let tags = point["tags"].as_array().into_iter().flatten();
        if tags.into_iter().any(|tag| tag[0] == "time") {
            continue;
        }
        for field in point["fields"].as_array().expect("fields").iter().filter(|f| f["key"] != "time") {
            let value = match field["type"].as_str().expect("a type") {
                "float" => format!("float {}", field["value"].as_str().expect("hex")),
                "string" => format!("string {}", field["value"].as_str().expect("hex")),
                other => format!("{other} {}", field["value"]),
            };
            out.push((
                point["series_key"].as_str().expect("a key").as_bytes().to_vec(),
                field["key"].as_str().expect("a name").as_bytes().to_vec(),
                point["time"].as_i64().expect("a time"),
                value,
            ));
        }
    }
    out.sort();
    out
}

fn parsed_points(builder: BatchBuilder<'_>) -> Vec<(Vec<u8>, Vec<u8>, i64, String)> {
    let mut out = Vec::new();
    let batch = builder.finish();
    for (key, column) in batch.columns() {
        for (at, &time) in column.times().iter().enumerate() {
            let value = match column.values().get(at) {
                Value::Float(v) => format!("float {:016x}", v.to_bits()),
                Value::Integer(v) => format!("integer {v}"),
                Value::Unsigned(v) => format!("unsigned {v}"),
                Value::Boolean(v) => format!("boolean {v}"),
                Value::String(v) => {
                    format!("string {}", v.iter().map(|b| format!("{b:02x}")).collect::<String>())
                }
            };
            // The vectors store keys as text, with invalid UTF-8 replaced.
            let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_bytes();
            out.push((lossy(key.series), lossy(key.field), time, value));
        }
    }
    out.sort();
    out
}

#[test]
fn every_vector_gives_influxdbs_points_and_errors() {
    let vectors = lines("lineprotocol.jsonl");
    assert!(!vectors.is_empty());
    for vector in vectors.iter().filter(|v| v.get("input_hex").is_some()) {
        let input = unhex(vector["input_hex"].as_str().expect("hex"));
        let mut builder = BatchBuilder::new();
        let rejected = parse(&input, &options(vector), &mut AnySchema, &mut builder);
        let shown = String::from_utf8_lossy(&input);
        if type_changes_within(vector) {
            assert!(rejected.iter().any(|r| r.reason.is_of_the_schema()), "{shown:?}");
            continue;
        }
        if has_value_error(vector) {
            assert!(!rejected.is_empty(), "{shown:?}");
            continue;
        }
        let expected_error = vector.get("error").and_then(Json::as_str).map(str::to_owned);
        if expected_error.as_deref().is_some_and(names_several_lines) {
            // Our rejected line ends at its first line end. The rest is parsed as lines, which InfluxDB
            // drops.
            let all_short = rejected.iter().all(|line| !input[line.bytes.clone()].contains(&b'\n'));
            assert!(!rejected.is_empty() && all_short, "{shown:?}");
            continue;
        }
        assert_eq!(error_text(&input, &rejected), expected_error, "error of {shown:?}");
        assert_eq!(parsed_points(builder), expected_points(vector), "points of {shown:?}");
    }
}

/// Whether a value has the form of a number but does not parse. InfluxDB detects that later; we reject the
/// line.
fn has_value_error(vector: &Json) -> bool {
    let points = vector["points"].as_array().into_iter().flatten();
    let fields = points.flat_map(|point| point["fields"].as_array().into_iter().flatten());
    fields.into_iter().any(|field| field.get("value_error").is_some())
}

/// Whether InfluxDB rejected a line together with later ones.
fn names_several_lines(error: &str) -> bool {
    error.lines().count() > error.matches("unable to parse '").count()
}

/// InfluxDB's parser knows no types. A field that changes its type within the text is refused one layer up.
fn type_changes_within(vector: &Json) -> bool {
    let mut types: Vec<(String, String)> = Vec::new();
    for point in vector["points"].as_array().into_iter().flatten() {
        for field in point["fields"].as_array().expect("fields") {
            types.push((format!("{}#!~#{}", point["series_key"], field["key"]), field["type"].to_string()));
        }
    }
    types.sort();
    types.dedup();
    types.windows(2).any(|pair| pair[0].0 == pair[1].0)
}

/// InfluxDB limits series, separator and field name together to 65,535 bytes. (Measured; the recipe for these
/// inputs in the vectors is one byte short.)
#[test]
fn keys_are_limited_like_influxdbs() {
    for (repeated, bytes) in [(65_523, 65_532), (65_526, 65_535), (65_527, 65_536), (65_530, 65_539)] {
        let input = format!("m,t={} v=1 1", "x".repeat(repeated));
        let mut builder = BatchBuilder::new();
        let options = LineOptions::new(Timestamp(0));
        let rejected = parse(input.as_bytes(), &options, &mut AnySchema, &mut builder);
        if bytes <= 65_535 {
            assert_eq!((rejected.len(), builder.point_count()), (0, 1));
        } else {
            assert_eq!(rejected[0].reason, Reason::KeyTooLong { bytes });
        }
    }
}
