//! Timestamps: differences, divided by a power of ten.
//!
//! ```text
//! constant  ┌─────────┬─────────────┬──────────────────────┬─────────────────┐
//!           │ 2p <1B> │ first <8B>  │ step / 10^p <varint> │ count <varint>  │   p = low nibble
//!           └─────────┴─────────────┴──────────────────────┴─────────────────┘
//! packed    ┌─────────┬─────────────┬────────────────────────────────────────┐
//!           │ 1p <1B> │ first <8B>  │ steps / 10^p <simple8b>                │
//!           └─────────┴─────────────┴────────────────────────────────────────┘
//! raw       ┌─────────┬─────────────┬────────────────────────────────────────┐
//!           │ 00 <1B> │ first <8B>  │ steps <8B each>                        │
//!           └─────────┴─────────────┴────────────────────────────────────────┘
//! ```
//!
//! The constant form is used for two or more timestamps with equal steps. The raw form is used if a step has more
//! than 60 bits, such as a step back in time. All sums wrap. An empty column has no bytes.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic))]

use std::ops::Range;

use super::simple8b::{self, Ones, Plain, Scaled};
use super::{Form, arithmetic, split_first_word};
use crate::Span;
use crate::error::{Error, Result};
use crate::model::TimeRange;
use crate::varint;

const RAW: u8 = 0;
const PACKED: u8 = 1;
const CONSTANT: u8 = 2;

const HEADER_BYTES: usize = 9;

/// The largest power of ten that the encoder tries.
const POWER_MAX: usize = 12;
const DIVISORS: [Divisor; POWER_MAX + 1] = divisors();

const _: () = assert!(DIVISORS[3].inverse.wrapping_mul(125) == 1);

/// Divides multiples of 10^power: a shift for the factors of two and a multiplication for the factors of five.
#[derive(Clone, Copy, Debug)]
struct Divisor {
    power: u8,
    /// The inverse of 5^power modulo 2^64. It maps the multiples of 5^power to their quotients, and all other
    /// numbers to larger ones.
    inverse: u64,
    quotient_max: u64,
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn divisors() -> [Divisor; POWER_MAX + 1] {
    let mut divisors = [Divisor { power: 0, inverse: 1, quotient_max: u64::MAX }; POWER_MAX + 1];
    let mut five = 1u64;
    let mut power = 1;
    while power <= POWER_MAX {
        five *= 5;
        // Newton's method: each round doubles the number of correct bits, starting with three.
        let mut inverse = five;
        let mut round = 0;
        while round < 5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(five.wrapping_mul(inverse)));
            round += 1;
        }
        divisors[power] = Divisor { power: power as u8, inverse, quotient_max: u64::MAX / five };
        power += 1;
    }
    divisors
}

impl Divisor {
    /// The largest divisor of all `steps`. `union` is the bitwise OR of the steps.
    fn common(steps: &[u64], union: u64) -> Self {
        let [one, ..] = DIVISORS;
        let mut larger =
            DIVISORS.iter().rev().skip_while(|divisor| u32::from(divisor.power) > union.trailing_zeros());
        let mut divisor = *larger.next().unwrap_or(&one);
        for &step in steps {
            while !divisor.divides(step) {
                divisor = *larger.next().unwrap_or(&one);
            }
            if divisor.power == 0 {
                break;
            }
        }
        divisor
    }

    /// Whether 5^power divides `step`. The caller has checked that 2^power does.
    fn divides(self, step: u64) -> bool {
        step.wrapping_mul(self.inverse) <= self.quotient_max
    }

    fn divide(self, step: u64) -> u64 {
        (step >> self.power).wrapping_mul(self.inverse)
    }
}

/// Appends the payload of `times`, which may have any order. Overwrites `scratch`.
pub fn encode(form: Form, times: &[i64], scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    let Some((first, rest)) = times.split_first() else { return };
    scratch.clear();
    scratch.extend(times.iter().zip(rest).map(|(before, time)| time.wrapping_sub(*before) as u64));
    let first_step = scratch.first().copied().unwrap_or(0);
    let (union, differing) = scratch
        .iter()
        .fold((0, 0), |(union, differing), step| (union | step, differing | (step ^ first_step)));
    let header = |kind: u8, power: u8, out: &mut Vec<u8>| {
        out.push(kind << 4 | power);
        out.extend_from_slice(&first.to_be_bytes());
    };
    if differing == 0 && !rest.is_empty() {
        let divisor = Divisor::common(&[first_step], union);
        header(CONSTANT, divisor.power, out);
        varint::put(divisor.divide(first_step), out);
        varint::put(times.len() as u64, out);
    } else if union > simple8b::VALUE_MAX {
        header(RAW, 0, out);
        out.extend(scratch.iter().flat_map(|step| step.to_be_bytes()));
    } else {
        let divisor = Divisor::common(scratch, union);
        header(PACKED, divisor.power, out);
        if divisor.power > 0 {
            for step in scratch.iter_mut() {
                *step = divisor.divide(*step);
            }
        }
        let ones = match form {
            Form::Streaming => Ones::Window,
            Form::Batch => Ones::Prefix,
        };
        simple8b::pack(scratch, ones, out);
    }
}

