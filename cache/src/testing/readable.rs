//! Laws of a storer that returns the values it got.

use std::sync::atomic::{AtomicU64, Ordering};

use tsmith_codecs::{Batch, FieldType, Position, RunBuilder, TimeRange, Value};

use super::{all, integers, key, key_count, one, points, put, refused};
use crate::{Error, Refused, Reserved, Storer};

/// Law: points written in any order are read in ascending order, bit for bit, and only those inside the range.
pub fn values_are_read_in_order_of_time<S: Storer + Default>() {
    let storer = S::default();
    let odd_nan = f64::from_bits(0x7FF8_0000_0000_0001);
    put(&storer, &one("m", "f", 30, Value::Float(odd_nan)), 1);
    put(&storer, &one("m", "f", i64::MIN, Value::Float(-0.0)), 2);
    put(&storer, &one("m", "f", i64::MAX, Value::Float(1.5)), 3);
    put(&storer, &one("m", "s", 2, Value::String(b"zwei")), 4);
    put(&storer, &one("m", "s", 1, Value::String(b"")), 5);
    let floats = all(&storer, key("m", "f"));
    assert_eq!(floats.times(), [i64::MIN, 30, i64::MAX]);
    assert_eq!(floats.as_ref().values().get(0), Value::Float(-0.0));
    assert_eq!(floats.as_ref().values().get(1), Value::Float(odd_nan));
    let strings = all(&storer, key("m", "s"));
    assert_eq!((strings.as_ref().values().get(0), strings.times()), (Value::String(b""), &[1, 2][..]));
    let mut some = tsmith_codecs::Column::new(FieldType::Float);
    assert!(storer.read(key("m", "f"), TimeRange::new(-5, 30), &mut some));
    assert!(!storer.read(key("m", "f"), TimeRange::new(31, 99), &mut some), "nothing is there");
    assert!(!storer.read(key("m", "s"), TimeRange::ALL, &mut some), "strings are not appended to floats");
    assert_eq!(some.times(), [30]);
}

/// Law: `with` passes the points in order of position, whatever their times are.
pub fn points_are_in_order_of_position<S: Storer + Default>() {
    let storer = S::default();
    for (at, time) in [5, 3, 3, 9].into_iter().enumerate() {
        put(&storer, &one("m", "f", time, Value::Integer(at as i64)), at as u64 + 1);
    }
    let times = storer.with(key("m", "f"), |column| column.times().to_vec());
    assert!(times == Some(vec![5, 3, 3, 9]) || times == Some(vec![5, 3, 9]), "{times:?}");
}

/// Law: if a batch has two values at one time, the later one counts, as in `f=1,f=2`.
pub fn the_later_value_of_a_batch_counts<S: Storer + Default>() {
    let storer = S::default();
    put(&storer, &integers(&[("m", "f", &[(1, 10), (2, 20), (1, 11)])]), 1);
    assert_eq!(points(&storer, key("m", "f")), [(1, 11), (2, 20)]);
}

/// Law: a series may appear again later in the same batch. Its points stay in the order of the batch.
///
/// A replayed record is such a batch, because the log stores the keys of a write in any order.
pub fn a_key_may_come_twice_in_a_batch<S: Storer + Default>() {
    let storer = S::default();
    let batch = integers(&[("a", "f", &[(1, 1)]), ("b", "f", &[(1, 2)]), ("a", "f", &[(1, 3), (2, 4)])]);
    let reserved = storer.reserve(&batch).expect("one type");
    assert_eq!(reserved.new_key_bytes, 12, "two keys of six bytes");
    let early = integers(&[("a", "f", &[(1, 0), (3, 0)])]);
    let reservation = storer.reserve(&early).expect("one type").reservation;
    storer.write(&batch, reserved.reservation, Position(2));
    storer.write(&early, reservation, Position(1));
    assert_eq!(points(&storer, key("a", "f")), [(1, 3), (2, 4), (3, 0)]);
}

