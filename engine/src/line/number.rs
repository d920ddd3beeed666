//! Fast parsing of numbers.

use tsmith_codecs::Value;

/// Numbers with at most this many digits fit into a `u64` and an `i64` without a check.
const PLAIN_DIGITS_MAX: usize = 18;

/// Integers up to this one are exact as floats.
const EXACT_FLOAT_MAX: u64 = 1 << 53;

/// Powers of ten that are exact as floats.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Parses the plain number at the start of `text` and returns its length. Returns `None` for rare forms:
/// exponents, more than 18 digits, a lone point, and anything that is no number. The caller checks what
/// follows the number.
#[inline]
pub(super) fn plain_number(text: &[u8], unsigned: bool) -> Option<(Value<'static>, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mut mantissa, mut at) = digits(text, start, 0);
    let whole = at - start;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        (mantissa, at) = digits(text, at + 1, mantissa);
        fraction = at - 1 - start - whole;
        if whole + fraction == 0 || whole + fraction > PLAIN_DIGITS_MAX {
            return None;
        }
    } else if whole == 0 || whole > PLAIN_DIGITS_MAX {
        return None;
    } else if text.get(at) == Some(&b'i') {
        let value = mantissa.cast_signed();
        return Some((Value::Integer(if negative { -value } else { value }), at + 1));
    } else if text.get(at) == Some(&b'u') {
        return (unsigned && !negative).then_some((Value::Unsigned(mantissa), at + 1));
    }
    if matches!(text.get(at), Some(b'e' | b'E')) || mantissa > EXACT_FLOAT_MAX {
        return None;
    }
    // Both operands are exact, so the quotient is the nearest float (Clinger's fast path).
    let value = mantissa as f64 / EXACT_POWERS[fraction];
    Some((Value::Float(if negative { -value } else { value }), at))
}

/// Continues `value` with the digits from `at` on. More than nineteen digits wrap; the caller counts them.
#[inline]
fn digits(text: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(&byte) = text.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// Parses all of `text` as Go's `ParseFloat` does, after the scanner has accepted it. `None` if it is out of
/// range.
pub(super) fn any_float(text: &[u8]) -> Option<f64> {
    let value: f64 = fast_float2::parse(text).ok()?;
    value.is_finite().then_some(value)
}

/// Parses the decimal time at the start of `text`, with an optional minus. `None` for rare forms.
#[inline]
pub(super) fn plain_time(text: &[u8]) -> Option<(i64, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let (value, at) = digits(text, start, 0);
    // Nineteen digits may exceed an i64, but never a u64.
    let count = at - start;
    if count == 0 || count > PLAIN_DIGITS_MAX + 1 {
        return None;
    }
    let value = i64::try_from(value).ok()?;
    Some((if negative { -value } else { value }, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_match_the_standard_library() {
        for text in
            ["0", "-0", "5.", ".5", "-.5", "57.83", "00012.50", "9007199254740992", "0.00000000000000001"]
        {
            let (value, len) = plain_number(text.as_bytes(), true).expect(text);
            let expected: f64 = text.parse().expect(text);
            assert_eq!((value, len), (Value::Float(expected), text.len()), "{text}");
        }
        assert_eq!(plain_number(b"-12i,", true), Some((Value::Integer(-12), 4)));
        assert_eq!(plain_number(b"12u ", true), Some((Value::Unsigned(12), 3)));
        for text in ["", "-", ".", "-.", "1e5", "1234567890123456789", "9007199254740993", "i", "-1u", "-i"] {
            assert_eq!(plain_number(text.as_bytes(), true), None, "{text}");
        }
    }

    #[test]
    fn plain_times_have_the_range_of_an_i64() {
        assert_eq!(plain_time(b"9223372036854775807 "), Some((i64::MAX, 19)));
        assert_eq!(plain_time(b"-5\n"), Some((-5, 2)));
        for text in ["", "-", "9223372036854775808", "12345678901234567890"] {
            assert_eq!(plain_time(text.as_bytes()), None, "{text}");
        }
    }
}
