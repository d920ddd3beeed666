//! Signed and unsigned integers: differences in zigzag form, so that small differences of either sign take few bits.
//!
//! ```text
//! constant  ┌─────────┬─────────────┬───────────────┬─────────────────────┐
//!           │ 20 <1B> │ first <8B>  │ step <varint> │ count - 1 <varint>  │   first and steps in zigzag
//!           └─────────┴─────────────┴───────────────┴─────────────────────┘
//! packed    ┌─────────┬─────────────┬─────────────────────────────────────┐
//!           │ 10 <1B> │ first <8B>  │ steps <simple8b>                    │
//!           └─────────┴─────────────┴─────────────────────────────────────┘
//! raw       ┌─────────┬─────────────┬─────────────────────────────────────┐
//!           │ 00 <1B> │ first <8B>  │ steps <8B each>                     │
//!           └─────────┴─────────────┴─────────────────────────────────────┘
//! ```
//!
//! The constant form is used for three or more values with equal steps. The raw form is used if a step has more than
//! 60 bits. In the streaming form, a first value of more than 60 bits has the same effect. All sums wrap. Unsigned
//! values are encoded as signed values with the same bits. An empty column has no bytes.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use super::simple8b::{self, Ones, Zigzag};
use super::{Form, Word, arithmetic, split_first_word};
use crate::error::{Error, Result};
use crate::varint;

const RAW: u8 = 0;
const PACKED: u8 = 1;
const CONSTANT: u8 = 2;
const HEADER_BYTES: usize = 9;

/// Appends the payload of `values`. Overwrites `scratch`.
pub fn encode(form: Form, values: &[i64], scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    encode_words(form, values, scratch, out);
}

/// Appends the payload of unsigned `values`. Overwrites `scratch`.
pub fn encode_unsigned(form: Form, values: &[u64], scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    encode_words(form, values, scratch, out);
}

/// Replaces `out` with the values of the payload, which must hold exactly `count`.
///
/// # Errors
/// The payload does not hold exactly `count` values. The content of `out` is then unspecified.
pub fn decode(payload: &[u8], count: usize, out: &mut Vec<i64>) -> Result<()> {
    decode_words(payload, count, out)
}

/// Replaces `out` with the unsigned values of the payload, which must hold exactly `count`.
///
/// # Errors
/// The payload does not hold exactly `count` values. The content of `out` is then unspecified.
pub fn decode_unsigned(payload: &[u8], count: usize, out: &mut Vec<u64>) -> Result<()> {
    decode_words(payload, count, out)
}

fn zigzag(value: u64) -> u64 {
    value << 1 ^ ((value as i64) >> 63) as u64
}

#[inline]
fn unzigzag(value: u64) -> u64 {
    value >> 1 ^ (value & 1).wrapping_neg()
}

fn encode_words<T: Word>(form: Form, values: &[T], scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    let Some((first, rest)) = values.split_first() else { return };
    let first = zigzag(first.to_bits());
    scratch.clear();
    scratch.extend(values.iter().zip(rest).map(|(a, b)| zigzag(b.to_bits().wrapping_sub(a.to_bits()))));
    let first_step = scratch.first().copied().unwrap_or(0);
    let (union, differing) = scratch
        .iter()
        .fold((0, 0), |(union, differing), step| (union | step, differing | (step ^ first_step)));
    let (union, ones) = match form {
        Form::Streaming => (union | first, Ones::Rest),
        Form::Batch => (union, Ones::Prefix),
    };
    let header = |kind: u8, out: &mut Vec<u8>| {
        out.push(kind << 4);
        out.extend_from_slice(&first.to_be_bytes());
    };
    if differing == 0 && values.len() >= 3 {
        header(CONSTANT, out);
        varint::put(first_step, out);
        varint::put(rest.len() as u64, out);
    } else if union > simple8b::VALUE_MAX {
        header(RAW, out);
        out.extend(scratch.iter().flat_map(|step| step.to_be_bytes()));
    } else {
        header(PACKED, out);
        simple8b::pack(scratch, ones, out);
    }
}

fn decode_words<T: Word>(payload: &[u8], count: usize, out: &mut Vec<T>) -> Result<()> {
    let Some(steps) = count.checked_sub(1) else {
        out.clear();
        return match payload {
            [] => Ok(()),
            _ => Err(Error::corrupt(0, "no values, as there are no timestamps")),
        };
    };
    let Some((&header, body)) = payload.split_first() else {
        return Err(Error::corrupt(0, "the encoding of integers"));
    };
    let Some((first, body)) = split_first_word(body) else {
        return Err(Error::corrupt(1, "the 64-bit first value"));
    };
    let first = unzigzag(first);
    let unequal = || Error::corrupt(HEADER_BYTES, "as many integers as timestamps");
    match header >> 4 {
        RAW => {
            let (words, []) = body.as_chunks::<8>() else { return Err(unequal()) };
            if words.len() != steps {
                return Err(unequal());
            }
            let mut sum = first;
            out.clear();
            out.reserve(count);
            out.push(T::from_bits(first));
            out.extend(words.iter().map(|step| {
                sum = sum.wrapping_add(unzigzag(u64::from_be_bytes(*step)));
                T::from_bits(sum)
            }));
        }
        PACKED => {
            let rest = super::begin_with(out, first, count);
            simple8b::unpack(body, first, Zigzag, rest).map_err(|e| e.shifted(HEADER_BYTES))?;
        }
        CONSTANT => {
            let missing = |what| move || Error::corrupt(HEADER_BYTES, what);
            let (step, body) = varint::get(body).ok_or_else(missing("the step of constant integers"))?;
            let (claimed, body) = varint::get(body).ok_or_else(missing("the count of constant integers"))?;
            if !body.is_empty() {
                return Err(Error::corrupt(payload.len() - body.len(), "the end of constant integers"));
            }
            if claimed != steps as u64 {
                return Err(unequal());
            }
            arithmetic::fill(out, first, unzigzag(step), count);
        }
        _ => return Err(Error::corrupt(0, "an integer encoding of 0, 1 or 2")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(form: Form, values: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(form, values, &mut Vec::new(), &mut out);
        let mut back = Vec::new();
        decode(&out, values.len(), &mut back).expect("decodes");
        assert_eq!(back, values);
        out
    }

    #[test]
    fn a_run_has_at_least_three_values() {
        assert_eq!(
            encoded(Form::Streaming, &[1, 1]),
            [0x10, 0, 0, 0, 0, 0, 0, 0, 2, 0xf0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(encoded(Form::Streaming, &[1, 1, 1]), [0x20, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2]);
        assert_eq!(encoded(Form::Streaming, &[0, i64::MIN, 0])[0], 0x20, "steps of a run may have 64 bits");
    }

    /// In the streaming form a wide first value makes the whole block raw. In the batch form it does not.
    #[test]
    fn wide_first_values_are_raw_only_in_streaming_form() {
        let values = [i64::MAX, i64::MAX - 1, i64::MAX, i64::MAX];
        assert_eq!(encoded(Form::Streaming, &values)[0], 0x00);
        assert_eq!(encoded(Form::Batch, &values)[0], 0x10);
    }
}