/// Law: the value with the latest position counts, in every order in which batches can be reserved and written.
///
/// Two writers may write the same key and time at once. The log orders them, and the cache must agree with the log.
/// Otherwise a replay would return another value than readers saw before the crash. Positions are drawn between
/// reserve and write. This test tries every order of these three steps for four batches. Some batches are released
/// instead of written.
pub fn the_later_position_wins_in_every_order<S: Storer + Default>() {
    const WRITERS: usize = 4;
    let mut games = 0;
    let mut steps = [0u8; WRITERS];
    play::<S>(&mut steps, &mut Vec::new(), &mut games);
    assert_eq!(games, 369_600 / 24, "4 x 3 steps in every order, up to the names of the writers");
}

/// Tries every continuation of `order`, the steps so far. Runs the order once all writers have done their three
/// steps.
fn play<S: Storer + Default>(steps: &mut [u8; 4], order: &mut Vec<usize>, games: &mut usize) {
    if steps.iter().all(|&done| done == 3) {
        *games += 1;
        play_one::<S>(order, *games);
        return;
    }
    for writer in 0..steps.len() {
        // Writers are interchangeable, so their first steps come in the order of their numbers.
        if steps[writer] == 3 || (steps[writer] == 0 && writer > 0 && steps[writer - 1] == 0) {
            continue;
        }
        steps[writer] += 1;
        order.push(writer);
        play::<S>(steps, order, games);
        order.pop();
        steps[writer] -= 1;
    }
}

fn play_one<S: Storer + Default>(order: &[usize], game: usize) {
    let storer = S::default();
    // Batch `w` writes its own number at the shared time 0 and at its own time. Some batches write more.
    let batches: Vec<Batch<'_>> = (0..4i64)
        .map(|w| {
            let run = [(0, w), (w + 1, w), (9, w)];
            integers(&[("m", "f", if w % 2 == 0 { &run } else { &run[..2] })])
        })
        .collect();
    // In every fifth order, one writer releases its reservation instead of writing.
    let quitter = if game.is_multiple_of(5) { game / 5 % 4 } else { usize::MAX };
    let mut reservations: Vec<Option<S::Reservation>> = (0..4).map(|_| None).collect();
    let mut positions = [0u64; 4];
    let mut next = 0;
    let mut steps = [0; 4];
    for &writer in order {
        steps[writer] += 1;
        match steps[writer] {
            1 => reservations[writer] = Some(storer.reserve(&batches[writer]).expect("one type").reservation),
            2 => {
                next += 1;
                positions[writer] = next;
            }
            _ => {
                let reservation = reservations[writer].take().expect("reserved");
                if writer == quitter {
                    storer.release(&batches[writer], reservation);
                } else {
                    storer.write(&batches[writer], reservation, Position(positions[writer]));
                }
            }
        }
    }
    let mut expected = std::collections::BTreeMap::new();
    let mut ranked: Vec<usize> = (0..4).filter(|&w| w != quitter).collect();
    ranked.sort_by_key(|&w| positions[w]);
    for writer in ranked {
        let (_, column) = batches[writer].columns().next().expect("one column");
        expected.extend(column.times().iter().map(|&time| (time, writer as i64)));
    }
    let expected: Vec<(i64, i64)> = expected.into_iter().collect();
    assert_eq!(points(&storer, key("m", "f")), expected, "turns {order:?}, game {game}");
}

