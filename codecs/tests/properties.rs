//! Random columns round-trip bit for bit, and their bytes are those of the naive encoder.
#![cfg(feature = "testing")]

use proptest::prelude::*;
use tsmith_codecs::testing::naive;
use tsmith_codecs::{
    BLOCK_VALUES_MAX, BlockDecoder, BlockEncoder, Column, Encoders, FieldType, StringColumn, Tsm1, Tsm1Batch,
    Values,
};

/// A number of any width, so that every selector and every kind of step occurs.
fn wide() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(bits, shift)| bits >> shift)
}

/// Steps between values: noise of one width, equal steps, and runs of both.
fn steps(len: usize) -> impl Strategy<Value = Vec<u64>> {
    let run = (1usize..300, prop_oneof![Just(None), (0u32..64).prop_map(Some)], wide());
    prop::collection::vec((run, any::<u64>()), 1..8).prop_map(move |runs| {
        let mut steps = Vec::new();
        for ((count, noise, step), seed) in runs {
            let noisy =
                |at: u64| noise.map_or(step, |shift| seed.wrapping_mul(2 * at + 1).rotate_left(17) >> shift);
            steps.extend((0..count as u64).map(noisy));
        }
        steps.truncate(len);
        steps
    })
}

fn times() -> impl Strategy<Value = Vec<i64>> {
    let scale =
        prop_oneof![Just(1), Just(10), Just(1_000_000), Just(1_000_000_000_000), Just(10_000_000_000_000)];
    (any::<i64>(), steps(600), scale).prop_map(|(first, steps, scale)| {
        let mut time = first;
        let later = |step: u64| {
            time = time.wrapping_add((step as i64).wrapping_mul(scale));
            time
        };
        [first].into_iter().chain(steps.into_iter().map(later)).collect()
    })
}

fn words() -> impl Strategy<Value = Vec<u64>> {
    times().prop_map(|times| times.into_iter().map(|time| time as u64).collect())
}

fn floats() -> impl Strategy<Value = Vec<f64>> {
    let decimals = prop::collection::vec((-10_000i64..10_000).prop_map(|v| v as f64 / 100.0), 1..400);
    let bits = words().prop_map(|words| words.into_iter().map(f64::from_bits).collect());
    let same = (1usize..400, any::<f64>()).prop_map(|(count, value)| vec![value; count]);
    prop_oneof![decimals, bits, same, prop::collection::vec(any::<f64>(), 1..400)]
}

fn strings() -> impl Strategy<Value = StringColumn> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..200).prop_map(|strings| {
        let mut column = StringColumn::default();
        for string in strings {
            column.push(&string);
        }
        column
    })
}

fn column() -> impl Strategy<Value = Column> {
    let values = prop_oneof![
        floats().prop_map(Values::Float),
        words().prop_map(|words| Values::Integer(words.into_iter().map(|word| word as i64).collect())),
        words().prop_map(Values::Unsigned),
        prop::collection::vec(any::<bool>(), 1..400).prop_map(Values::Boolean),
        strings().prop_map(Values::String),
    ];
    (times(), values).prop_map(|(mut times, mut values)| {
        let len = times.len().min(values.len());
        times.truncate(len);
        values.truncate(len);
        Column::from_parts(times, values).expect("equal lengths")
    })
}

proptest! {
    #[test]
    fn columns_round_trip_through_every_encoder(column in column()) {
        let encoders = Encoders::standard();
        let mut decoder = encoders.decoders();
        let mut back = Column::new(FieldType::Float);
        for entry in &encoders {
            let (mut block, name) = (Vec::new(), entry.name());
            let done = entry.make().encode(column.as_ref(), &mut block);
            prop_assert!(done.is_ok() || entry.is_influx_readable(), "{name} refuses a value");
            if done.is_ok() {
                decoder.decode(&block, BLOCK_VALUES_MAX, &mut back).expect("decodes");
                prop_assert!(back == column, "{name}");
            }
        }
    }

    #[test]
    fn tsm1_agrees_with_the_naive_encoder(column in column()) {
        let mut block = Vec::new();
        let done = Tsm1::default().encode(column.as_ref(), &mut block);
        let naive = naive::encode(column.as_ref());
        prop_assert_eq!(done.is_ok(), naive.is_some());
        if let Some(naive) = naive {
            prop_assert!(block == naive);
            prop_assert!(naive::decode(&block) == Some(column));
        }
    }

    #[test]
    fn the_batch_form_is_read_by_both_decoders(column in column()) {
        let mut block = Vec::new();
        if Tsm1Batch::default().encode(column.as_ref(), &mut block).is_ok() {
            let mut back = Column::new(FieldType::Float);
            Tsm1::default().decode(&block, BLOCK_VALUES_MAX, &mut back).expect("decodes");
            prop_assert!(back == column);
            prop_assert!(naive::decode(&block) == Some(column));
        }
    }

    /// If the naive decoder and the fast one both accept a corrupt block, they return the same column.
    #[test]
    fn corrupt_blocks_fail_or_match_the_naive_decoder(
        column in column(),
        corruption in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut block = Vec::new();
        if Tsm1::default().encode(column.as_ref(), &mut block).is_ok() {
            for (at, byte) in corruption {
                let at = at.index(block.len());
                block[at] ^= byte;
            }
            let mut back = Column::new(FieldType::Float);
            if Tsm1::default().decode(&block, 5000, &mut back).is_ok() {
                prop_assert!(naive::decode(&block) == Some(back));
            }
        }
    }
}
