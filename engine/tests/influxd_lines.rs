//! Line protocol compared with the real influxd 1.6.7: both accept the same lines, with the same errors and
//! values.
//!
//! Skipped with a note unless `influxd` is installed (Debian: `apt-get install influxdb`). Uses 127.0.0.1
//! only.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/influxd.rs"]
mod server;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use server::{DATABASE, Influxd};
use tsmith_codecs::BatchBuilder;
use tsmith_engine::line::{AnySchema, Reason, parse};
use tsmith_engine::{Dirs, FieldKey, LineOptions, Options, TimeRange, Timestamp, Value};

/// Number of compared bodies.
const BODIES: usize = 2_200;

/// Stands for the server's time in points without a time.
const NOW: i64 = 77;

/// Composite key and time, to the value as text with its type.
type Points = BTreeMap<(Vec<u8>, i64), String>;

/// A pseudo-random generator with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn of<'t>(&mut self, list: &[&'t str]) -> &'t str {
        list[self.below(list.len())]
    }

    fn word(&mut self, first: &str) -> String {
        let atoms = [
            "a", "b", "c", "1", "-", ".", "#", "\\ ", "\\,", "\\=", "\\\"", "\\\\", "\\", "'", "\u{e9}",
            "\t", "\r",
        ];
        let mut word = first.to_owned();
        for _ in 0..self.below(3) {
            word.push_str(self.of(&atoms));
        }
        word
    }

    /// A valid value, or with `bad` one that may be invalid, and the first letter of its field's name. The
    /// letter names the type, so no field gets two types.
    fn field(&mut self, bad: bool) -> (&'static str, &'static str) {
        let (name, good, wrong): (&str, &[&str], &[&str]) = match self.below(4) {
            0 => (
                "f",
                &["1", "-2.5", "3e4", ".5", "5.", "-0", "1e-7"],
                &["1e400", "1.2.3", "--1", "NaN", "0x1"],
            ),
            1 => (
                "i",
                &["1i", "-7i", "0i", "9223372036854775807i", "007i"],
                &["9223372036854775808i", "1.5i", "i", "1u"],
            ),
            2 => ("b", &["t", "F", "true", "False", "TRUE"], &["tru", "yes"]),
            _ => (
                "s",
                &[
                    "\"\"",
                    "\"a b\"",
                    "\"a,b=c\"",
                    "\"x\\\"y\"",
                    "\"\\\\\"",
                    "\"l\nm\"",
                    "\"\u{e9}\"",
                    "\"a\\nb\"",
                    "\"#\"",
                    "\"a\\b\"",
                ],
                &["\"a\"b", "\"a\"b\"c\""],
            ),
        };
        let values = if bad && self.below(3) == 0 { wrong } else { good };
        (name, self.of(values))
    }

    /// One line of body `n`. Its measurement contains the number, so no two bodies share a series.
    fn line(&mut self, n: usize, bad: bool) -> String {
        let first: &[&str] =
            if bad { &["", "", " ", "\t", "#", ","] } else { &["", "a", "a\\ ", "a\\,", "\u{e9}"] };
        let mut line = format!("{}{n}m", self.of(first));
        line = self.word(&line);
        let keys: &[&str] = if bad { &["t", "t", "u", "time", ""] } else { &["t", "u", "v", "w"] };
        for _ in 0..self.below(3) {
            let first = self.of(keys);
            let (key, value) = (self.word(first), self.word("x"));
            write!(line, ",{key}={value}").expect("writing to a string succeeds");
        }
        line.push_str(self.of(&[" ", " ", " ", " ", "  ", " \t"]));
        let fields = 1 + self.below(4);
        for at in 0..fields {
            let (name, value) = self.field(bad);
            let name = if self.below(40) == 0 { "time".to_owned() } else { self.word(name) };
            let comma = if at + 1 < fields { "," } else { "" };
            write!(line, "{name}={value}{comma}").expect("writing to a string succeeds");
        }
        let good = ["", " 5", " -6", " 1600000000000000000", " 9223372036854775806", " ", " 5 "];
        line.push_str(if bad { self.of(&[" 5", " 9223372036854775807", " 5x"]) } else { self.of(&good) });
        if bad && self.below(4) == 0 {
            let places: Vec<usize> = (0..line.len()).filter(|&at| line.is_char_boundary(at)).collect();
            line.insert_str(places[self.below(places.len())], self.of(&[" ", ",", "=", "\\", "\""]));
        }
        line
    }

    fn body(&mut self, n: usize) -> String {
        let line = |random: &mut Self| {
            let bad = random.below(4) == 0;
            random.line(n, bad)
        };
        let lines: Vec<String> = (0..=self.below(5)).map(|_| line(self)).collect();
        lines.join("\n") + self.of(&["", "\n", "\n\n"])
    }
}

