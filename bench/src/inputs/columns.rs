//! Columns of typical shapes, and the file format that holds one.
//!
//! ```text
//! ┌────────────────────┬───────────┬──────────┬────────────────┬────────┐
//! │ "TSCOL1\0\0" <8B>  │ kind <1B> │ 0.. <7B> │ count <8B, LE> │ values │
//! └────────────────────┴───────────┴──────────┴────────────────┴────────┘
//! ```
//! Kinds 0 (time), 1 (float) and 2 (integer) take 8 bytes for each value, kind 3 (boolean) one byte. Kind 4 (string) has a
//! length of four bytes before each string.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use tsmith_codecs::{StringColumn, Values};

use super::{EPOCH, Rng, STEP};

const MAGIC: &[u8; 8] = b"TSCOL1\0\0";
const SECOND: i64 = 1_000_000_000;

/// A named column. A column of times holds them as integers.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) is_time: bool,
    pub(crate) values: Values,
}

impl Shape {
    fn new(name: &str, values: Values) -> Self {
        Self { name: name.into(), is_time: name.starts_with("ts_"), values }
    }

    pub(crate) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let kind = match &self.values {
            Values::Integer(_) if self.is_time => 0,
            Values::Float(_) => 1,
            Values::Integer(_) | Values::Unsigned(_) => 2,
            Values::Boolean(_) => 3,
            Values::String(_) => 4,
        };
        out.write_all(MAGIC)?;
        out.write_all(&[kind, 0, 0, 0, 0, 0, 0, 0])?;
        out.write_all(&(self.values.len() as u64).to_le_bytes())?;
        match &self.values {
            Values::Float(values) => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Values::Integer(values) => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Values::Unsigned(values) => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Values::Boolean(values) => values.iter().try_for_each(|v| out.write_all(&[u8::from(*v)])),
            Values::String(values) => values.as_ref().iter().try_for_each(|v| {
                out.write_all(&(v.len() as u32).to_le_bytes())?;
                out.write_all(v)
            }),
        }
    }

    fn parse(name: &str, bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.strip_prefix(MAGIC)?.split_first()?;
        let (count, mut rest) = rest.get(7..)?.split_first_chunk()?;
        let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        let words = || rest.as_chunks::<8>().0.get(..count);
        let values = match kind {
            0 | 2 => Values::Integer(words()?.iter().map(|word| i64::from_le_bytes(*word)).collect()),
            1 => Values::Float(words()?.iter().map(|word| f64::from_le_bytes(*word)).collect()),
            3 => Values::Boolean(rest.get(..count)?.iter().map(|&byte| byte != 0).collect()),
            4 => {
                let mut strings = StringColumn::default();
                for _ in 0..count {
                    let (len, tail) = rest.split_first_chunk()?;
                    let (value, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
                    strings.push(value);
                    rest = tail;
                }
                Values::String(strings)
            }
            _ => return None,
        };
        Some(Self { name: name.into(), is_time: *kind == 0, values })
    }
}

