//! A naive encoder and decoder for InfluxDB's blocks. They process one bit and one value at a time. They are slow,
//! but simple enough to check by reading. The tests compare the real encoder with them.
//!
//! They follow the description of the format and share no code with the encoder, except for snappy.

use crate::column::{Column, ColumnRef, FieldType, StringColumn, Values, ValuesRef};

const END: u64 = 0x7ff8_0000_0000_0001;
const WORDS: [(usize, u32); 16] = [
    (240, 0),
    (120, 0),
    (60, 1),
    (30, 2),
    (20, 3),
    (15, 4),
    (12, 5),
    (10, 6),
    (8, 7),
    (7, 8),
    (6, 10),
    (5, 12),
    (4, 15),
    (3, 20),
    (2, 30),
    (1, 60),
];

/// Encodes a column as InfluxDB 1.6 does. Returns `None` if a value is NaN.
pub fn encode(column: ColumnRef<'_>) -> Option<Vec<u8>> {
    let times = encode_times(column.times());
    let (tag, values) = match column.values() {
        ValuesRef::Float(values) => (0, encode_floats(values)?),
        ValuesRef::Integer(values) => (1, encode_integers(values)),
        ValuesRef::Boolean(values) => (2, encode_booleans(values)),
        ValuesRef::String(values) => {
            let mut plain = Vec::new();
            for value in values.iter() {
                uvarint(value.len() as u64, &mut plain);
                plain.extend_from_slice(value);
            }
            (3, [vec![0x10], snap::raw::Encoder::new().compress_vec(&plain).ok()?].concat())
        }
        ValuesRef::Unsigned(values) => {
            (4, encode_integers(&values.iter().map(|&v| v as i64).collect::<Vec<_>>()))
        }
    };
    let mut block = vec![tag];
    uvarint(times.len() as u64, &mut block);
    Some([block, times, values].concat())
}

/// Decodes a block. Returns `None` if it is incomplete.
pub fn decode(block: &[u8]) -> Option<Column> {
    let (tag, mut rest) = block.split_first()?;
    let len = read_uvarint(&mut rest)? as usize;
    let times = decode_times(rest.get(..len)?)?;
    let values = rest.get(len..)?;
    let values = match tag {
        0 => Values::Float(decode_floats(values)?),
        1 => Values::Integer(decode_integers(values)?),
        2 => Values::Boolean(decode_booleans(values)?),
        3 => {
            let plain = snap::raw::Decoder::new().decompress_vec(values.get(1..)?).ok()?;
            let (mut rest, mut column) = (&plain[..], StringColumn::default());
            while !rest.is_empty() {
                let len = read_uvarint(&mut rest)? as usize;
                column.push(rest.get(..len)?);
                rest = &rest[len..];
            }
            Values::String(column)
        }
        4 => Values::Unsigned(decode_integers(values)?.into_iter().map(|v| v as u64).collect()),
        _ => return None,
    };
    debug_assert!(FieldType::ALL.contains(&values.field_type()), "one of the five");
    Column::from_parts(times, values)
}

fn uvarint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            return out.push(low);
        }
        out.push(low + 128);
    }
}

fn read_uvarint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for place in 0..10 {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value = value.checked_add(u64::from(byte % 128).checked_mul(1 << (7 * place))?)?;
        if *byte < 128 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    if value >= 0 { 2 * value as u64 } else { 2 * !(value as u64) + 1 }
}

fn unzigzag(value: u64) -> i64 {
    if value.is_multiple_of(2) { (value / 2) as i64 } else { !(value / 2) as i64 }
}

/// Tries the selectors one after the other. `window` is the number of values that must all be ones for a run of ones,
/// or all remaining values if there are fewer.
fn simple8b(mut values: &[u64], window: usize, out: &mut Vec<u8>) {
    while !values.is_empty() {
        let all_ones = values.iter().take(window).all(|&v| v == 1);
        let fits = |&(count, bits): &(usize, u32)| {
            let ones_only = bits == 0;
            values.len() >= count
                && if ones_only { all_ones } else { values[..count].iter().all(|&v| v < 1 << bits) }
        };
        let selector = WORDS.iter().position(fits).expect("the last selector takes any value");
        let (count, bits) = WORDS[selector];
        let mut word = (selector as u64) << 60;
        for (at, value) in values[..count].iter().enumerate().filter(|_| bits > 0) {
            word |= value << (at as u32 * bits);
        }
        out.extend_from_slice(&word.to_be_bytes());
        values = &values[count..];
    }
}

