//! A sequence of floats.
//!
//! ```text
//! stored  ┌──────────┬───────────────┐
//!         │ 0 <1B>   │ floats <8B>   │
//!         └──────────┴───────────────┘
//! ALP     ┌──────────┬────────┬────────┬──────────────┬────────────────┬──────────────┬────────┐
//!         │ 1 <1B>   │ e <1B> │ f <1B> │ count <4B>   │ positions <2B> │ floats <8B>  │ chunks │   floats that are not
//!         └──────────┴────────┴────────┴──────────────┴────────────────┴──────────────┴────────┘   integers of 10^(f-e)
//!         chunk: width <1B>, minimum <8B>, 1,024 differences from it <width>
//! ALP-RD  ┌──────────┬─────────────┬────────────┬────────────┬──────────────┬────────────────┬────────────────┬────────┐
//!         │ 2 <1B>   │ right <1B>  │ lefts <1B> │ left <2B>  │ count <4B>   │ positions <2B> │ left bits <2B> │ chunks │
//!         └──────────┴─────────────┴────────────┴────────────┴──────────────┴────────────────┴────────────────┴────────┘
//!         chunk: 1,024 codes of left bits <1 to 3 bits>, 1,024 right bits <right>
//! ```

use alp::{Exponents, MAX_DICT_SIZE, RDEncoder};

use super::packed::{self, CHUNK};

const STORED: u8 = 0;
const ALP: u8 = 1;
const ALP_RD: u8 = 2;

/// From this many bits for a value on, ALP-RD may be shorter.
const RD_BITS: usize = 48;
/// Positions have two bytes.
const FLOATS_MAX: usize = 1 << 16;
const LEFTS_MAX: usize = MAX_DICT_SIZE as usize;

/// Appends the shortest of the three forms.
pub(super) fn put(floats: &[f64], out: &mut Vec<u8>) {
    let begin = out.len();
    let len = |out: &Vec<u8>| out.len() - begin;
    if floats.len() <= FLOATS_MAX {
        put_alp(floats, out);
        if len(out) * 8 >= floats.len() * RD_BITS {
            let alp = out.split_off(begin);
            put_rd(floats, out);
            if len(out) >= alp.len() {
                out.truncate(begin);
                out.extend(alp);
            }
        }
    }
    let is_stored = out.len() == begin || len(out) > floats.len() * 8;
    if is_stored {
        out.truncate(begin);
        out.push(STORED);
        out.extend(floats.iter().flat_map(|float| float.to_bits().to_le_bytes()));
    }
}

fn put_alp(floats: &[f64], out: &mut Vec<u8>) {
    let (Exponents { e, f }, integers, positions, exceptions, _) = alp::encode(floats, None);
    out.extend([ALP, e, f]);
    put_positions(&positions, out);
    out.extend(exceptions.iter().flat_map(|float| float.to_bits().to_le_bytes()));
    for chunk in integers.chunks(CHUNK) {
        let minimum = chunk.iter().copied().min().unwrap_or_default();
        let differences: Vec<u64> =
            chunk.iter().map(|integer| integer.wrapping_sub(minimum) as u64).collect();
        let widest = differences.iter().fold(0, |all, difference| all | difference);
        let width = u64::BITS - widest.leading_zeros();
        out.push(width as u8);
        out.extend(minimum.to_le_bytes());
        packed::put(&differences, width as usize, out);
    }
}

fn put_rd(floats: &[f64], out: &mut Vec<u8>) {
    let encoder = RDEncoder::new(floats);
    let (left_width, right_width) = (encoder.left_bit_width(), encoder.right_bit_width());
    let (left, right, positions, exceptions) = encoder.split_parts(floats);
    out.extend([ALP_RD, right_width, encoder.codes().len() as u8]);
    out.extend(encoder.codes().iter().flat_map(|left| left.to_le_bytes()));
    put_positions(&positions, out);
    out.extend(exceptions.iter().flat_map(|left| left.to_le_bytes()));
    for (left, right) in left.chunks(CHUNK).zip(right.chunks(CHUNK)) {
        packed::put(left, left_width.into(), out);
        packed::put(right, right_width.into(), out);
    }
}

