//! Runs the corpus of the fuzz targets as ordinary tests, so that bugs found by fuzzing stay fixed.
//!
//! The ignored test at the end creates the seeds from the vectors. Inputs found by a fuzzer are added under the name
//! that the fuzzer gave them. If there is no directory `fuzz/`, the tests do nothing.
#![cfg(feature = "testing")]

use std::fs;
use std::path::{Path, PathBuf};

use tsmith_codecs::testing::fuzz::TARGETS;
use tsmith_codecs::testing::shapes::{self, Random};
use tsmith_codecs::{BlockEncoder, Encoders};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

#[test]
fn the_corpus_breaks_no_decoder() {
    let corpus = corpus();
    if !corpus.is_dir() {
        return;
    }
    for (name, check) in TARGETS {
        let dir = corpus.join(name);
        let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let mut seeds = 0;
        for entry in entries {
            let bytes = fs::read(entry.expect("can be listed").path()).expect("can be read");
            check(&bytes);
            // Also tries variants of the input: truncated, and with one flipped bit.
            let at = bytes.iter().fold(7usize, |sum, &byte| sum.wrapping_mul(31) + usize::from(byte));
            check(&bytes[..at % (bytes.len() + 1)]);
            let mut turned = bytes.clone();
            if let Some(byte) = turned.get_mut(at % bytes.len().max(1)) {
                *byte ^= 1 << (at % 8);
            }
            check(&turned);
            seeds += 1;
        }
        assert!(seeds > 10, "{name} has only {seeds} seeds");
    }
}

/// Mutates the seeds: flips bits, replaces bytes, and moves, cuts and joins pieces. `TSMITH_MUTATIONS` sets the
/// number of rounds.
#[test]
fn mutations_of_the_corpus_break_no_decoder() {
    let rounds = std::env::var("TSMITH_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut random = Random::new(11);
    for (name, check) in TARGETS {
        let Ok(entries) = fs::read_dir(corpus().join(name)) else { return };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("can be listed").path()).collect();
        paths.sort();
        let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("can be read")).collect();
        for seed in &seeds {
            for _ in 0..rounds {
                let other = &seeds[random.below(seeds.len() as u64) as usize];
                check(&mutated(seed, other, &mut random));
            }
        }
    }
}

fn mutated(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(&other[random.below(other.len() as u64 + 1) as usize..]),
            2 => bytes.rotate_left(at),
            3 => bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = random.bits() as u8),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        }
    }
    bytes
}

/// Recreates the seeds: `cargo test -p tsmith-codecs --test corpus -- --ignored`.
#[test]
#[ignore = "writes into the repository"]
fn refresh_the_seeds() {
    /// Bytes per seed and seeds per target. The corpus stays small, because fuzzers work best with small inputs.
    const SEED_BYTES_MAX: usize = 600;
    const SEEDS_MAX: usize = 80;
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tsm1/codecs.jsonl.zst");
    let text =
        zstd::decode_all(fs::File::open(copy).expect("the copy is there")).expect("the copy is intact");
    let mut seeds: Vec<(String, Vec<u8>)> = Vec::new();
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let vector: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
        let Some(encoded) = vector["encoded"].as_str().map(unhex) else { continue };
        let count =
            vector["input"].as_array().map_or_else(|| vector["input"].as_str().map_or(0, str::len), Vec::len);
        let payload = [&(count as u16).to_le_bytes()[..], &encoded].concat();
        match vector["codec"].as_str().expect("a vector names its codec") {
            "timestamp" => seeds.push(("decode_time".into(), payload)),
            name @ ("integer" | "unsigned" | "float" | "boolean" | "string") => {
                seeds.push((format!("decode_{name}"), payload));
            }
            "block" => {
                seeds.push(("decode_block".into(), encoded.clone()));
                seeds.push(("diff_decode".into(), encoded));
            }
            _ => {}
        }
    }
    for column in shapes::short().iter().step_by(7).filter(|column| !column.is_empty()) {
        for entry in &Encoders::standard() {
            let mut block = Vec::new();
            if entry.make().encode(column.as_ref(), &mut block).is_ok() {
                seeds.push(("decode_block".into(), block));
            }
        }
    }
    for (name, _) in TARGETS {
        let dir = corpus().join(name);
        fs::create_dir_all(&dir).expect("can be made");
        let of_target: Vec<_> =
            seeds.iter().filter(|(target, bytes)| target == name && bytes.len() <= SEED_BYTES_MAX).collect();
        let every = of_target.len().div_ceil(SEEDS_MAX).max(1);
        for (at, (_, bytes)) in of_target.into_iter().step_by(every).enumerate() {
            fs::write(dir.join(format!("seed-{at:03}")), bytes).expect("can be written");
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}