fn read_simple8b(words: &[u8]) -> Option<Vec<u64>> {
    let mut values = Vec::new();
    for word in words.chunks(8) {
        let word = u64::from_be_bytes(word.try_into().ok()?);
        let (count, bits) = WORDS[(word >> 60) as usize];
        let value = |at: usize| if bits == 0 { 1 } else { word >> (at as u32 * bits) & ((1 << bits) - 1) };
        values.extend((0..count).map(value));
    }
    Some(values)
}

fn encode_times(times: &[i64]) -> Vec<u8> {
    let Some(first) = times.first() else { return Vec::new() };
    let steps: Vec<u64> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as u64).collect();
    let divides = |exponent: &u32| steps.iter().all(|step| step % 10u64.pow(*exponent) == 0);
    let exponent = (0..=12).rev().find(divides).expect("one divides all");
    let divisor = 10u64.pow(exponent);
    let mut out = Vec::new();
    if times.len() >= 2 && steps.iter().all(|step| *step == steps[0]) {
        out.push(0x20 + exponent as u8);
        out.extend_from_slice(&first.to_be_bytes());
        uvarint(steps[0] / divisor, &mut out);
        uvarint(times.len() as u64, &mut out);
    } else if steps.iter().any(|step| *step >= 1 << 60) {
        out.push(0x00);
        out.extend_from_slice(&first.to_be_bytes());
        out.extend(steps.iter().flat_map(|step| step.to_be_bytes()));
    } else {
        out.push(0x10 + exponent as u8);
        out.extend_from_slice(&first.to_be_bytes());
        let scaled: Vec<u64> = steps.iter().map(|step| step / divisor).collect();
        simple8b(&scaled, 240, &mut out);
    }
    out
}

fn decode_times(bytes: &[u8]) -> Option<Vec<i64>> {
    let Some((header, body)) = bytes.split_first() else { return Some(Vec::new()) };
    let first = i64::from_be_bytes(body.get(..8)?.try_into().ok()?);
    let scale = 10u64.pow(u32::from(header % 16));
    let mut rest = &body[8..];
    let steps = match header / 16 {
        0 => rest
            .chunks(8)
            .map(|step| Some(u64::from_be_bytes(step.try_into().ok()?)))
            .collect::<Option<_>>()?,
        1 => read_simple8b(rest)?.into_iter().map(|step| step.wrapping_mul(scale)).collect(),
        2 => {
            let step = read_uvarint(&mut rest)?.wrapping_mul(scale);
            vec![step; (read_uvarint(&mut rest)? as usize).checked_sub(1)?]
        }
        _ => return None,
    };
    Some(sums(first, steps.into_iter().map(|step: u64| step as i64)))
}

fn sums(first: i64, steps: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut values = vec![first];
    for step in steps {
        values.push(values[values.len() - 1].wrapping_add(step));
    }
    values
}

fn encode_integers(values: &[i64]) -> Vec<u8> {
    let Some(first) = values.first() else { return Vec::new() };
    let steps: Vec<u64> = values.windows(2).map(|pair| zigzag(pair[1].wrapping_sub(pair[0]))).collect();
    let first = zigzag(*first);
    let mut out = Vec::new();
    if values.len() >= 3 && steps.iter().all(|step| *step == steps[0]) {
        out.push(0x20);
        out.extend_from_slice(&first.to_be_bytes());
        uvarint(steps[0], &mut out);
        uvarint(steps.len() as u64, &mut out);
    } else if first >= 1 << 60 || steps.iter().any(|step| *step >= 1 << 60) {
        out.push(0x00);
        out.extend_from_slice(&first.to_be_bytes());
        out.extend(steps.iter().flat_map(|step| step.to_be_bytes()));
    } else {
        out.push(0x10);
        out.extend_from_slice(&first.to_be_bytes());
        simple8b(&steps, usize::MAX, &mut out);
    }
    out
}