/// Law: the same with real threads, which draw their positions from one counter.
pub fn the_later_position_wins_between_threads<S: Storer + Default>() {
    const THREADS: usize = 4;
    const ROUNDS: i64 = 300;
    let storer = &S::default();
    let counter = &AtomicU64::new(1);
    let mut written: Vec<(u64, i64, i64)> = std::thread::scope(|scope| {
        let writer = |thread: usize| {
            let mut written = Vec::new();
            for round in 0..ROUNDS {
                let (time, value) = (round % 10, round * THREADS as i64 + thread as i64);
                let batch = one("m", "f", time, Value::Integer(value));
                let reservation = storer.reserve(&batch).expect("one type").reservation;
                let at = counter.fetch_add(1, Ordering::SeqCst);
                if round % 3 == 0 {
                    std::thread::yield_now();
                }
                storer.write(&batch, reservation, Position(at));
                written.push((at, time, value));
            }
            written
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || writer(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    written.sort_unstable();
    let latest: std::collections::BTreeMap<i64, i64> =
        written.iter().map(|&(_, time, value)| (time, value)).collect();
    assert_eq!(points(storer, key("m", "f")), latest.into_iter().collect::<Vec<_>>());
    let order = storer.with(key("m", "f"), |column| match column.values() {
        tsmith_codecs::ValuesRef::Integer(values) => values.to_vec(),
        _ => Vec::new(),
    });
    let by_position: Vec<i64> = written.iter().map(|&(_, _, value)| value).collect();
    let order = order.expect("has values");
    assert!(order.len() < by_position.len() || order == by_position, "points are in order of position");
}

/// Law: a batch with a column of another type is refused as a whole. The error names the key and both types. Its
/// other columns and new keys are not kept.
pub fn a_conflict_is_refused_and_leaves_no_trace<S: Storer + Default>() {
    let storer = S::default();
    put(&storer, &one("m,t=a", "f", 1, Value::Float(1.0)), 1);
    let mut builder = RunBuilder::new();
    let runs = [("m,t=new", "x", 0), ("m,t=a", "new", 0), ("m,t=a", "f", 1), ("m,t=later", "f", 0)];
    for (series, field, wrong) in runs {
        let value = if wrong == 1 { Value::Boolean(true) } else { Value::Integer(1) };
        builder.begin(series.as_bytes().into(), field.as_bytes().into(), value.field_type());
        assert!(builder.push(2, value));
    }
    let batch = builder.finish();
    for _ in 0..2 {
        assert_eq!(
            refused(&storer, &batch),
            Error::type_conflict(key("m,t=a", "f"), FieldType::Float, FieldType::Boolean)
        );
    }
    assert_eq!(key_count(&storer), 1);
    // Its other columns keep no type and no bytes.
    let other = one("m,t=new", "x", 1, Value::String(b"free"));
    let reserved = storer.reserve(&other).expect("the column is not reserved");
    assert_eq!(reserved.new_key_bytes, key("m,t=new", "x").composite_len() as u64);
    storer.write(&other, reserved.reservation, Position(2));
    put(&storer, &one("m,t=a", "new", 1, Value::String(b"free")), 3);
    assert_eq!(all(&storer, key("m,t=a", "f")).times(), [1]);
}

/// Law: a batch that gives one key two types is refused like any other conflict.
pub fn a_conflict_inside_a_batch_is_refused<S: Storer + Default>() {
    let storer = S::default();
    let mut builder = RunBuilder::new();
    for (series, value) in [("a", Value::Integer(1)), ("b", Value::Integer(1)), ("a", Value::Float(1.0))] {
        builder.begin(series.as_bytes().into(), b"f".into(), value.field_type());
        assert!(builder.push(1, value));
    }
    assert_eq!(
        refused(&storer, &builder.finish()),
        Error::type_conflict(key("a", "f"), FieldType::Integer, FieldType::Float)
    );
    assert_eq!(key_count(&storer), 0);
    put(&storer, &one("a", "f", 1, Value::Float(1.0)), 1);
}

/// Law: a reserved column has its type before its first value, so no write can meet another type.
pub fn a_reservation_fixes_the_type<S: Storer + Default>() {
    let storer = S::default();
    let (float, integer) = (one("m", "f", 1, Value::Float(1.0)), one("m", "f", 1, Value::Integer(1)));
    let reserved = storer.reserve(&float).expect("fresh");
    refused(&storer, &integer);
    assert_eq!(key_count(&storer), 0, "a key without values is not listed");
    storer.release(&float, reserved.reservation);
    put(&storer, &integer, 1);
    refused(&storer, &float);
}

/// Law: a column whose points are all deleted can get a new type, and its key counts as new again.
pub fn an_emptied_column_takes_a_new_type<S: Storer + Default>() {
    let storer = S::default();
    put(&storer, &integers(&[("m", "e", &[(1, 1)]), ("m", "f", &[(1, 1)]), ("m", "g", &[(1, 1)])]), 1);
    assert_eq!(storer.delete(key("m", "f"), TimeRange::ALL), 16 + 6);
    assert_eq!(key_count(&storer), 2);
    let batch = one("m", "f", 1, Value::String(b"text"));
    let reserved = storer.reserve(&batch).expect("the column counts as missing");
    assert_eq!(reserved.new_key_bytes, 6);
    storer.write(&batch, reserved.reservation, Position(2));
    assert_eq!(storer.field_type(key("m", "f")), Some(FieldType::String));
    assert_eq!(points(&storer, key("m", "g")), [(1, 1)]);
}

/// Law: `new_key_bytes` counts the composite keys that have no values and no reservation.
pub fn new_key_bytes_count_each_key_once<S: Storer + Default>() {
    let storer = S::default();
    let batch =
        integers(&[("cpu,h=a", "us", &[(1, 1)]), ("cpu,h=a", "sy", &[(1, 1)]), ("mem", "us", &[(1, 1)])]);
    let first = storer.reserve(&batch).expect("fresh");
    let second = storer.reserve(&batch).expect("same types");
    assert_eq!((first.new_key_bytes, second.new_key_bytes), (13 + 13 + 9, 0));
    storer.write(&batch, second.reservation, Position(1));
    storer.write(&batch, first.reservation, Position(2));
    let third = storer.reserve(&batch).expect("same types");
    assert_eq!((third.new_key_bytes, storer.release(&batch, third.reservation)), (0, 0));
}

/// Law: a release frees the bytes only of keys that no other batch holds, so each key is freed once.
pub fn the_last_release_frees_the_key<S: Storer + Default>() {
    let storer = S::default();
    let batch = integers(&[("m", "f", &[(1, 1)]), ("m", "g", &[(1, 1)])]);
    let first = storer.reserve(&batch).expect("fresh").reservation;
    let second = storer.reserve(&batch).expect("same types").reservation;
    let other = integers(&[("m", "g", &[(7, 7)])]);
    put(&storer, &other, 1);
    assert_eq!(storer.release(&batch, first), 0, "the second reservation holds both");
    assert_eq!(storer.release(&batch, second), 6, "g has a value now");
    assert_eq!(points(&storer, key("m", "g")), [(7, 7)]);
}

/// Law: while batches are refused and others reserve, release, write and delete the same keys, the bytes of a key are
/// freed as often as they are counted.
///
/// A key that a refused batch added stays if another batch reserved it in the meantime. A key that another batch
/// added may disappear with the refused one. If the wrong batch counts or frees the bytes, a cache becomes too full
/// for every batch, or counts zero bytes while it holds points.
pub fn refusals_free_what_they_count<S: Storer + Default>() {
    let storer = &S::default();
    // In a ring this series is in the last partition, so the conflict is found late.
    put(storer, &one("float8", "f", 1, Value::Float(1.0)), 1);
    let keys: Vec<String> = (0..300).map(|n| format!("m,n={n}")).collect();
    let fine: Vec<_> = keys.iter().map(|name| (name.as_str(), "f", &[(1, 1)][..])).collect();
    let conflicting: Vec<_> = fine.iter().copied().chain([("float8", "f", &[(1, 1)][..])]).collect();
    let (fine, conflicting) = (&integers(&fine), &integers(&conflicting));
    // Bytes counted minus bytes freed. One thread may free what another one counted.
    let balance = &AtomicU64::new(0);
    let count = |bytes| balance.fetch_add(bytes, Ordering::SeqCst);
    let free = |bytes| balance.fetch_sub(bytes, Ordering::SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                let Refused { part, .. } = storer.reserve(conflicting).map(drop).expect_err("a float");
                count(part.new_key_bytes);
                free(storer.release(conflicting, part.reservation));
            }
        });
        scope.spawn(|| {
            for round in 0..100 {
                let Reserved { reservation, new_key_bytes } = storer.reserve(fine).expect("integers");
                count(new_key_bytes);
                if round % 2 == 0 {
                    free(storer.release(fine, reservation));
                    continue;
                }
                storer.write(fine, reservation, Position(round + 2));
                for (key, column) in fine.columns() {
                    count(column.values().cached_bytes());
                    free(storer.delete(key, TimeRange::ALL));
                }
            }
        });
    });
    assert_eq!(key_count(storer), 1);
    assert_eq!(balance.load(Ordering::SeqCst).cast_signed(), 0, "bytes counted and not freed");
    refused(storer, conflicting);
}

