//! Columns that have broken encoders: extremes, runs, and lengths close to the sizes of words and chunks.

use crate::column::{Column, FieldType, StringColumn, Value, Values};

/// Vigna's `SplitMix` generator. It gives the same columns in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence that depends only on `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// Bits of a random width, so that small numbers are as frequent as large ones.
    pub fn any_width(&mut self) -> u64 {
        self.bits() >> self.below(64)
    }
}

/// Lengths close to the sizes of words, bytes and runs.
const LENGTHS: [usize; 18] = [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 59, 61, 64, 120, 121, 241, 480, 1000];

/// Several hundred columns: every kind of times with every kind of values, with varying lengths.
pub fn all() -> Vec<Column> {
    let mut random = Random::new(1);
    let mut columns = Vec::new();
    for field_type in FieldType::ALL {
        for kind in 0..value_kinds(field_type) {
            for (at, &len) in LENGTHS.iter().enumerate() {
                let times = times(at + kind, len, &mut random);
                let values = values(field_type, kind, len, &mut random);
                columns.push(column(times, values));
            }
        }
    }
    columns
}

/// A few columns of every type, short enough to flip every bit of their blocks.
pub fn short() -> Vec<Column> {
    let mut random = Random::new(2);
    let mut columns = Vec::new();
    for field_type in FieldType::ALL {
        for kind in 0..value_kinds(field_type) {
            let len = [1, 2, 3, 10, 25][kind % 5];
            let times = times(kind, len, &mut random);
            columns.push(column(times, values(field_type, kind, len, &mut random)));
        }
    }
    columns
}

fn column(times: Vec<i64>, values: Values) -> Column {
    Column::from_parts(times, values).expect("both were made to one length")
}

/// Times of one kind: regular, jittered, wild, extreme, descending or equal.
fn times(kind: usize, len: usize, random: &mut Random) -> Vec<i64> {
    let regular = |at: usize| 1_600_000_000_000_000_000 + at as i64 * 10_000_000_000;
    (0..len)
        .map(|at| match kind % 8 {
            0 => regular(at),
            1 => regular(at) + random.below(1000) as i64 * 1_000_000,
            2 => random.bits() as i64,
            3 => [i64::MIN, i64::MAX, 0, -1, 1][at % 5],
            4 => -regular(at),
            5 => regular(0),
            6 => regular(at) + i64::from(random.below(20) == 0) * 3,
            _ => regular(at) + (random.any_width() >> 20) as i64,
        })
        .collect()
}

/// The number of kinds that [`values`] has.
fn value_kinds(field_type: FieldType) -> usize {
    match field_type {
        FieldType::Float => 10,
        FieldType::Integer | FieldType::Unsigned => 9,
        FieldType::Boolean => 4,
        FieldType::String => 6,
    }
}

/// Values of one kind.
fn values(field_type: FieldType, kind: usize, len: usize, random: &mut Random) -> Values {
    match field_type {
        FieldType::Float => Values::Float(floats(kind, len, random)),
        FieldType::Integer => {
            Values::Integer(words(kind, len, random).into_iter().map(|v| v as i64).collect())
        }
        FieldType::Unsigned => Values::Unsigned(words(kind, len, random)),
        FieldType::Boolean => Values::Boolean((0..len).map(|at| boolean(kind, at, random)).collect()),
        FieldType::String => Values::String(strings(kind, len, random)),
    }
}

fn boolean(kind: usize, at: usize, random: &mut Random) -> bool {
    match kind {
        0 => true,
        1 => false,
        2 => at.is_multiple_of(2),
        _ => random.below(2) == 1,
    }
}

fn floats(kind: usize, len: usize, random: &mut Random) -> Vec<f64> {
    const EXTREME: [f64; 9] = [
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::from_bits(0x8000_0000_0000_0001),
    ];
    let mut walk = 5000i64;
    let mut number = |at: usize| match kind {
        0 => 42.5,
        1 => EXTREME[at % EXTREME.len()],
        2 => {
            walk += random.below(201) as i64 - 100;
            walk as f64 / 100.0
        }
        3 => (random.bits() >> 11) as f64 / (1u64 << 53) as f64,
        4 => random.below(101) as f64,
        5 => f64::from(u8::from(at % 70 == 69)),
        // Neighbours that differ in a few bits at any height.
        6 => f64::from_bits(1.5f64.to_bits() ^ 1 << random.below(52)),
        7 => 1e300 * f64::from(at as u32 % 3),
        _ => f64::from_bits(random.bits()),
    };
    let real = |v: f64| if v.is_nan() { 0.0 } else { v };
    (0..len).map(|at| if kind == 9 { number(at) } else { real(number(at)) }).collect()
}

fn words(kind: usize, len: usize, random: &mut Random) -> Vec<u64> {
    let mut sum = 0u64;
    (0..len)
        .map(|at| match kind {
            0 => 1_234_567,
            1 => [i64::MIN as u64, i64::MAX as u64, 0, u64::MAX, 1][at % 5],
            // Steps of -1, which are 1 in zigzag form. Runs of ones have words of their own.
            2 => (len - at) as u64,
            3 => {
                // The same, with another step now and then.
                sum = sum.wrapping_sub(1).wrapping_sub(u64::from(random.below(130) == 0) * 7);
                sum
            }
            4 => random.below(21).wrapping_sub(10),
            5 => {
                sum += random.below(1000);
                sum
            }
            6 => {
                sum = sum.wrapping_add(random.any_width());
                sum
            }
            7 => random.bits(),
            _ => random.any_width() & ((1 << 59) - 1),
        })
        .collect()
}

fn strings(kind: usize, len: usize, random: &mut Random) -> StringColumn {
    let mut column = StringColumn::default();
    for at in 0..len {
        match kind {
            0 => column.push(b""),
            1 => column.push([&b"ok"[..], b"warning", b"disk full on /var", b""][at % 4]),
            2 => column.push(format!("{:016x}-{:016x}", random.bits(), random.bits()).as_bytes()),
            3 => {
                let long = random.below(300) as usize;
                let bytes: Vec<u8> = (0..long).map(|_| random.bits() as u8).collect();
                column.push(&bytes);
            }
            4 => column.push(&vec![b'x'; if at % 100 == 50 { 70_000 } else { 1 }]),
            _ => column.push(&[0xff, 0x00, at as u8][..at % 4]),
        }
    }
    column
}

/// The index of the first NaN in a column.
pub(super) fn first_nan(column: &Column) -> Option<usize> {
    match column.values() {
        Values::Float(values) => values.iter().position(|v| v.is_nan()),
        _ => None,
    }
}

/// A short column with a NaN at `at`.
pub(super) fn with_nan(at: usize) -> Column {
    let mut column = Column::new(FieldType::Float);
    for time in 0..5 {
        let value = if time == at { f64::from_bits(0x7ff8_0000_0000_0001) } else { 1.0 };
        column.push(time as i64, Value::Float(value)).expect("one type");
    }
    column
}