/// Reads every `*.col` file of a directory, ordered by name.
pub(crate) fn read_columns(dir: &Path) -> crate::error::Result<Vec<Shape>> {
    let mut out = Vec::new();
    let at_dir = |error: io::Error| format!("{}: {error}", dir.display());
    for entry in fs::read_dir(dir).map_err(at_dir)? {
        let path = entry.map_err(at_dir)?.path();
        if path.extension().is_some_and(|ext| ext == "col") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let shape = Shape::parse(&name, &fs::read(&path)?);
            out.push(shape.ok_or_else(|| format!("{}: not a complete TSCOL1 file", path.display()))?);
        }
    }
    if out.is_empty() {
        return Err(
            format!("{}: no .col file; `tsmith-bench gen --dir DIR` makes them", dir.display()).into()
        );
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

/// Generates every shape, each with `n` values.
pub(crate) fn columns(n: usize) -> Vec<Shape> {
    [times(n), floats(n), integers(n), booleans(n), strings(n)].into_iter().flatten().collect()
}

/// Generates integers: `next` gets the generator, the index and the previous value.
fn ints(name: &str, n: usize, first: i64, mut next: impl FnMut(&mut Rng, i64, i64) -> i64) -> Shape {
    let (mut rng, mut previous) = (Rng::named(name), first);
    let mut step = |at| {
        previous = next(&mut rng, at, previous);
        previous
    };
    Shape::new(name, Values::Integer((0..n as i64).map(&mut step).collect()))
}

fn times(n: usize) -> Vec<Shape> {
    let regular = |at: i64| EPOCH + at * STEP;
    vec![
        ints("ts_regular_10s", n, EPOCH, |_, at, _| regular(at)),
        ints("ts_jitter_ms", n, EPOCH, |r, at, _| regular(at) + r.below(1000) as i64 * 1_000_000),
        // Regular, but one time in a hundred is one to five seconds late.
        ints("ts_jitter_1pct", n, EPOCH, |r, at, _| {
            let late = if r.below(100) == 0 { 1 + r.below(5) as i64 } else { 0 };
            regular(at) + late * SECOND
        }),
        ints("ts_random_ns", n, EPOCH, |r, _, p| p + 1 + r.below(20_000_000_000) as i64),
    ]
}

fn floats(n: usize) -> Vec<Shape> {
    let column = |name: &str, next: &mut dyn FnMut(&mut Rng, f64) -> f64| {
        let (mut rng, mut previous) = (Rng::named(name), 50.0);
        let mut step = |_| {
            previous = next(&mut rng, previous);
            previous
        };
        Shape::new(name, Values::Float((0..n).map(&mut step).collect()))
    };
    let mut cents = 5000;
    vec![
        column("f_gauge2", &mut |r, _| {
            cents += r.below(201) as i64 - 100;
            cents as f64 / 100.0
        }),
        column("f_random", &mut |r, _| r.unit()),
        column("f_const", &mut |_, _| 42.5),
        column("f_pct_int", &mut |r, _| r.below(101) as f64),
        column("f_walk_full", &mut |r, p| p + r.unit() - 0.5),
        column("f_mostly_same", &mut |r, p| {
            if r.below(20) == 0 { (r.unit() * 10_000.0).round() / 100.0 } else { p }
        }),
    ]
}

fn integers(n: usize) -> Vec<Shape> {
    vec![
        ints("i_counter", n, 0, |r, _, p| p + r.below(1000) as i64),
        ints("i_small_noise", n, 0, |r, _, _| r.below(21) as i64 - 10),
        ints("i_const", n, 0, |_, _, _| 1_234_567),
        ints("i_big_noise", n, 0, |r, _, _| r.below(1 << 40) as i64),
        ints("i_random64", n, 0, |r, _, _| r.next() as i64),
    ]
}

fn booleans(n: usize) -> Vec<Shape> {
    let (mut random, mut runs) = (Rng::named("b_random"), Rng::named("b_runs"));
    let mut current = false;
    let mut run = |_| {
        current ^= runs.below(50) == 0;
        current
    };
    vec![
        Shape::new("b_random", Values::Boolean((0..n).map(|_| random.below(2) == 1).collect())),
        Shape::new("b_runs", Values::Boolean((0..n).map(&mut run).collect())),
    ]
}

const WORDS: [&str; 8] = [
    "ok",
    "warning",
    "critical",
    "unknown",
    "host unreachable",
    "disk full on /var",
    "restarting",
    "deploy 2020-09-13 finished",
];

fn strings(n: usize) -> Vec<Shape> {
    let (mut low, mut unique) = (Rng::named("s_low_card"), Rng::named("s_unique"));
    let (mut words, mut ids) = (StringColumn::default(), StringColumn::default());
    for _ in 0..n {
        words.push(WORDS[low.below(8) as usize].as_bytes());
        let (head, tail) = (unique.next(), unique.next());
        ids.push(format!("{head:016x}-{tail:016x}").as_bytes());
    }
    vec![Shape::new("s_low_card", Values::String(words)), Shape::new("s_unique", Values::String(ids))]
}
