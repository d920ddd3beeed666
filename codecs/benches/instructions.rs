//! Counts the instructions per value of the `tsm1` encoder and decoder, by the shape of the column.
//!
//! Times on a shared machine vary by a factor of two. Instruction counts do not vary, so they show regressions. The
//! file `instructions.tsv` holds the accepted counts.
//!
//! ```text
//! cargo bench -p tsmith-codecs --bench instructions              compare: fails when a cell is 5 % above the table
//! cargo bench -p tsmith-codecs --bench instructions -- --write   refresh the table
//! ```
//!
//! Both commands need valgrind. Each cell runs this program twice under callgrind, with few and with many passes over
//! the same blocks. The difference leaves out what the program does before and after.

mod shapes;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use tsmith_codecs::{BLOCK_VALUES_MAX, BlockDecoder, BlockEncoder, Column, FieldType, Tsm1};

use shapes::{BLOCK, shapes};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.tsv");
/// Blocks of each shape. Few, because callgrind is slow.
const BLOCKS: usize = 8;
const FEW: u32 = 2;
const MANY: u32 = 6;
/// A cell may exceed the table by this factor.
const TOLERANCE: f64 = 1.05;
const COLUMNS: &str = "shape\tencode\tdecode";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [work, shape, passes, ..] = &args[..]
        && let Ok(passes) = passes.parse()
    {
        run(work, shape, passes);
        return ExitCode::SUCCESS;
    }
    // Under `cargo test` the program only has to compile.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed; nothing was counted");
        return ExitCode::SUCCESS;
    }
    let counted: Vec<(&str, [f64; 2])> = shapes()
        .iter()
        .map(|(shape, _)| (*shape, ["encode", "decode"].map(|work| count(work, shape))))
        .collect();
    if args.iter().any(|arg| arg == "--write") {
        write(&counted);
        return ExitCode::SUCCESS;
    }
    compare(&counted)
}

/// Encodes or decodes the blocks of a shape. This is what callgrind counts.
fn run(work: &str, shape: &str, passes: u32) {
    let (_, columns) = shapes().into_iter().find(|(name, _)| *name == shape).expect("a shape of the list");
    let columns = &columns[..BLOCKS];
    let (mut encoder, mut back) = (Tsm1::default(), Column::new(FieldType::Float));
    let mut blocks = vec![Vec::new(); BLOCKS];
    for _ in 0..passes {
        for (column, block) in columns.iter().zip(&mut blocks) {
            block.clear();
            encoder.encode(black_box(column.as_ref()), block).expect("no NaN");
            if work == "encode" {
                continue;
            }
            for _ in 0..passes {
                encoder.decode(black_box(block), BLOCK_VALUES_MAX, &mut back).expect("decodes");
            }
        }
        if work == "decode" {
            break;
        }
    }
}

/// Instructions per value.
fn count(work: &str, shape: &str) -> f64 {
    let of = |passes: u32| {
        let out = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe().expect("runs from a file"))
            .args([work, shape, &passes.to_string()])
            .output()
            .expect("valgrind runs");
        let text = String::from_utf8_lossy(&out.stderr);
        let count =
            text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<f64>().ok());
        count.unwrap_or_else(|| panic!("callgrind gave no count: {text}"))
    };
    (of(MANY) - of(FEW)) / f64::from(MANY - FEW) / (BLOCKS * BLOCK) as f64
}

fn write(counted: &[(&str, [f64; 2])]) {
    let mut table = format!("{COLUMNS}\n");
    for (shape, [encode, decode]) in counted {
        writeln!(table, "{shape}\t{encode:.3}\t{decode:.3}").expect("a string takes everything");
    }
    fs::write(TABLE, table).expect("the table can be written");
}

fn compare(counted: &[(&str, [f64; 2])]) -> ExitCode {
    let table = fs::read_to_string(Path::new(TABLE)).expect("the table is in the repository");
    let mut worse = 0;
    println!("{:16} {:>7} {:>10} {:>10}", "shape", "work", "table", "now");
    for (shape, now) in counted {
        let Some(line) = table.lines().find(|line| line.split('\t').next() == Some(shape)) else {
            println!("{shape:16} is not in the table");
            worse += 1;
            continue;
        };
        for ((before, now), work) in line.split('\t').skip(1).zip(now).zip(["encode", "decode"]) {
            let before: f64 = before.parse().expect("a table of numbers");
            let verdict = if *now > before * TOLERANCE { "WORSE" } else { "" };
            worse += usize::from(!verdict.is_empty());
            println!("{shape:16} {work:>7} {before:10.3} {now:10.3} {verdict}");
        }
    }
    if worse == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