/// Law: a delete removes the points inside its closed range and no others. It returns their bytes, and those of the
/// key with the last point.
pub fn a_delete_removes_its_range_and_counts_it<S: Storer + Default>() {
    let storer = S::default();
    put(&storer, &integers(&[("m", "f", &[(1, 1), (5, 5), (3, 3), (4, 4)]), ("m", "g", &[(3, 3)])]), 1);
    assert_eq!(storer.delete(key("m", "f"), TimeRange::new(3, 4)), 32);
    assert_eq!(points(&storer, key("m", "f")), [(1, 1), (5, 5)]);
    assert_eq!(points(&storer, key("m", "g")), [(3, 3)]);
    assert_eq!(storer.delete(key("m", "f"), TimeRange::new(2, 4)), 0);
    assert_eq!(storer.delete(key("m", "f"), TimeRange::ALL), 32 + 6);
    assert_eq!(storer.delete(key("m", "f"), TimeRange::ALL), 0);
    for value in [Value::String(b"four"), Value::Boolean(true)] {
        put(&storer, &one("m", "s", 1, value), 2);
        let bytes = if value.field_type() == FieldType::String { 8 + 4 } else { 9 };
        assert_eq!(storer.delete(key("m", "s"), TimeRange::new(1, 1)), bytes + 6);
    }
    assert_eq!(key_count(&storer), 1);
}

