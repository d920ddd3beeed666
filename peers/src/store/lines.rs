//! Batches as line protocol, which servers read over HTTP, and its names.

use std::collections::{BTreeMap, HashMap};

use tsmith_codecs::{Batch, ValuesRef};

/// The text of a batch. The fields of a series at one time are one line, as a client sends them.
pub(super) fn text(batch: &Batch<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for series in batch.series() {
        // By time. A second point of one field at one time is a second line.
        let mut lines: BTreeMap<(i64, usize), Vec<u8>> = BTreeMap::new();
        for column in series.columns() {
            let (data, mut earlier) = (column.data(), HashMap::new());
            for (at, &time) in data.times().iter().enumerate() {
                let count = earlier.entry(time).and_modify(|count| *count += 1).or_insert(0);
                let line = lines.entry((time, *count)).or_default();
                if !line.is_empty() {
                    line.push(b',');
                }
                escape(column.field(), b",= ", line);
                line.push(b'=');
                put_value(data.values(), at, line);
            }
        }
        for ((time, _), fields) in lines {
            out.extend_from_slice(series.key().0);
            out.push(b' ');
            out.extend_from_slice(&fields);
            out.extend_from_slice(format!(" {time}\n").as_bytes());
        }
    }
    out
}

fn put_value(values: ValuesRef<'_>, at: usize, out: &mut Vec<u8>) {
    match values {
        ValuesRef::Float(values) => out.extend_from_slice(values[at].to_string().as_bytes()),
        ValuesRef::Integer(values) => out.extend_from_slice(format!("{}i", values[at]).as_bytes()),
        ValuesRef::Unsigned(values) => out.extend_from_slice(format!("{}u", values[at]).as_bytes()),
        ValuesRef::Boolean(values) => out.extend_from_slice(values[at].to_string().as_bytes()),
        ValuesRef::String(values) => {
            out.push(b'"');
            escape(values.get(at), b"\"\\", out);
            out.push(b'"');
        }
    }
}

/// Appends a name with a backslash before each of `special`.
fn escape(name: &[u8], special: &[u8], out: &mut Vec<u8>) {
    for &byte in name {
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// The key of a series as line protocol writes it.
pub(super) fn series_key<'a>(measurement: &str, tags: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut key = Vec::new();
    escape(measurement.as_bytes(), b", ", &mut key);
    let mut tags: Vec<_> = tags.filter(|(_, value)| !value.is_empty()).collect();
    tags.sort_unstable();
    for (name, value) in tags {
        key.push(b',');
        escape(name.as_bytes(), b",= ", &mut key);
        key.push(b'=');
        escape(value.as_bytes(), b",= ", &mut key);
    }
    key
}

/// Measurement and tags of a series key, without escapes.
pub(super) fn split_key(key: &[u8]) -> (String, Vec<(String, String)>) {
    let mut words = split(key, b',').into_iter();
    let measurement = unescape(words.next().unwrap_or_default());
    let tag = |word: &[u8]| {
        let mut parts = split(word, b'=').into_iter().map(unescape);
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    };
    (measurement, words.map(tag).collect())
}

/// Splits at a byte that has no backslash before it.
fn split(text: &[u8], at: u8) -> Vec<&[u8]> {
    let (mut out, mut from) = (Vec::new(), 0);
    for end in 0..text.len() {
        if text[end] == at && (end == 0 || text[end - 1] != b'\\') {
            out.push(&text[from..end]);
            from = end + 1;
        }
    }
    out.push(&text[from..]);
    out
}

fn unescape(text: &[u8]) -> String {
    let mut out = Vec::new();
    for (at, &byte) in text.iter().enumerate() {
        let escapes = byte == b'\\' && text.get(at + 1).is_some_and(|next| b",= ".contains(next));
        if !escapes {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use tsmith_codecs::{BatchBuilder, Value};

    use super::*;

    #[test]
    fn fields_of_one_time_are_one_line() {
        let mut builder = BatchBuilder::new();
        for (time, value) in [(2, 1.5), (1, -0.0), (2, 2.5)] {
            builder.begin(b"m,h=a\\ b"[..].into());
            builder.field(b"x y"[..].into(), Value::Float(value)).expect("one type");
            builder.field(b"s"[..].into(), Value::String(b"a\"b")).expect("one type");
            builder.commit(time);
        }
        let text = String::from_utf8(text(&builder.finish())).expect("text");
        assert_eq!(
            text,
            "m,h=a\\ b x\\ y=-0,s=\"a\\\"b\" 1\nm,h=a\\ b x\\ y=1.5,s=\"a\\\"b\" 2\nm,h=a\\ b x\\ y=2.5,s=\"a\\\"b\" 2\n"
        );
    }

    #[test]
    fn keys_split_and_join() {
        let (measurement, tags) = split_key(br"a\,b\ c,k\=1=v\,w,z=y");
        assert_eq!(measurement, "a,b c");
        assert_eq!(tags, [("k=1".into(), "v,w".into()), ("z".into(), "y".into())]);
        let joined = series_key(&measurement, tags.iter().map(|(name, value)| (&name[..], &value[..])));
        assert_eq!(joined, br"a\,b\ c,k\=1=v\,w,z=y");
    }
}
