//! Tests with several threads: waiting writers, the gate, and readers during a snapshot.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tsmith_cache::{
    Batch, Cache, CacheOptions, Column, Error, FieldKey, FieldType, Position, Ring, RunBuilder, SeriesKey,
    Storer, TimeRange, Value, WhenFull, partition,
};

fn batch(series: &str, points: &[(i64, i64)]) -> Batch<'static> {
    let mut builder = RunBuilder::new();
    builder.begin(series.as_bytes().to_vec().into(), b"f".into(), FieldType::Integer);
    for &(time, value) in points {
        assert!(builder.push(time, Value::Integer(value)));
    }
    builder.finish()
}

fn key(series: &str) -> FieldKey<'_> {
    FieldKey::new(series.as_bytes(), b"f")
}

fn write<S: Storer>(cache: &Cache<S>, batch: &Batch<'_>, at: u64) {
    let _published = cache.admit(batch).expect("fits").publish(Position(at));
}

#[expect(clippy::unnecessary_wraps, reason = "`freeze` takes a closure that may fail")]
fn cut(at: u64) -> Result<Position, std::convert::Infallible> {
    Ok(Position(at))
}

fn waiting(limit: u64, patience: Duration) -> Cache<Ring> {
    Cache::new(CacheOptions { limit: Some(limit), when_full: WhenFull::Wait(patience) })
}

#[test]
fn dropping_a_snapshot_releases_waiting_writers() {
    let cache = &waiting(200, Duration::from_secs(60));
    write(cache, &batch("m", &[(0, 0); 10]), 1);
    let frozen = cache.freeze(|| cut(2)).expect("cuts").expect("has values");
    write(cache, &batch("m", &[(1, 1); 2]), 2);
    thread::scope(|scope| {
        let writers: Vec<_> = (3..6)
            .map(|at| scope.spawn(move || write(cache, &batch("m", &[(at as i64, 1); 2]), at)))
            .collect();
        thread::sleep(Duration::from_millis(50));
        assert!(
            writers.iter().all(|writer| !writer.is_finished()),
            "no memory before the snapshot is a file"
        );
        cache.drop_frozen(frozen);
        for writer in writers {
            writer.join().expect("written");
        }
    });
    assert_eq!(cache.size(), 4 * 32 + 6);
}

#[test]
fn waiting_writers_do_not_block_a_snapshot() {
    // A writer that waits inside the gate would block the freeze that it waits for.
    let cache = &waiting(200, Duration::from_secs(60));
    write(cache, &batch("m", &[(0, 0); 12]), 1);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(cache, &batch("m", &[(1, 1)]), 2));
        thread::sleep(Duration::from_millis(20));
        assert!(!writer.is_finished());
        let frozen = cache.freeze(|| cut(2)).expect("cuts").expect("has values");
        cache.drop_frozen(frozen);
    });
    assert_eq!(cache.live_bytes(), 16 + 6);
}

#[test]
fn a_wait_may_be_unlimited() {
    let cache = &waiting(100, Duration::MAX);
    write(cache, &batch("m", &[(0, 0); 6]), 1);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(cache, &batch("m", &[(1, 1)]), 2));
        thread::sleep(Duration::from_millis(20));
        assert!(!writer.is_finished());
        cache.delete(key("m"), TimeRange::ALL);
    });
}

#[test]
fn a_waiting_writer_is_refused_at_its_deadline() {
    let cache = waiting(100, Duration::from_millis(30));
    write(&cache, &batch("m", &[(0, 0); 6]), 1);
    let begun = Instant::now();
    let refused = cache.admit(&batch("m", &[(1, 1)])).map(drop).expect_err("full");
    assert!(begun.elapsed() >= Duration::from_millis(30));
    assert_eq!(refused, Error::Full { used: 6 * 16 + 6, needed: 16, limit: 100 });
    // A batch that never fits is refused at once.
    let begun = Instant::now();
    let cache = waiting(100, Duration::from_secs(60));
    let refused = cache.admit(&batch("m", &[(1, 1); 7])).map(drop).expect_err("it is larger than the limit");
    assert!(!refused.is_transient() && begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn freed_memory_releases_waiting_writers() {
    let cache = &waiting(100, Duration::from_secs(60));
    let large = batch("m", &[(0, 0); 6]);
    for delete in [false, true] {
        let admitted = cache.admit(&large).expect("fits");
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let small = batch("n", &[(1, 1)]);
                drop(cache.admit(&small).expect("fits in the end"));
            });
            thread::sleep(Duration::from_millis(20));
            assert!(!writer.is_finished());
            if delete {
                let _published = admitted.publish(Position(1));
                cache.delete(key("m"), TimeRange::ALL);
            } else {
                drop(admitted);
            }
        });
        assert_eq!(cache.size(), 0);
    }
}