fn text_of(value: Value<'_>) -> String {
    match value {
        Value::Float(v) => format!("float {:016x}", v.to_bits()),
        other => format!("{other:?}"),
    }
}

/// What our parser makes of a body: the points, the errors in influxd's words, and whether a difference is
/// intended.
struct Ours {
    points: Points,
    errors: Vec<String>,
    /// Whether influxd words an error differently, because its parser does not detect it.
    of_the_schema: bool,
    on_purpose: Option<&'static str>,
}

fn ours(body: &str) -> Ours {
    let options = LineOptions { unsigned: false, ..LineOptions::new(Timestamp(NOW)) };
    let mut builder = BatchBuilder::new();
    let rejected = parse(body.as_bytes(), &options, &mut AnySchema, &mut builder);
    let mut points = Points::new();
    for (key, column) in builder.finish().columns() {
        for (at, &time) in column.times().iter().enumerate() {
            points.insert((key.to_composite(), time), text_of(column.values().get(at)));
        }
    }
    let of_the_schema = rejected.iter().any(|line| line.reason.is_of_the_schema());
    let on_purpose = if cuts_differ(body.as_bytes()) {
        Some("a rejected line that spans several ends at its first line end; a comment ends at its line end")
    } else if rejected.iter().any(|line| matches!(line.reason, Reason::FieldTypeConflict { .. })) {
        Some("a field changes its type within a body; influxd checks that one layer up")
    } else {
        None
    };
    let error = |line: &tsmith_engine::line::Rejected| {
        format!("unable to parse '{}': {}", &body[line.bytes.clone()], line.reason)
    };
    Ours { points, errors: rejected.iter().map(error).collect(), of_the_schema, on_purpose }
}

/// Whether influxd ends a line elsewhere: it ends it at a line end outside quotes without a preceding
/// backslash.
fn cuts_differ(body: &[u8]) -> bool {
    let mut rest = body;
    while !rest.is_empty() {
        let (mut at, mut quoted, mut in_fields, mut equals, mut commas) = (0, false, false, 0, 0);
        while let Some(&byte) = rest.get(at) {
            if byte == b'\\' && at + 2 < rest.len() {
                at += 2;
                continue;
            }
            in_fields |= byte == b' ';
            match byte {
                b'=' if in_fields && !quoted => equals += 1,
                b',' if in_fields && !quoted => commas += 1,
                b'"' if in_fields && equals > commas => quoted = !quoted,
                b'\n' if !quoted => break,
                _ => {}
            }
            at += 1;
        }
        let theirs = rest.len().min(at + 1);
        if tsmith_engine::line::first_line(rest, true, 1 << 20).map(|line| line.len) != Some(theirs) {
            return true;
        }
        rest = &rest[theirs..];
    }
    false
}

#[expect(clippy::disallowed_methods, reason = "influxd gives this time to points without one")]
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as i64
}

/// Every point in the shards of a stopped influxd.
fn stored(root: &Path, start: i64) -> Points {
    let mut points = Points::new();
    let shards = |kind: &str| root.join(kind).join(DATABASE).join("long");
    for shard in std::fs::read_dir(shards("data")).expect("shards") {
        let name = shard.expect("an entry").file_name();
        let dirs = Dirs { data: shards("data").join(&name), wal: shards("wal").join(&name) };
        let engine = engine::open(dirs, Options::default()).expect("influxd's shard");
        for composite in engine.keys() {
            let key = FieldKey::parse(&composite).expect("a separator");
            let column = engine.read(key, TimeRange::ALL).expect("readable");
            for (at, &time) in column.times().iter().enumerate() {
                let is_now = time > start && time < start + 600_000_000_000;
                let time = if is_now { NOW } else { time };
                points.insert((composite.clone(), time), text_of(column.as_ref().values().get(at)));
            }
        }
    }
    points
}