fn put_positions(positions: &[u64], out: &mut Vec<u8>) {
    out.extend((positions.len() as u32).to_le_bytes());
    out.extend(positions.iter().flat_map(|position| (*position as u16).to_le_bytes()));
}

/// Reads `count` floats, which take all `bytes`. `None` if the bytes are corrupt.
pub(super) fn get(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    match bytes {
        [STORED, words @ ..] if count.checked_mul(8) == Some(words.len()) => {
            out.extend(words.as_chunks().0.iter().map(|word| f64::from_le_bytes(*word)));
            Some(())
        }
        [ALP, e, f, rest @ ..] if *e < <f64 as alp::ALPFloat>::MAX_EXPONENT && f <= e => {
            get_alp(rest, Exponents { e: *e, f: *f }, count, out)
        }
        [ALP_RD, right, lefts, rest @ ..] => get_rd(rest, *right, (*lefts).into(), count, out),
        _ => None,
    }
}

fn get_alp(bytes: &[u8], exponents: Exponents, count: usize, out: &mut Vec<f64>) -> Option<()> {
    let (positions, rest) = get_positions(bytes, count)?;
    let (exceptions, mut rest) = rest.split_at_checked(positions.len() * 8)?;
    let mut chunk = [0; CHUNK];
    for begin in (0..count).step_by(CHUNK) {
        let (&[width], tail) = rest.split_first_chunk()?;
        let (&minimum, tail) = tail.split_first_chunk()?;
        let minimum = i64::from_le_bytes(minimum);
        rest = packed::get::<u64>(tail, width.into(), &mut chunk)?;
        let differences = chunk.iter().take(count - begin);
        out.extend(differences.map(|&difference| {
            alp::decode_single::<f64>(minimum.wrapping_add(difference as i64), exponents)
        }));
    }
    for (&position, exception) in positions.iter().zip(exceptions.as_chunks().0) {
        *out.get_mut(usize::try_from(position).ok()?)? = f64::from_le_bytes(*exception);
    }
    rest.is_empty().then_some(())
}

fn get_rd(bytes: &[u8], right_width: u8, lefts: usize, count: usize, out: &mut Vec<f64>) -> Option<()> {
    // A left part has at least one bit and at most 16.
    if !(48..64).contains(&right_width) || !(1..=LEFTS_MAX).contains(&lefts) {
        return None;
    }
    let (left_bits, rest) = bytes.split_at_checked(lefts * 2)?;
    // Codes have three bits at most, so that a corrupt code also finds an entry.
    let mut dictionary = [0; LEFTS_MAX];
    dictionary.iter_mut().zip(words(left_bits)).for_each(|(to, left)| *to = left);
    let (positions, rest) = get_positions(rest, count)?;
    let (exceptions, mut rest) = rest.split_at_checked(positions.len() * 2)?;
    let left_width = usize::BITS - (lefts - 1).leading_zeros();
    let (mut left, mut right) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut left_chunk, mut right_chunk) = ([0u16; CHUNK], [0u64; CHUNK]);
    for begin in (0..count).step_by(CHUNK) {
        rest = packed::get(rest, left_width as usize, &mut left_chunk)?;
        rest = packed::get(rest, right_width.into(), &mut right_chunk)?;
        let len = CHUNK.min(count - begin);
        left.extend_from_slice(&left_chunk[..len]);
        right.extend_from_slice(&right_chunk[..len]);
    }
    let exceptions: Vec<u16> = words(exceptions).collect();
    out.extend(alp::alp_rd_decode::<f64>(&left, &dictionary, right_width, &right, &positions, &exceptions));
    rest.is_empty().then_some(())
}

/// Reads positions below `count`, and returns the rest.
fn get_positions(bytes: &[u8], count: usize) -> Option<(Vec<u64>, &[u8])> {
    let (&number, rest) = bytes.split_first_chunk()?;
    let number = u32::from_le_bytes(number) as usize;
    let (positions, rest) = rest.split_at_checked(number.checked_mul(2)?)?;
    let positions: Vec<u64> = words(positions).map(u64::from).collect();
    positions.iter().all(|&position| position < count as u64).then_some((positions, rest))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks().0.iter().map(|word| u16::from_le_bytes(*word))
}