#[test]
fn a_freeze_waits_for_admitted_batches() {
    let cache = &Cache::<Ring>::default();
    let (early, late) = (&batch("early", &[(1, 1)]), &batch("late", &[(2, 2)]));
    let admitted = cache.admit(early).expect("fits");
    let cut_done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let freezer = scope.spawn(move || {
            let quiet = || {
                assert_eq!(cache.live_bytes(), 16 + 10, "the early batch is counted, and no other");
                thread::sleep(Duration::from_millis(30));
                cut_done.store(true, Ordering::SeqCst);
                cut(5)
            };
            cache.freeze(quiet).expect("cuts").expect("has values")
        });
        thread::sleep(Duration::from_millis(30));
        assert!(!cut_done.load(Ordering::SeqCst), "a batch is admitted and not published");
        let writer = scope.spawn(move || {
            let admitted = cache.admit(late).expect("fits");
            assert!(cut_done.load(Ordering::SeqCst), "the gate was closed");
            let _published = admitted.publish(Position(6));
        });
        thread::sleep(Duration::from_millis(10));
        let _published = admitted.publish(Position(1));
        let frozen = freezer.join().expect("froze");
        writer.join().expect("written");
        assert!(frozen.field_type(key("early")).is_some() && frozen.field_type(key("late")).is_none());
        assert_eq!((frozen.cut(), frozen.bytes(), cache.live_bytes()), (Position(5), 16 + 10, 16 + 9));
    });
}

#[test]
fn a_retried_snapshot_keeps_its_cut() {
    // Story: InfluxDB 1.x retries a failed snapshot with the old store but a new list of segments, and removes these
    // segments afterwards. If the process dies before the next snapshot, the writes between the two attempts are
    // lost.
    let cache = Cache::<Ring>::default();
    write(&cache, &batch("a", &[(1, 1)]), 10);
    drop(cache.freeze(|| cut(20)).expect("cuts"));
    write(&cache, &batch("b", &[(2, 2)]), 30);
    let retry = cache.freeze(|| -> Result<Position, ()> { panic!("the log must not be cut twice") });
    let retry = retry.expect("no cut").expect("the store of the first attempt");
    assert_eq!(retry.cut(), Position(20), "the log from 20 on is still needed");
    assert!(retry.field_type(key("b")).is_none());
    cache.drop_frozen(retry);
    let next = cache.freeze(|| cut(40)).expect("cuts").expect("b");
    assert_eq!((next.cut(), next.bytes()), (Position(40), 16 + 6));
    cache.drop_frozen(next);
    assert!(cache.freeze(|| cut(50)).expect("nothing to cut").is_none());
    assert_eq!(cache.size(), 0);
}