/// Law: a delete during open reservations neither loses their writes nor changes their order. The key stays as long
/// as a reservation.
pub fn a_delete_keeps_the_order_of_open_writes<S: Storer + Default>() {
    let storer = S::default();
    put(&storer, &integers(&[("m", "f", &[(0, 0), (1, 0)])]), 1);
    let batch = |value| integers(&[("m", "f", &[(1, value), (2, value), (3, value)])]);
    let batches = [batch(2), batch(3), batch(4)];
    let reservations: Vec<S::Reservation> =
        batches.iter().map(|batch| storer.reserve(batch).expect("one type").reservation).collect();
    let mut reservations = reservations.into_iter();
    let mut write = |index: usize, at| {
        storer.write(&batches[index], reservations.next().expect("one each"), Position(at));
    };
    write(0, 4);
    assert_eq!(storer.delete(key("m", "f"), TimeRange::new(0, 2)), 4 * 16);
    write(1, 2);
    assert_eq!(points(&storer, key("m", "f")), [(1, 3), (2, 3), (3, 2)]);
    assert_eq!(storer.delete(key("m", "f"), TimeRange::ALL), 4 * 16, "the key is still reserved");
    write(2, 3);
    assert_eq!(points(&storer, key("m", "f")), [(1, 4), (2, 4), (3, 4)]);
    assert_eq!(storer.delete(key("m", "f"), TimeRange::ALL), 3 * 16 + 6);
}

