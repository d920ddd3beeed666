//! For crash tests from outside: one process writes, reports what is durable, and is killed. Another one
//! checks what recovery finds.
//!
//! ```text
//! crash write DIR --ops N --seed S [--writers W] [--storer ring] [--log file] [--encoder tsm1]
//!             [--order O] [--durability D]
//! crash check DIR [--recovery R]
//! ```
//!
//! `write` continues after the highest number in the directory. It writes N numbers, each as a point of five
//! fields, and prints a number once it is durable. At random it takes a snapshot, compacts, or deletes an
//! earlier number: it prints `?7` before it deletes 7, and `-7` when the delete is durable. (It never deletes
//! the latest numbers, so no number is used twice.) `check` opens the directory, verifies each field of each
//! point, and prints the numbers. After any error the exit status is not 0.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, error, fmt, thread};

use tsmith_codecs::SeriesKey;
use tsmith_engine::driver::Driver;
use tsmith_engine::{
    BatchBuilder, Column, Compact, Dirs, FieldKey, FieldType, Registry, Selection, Setup, TimeRange, Value,
};

type Result<T> = std::result::Result<T, Box<dyn error::Error + Send + Sync>>;

/// Numbers are spread over this many series.
const SERIES: u64 = 16;

/// On average one snapshot per this many writes.
const SNAPSHOT_EVERY: u64 = 97;

/// On average one compaction per this many writes, besides those in the background.
const COMPACT_EVERY: u64 = 499;

/// On average one delete per this many writes.
const DELETE_EVERY: u64 = 11;

/// A writer never deletes its latest numbers; this is how many it keeps.
const KEPT: usize = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let [verb, dir, flags @ ..] = arguments else {
        return Err("expected `write DIR --ops N --seed S` or `check DIR`".into());
    };
    let mut setup = Setup::default();
    let (mut ops, mut seed, mut writers) = (1000, 1, 1);
    for pair in flags.chunks(2) {
        let [flag, value] = pair else { return Err(format!("{} needs a value", pair[0]).into()) };
        match flag.trim_start_matches("--") {
            "ops" => ops = value.parse()?,
            "seed" => seed = value.parse()?,
            "writers" => writers = value.parse()?,
            name => setup.set(name, value)?,
        }
    }
    match verb.as_str() {
        "write" => write(&setup, Path::new(dir), ops, seed, writers),
        "check" => check(&setup, Path::new(dir)),
        other => Err(format!("no verb `{other}`: expected write or check").into()),
    }
}

fn write(setup: &Setup, dir: &Path, ops: u64, seed: u64, writers: u64) -> Result<()> {
    let engine = setup.open(&Registry::standard(), Dirs::under(dir))?;
    let first = recovered(&*engine)?.last().map_or(1, |last| last + 1);
    let next = AtomicU64::new(first);
    let (engine_ref, next) = (&*engine, &next);
    thread::scope(|scope| {
        let work = |writer| move || write_some(engine_ref, next, first + ops, mix(seed ^ writer));
        let threads: Vec<_> = (0..writers.max(1)).map(|writer| scope.spawn(work(writer))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a writer panicked".into())))
    })?;
    Ok(engine.close()?)
}

fn write_some(engine: &dyn Driver, next: &AtomicU64, end: u64, mut random: u64) -> Result<()> {
    let mut mine = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return Ok(());
        }
        let mut builder = BatchBuilder::new();
        let series = series(number);
        builder.begin(series.as_bytes().into());
        for (name, value) in fields(number, &mut Vec::new()) {
            builder.field(name.as_bytes().into(), value).map_err(|_| "a field changed its type")?;
        }
        builder.commit(number.cast_signed());
        let _ack = engine.write(&builder.finish())?;
        say(format_args!("{number}"))?;
        mine.push(number);
        random = mix(random);
        if random.is_multiple_of(SNAPSHOT_EVERY) {
            engine.snapshot()?;
        }
        if random.is_multiple_of(COMPACT_EVERY) {
            engine.compact(if random & 64 == 0 { Compact::Fast } else { Compact::Full })?;
        }
        if random.is_multiple_of(DELETE_EVERY) && mine.len() > KEPT {
            let gone = mine.swap_remove((mix(random) as usize) % (mine.len() - KEPT));
            mine.sort_unstable();
            delete(engine, gone)?;
        }
    }
}

fn delete(engine: &dyn Driver, number: u64) -> Result<()> {
    say(format_args!("?{number}"))?;
    let time = number.cast_signed();
    engine.delete(Selection::Series(SeriesKey(series(number).as_bytes())), TimeRange::new(time, time))?;
    say(format_args!("-{number}"))
}

fn say(line: fmt::Arguments<'_>) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn check(setup: &Setup, dir: &Path) -> Result<()> {
    let mut setup = setup.clone();
    setup.options.create = false;
    let engine = setup.open(&Registry::standard(), Dirs::under(dir))?;
    let mut out = io::stdout().lock();
    for number in recovered(&*engine)? {
        writeln!(out, "{number}")?;
    }
    out.flush()?;
    Ok(engine.close()?)
}

/// The numbers in the engine, ascending. Checks that each has all its fields with the written values.
fn recovered(engine: &dyn Driver) -> Result<Vec<u64>> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    let mut reader = engine.reader();
    let mut column = Column::new(FieldType::Float);
    let mut expected_text = Vec::new();
    for composite in engine.keys() {
        let key = FieldKey::parse(&composite).ok_or("a key without separator")?;
        reader.read(key, TimeRange::ALL, &mut column)?;
        for (at, &time) in column.times().iter().enumerate() {
            let number = time.cast_unsigned();
            let all = fields(number, &mut expected_text);
            let field = all.iter().find(|(name, _)| name.as_bytes() == key.field);
            let (_, expected) = field.ok_or_else(|| format!("{key}: this field was never written"))?;
            let found = column.as_ref().values().get(at);
            if found != *expected || series(number).as_bytes() != key.series {
                return Err(
                    format!("{key}: number {number}: found {found:?}, but {expected:?} was written").into()
                );
            }
            *counts.entry(number).or_default() += 1;
        }
    }
    if let Some((number, count)) = counts.iter().find(|(_, count)| **count != 5) {
        return Err(format!("number {number} has {count} of its 5 fields").into());
    }
    Ok(counts.into_keys().collect())
}

fn series(number: u64) -> String {
    format!("crash,part={}", number % SERIES)
}

/// The fields of a number, one per type.
fn fields(number: u64, text: &mut Vec<u8>) -> [(&'static str, Value<'_>); 5] {
    let noise = mix(number);
    *text = format!("{number}-").repeat((noise % 40) as usize).into_bytes();
    [
        ("float", Value::Float((noise >> 11) as f64 / 1000.0)),
        ("integer", Value::Integer(noise.cast_signed())),
        ("unsigned", Value::Unsigned(noise)),
        ("boolean", Value::Boolean(noise % 2 == 1)),
        ("string", Value::String(text)),
    ]
}

/// `SplitMix64`.
fn mix(mut state: u64) -> u64 {
    state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}
