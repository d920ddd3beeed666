//! Inputs: files of line protocol, and generated lines and columns.
//!
//! Generated inputs are the same on every machine, and equal to those of the Go driver byte for byte. Every shape has its own
//! `SplitMix64`, seeded with the FNV-1a hash of its name.

mod columns;
mod dataset;
mod devops;
mod prepared;
mod telegraf;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

pub(crate) use columns::{Shape, columns, read_columns};
pub(crate) use dataset::{Used, prepare};
pub(crate) use devops::{Devops, FIELDS, Kind, field_of};
pub(crate) use prepared::Prepared;
pub(crate) use telegraf::generate;

/// The first timestamp of every generated input, in nanoseconds.
pub(crate) const EPOCH: i64 = 1_600_000_000_000_000_000;

/// Time between two points of a generated series, in nanoseconds.
pub(crate) const STEP: i64 = 10_000_000_000;

/// The generator `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn named(name: &str) -> Self {
        Self(fnv1a(name.as_bytes()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`. Taking the remainder has a small bias, as in the Go driver.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number from 0 to below 1, with 53 random bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211);
    bytes.iter().fold(14_695_981_039_346_656_037, step)
}

/// Writes the generated columns, one TSCOL1 file each.
#[derive(clap::Args, Debug)]
pub(crate) struct GenArgs {
    /// Output directory.
    #[arg(long, default_value = "columns")]
    dir: PathBuf,
    /// Values per column.
    #[arg(long, default_value_t = 256_000)]
    n: usize,
}

pub(crate) fn write_columns(args: &GenArgs) -> crate::error::Result {
    fs::create_dir_all(&args.dir)?;
    for shape in columns(args.n) {
        let mut file = BufWriter::new(File::create(args.dir.join(format!("{}.col", shape.name)))?);
        shape.write_to(&mut file)?;
        file.flush()?;
    }
    Ok(())
}

/// Writes generated line protocol.
#[derive(clap::Args, Debug)]
pub(crate) struct LinesArgs {
    /// Number of hosts; each sends a point every ten seconds.
    #[arg(long, default_value_t = 100)]
    hosts: usize,
    /// Type of the values: floats with two decimals, or integers.
    #[arg(long, value_enum, default_value_t = Kind::F2)]
    kind: Kind,
    /// Number of points.
    #[arg(long, default_value_t = 864_000)]
    points: usize,
    /// Output file.
    #[arg(long, default_value = "devops.lp")]
    out: PathBuf,
}

pub(crate) fn write_lines(args: &LinesArgs) -> crate::error::Result {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&args.out)?);
    let mut devops = Devops::new(args.hosts, args.kind);
    let mut line = Vec::new();
    for _ in 0..args.points {
        line.clear();
        devops.append_line(&mut line);
        file.write_all(&line)?;
    }
    Ok(file.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The constants are FNV-1a hashes of files that the Go driver wrote.
    #[test]
    fn inputs_equal_those_of_the_go_driver() {
        let mut all = Vec::new();
        for shape in columns(1000) {
            shape.write_to(&mut all).expect("memory");
        }
        assert_eq!(fnv1a(&all), COLUMNS_HASH);
        for (kind, hash) in [(Kind::F2, LINES_F2_HASH), (Kind::I, LINES_I_HASH)] {
            let mut devops = Devops::new(10, kind);
            let text: Vec<u8> = devops.batches(1000, 300).concat();
            assert_eq!(fnv1a(&text), hash);
        }
    }

    const COLUMNS_HASH: u64 = 0x22AC_E97A_4111_11F1;
    const LINES_F2_HASH: u64 = 0x122E_AA7E_FD1E_8D5E;
    const LINES_I_HASH: u64 = 0x1F4D_0E3D_B070_E766;

    #[test]
    fn column_file_reads_back() {
        let dir = tempfile::tempdir().expect("a directory");
        write_columns(&GenArgs { dir: dir.path().into(), n: 100 }).expect("writes");
        let read = read_columns(dir.path()).expect("reads");
        let mut made = columns(100);
        made.sort_by(|a, b| a.name.cmp(&b.name));
        let bytes = |shape: &Shape| {
            let mut out = Vec::new();
            shape.write_to(&mut out).expect("memory");
            (shape.name.clone(), out)
        };
        assert!(read.iter().map(bytes).eq(made.iter().map(bytes)));
    }
}