#[test]
fn readers_see_every_value_during_snapshots() {
    // A counter stands in for the files: all values up to it are durable. A reader reads the cache first.
    const VALUES: i64 = 3000;
    let cache = &Cache::<Ring>::default();
    let (published, durable) = (&AtomicU64::new(0), &AtomicU64::new(0));
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(move || {
            for time in 1..=VALUES {
                write(cache, &batch("m", &[(time, time)]), time.unsigned_abs());
                published.store(time.unsigned_abs(), Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                let quiet = || cut(published.load(Ordering::SeqCst));
                if let Some(frozen) = cache.freeze(quiet).expect("cuts") {
                    let mut column = Column::new(FieldType::Integer);
                    assert!(frozen.read(key("m"), TimeRange::ALL, &mut column));
                    let last = *column.times().last().expect("has values");
                    durable.store(last.unsigned_abs(), Ordering::SeqCst);
                    cache.drop_frozen(frozen);
                }
                thread::yield_now();
            }
        });
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let shown = published.load(Ordering::SeqCst).cast_signed();
                    let mut column = Column::new(FieldType::Integer);
                    cache.read(key("m"), TimeRange::ALL, &mut column);
                    let in_files = durable.load(Ordering::SeqCst).cast_signed();
                    let first = column.times().first().copied().unwrap_or(i64::MAX);
                    let last = column.times().last().copied().unwrap_or(in_files);
                    assert!(last >= shown, "{shown} was published, the reader saw up to {last}");
                    assert!(first <= in_files + 1 || first == i64::MAX, "{in_files} then {first}: a gap");
                    assert!(
                        column.times().windows(2).all(|pair| pair[0] + 1 == pair[1]),
                        "a gap in the cache"
                    );
                }
            });
        }
    });
}

#[test]
fn a_pause_orders_deletes_among_the_writes() {
    let cache = Cache::<Ring>::default();
    write(&cache, &batch("m", &[(1, 1), (2, 2), (3, 3)]), 1);
    let paused = cache.pause();
    paused.delete(key("m"), TimeRange::new(2, 2));
    drop(paused);
    let mut column = Column::new(FieldType::Integer);
    assert!(cache.read(key("m"), TimeRange::ALL, &mut column));
    assert_eq!((column.times(), cache.size()), (&[1, 3][..], 32 + 6));
}

/// Story: in InfluxDB 1.x a delete during a snapshot did not reach the snapshot, so the new file contained the
/// deleted points.
#[test]
fn a_delete_reaches_the_frozen_store() {
    let cache = Cache::<Ring>::default();
    write(&cache, &batch("m", &[(1, 1), (2, 2)]), 1);
    let frozen = cache.freeze(|| cut(2)).expect("cut").expect("something is live");
    write(&cache, &batch("m", &[(2, 7), (3, 3)]), 3);
    cache.delete(key("m"), TimeRange::new(2, 3));
    let mut column = Column::new(FieldType::Integer);
    assert!(cache.read(key("m"), TimeRange::ALL, &mut column));
    assert_eq!(column.times(), [1]);
    cache.delete(key("m"), TimeRange::ALL);
    assert!(!cache.read(key("m"), TimeRange::ALL, &mut Column::new(FieldType::Integer)));
    assert_eq!(frozen.field_type(key("m")), None, "the snapshot finds no points");
    assert_eq!(cache.size(), frozen.bytes(), "its memory counts until it is dropped");
    cache.drop_frozen(frozen);
    assert_eq!(cache.size(), 0);
}

#[test]
fn a_replay_ignores_the_limit() {
    let cache = Cache::<Ring>::new(CacheOptions { limit: Some(16), when_full: WhenFull::Refuse });
    let replayed = batch("m", &[(1, 1), (2, 2)]);
    assert!(cache.admit(&replayed).is_err());
    let _published = cache.admit_replayed(&replayed).expect("the log holds it").publish(Position(1));
    assert_eq!(cache.size(), 32 + 6);
    assert!(matches!(
        cache.admit(&batch("m", &[(3, 3)])),
        Err(Error::Full { used: 38, needed: 16, limit: 16 })
    ));
}

#[test]
fn keys_are_listed_once_with_the_newest_value() {
    let cache = Cache::<Ring>::default();
    write(&cache, &batch("m", &[(1, 1), (2, 2)]), 1);
    write(&cache, &batch("old", &[(1, 1)]), 2);
    let _frozen = cache.freeze(|| cut(3)).expect("cuts");
    write(&cache, &batch("m", &[(2, 20), (3, 30)]), 4);
    let mut named = Vec::new();
    cache.keys(&mut |key, _| named.push(key.to_composite()));
    named.sort();
    assert_eq!(named, [b"m#!~#f".to_vec(), b"old#!~#f".to_vec()]);
    let mut column = Column::new(FieldType::Integer);
    assert!(cache.read(key("m"), TimeRange::ALL, &mut column));
    assert_eq!(column.times(), [1, 2, 3]);
    assert_eq!(column.as_ref().values().get(1), Value::Integer(20));
    assert_eq!(cache.field_type(key("old")), Some(FieldType::Integer));
}