/// Law: a column of any length stays intact, and a late batch is inserted at the right place.
pub fn long_columns_stay_intact<S: Storer + Default>() {
    let storer = S::default();
    let mut at = 0;
    let mut time = 0;
    let mut expected = Vec::new();
    for len in [1i64, 1000, 23, 1, 3000, 4096, 7, 1024, 2048, 500] {
        let run: Vec<(i64, i64)> = (time..time + len).map(|t| (t, t * 3)).collect();
        time += len;
        at += 2;
        // Two writers: the one with the earlier position writes last. Its values are overwritten except at its own
        // time.
        let stale: Vec<(i64, i64)> = run.iter().map(|&(t, _)| (t, -1)).chain([(-time, -1)]).collect();
        let (new, old) = (integers(&[("m", "f", &run)]), integers(&[("m", "f", &stale)]));
        let old_room = storer.reserve(&old).expect("one type").reservation;
        let new_room = storer.reserve(&new).expect("one type").reservation;
        storer.write(&new, new_room, Position(at + 1));
        storer.write(&old, old_room, Position(at));
        expected.extend(run);
        expected.push((-time, -1));
    }
    expected.sort_unstable();
    assert_eq!(points(&storer, key("m", "f")), expected);
    storer.delete(key("m", "f"), TimeRange::new(10, time - 10));
    expected.retain(|&(t, _)| t < 10 || t > time - 10);
    assert_eq!(points(&storer, key("m", "f")), expected);
}

/// Law: a series with very many fields finds each of them in any order, and the time per field does not grow with
/// their number.
pub fn wide_series_are_found_in_any_order<S: Storer + Default>() {
    let storer = S::default();
    let count = 5000i64;
    let names: Vec<String> = (0..count).map(|n| format!("f{n}")).collect();
    for round in 0..3 {
        let mut builder = RunBuilder::new();
        for n in 0..count {
            let field = &names[((n * 2003 + round * 77) % count) as usize];
            builder.begin(b"wide".into(), field.as_bytes().into(), FieldType::Integer);
            assert!(builder.push(round, Value::Integer(n)));
        }
        put(&storer, &builder.finish(), round.unsigned_abs() + 1);
    }
    assert_eq!(key_count(&storer), count as usize);
    for name in &names {
        assert_eq!(all(&storer, key("wide", name)).times(), [0, 1, 2]);
    }
    for name in names.iter().rev() {
        assert!(storer.delete(key("wide", name), TimeRange::ALL) > 0);
    }
    assert_eq!(key_count(&storer), 0);
    put(&storer, &one("wide", "f7", 1, Value::Boolean(true)), 9);
    assert_eq!(key_count(&storer), 1);
}

/// Law: deleted series make room for others, and series are never mixed up.
pub fn deleted_series_make_room<S: Storer + Default>() {
    let storer = S::default();
    for round in 0..3i64 {
        for n in 0..2000i64 {
            put(
                &storer,
                &one(&format!("m,n={n}"), &format!("f{}", n % 3), round, Value::Integer(n)),
                n as u64 + 1,
            );
        }
        for n in (0..2000i64).filter(|n| n % 3 == round) {
            let (series, field) = (format!("m,n={n}"), format!("f{}", n % 3));
            assert!(storer.delete(key(&series, &field), TimeRange::ALL) > 0);
            put(&storer, &one(&format!("other,n={n}"), "f0", round, Value::Integer(-n)), n as u64 + 1);
        }
    }
    for n in 0..2000i64 {
        let expected = if n % 3 == 2 { vec![] } else { (n % 3 + 1..3).map(|round| (round, n)).collect() };
        assert_eq!(points(&storer, key(&format!("m,n={n}"), &format!("f{}", n % 3))), expected, "series {n}");
        assert_eq!(points(&storer, key(&format!("other,n={n}"), "f0")), [(n % 3, -n)]);
    }
}
