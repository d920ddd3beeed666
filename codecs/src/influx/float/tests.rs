//! Tests that all kernels agree, and tests of payloads with a wrong end.

use super::*;

fn encoded(values: &[f64]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(values, &mut out).expect("no NaN");
    let mut back = Vec::new();
    decode(&out, values.len(), &mut back).expect("decodes");
    assert!(back.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
    out
}

#[test]
fn a_repeated_value_takes_one_bit() {
    let long = vec![42.5; 1000];
    // Header, first value, 999 bits, and the end mark in a window of its own.
    assert!((135..=144).contains(&encoded(&long).len()));
    encoded(&[]);
    encoded(&[1.0]);
    encoded(&[0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324]);
}

#[test]
fn nan_is_refused_with_its_index() {
    let mut out = vec![1];
    assert_eq!(encode(&[1.0, f64::NAN], &mut out), Err(Error::unsupported(1, "NaN")));
    assert_eq!(out, [1]);
}

#[test]
fn a_cut_payload_fails_at_every_count() {
    let out = encoded(&[1.0, 1.0, 1.5, 2.25, 2.25]);
    let mut back = Vec::new();
    for count in [0, 1, 4, 6, 100] {
        assert!(decode(&out, count, &mut back).is_err(), "{count} values");
    }
    for len in 0..out.len() {
        assert!(decode(&out[..len], 5, &mut back).is_err(), "{len} bytes");
    }
}

#[test]
fn a_partial_decode_gives_the_first_values() {
    let values: Vec<f64> =
        (0..400).map(|i| [0.5, 1.25, f64::from(i), f64::from(i / 9)][i as usize / 100]).collect();
    let out = encoded(&values);
    let mut back = Vec::new();
    for wanted in 0..=values.len() {
        decode_first(&out, wanted, values.len(), &mut back).expect("decodes");
        assert_eq!(back, values[..wanted]);
        decode_part(&out, wanted / 3..wanted, values.len(), &mut back).expect("decodes");
        assert_eq!(back, values[wanted / 3..wanted]);
    }
    // A cut payload must not give any value behind the cut, not even by chance.
    for len in 0..out.len() {
        if decode_first(&out[..len], 350, values.len(), &mut back).is_ok() {
            assert_eq!(back, values[..350], "{len}");
        }
    }
}

/// Codes that fit into a word, into a word and a byte, and into neither; runs of such codes, and other codes between
/// them.
#[test]
fn every_kernel_gives_the_same_values() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state ^ state >> 29
    };
    let shapes: [&mut dyn FnMut(u32) -> f64; 4] = [
        &mut |i| f64::from(i * i % 97 / 3) * [1.0, 0.1][i as usize / 60 % 2],
        &mut |_| (noise() >> 11) as f64 / (1_u64 << 53) as f64,
        &mut |i| if i % 50 < 45 { f64::from(i * 7919 % 1000) - 499.5 } else { 1e300 },
        &mut |i| [0.1, -0.3, 1e-200][i as usize % 3] / f64::from(i + 1),
    ];
    for (shape, value) in shapes.into_iter().enumerate() {
        let values: Vec<f64> = (0..170).map(value).collect();
        let mut out = encoded(&values);
        let mut plain = vec![HEADER];
        write(&values, &mut plain);
        assert_eq!(out, plain, "shape {shape}");
        let same = |out: &[u8], what: &dyn std::fmt::Debug| {
            let values_by = |by: fn(BitReader<'_>, &mut [f64], bool) -> Result<usize>| {
                let mut back = vec![0.0; values.len()];
                let end = by(BitReader::new(&out[1..]), &mut back, true);
                // The values are unspecified after an error.
                end.map(|end| (end, back.into_iter().map(f64::to_bits).collect::<Vec<_>>()))
            };
            let expected = values_by(|bits, out, whole| read(bits, out, whole, one_by_one));
            assert_eq!(values_by(read_at_best), expected, "shape {shape}, {what:?}");
            // The fastest way was tested above. If that was AVX-512, test AVX2 too.
            #[cfg(target_arch = "x86_64")]
            if four_at_once(BitReader::new(&[0; 8]), &mut [0.0], false).is_some() {
                let by_four = |bits: BitReader<'_>, out: &mut [f64], whole| {
                    four_at_once(bits, out, whole).expect("the processor has it")
                };
                assert_eq!(values_by(by_four), expected, "shape {shape}, {what:?}, by four");
            }
        };
        for len in 1..=out.len() {
            same(&out[..len], &("cut", len));
        }
        for bit in 8..out.len() * 8 {
            out[bit / 8] ^= 1 << (bit % 8);
            same(&out, &("bit", bit));
            out[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// The kernels write many values before they look for the end mark.
#[test]
fn every_kernel_stops_at_the_end_mark() {
    for width in [40_u32, 54, 57, 61, 64] {
        // The bits above the window are those of the end mark, so codes with the window can produce the end mark.
        let above = END & !(u64::MAX >> (64 - width));
        let value = |i: u64| above | 1 << 20 | (i * 0x9e37 % 1000) << 1;
        for place in 1..40 {
            let mut out = vec![HEADER];
            let mut writer = BitWriter::new(&mut out);
            let mut before = value(0);
            writer.put(before, 64);
            for i in 1..60 {
                let next = if i == place { END } else { value(i) };
                let (code, code_bits) = match i {
                    1 => (0b11 << 11 | u64::from(64 - width) << 6 | u64::from(width % 64), NEW_WINDOW_BITS),
                    _ => (0b10, SAME_WINDOW_BITS),
                };
                writer.put_two((code, code_bits as u32), (before ^ next, width));
                before = next;
            }
            writer.finish();
            for wanted in [place as usize, 50] {
                let read_by = |by: fn(BitReader<'_>, &mut [f64], bool) -> Result<usize>| {
                    let mut back = vec![0.0; wanted];
                    by(BitReader::new(&out[1..]), &mut back, false)
                        .map(|end| (end, back.into_iter().map(f64::to_bits).collect::<Vec<_>>()))
                };
                let expected = read_by(|bits, out, whole| read(bits, out, whole, one_by_one));
                assert_eq!(read_by(read_at_best), expected, "{width} bits, {place}");
                assert_eq!(expected.is_ok(), wanted == place as usize, "{width} bits, {place}");
            }
        }
    }
}

#[test]
fn an_impossible_count_allocates_nothing() {
    let mut back = Vec::new();
    assert!(decode(&encoded(&[1.0]), 100_000, &mut back).is_err());
    assert_eq!(back.capacity(), 0);
}

/// InfluxDB's decoder stops at the first end mark. An end mark before the last value, here in the window of the
/// previous code, must not appear as a NaN among the values.
#[test]
fn an_end_mark_among_the_values_is_an_error() {
    let (first, second) = (1.0f64.to_bits() | 1, (-2.0f64).to_bits() | 5);
    let mut out = vec![HEADER];
    let mut writer = BitWriter::new(&mut out);
    writer.put(first, 64);
    // A window with no zeros above it and two below it.
    let window = 0b11 << 11 | 0b11_1110;
    writer.put_two((window, NEW_WINDOW_BITS as u32), ((first ^ second) >> 2, 62));
    for step in [second ^ END, END ^ second, second ^ END] {
        writer.put_two((0b10, SAME_WINDOW_BITS as u32), (step >> 2, 62));
    }
    writer.finish();
    let mut back = Vec::new();
    for count in 0..=5 {
        assert!(decode(&out, count, &mut back).is_err(), "{count} values");
    }
}