/// Story: closing a cache did not wake the waiting writers; they waited until their timeout.
#[test]
fn closing_wakes_waiting_writers() {
    let cache = &waiting(200, Duration::from_secs(60));
    write(cache, &batch("m", &[(0, 0); 10]), 1);
    thread::scope(|scope| {
        let writer = scope.spawn(|| cache.admit(&batch("m", &[(1, 1); 5])).map(drop));
        thread::sleep(Duration::from_millis(50));
        assert!(!writer.is_finished());
        cache.close();
        assert_eq!(writer.join().expect("no panic"), Err(Error::Closed));
    });
    assert_eq!(
        cache.admit(&batch("m", &[(1, 1); 5])).map(drop),
        Err(Error::Closed),
        "no batch waits any more"
    );
    drop(cache.admit(&batch("m", &[(1, 1)])).expect("it fits"));
}

/// Story: a batch waited for memory, but the live store was below the threshold for a snapshot, so no snapshot
/// started.
#[test]
fn a_waiting_writer_requests_a_snapshot() {
    let cache = &waiting(200, Duration::from_secs(60));
    write(cache, &batch("m", &[(0, 0); 10]), 1);
    assert!(!cache.memory_wanted());
    assert!(
        cache.admit(&batch("m", &[(1, 1); 100])).is_err() && !cache.memory_wanted(),
        "this batch never fits"
    );
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(cache, &batch("m", &[(1, 1); 5]), 2));
        while !cache.memory_wanted() {
            thread::yield_now();
        }
        let frozen = cache.freeze(|| cut(2)).expect("cuts").expect("has values");
        cache.drop_frozen(frozen);
        writer.join().expect("written");
    });
    let refusing = Cache::<Ring>::new(CacheOptions { limit: Some(200), when_full: WhenFull::Refuse });
    write(&refusing, &batch("m", &[(0, 0); 10]), 1);
    assert!(refusing.admit(&batch("m", &[(1, 1); 5])).is_err() && refusing.memory_wanted());
    drop(refusing.freeze(|| cut(2)).expect("cuts"));
    assert!(!refusing.memory_wanted());
}

/// Story: a refused batch added a key, and another batch reserved it in the meantime. The key was never counted, but
/// its delete freed its bytes. In the end a cache with points counted zero bytes, and nothing was frozen.
#[test]
fn refusals_during_writes_keep_the_byte_count() {
    // The ring processes its partitions in order, so the conflict comes in the last one.
    let cache = &Cache::<Ring>::default();
    let (first, last) = (&in_partition(0), &in_partition(15));
    let mut builder = RunBuilder::new();
    let many = (0..1000).map(|n| format!("m,n={n}"));
    for series in std::iter::once(first.clone()).chain(many) {
        builder.begin(series.into_bytes().into(), b"f".into(), FieldType::Integer);
        assert!(builder.push(1, Value::Integer(1)));
    }
    builder.begin(last.clone().into_bytes().into(), b"f".into(), FieldType::Float);
    assert!(builder.push(1, Value::Float(1.0)));
    let conflicting = &builder.finish();
    let held = |series: &str| 16 + key(series).composite_len() as u64;
    write(cache, &batch(last, &[(1, 1)]), 1);
    for round in 0..50 {
        thread::scope(|scope| {
            scope.spawn(|| cache.admit(conflicting).map(drop).expect_err("an integer column"));
            scope.spawn(|| write(cache, &batch(first, &[(1, 1)]), round + 2));
        });
        assert_eq!(cache.size(), held(first) + held(last), "round {round}");
        cache.delete(key(first), TimeRange::ALL);
        assert_eq!(cache.size(), held(last), "round {round}");
    }
}

fn in_partition(wanted: usize) -> String {
    let mut names = (0..).map(|n| format!("s,n={n}"));
    let found = names.find(|name| partition(SeriesKey(name.as_bytes()).hash64()) == wanted);
    found.expect("one name is in this partition")
}