fn decode_integers(bytes: &[u8]) -> Option<Vec<i64>> {
    let Some((header, body)) = bytes.split_first() else { return Some(Vec::new()) };
    let first = unzigzag(u64::from_be_bytes(body.get(..8)?.try_into().ok()?));
    let mut rest = &body[8..];
    let steps = match header / 16 {
        0 => rest
            .chunks(8)
            .map(|step| Some(u64::from_be_bytes(step.try_into().ok()?)))
            .collect::<Option<_>>()?,
        1 => read_simple8b(rest)?,
        2 => {
            let step = read_uvarint(&mut rest)?;
            vec![step; read_uvarint(&mut rest)? as usize]
        }
        _ => return None,
    };
    Some(sums(first, steps.into_iter().map(unzigzag)))
}

fn encode_booleans(values: &[bool]) -> Vec<u8> {
    let mut out = vec![0x10];
    uvarint(values.len() as u64, &mut out);
    let mut bits = Bits::default();
    for &value in values {
        bits.push(u64::from(value), 1);
    }
    out.extend(bits.bytes());
    out
}

fn decode_booleans(bytes: &[u8]) -> Option<Vec<bool>> {
    let mut rest = bytes.get(1..)?;
    let count = read_uvarint(&mut rest)?;
    let mut bits = Bits::of(rest);
    (0..count).map(|_| bits.take(1).map(|bit| bit == 1)).collect()
}

/// One bit per element.
#[derive(Default)]
struct Bits {
    bits: Vec<bool>,
    at: usize,
}

impl Bits {
    fn of(bytes: &[u8]) -> Self {
        let mut bits = Self::default();
        for &byte in bytes {
            bits.push(u64::from(byte), 8);
        }
        bits
    }

    fn push(&mut self, value: u64, count: u32) {
        self.bits.extend((0..count).rev().map(|place| value >> place & 1 == 1));
    }

    fn take(&mut self, count: usize) -> Option<u64> {
        let bits = self.bits.get(self.at..self.at + count)?;
        self.at += count;
        Some(bits.iter().fold(0, |value, bit| value << 1 | u64::from(*bit)))
    }

    fn bytes(&self) -> Vec<u8> {
        let byte =
            |bits: &[bool]| (0..8).fold(0, |byte, at| byte << 1 | u8::from(bits.get(at) == Some(&true)));
        self.bits.chunks(8).map(byte).collect()
    }
}

fn encode_floats(values: &[f64]) -> Option<Vec<u8>> {
    let mut bits = Bits::default();
    let mut window: Option<(u32, u32)> = None;
    let mut before = None;
    for value in values.iter().copied().chain([f64::from_bits(END)]) {
        if value.is_nan() && value.to_bits() != END {
            return None;
        }
        let Some(last) = before.replace(value.to_bits()) else {
            bits.push(value.to_bits(), 64);
            continue;
        };
        let differing = value.to_bits() ^ last;
        if differing == 0 {
            bits.push(0, 1);
            continue;
        }
        bits.push(1, 1);
        let (leading, trailing) = (differing.leading_zeros() % 32, differing.trailing_zeros());
        if let Some((l, t)) = window.filter(|(l, t)| leading >= *l && trailing >= *t) {
            bits.push(0, 1);
            bits.push(differing >> t, 64 - l - t);
        } else {
            window = Some((leading, trailing));
            let width = 64 - leading - trailing;
            bits.push(1, 1);
            bits.push(u64::from(leading), 5);
            bits.push(u64::from(width % 64), 6);
            bits.push(differing >> trailing, width);
        }
    }
    let ends = values.iter().any(|value| value.is_nan());
    (!ends).then(|| [vec![0x10], bits.bytes()].concat())
}

fn decode_floats(bytes: &[u8]) -> Option<Vec<f64>> {
    let mut bits = Bits::of(bytes.get(1..)?);
    let (mut leading, mut width) = (0, 64);
    let mut value = bits.take(64)?;
    let mut values = Vec::new();
    while value != END {
        values.push(f64::from_bits(value));
        if bits.take(1)? == 0 {
            continue;
        }
        if bits.take(1)? == 1 {
            leading = bits.take(5)?;
            width = bits.take(6)?;
            if width == 0 {
                width = 64;
            }
        }
        let trailing = 64u64.checked_sub(leading + width)?;
        value ^= bits.take(width as usize)? << trailing;
    }
    Some(values)
}