/// The parts of a payload before decoding.
enum Parts<'p> {
    Empty,
    Constant { first: u64, step: u64, count: u64 },
    Packed { first: u64, scale: u64, words: &'p [u8] },
    Raw { first: u64, steps: &'p [[u8; 8]] },
}

impl<'p> Parts<'p> {
    fn of(payload: &'p [u8]) -> Result<Self> {
        let Some((&header, body)) = payload.split_first() else { return Ok(Self::Empty) };
        let (kind, scale) = (header >> 4, 10u64.pow(u32::from(header & 15)));
        let Some((first, body)) = split_first_word(body) else {
            return Err(Error::corrupt(1, "the 64-bit first timestamp"));
        };
        match kind {
            RAW => match body.as_chunks() {
                (steps, []) => Ok(Self::Raw { first, steps }),
                _ => Err(Error::corrupt(payload.len(), "complete 64-bit steps")),
            },
            PACKED => Ok(Self::Packed { first, scale, words: body }),
            CONSTANT => {
                let missing = |what| move || Error::corrupt(HEADER_BYTES, what);
                let (step, body) =
                    varint::get(body).ok_or_else(missing("the step of constant timestamps"))?;
                let (count, body) =
                    varint::get(body).ok_or_else(missing("the count of constant timestamps"))?;
                if !body.is_empty() {
                    return Err(Error::corrupt(payload.len() - body.len(), "the end of constant timestamps"));
                }
                Ok(Self::Constant { first, step: step.wrapping_mul(scale), count })
            }
            _ => Err(Error::corrupt(0, "a timestamp encoding of 0, 1 or 2")),
        }
    }

    fn count(&self) -> Result<u64> {
        match self {
            Self::Empty => Ok(0),
            Self::Constant { count, .. } => Ok(*count),
            Self::Packed { words, .. } => {
                Ok(1 + simple8b::count(words).map_err(|e| e.shifted(HEADER_BYTES))?)
            }
            Self::Raw { steps, .. } => Ok(1 + steps.len() as u64),
        }
    }

    /// The same number as `usize`. It is an error if it is above `limit` or needs more memory than can be reserved
    /// in `out`.
    fn count_within(&self, limit: usize, out: &mut Vec<i64>) -> Result<usize> {
        let claimed = self.count()?;
        // A few bytes may claim more than the memory holds, and the caller may have set no limit.
        let fits =
            |count: &usize| *count <= limit && out.try_reserve(count.saturating_sub(out.len())).is_ok();
        usize::try_from(claimed).ok().filter(fits).ok_or_else(|| Error::too_many(claimed, limit))
    }

    /// Replaces `out` with all `count` timestamps.
    fn decode(self, count: usize, out: &mut Vec<i64>) -> Result<()> {
        match self {
            Self::Empty => out.clear(),
            Self::Constant { first, step, .. } => arithmetic::fill(out, first, step, count),
            Self::Packed { first, scale, words } => {
                let rest = super::begin_with(out, first, count);
                let done = match scale {
                    1 => simple8b::unpack(words, first, Plain, rest),
                    _ => simple8b::unpack(words, first, Scaled(scale), rest),
                };
                done.map_err(|e| e.shifted(HEADER_BYTES))?;
            }
            Self::Raw { first, steps } => {
                let mut time = first;
                out.clear();
                out.reserve(count);
                out.push(first as i64);
                out.extend(steps.iter().map(|step| {
                    time = time.wrapping_add(u64::from_be_bytes(*step));
                    time as i64
                }));
            }
        }
        Ok(())
    }
}

/// The number of timestamps that the payload claims. A payload of a few bytes can claim any number.
pub fn count(payload: &[u8]) -> Result<u64> {
    Parts::of(payload)?.count()
}

/// Replaces `out` with the timestamps of the payload.
///
/// # Errors
/// The payload is corrupt or has more than `limit` timestamps. The content of `out` is then unspecified.
pub fn decode(payload: &[u8], limit: usize, out: &mut Vec<i64>) -> Result<()> {
    let parts = Parts::of(payload)?;
    let count = parts.count_within(limit, out)?;
    parts.decode(count, out)
}

/// Describes which timestamps of a payload were decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// The number of timestamps in the payload.
    pub count: usize,
    /// The indexes of the decoded ones.
    pub places: Range<usize>,
    /// The span of all timestamps; `None` if there are none.
    pub span: Option<Span>,
}