/// influxd's error text for a body, without the parts it adds.
fn errors_of(server: &Influxd, body: &str) -> (u16, String) {
    let (status, answer) = server.request("POST", &format!("/write?db={DATABASE}"), body);
    let json: Option<serde_json::Value> = serde_json::from_str(&answer).ok();
    let error = json.and_then(|json| json["error"].as_str().map(str::to_owned)).unwrap_or_default();
    let error = error.strip_prefix("partial write: ").unwrap_or(&error);
    (status, error.strip_suffix(" dropped=0").unwrap_or(error).to_owned())
}

/// Law: for any body without unclosed quotes, influxd and ours accept the same lines, report the same errors,
/// and store the same values.
#[test]
fn influxd_accepts_the_same_lines_and_values() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = Influxd::start(root) else {
        eprintln!("skipped: influxd is not installed");
        return;
    };
    server.query(&format!(
        "CREATE DATABASE {DATABASE} WITH DURATION INF REPLICATION 1 SHARD DURATION 14000w NAME \"long\""
    ));
    let start = now() - 1_000_000_000;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut compared, mut accepted, mut on_purpose) = (0, 0, BTreeMap::<&str, usize>::new());
    let (mut expected, mut in_other_shards) = (Points::new(), Points::new());
    let mut n = 0;
    while compared < BODIES {
        n += 1;
        let body = random.body(n);
        let ours = ours(&body);
        if let Some(why) = ours.on_purpose {
            *on_purpose.entry(why).or_default() += 1;
            continue;
        }
        let (status, errors) = errors_of(&server, &body);
        if status == 500 && errors.starts_with("engine: unable to parse") {
            assert!(!ours.errors.is_empty(), "{body:?}");
            *on_purpose
                .entry("a shard of influxd refuses a value and then takes nothing of the body")
                .or_default() += 1;
            in_other_shards.extend(ours.points);
            continue;
        }
        compared += 1;
        if !ours.of_the_schema {
            assert_eq!(errors, ours.errors.join("\n"), "errors of {body:?}, status {status}");
        }
        assert_eq!(status == 204, ours.errors.is_empty(), "{body:?}");
        accepted += usize::from(!ours.points.is_empty());
        expected.extend(ours.points);
    }
    server.end("-KILL");
    let stored = stored(root, start);
    for (point, value) in &expected {
        let shown = || format!("{} at {}", String::from_utf8_lossy(&point.0), point.1);
        assert_eq!(stored.get(point), Some(value), "{}", shown());
    }
    let is_known =
        |point: &(Vec<u8>, i64)| expected.contains_key(point) || in_other_shards.contains_key(point);
    let more: Points = stored.into_iter().filter(|(point, _)| !is_known(point)).collect();
    assert_eq!(more, Points::new(), "influxd holds more");
    eprintln!(
        "influxd and ours agree on {compared} bodies, {accepted} of them with points, {} values",
        expected.len()
    );
    for (why, count) in on_purpose {
        eprintln!("not compared, {count} bodies: {why}");
    }
}

/// Story: a field name that was not UTF-8 made influxd refuse the complete shard.
#[test]
fn names_that_are_not_utf8_are_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let Some(server) = server::start_with_database(root) else { return };
    server.write("m v=1 1600000000000000000");
    server.end("-TERM");
    let shard = engine::open(server::shard_dirs(root), Options::default()).expect("influxd's shard");
    let text =
        b"m v\xff=1 1600000000000000001\nm\xff v=1 1600000000000000002\nm,t=\xff v=2 1600000000000000003\n";
    let report = shard.write_lines(text, &LineOptions::new(Timestamp(0))).expect("written");
    assert!(report.rejected.iter().all(|line| matches!(line.reason, Reason::NotUtf8 { .. })));
    assert_eq!((report.points, report.rejected.len()), (1, 2));
    shard.close().expect("closes");
    let server = Influxd::start(root).expect("is installed");
    let answer = server.query("SELECT count(v) FROM m");
    assert_eq!(answer["results"][0]["series"][0]["values"][0][1], 2, "{answer}");
    server.end("-TERM");
}
