//! Columns in the shapes of the Go benchmarks: a thousand values per block, and 32 blocks of each shape, so that no
//! branch predictor learns a block.

use tsmith_codecs::testing::shapes::Random;
use tsmith_codecs::{Column, StringColumn, Values};

pub(crate) const BLOCK: usize = 1000;
pub(crate) const BLOCKS: usize = 32;
const SECOND: i64 = 1_000_000_000;
const EPOCH: i64 = 1_600_000_000 * SECOND;

/// Shapes of timestamps, each with constant integers, and shapes of values, each with regular timestamps.
pub(crate) fn shapes() -> Vec<(&'static str, Vec<Column>)> {
    let mut shapes = Vec::new();
    let mut times = |name, f: &mut dyn FnMut(&mut Random, i64) -> i64| {
        let times = series(name, f);
        let columns =
            times.chunks(BLOCK).map(|chunk| (chunk.to_vec(), Values::Integer(vec![1_234_567; BLOCK])));
        shapes.push((name, columns.map(|(t, v)| Column::from_parts(t, v).expect("equal")).collect()));
    };
    times("ts_regular_10s", &mut |_, at| EPOCH + at * 10 * SECOND);
    times("ts_jitter_ms", &mut |r, at| EPOCH + at * 10 * SECOND + r.below(1000) as i64 * 1_000_000);
    times("ts_jitter_1pct", &mut |r, at| {
        let late = if r.below(100) == 0 { (1 + r.below(5)) as i64 } else { 0 };
        EPOCH + (at * 10 + late) * SECOND
    });
    let mut time = EPOCH;
    times("ts_random_ns", &mut |r, _| {
        time += 1 + r.below(20_000_000_000) as i64;
        time
    });

    let mut values = |name, cut: &dyn Fn(usize) -> Values| {
        let regular = |at: usize| EPOCH + at as i64 * 10 * SECOND;
        let column = |block: usize| {
            let from = block * BLOCK;
            Column::from_parts((from..from + BLOCK).map(regular).collect(), cut(from)).expect("equal")
        };
        shapes.push((name, (0..BLOCKS).map(column).collect()));
    };
    let floats = |all: Vec<f64>| move |from: usize| Values::Float(all[from..from + BLOCK].to_vec());
    let integers = |all: Vec<i64>| move |from: usize| Values::Integer(all[from..from + BLOCK].to_vec());

    let mut cents = 5000;
    let gauge = series("f_gauge2", &mut |r, _| {
        cents += r.below(201) as i64 - 100;
        cents as f64 / 100.0
    });
    values("f_gauge2", &floats(gauge));
    values("f_random", &floats(series("f_random", &mut |r, _| unit(r))));
    values("f_const", &floats(vec![42.5; BLOCK * BLOCKS]));
    values("f_pct_int", &floats(series("f_pct_int", &mut |r, _| r.below(101) as f64)));
    let mut last = 50.0;
    let rare = series("f_mostly_same", &mut |r, _| {
        if r.below(20) == 0 {
            last = (unit(r) * 10_000.0).round() / 100.0;
        }
        last
    });
    values("f_mostly_same", &floats(rare));

    let mut sum = 0;
    let counter = series("i_counter", &mut |r, _| {
        sum += r.below(1000) as i64;
        sum
    });
    values("i_counter", &integers(counter));
    values("i_small_noise", &integers(series("i_small_noise", &mut |r, _| r.below(21) as i64 - 10)));
    values("i_big_noise", &integers(series("i_big_noise", &mut |r, _| r.below(1 << 40) as i64)));
    values("i_random64", &integers(series("i_random64", &mut |r, _| r.bits() as i64)));

    let booleans = series("b_random", &mut |r, _| r.below(2) == 1);
    values("b_random", &|from| Values::Boolean(booleans[from..from + BLOCK].to_vec()));

    let words =
        ["ok", "warning", "critical", "unknown", "host unreachable", "disk full on /var", "restarting"];
    let low = series("s_low_card", &mut |r, _| words[r.below(7) as usize].to_owned());
    values("s_low_card", &|from| strings(&low[from..from + BLOCK]));
    let unique = series("s_unique", &mut |r, _| format!("{:016x}-{:016x}", r.bits(), r.bits()));
    values("s_unique", &|from| strings(&unique[from..from + BLOCK]));
    shapes
}

/// All values of a shape. Each shape has its own seed.
fn series<T>(name: &str, f: &mut dyn FnMut(&mut Random, i64) -> T) -> Vec<T> {
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut random = Random::new(seed);
    (0..(BLOCK * BLOCKS) as i64).map(|at| f(&mut random, at)).collect()
}

fn unit(random: &mut Random) -> f64 {
    (random.bits() >> 11) as f64 / (1u64 << 53) as f64
}

fn strings(all: &[String]) -> Values {
    let mut column = StringColumn::default();
    for value in all {
        column.push(value.as_bytes());
    }
    Values::String(column)
}