/// Like [`decode`], for a caller that needs only the timestamps inside `range`. If they have a constant positive
/// step, the others are not decoded.
///
/// # Errors
/// Those of [`decode`].
pub(crate) fn decode_within(
    payload: &[u8],
    limit: usize,
    range: TimeRange,
    out: &mut Vec<i64>,
) -> Result<Read> {
    let parts = Parts::of(payload)?;
    let count = parts.count_within(limit, out)?;
    if let Parts::Constant { first, step, .. } = parts
        && let Some(steps) = Steps::ascending(first, step, count)
    {
        let places = steps.until(range.min, false)..steps.until(range.max, true);
        let places = places.start..places.end.max(places.start);
        let from = first.wrapping_add(step.wrapping_mul(places.start as u64));
        arithmetic::fill(out, from, step, places.len());
        let span = Some(Span { first: steps.first, last: steps.last, ascends: true });
        return Ok(Read { count, places, span });
    }
    parts.decode(count, out)?;
    let span = Span::of(out);
    let mut places = 0..count;
    if let Some(Span { first, last, ascends: true }) = span
        && !range.covers(TimeRange::new(first, last))
    {
        places.end = out.partition_point(|&time| time <= range.max);
        out.truncate(places.end);
        places.start = out.partition_point(|&time| time < range.min);
        out.drain(..places.start);
    }
    Ok(Read { count, places, span })
}

/// Timestamps with a constant positive step.
struct Steps {
    first: i64,
    last: i64,
    step: u64,
    count: usize,
}

impl Steps {
    /// `None` if there are no timestamps or they do not ascend.
    fn ascending(first: u64, step: u64, count: usize) -> Option<Self> {
        let length = step.checked_mul(count.checked_sub(1)? as u64)?;
        let first = first.cast_signed();
        let last = first.checked_add_unsigned(length)?;
        (step > 0).then_some(Self { first, last, step, count })
    }

    /// The number of timestamps before `time`, or up to `time` if `inclusive`.
    fn until(&self, time: i64, inclusive: bool) -> usize {
        if time > self.last {
            return self.count;
        }
        if time < self.first {
            return 0;
        }
        let distance = time.abs_diff(self.first);
        // Below `count`, because the last timestamp is at least as far away.
        (if inclusive { distance / self.step + 1 } else { distance.div_ceil(self.step) }) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(times: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(Form::Streaming, times, &mut Vec::new(), &mut out);
        out
    }

    #[test]
    fn divisor_is_the_largest_common_power_of_ten() {
        for (steps, power) in [
            (&[0u64][..], 12),
            (&[1], 0),
            (&[10, 20, 30], 1),
            (&[1_000_000_000, 500], 2),
            (&[1_024], 0),
            (&[5_000_000_000_000_000], 12),
            (&[u64::MAX, 10], 0),
            (&[1 << 59, 5], 0),
        ] {
            let union = steps.iter().fold(0, |a, b| a | b);
            let divisor = Divisor::common(steps, union);
            assert_eq!(u32::from(divisor.power), power, "{steps:?}");
            let ten = 10u64.pow(power);
            assert!(steps.iter().all(|&step| divisor.divide(step) == step / ten && step % ten == 0));
        }
    }

    /// A block of twelve bytes can claim 2^63 timestamps. It must be refused before memory is allocated.
    #[test]
    fn a_run_longer_than_the_limit_is_refused() {
        let mut payload = encoded(&[0, 10]);
        assert_eq!(payload.pop(), Some(2));
        payload.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        let mut out = Vec::new();
        assert_eq!(decode(&payload, 1000, &mut out), Err(Error::too_many((1 << 63) - 1, 1000)));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn a_partial_decode_holds_the_range() {
        let quarter = 1 << 62;
        for times in [
            vec![],
            vec![7],
            vec![i64::MIN, -quarter, 0, quarter],
            vec![i64::MIN, 0, i64::MIN],
            vec![5, 5, 5],
            vec![30, 20, 10],
            (0..40).map(|i| i * 10).collect(),
            (0..40).map(|i| i * i).collect(),
            vec![i64::MIN, 3, i64::MAX],
        ] {
            let payload = encoded(&times);
            let near = times.iter().flat_map(|&time| [-1, 0, 1].map(|by| time.saturating_add(by)));
            let ends: Vec<i64> = near.chain([i64::MIN, i64::MAX]).collect();
            for range in ends.iter().flat_map(|&min| ends.iter().map(move |&max| TimeRange::new(min, max))) {
                let mut out = vec![9; 3];
                let read = decode_within(&payload, 100, range, &mut out).expect("decodes");
                assert_eq!((read.count, read.span), (times.len(), Span::of(&times)));
                assert_eq!(out, times[read.places.clone()], "{times:?} within {range:?}");
                let ascends = read.span.is_some_and(|span| span.ascends);
                let wanted: Vec<_> =
                    times.iter().copied().filter(|&time| !ascends || range.contains(time)).collect();
                assert_eq!(out, wanted, "{times:?} within {range:?}");
            }
        }
    }

    #[test]
    fn two_timestamps_are_constant() {
        assert_eq!(encoded(&[]), [0u8; 0]);
        assert_eq!(encoded(&[7]), [0x1c, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(encoded(&[0, 0]), [0x2c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(encoded(&[0, i64::MIN, 0])[0], 0x20, "wrapping steps may be constant too");
        assert_eq!(encoded(&[5, 3, 4])[0], 0x00);
    }
}
