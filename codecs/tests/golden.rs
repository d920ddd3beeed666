//! Payloads and blocks written by InfluxDB: the encoders here write the same bytes and decode the same values.
//!
//! The vectors come from the directory in `TSMITH_VECTORS_TSM1`, or else from the copy beside this test. Any directory
//! with the same files will do: all expected values come from the files.
#![cfg(feature = "testing")]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;
use tsmith_codecs::influx::simple8b::{self, Ones};
use tsmith_codecs::influx::{Form, boolean, float, integer, string, time};
use tsmith_codecs::testing::naive;
use tsmith_codecs::{
    BlockDecoder, BlockEncoder, Column, Decoders, ErrorKind, FieldType, StringColumn, Tsm1, Tsm1Batch, Value,
    Values,
};

/// One line of a vector file.
struct Vector(Json);

impl Vector {
    fn codec(&self) -> &str {
        self.0["codec"].as_str().expect("a vector names its codec")
    }

    fn label(&self) -> String {
        format!("{} {}", self.codec(), self.0["name"])
    }

    fn encoded(&self) -> Vec<u8> {
        unhex(self.0["encoded"].as_str().unwrap_or_default())
    }

    fn refused(&self) -> bool {
        self.0.get("error").is_some()
    }
}

fn vectors(name: &str) -> Vec<Vector> {
    let text = if let Some(dir) = std::env::var_os("TSMITH_VECTORS_TSM1") {
        std::fs::read(Path::new(&dir).join(format!("{name}.jsonl")))
            .expect("TSMITH_VECTORS_TSM1 has the file")
    } else {
        let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/tsm1/{name}.jsonl.zst"));
        zstd::decode_all(std::fs::File::open(copy).expect("the copy is there")).expect("the copy is intact")
    };
    let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Vector(serde_json::from_slice(line).expect("a line is JSON"))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn items(list: &Json) -> &[Json] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn integers(list: &Json) -> Vec<i64> {
    items(list).iter().map(|v| v.as_i64().expect("an i64")).collect()
}

fn unsigneds(list: &Json) -> Vec<u64> {
    items(list).iter().map(|v| v.as_u64().expect("a u64")).collect()
}

fn floats(list: &Json) -> Vec<f64> {
    let bits = |v: &Json| u64::from_str_radix(v.as_str().expect("hex"), 16).expect("64 bits");
    items(list).iter().map(|v| f64::from_bits(bits(v))).collect()
}

fn booleans(list: &Json) -> Vec<bool> {
    match list.as_str() {
        Some(text) => text.bytes().map(|b| b == b'1').collect(),
        None => items(list).iter().map(|v| v.as_bool().expect("a bool")).collect(),
    }
}

fn strings(list: &Json) -> StringColumn {
    let mut column = StringColumn::default();
    for item in items(list) {
        column.push(&unhex(item.as_str().expect("hex")));
    }
    column
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Checks all payloads of one file in one form.
fn payloads(file: &str, form: Form, ones: Ones) {
    let mut scratch = Vec::new();
    let mut strings_scratch = string::Scratch::default();
    let mut checked = 0;
    for vector in vectors(file) {
        let (label, input, encoded) = (vector.label(), &vector.0["input"], vector.encoded());
        let mut out = vec![0xee];
        match vector.codec() {
            "timestamp" => {
                let (times, mut back) = (integers(input), Vec::new());
                time::encode(form, &times, &mut scratch, &mut out);
                time::decode(&encoded, times.len(), &mut back).expect(&label);
                assert_eq!(back, times, "{label}");
                assert_eq!(time::count(&encoded), Ok(times.len() as u64), "{label}");
            }
            "integer" => {
                let (values, mut back) = (integers(input), Vec::new());
                integer::encode(form, &values, &mut scratch, &mut out);
                integer::decode(&encoded, values.len(), &mut back).expect(&label);
                assert_eq!(back, values, "{label}");
            }
            "unsigned" => {
                let (values, mut back) = (unsigneds(input), Vec::new());
                integer::encode_unsigned(form, &values, &mut scratch, &mut out);
                integer::decode_unsigned(&encoded, values.len(), &mut back).expect(&label);
                assert_eq!(back, values, "{label}");
            }
            "float" => {
                let (values, mut back) = (floats(input), Vec::new());
                let done = float::encode(&values, &mut out);
                let has_nan = values.iter().any(|v| v.is_nan());
                assert_eq!(done.is_err(), has_nan, "{label}");
                if vector.refused() {
                    // The batch encoder of 1.8 adds all values to find a NaN. The sum of both infinities is a NaN too.
                    let has_both_infinities =
                        values.contains(&f64::INFINITY) && values.contains(&f64::NEG_INFINITY);
                    assert!(has_nan || has_both_infinities, "{label}");
                    checked += 1;
                    continue;
                }
                float::decode(&encoded, values.len(), &mut back).expect(&label);
                assert_eq!(bits(&back), bits(&values), "{label}");
            }
            "boolean" => {
                let (values, mut back) = (booleans(input), Vec::new());
                boolean::encode(form, &values, &mut out);
                boolean::decode(&encoded, values.len(), &mut back).expect(&label);
                assert_eq!(back, values, "{label}");
            }
            "string" => {
                let (values, mut back) = (strings(input), StringColumn::default());
                string::encode(values.as_ref(), &mut strings_scratch, &mut out).expect(&label);
                string::decode(&encoded, values.len(), &mut strings_scratch, &mut back).expect(&label);
                assert_eq!(back, values, "{label}");
            }
            "simple8b-stream" | "simple8b-all" => {
                let (values, mut back) = (unsigneds(input), Vec::new());
                let ones = if vector.codec() == "simple8b-stream" { Ones::Window } else { ones };
                let done = simple8b::encode(&values, ones, &mut out);
                assert_eq!(done.is_err(), vector.refused(), "{label}");
                if vector.refused() {
                    checked += 1;
                    continue;
                }
                simple8b::decode(&encoded, values.len(), &mut back).expect(&label);
                assert_eq!(back, values, "{label}");
            }
            "snappy" => {
                let plain = unhex(input.as_str().expect("hex"));
                out.extend(snap::raw::Encoder::new().compress_vec(&plain).expect(&label));
            }
            "crc32-ieee" => {
                out.extend(crc32fast::hash(&unhex(input.as_str().expect("hex"))).to_be_bytes());
            }
            _ => continue,
        }
        assert_eq!(out[1..], encoded, "{label}");
        checked += 1;
    }
    assert!(checked > 0, "{file} has no payloads");
}

#[test]
fn payloads_equal_those_of_1_6() {
    payloads("codecs", Form::Streaming, Ones::Rest);
}

#[test]
fn payloads_equal_those_of_1_8_compactions() {
    payloads("codecs-batch-1.8", Form::Batch, Ones::Prefix);
}

fn column_of(vector: &Vector) -> Column {
    let input = &vector.0["input"];
    let values = match vector.0["type"].as_str().expect("a type") {
        "float" => Values::Float(floats(input)),
        "integer" => Values::Integer(integers(input)),
        "unsigned" => Values::Unsigned(unsigneds(input)),
        "boolean" => Values::Boolean(booleans(input)),
        "string" => Values::String(strings(input)),
        other => panic!("unknown type {other}"),
    };
    Column::from_parts(integers(&vector.0["times"]), values).expect("equal lengths")
}

#[test]
fn blocks_equal_those_of_1_6() {
    let (mut tsm1, mut any, mut batch) = (Tsm1::default(), Decoders::standard(), Tsm1Batch::default());
    let mut back = Column::new(FieldType::Float);
    let blocks: Vec<_> = vectors("codecs").into_iter().filter(|v| v.codec() == "block").collect();
    assert!(!blocks.is_empty(), "no blocks");
    for vector in blocks {
        let (label, column, mut out) = (vector.label(), column_of(&vector), vec![0xee]);
        tsm1.encode(column.as_ref(), &mut out).expect(&label);
        assert_eq!(out[1..], vector.encoded(), "{label}");
        tsm1.decode(&out[1..], column.len(), &mut back).expect(&label);
        assert_eq!(back, column, "{label}");
        any.decode(&out[1..], column.len(), &mut back).expect(&label);
        assert_eq!(back, column, "{label}");
        assert_eq!(any.count(&out[1..]), Ok((column.field_type(), column.len() as u64)), "{label}");
        assert!(matches!(
            tsm1.decode(&out[1..], column.len() - 1, &mut back).expect_err(&label).kind(),
            ErrorKind::TooManyValues { .. }
        ));

        // The batch form has other bytes but the same values.
        out.clear();
        batch.encode(column.as_ref(), &mut out).expect(&label);
        tsm1.decode(&out, column.len(), &mut back).expect(&label);
        assert_eq!(back, column, "{label}");
    }
}

/// Law: truncated blocks are errors. Blocks with one flipped bit give an error or the column of the naive decoder.
#[test]
fn corrupt_blocks_fail_or_match_the_naive_decoder() {
    let (mut tsm1, mut back) = (Tsm1::default(), Column::new(FieldType::Float));
    for vector in vectors("codecs").into_iter().filter(|v| v.codec() == "block") {
        let (label, mut block) = (vector.label(), vector.encoded());
        if block.len() > 400 {
            continue;
        }
        for len in 0..block.len() {
            tsm1.decode(&block[..len], 5000, &mut back).expect_err(&label);
        }
        for bit in 0..8 * block.len() {
            block[bit / 8] ^= 1 << (bit % 8);
            if tsm1.decode(&block, 5000, &mut back).is_ok() {
                assert!(naive::decode(&block).as_ref() == Some(&back), "{label}: bit {bit}");
            }
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Story: InfluxDB's decoder returns fewer values from a truncated payload, without an error, so a query returns too
/// few values. Here a payload is an error at every count except the number of values that InfluxDB returns. At that
/// count it gives an error or the same values.
#[test]
fn corrupt_payloads_fail_or_match_influxdb() {
    let corrupt = vectors("decode-damaged");
    assert!(!corrupt.is_empty(), "no corrupt payloads");
    for (at, vector) in corrupt.iter().enumerate() {
        let label = format!("{} (line {})", vector.label(), at + 1);
        let payload = unhex(vector.0["input"].as_str().expect("hex"));
        let expected = original_values(vector);
        let counts: BTreeSet<usize> = (0..=expected.len() + 1).chain([50, 299, 300, 301]).collect();
        for count in counts {
            let Some(values) = decode_at(vector.codec(), &payload, count) else { continue };
            assert_eq!(values.len(), count, "{label}");
            let equal = (0..count).all(|i| values.as_ref().get(i) == expected.as_ref().get(i));
            assert!(
                count == expected.len() && equal,
                "{label}: {count} values that InfluxDB does not return"
            );
        }
    }
}

fn original_values(vector: &Vector) -> Values {
    let decoded = &vector.0["decoded"];
    match vector.codec() {
        "timestamp" | "integer" => Values::Integer(integers(decoded)),
        "float" => Values::Float(floats(decoded)),
        "boolean" => Values::Boolean(booleans(decoded)),
        "string" => Values::String(strings(decoded)),
        other => panic!("unknown codec {other}"),
    }
}

fn decode_at(codec: &str, payload: &[u8], count: usize) -> Option<Values> {
    match codec {
        "timestamp" => {
            let mut out = Vec::new();
            // A timestamp payload contains its count. The caller sets only a limit.
            time::decode(payload, 10_000, &mut out).ok()?;
            (out.len() == count).then_some(Values::Integer(out))
        }
        "integer" => {
            let mut out = Vec::new();
            integer::decode(payload, count, &mut out).ok().map(|()| Values::Integer(out))
        }
        "float" => {
            let mut out = Vec::new();
            float::decode(payload, count, &mut out).ok().map(|()| Values::Float(out))
        }
        "boolean" => {
            let mut out = Vec::new();
            boolean::decode(payload, count, &mut out).ok().map(|()| Values::Boolean(out))
        }
        _ => {
            let mut out = StringColumn::default();
            let done = string::decode(payload, count, &mut string::Scratch::default(), &mut out);
            done.ok().map(|()| Values::String(out))
        }
    }
}

/// The comparison above must notice a changed NaN.
#[test]
fn values_compare_by_their_bits() {
    assert_ne!(Value::Float(f64::NAN), Value::Float(-f64::NAN));
}
