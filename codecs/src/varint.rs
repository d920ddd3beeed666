//! Unsigned LEB128 as Go's `binary.PutUvarint` writes it: seven bits per byte, the low ones first.

/// The most bytes that a 64-bit number takes.
pub(crate) const BYTES_MAX: usize = 10;

/// Appends `value`.
pub(crate) fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes `value` to the start of `place` and returns the number of bytes. `place` must be large enough.
#[inline]
pub(crate) fn write(mut value: u64, place: &mut [u8]) -> usize {
    for (at, byte) in place.iter_mut().enumerate() {
        if value < 0x80 {
            *byte = value as u8;
            return at + 1;
        }
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    place.len()
}

/// Splits off the number at the start of `bytes`. Returns `None` if the number does not end or does not fit into 64
/// bits.
#[inline]
pub(crate) fn get(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes.split_first() {
        Some((&byte, rest)) if byte < 0x80 => Some((u64::from(byte), rest)),
        _ => get_long(bytes),
    }
}

fn get_long(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate().take(BYTES_MAX) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            let fits = at + 1 < BYTES_MAX || byte <= 1;
            return fits.then_some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_65_bits_are_refused() {
        for value in [0, 1, 127, 128, 300, 1 << 35, u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            put(value, &mut bytes);
            let mut place = [0; BYTES_MAX];
            let len = write(value, &mut place);
            assert_eq!(place[..len], bytes);
            bytes.push(7);
            assert_eq!(get(&bytes), Some((value, &[7][..])));
            assert_eq!(get(&bytes[..bytes.len() - 2]), None, "{value} cut short");
        }
        assert_eq!(get(&[0xff; 11]), None);
        assert_eq!(get(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), None, "65 bits");
    }
}
