//! Runs random operations on a cache and on a simple map, and compares them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tsmith_cache::{
    Admitted, Batch, Cache, CacheOptions, Column, Error, FieldKey, FieldType, Frozen, OneMap, Position, Ring,
    RunBuilder, Storer, TimeRange, Value, Values, WhenFull,
};

const SERIES: [&str; 5] = ["cpu,host=a", "cpu,host=b", "m", "m,t=x", "wide,name=with spaces\\ and\\,commas"];
const FIELDS: [&str; 3] = ["f", "usage_user", "g"];

/// A value of one of three types. Strings and booleans count their bytes differently.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Integer(i64),
    Boolean(bool),
    String(String),
}

impl Cell {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Integer(v) => Value::Integer(*v),
            Self::Boolean(v) => Value::Boolean(*v),
            Self::String(v) => Value::String(v.as_bytes()),
        }
    }

    /// The memory as InfluxDB counts it.
    fn bytes(&self) -> u64 {
        match self {
            Self::Integer(_) => 16,
            Self::Boolean(_) => 9,
            Self::String(v) => 8 + v.len() as u64,
        }
    }
}

type Key = (usize, usize);
type Run = (Key, Vec<(i64, Cell)>);

#[derive(Clone, Debug)]
enum Op {
    /// Admits a batch and keeps the admission open.
    Admit(Vec<Run>),
    /// Publishes or drops one of the open admissions.
    Publish(usize),
    Drop(usize),
    Delete(Key, i64, i64),
    /// A snapshot that succeeds or fails. After a failure, the next snapshot gets the same store.
    Freeze,
    FailToCut,
    Forget,
    Read(Key, i64, i64),
}

fn cell(kind: u8) -> BoxedStrategy<Cell> {
    match kind {
        0 => any::<i64>().prop_map(Cell::Integer).boxed(),
        1 => any::<bool>().prop_map(Cell::Boolean).boxed(),
        _ => "[a-z]{0,9}".prop_map(Cell::String).boxed(),
    }
}

fn run() -> impl Strategy<Value = Run> {
    // Mostly one type, so that most batches are admitted.
    let kind = prop_oneof![12 => Just(0u8), 1 => Just(1u8), 1 => Just(2u8)];
    (key(), kind)
        .prop_flat_map(|(key, kind)| (Just(key), prop::collection::vec((-5i64..20, cell(kind)), 1..12)))
}

fn key() -> impl Strategy<Value = Key> {
    (0..SERIES.len(), 0..FIELDS.len())
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => prop::collection::vec(run(), 1..6).prop_map(Op::Admit),
        5 => (0usize..4).prop_map(Op::Publish),
        1 => (0usize..4).prop_map(Op::Drop),
        1 => (key(), -5i64..20, -5i64..20).prop_map(|(key, min, max)| Op::Delete(key, min, max)),
        1 => key().prop_map(|key| Op::Delete(key, i64::MIN, i64::MAX)),
        1 => Just(Op::Freeze),
        1 => Just(Op::FailToCut),
        1 => Just(Op::Forget),
        3 => (key(), -5i64..20, -5i64..20).prop_map(|(key, min, max)| Op::Read(key, min, max)),
    ]
}

fn field_key(key: Key) -> FieldKey<'static> {
    FieldKey::new(SERIES[key.0].as_bytes(), FIELDS[key.1].as_bytes())
}

fn batch(runs: &[Run]) -> Batch<'static> {
    let mut builder = RunBuilder::new();
    for (key, points) in runs {
        let key = field_key(*key);
        builder.begin(key.series.into(), key.field.into(), points[0].1.value().field_type());
        for (time, cell) in points {
            assert!(builder.push(*time, cell.value()));
        }
    }
    builder.finish()
}

/// Points by position and by their order in the batch.
type Points = BTreeMap<(u64, usize), (i64, Cell)>;

/// One store: the points of each key by position and by their order in the batch.
#[derive(Clone, Default)]
struct Store {
    points: BTreeMap<Key, Points>,
    bytes: u64,
}

impl Store {
    fn key_bytes(key: Key) -> u64 {
        field_key(key).composite_len() as u64
    }

    fn view(&self, key: Key) -> Vec<(i64, Cell)> {
        let latest: BTreeMap<i64, Cell> =
            self.points.get(&key).into_iter().flatten().map(|(_, p)| p.clone()).collect();
        latest.into_iter().collect()
    }
}

/// An open admission of the model.
struct Open {
    runs: Vec<Run>,
    /// Drawn at admission, so publications come in any order.
    at: u64,
}

#[derive(Default)]
struct Model {
    live: Store,
    frozen: Option<(Store, u64)>,
    open: Vec<Open>,
    limit: u64,
}

impl Model {
    fn field_type(&self, key: Key) -> Option<FieldType> {
        let cached =
            self.live.points.get(&key).and_then(|points| points.values().next()).map(|(_, cell)| cell);
        let open = self
            .open
            .iter()
            .flat_map(|open| &open.runs)
            .find(|(k, _)| *k == key)
            .map(|(_, points)| &points[0].1);
        cached.or(open).map(|cell| cell.value().field_type())
    }

    /// Whether the batch is admitted. If so, its bytes are counted.
    fn admit(&mut self, runs: &[Run]) -> bool {
        let bytes: u64 = runs.iter().flat_map(|(_, points)| points).map(|(_, cell)| cell.bytes()).sum();
        if self.size() + bytes > self.limit {
            return false;
        }
        let mut types = BTreeMap::new();
        let mut new_keys = 0;
        for (key, points) in runs {
            let held = types.get(key).copied().or_else(|| self.field_type(*key));
            let incoming = points[0].1.value().field_type();
            if held.is_some_and(|held| held != incoming) {
                return false;
            }
            if held.is_none() {
                new_keys += Store::key_bytes(*key);
            }
            types.insert(*key, incoming);
        }
        self.live.bytes += bytes + new_keys;
        true
    }

    fn publish(&mut self, open: &Open) {
        let mut order = 0;
        for (key, points) in &open.runs {
            for point in points {
                self.live.points.entry(*key).or_default().insert((open.at, order), point.clone());
                order += 1;
            }
        }
    }

    /// Subtracts the bytes of a dropped admission, which is no longer in the list of open ones.
    fn give_back(&mut self, open: &Open) {
        for (_, cell) in open.runs.iter().flat_map(|(_, points)| points) {
            self.live.bytes -= cell.bytes();
        }
        let keys: std::collections::BTreeSet<Key> = open.runs.iter().map(|(key, _)| *key).collect();
        for key in keys {
            self.free_key_if_vacant(key);
        }
    }

    fn free_key_if_vacant(&mut self, key: Key) {
        if self.field_type(key).is_none() {
            self.live.bytes -= Store::key_bytes(key);
        }
    }

    fn delete(&mut self, key: Key, range: TimeRange) {
        // Frozen points count until the store is dropped.
        if let Some(points) = self.frozen.as_mut().and_then(|(store, _)| store.points.get_mut(&key)) {
            points.retain(|_, (time, _)| !range.contains(*time));
        }
        let Some(points) = self.live.points.get_mut(&key) else { return };
        let bytes = &mut self.live.bytes;
        // A delete also removes older points at the same times.
        let newest: BTreeMap<i64, _> = points.iter().map(|(at, (time, _))| (*time, *at)).collect();
        points.retain(|at, (time, cell)| {
            let gone = range.contains(*time) || newest[time] != *at;
            *bytes -= if gone { cell.bytes() } else { 0 };
            !gone
        });
        if points.is_empty() {
            self.live.points.remove(&key);
            self.free_key_if_vacant(key);
        }
    }

    fn read(&self, key: Key, range: TimeRange) -> Vec<(i64, Cell)> {
        let frozen = self.frozen.as_ref().map(|(store, _)| store.view(key)).unwrap_or_default();
        let live = self.live.view(key);
        let kind = |points: &[(i64, Cell)]| points.first().map(|(_, cell)| cell.value().field_type());
        let ranged = |points: Vec<(i64, Cell)>| {
            points.into_iter().filter(|(t, _)| range.contains(*t)).collect::<Vec<_>>()
        };
        let (frozen, live) = (ranged(frozen), ranged(live));
        if !frozen.is_empty() && !live.is_empty() && kind(&frozen) != kind(&live) {
            return live;
        }
        let merged: BTreeMap<i64, Cell> = frozen.into_iter().chain(live).collect();
        merged.into_iter().collect()
    }

    fn size(&self) -> u64 {
        self.live.bytes + self.frozen.as_ref().map_or(0, |(store, _)| store.bytes)
    }
}

fn cells(column: &Column) -> Vec<(i64, Cell)> {
    let cell = |at| match column.values() {
        Values::Integer(v) => Cell::Integer(v[at]),
        Values::Boolean(v) => Cell::Boolean(v[at]),
        _ => match column.as_ref().values().get(at) {
            Value::String(v) => Cell::String(String::from_utf8_lossy(v).into_owned()),
            other => panic!("{other:?} was never written"),
        },
    };
    column.times().iter().enumerate().map(|(at, &time)| (time, cell(at))).collect()
}

/// Runs the operations. All batches are created first, because an admission borrows its batch.
fn play<S: Storer + Default>(ops: &[Op], limit: u64) {
    let batches: Vec<Option<Batch<'static>>> =
        ops.iter().map(|op| if let Op::Admit(runs) = op { Some(batch(runs)) } else { None }).collect();
    let cache: Cache<S> = Cache::new(CacheOptions { limit: Some(limit), when_full: WhenFull::Refuse });
    let mut model = Model { limit, ..Model::default() };
    let mut open: Vec<Admitted<'_, '_, S>> = Vec::new();
    let mut frozen: Option<Frozen<S>> = None;
    for (step, op) in ops.iter().enumerate() {
        let at = step as u64 + 1;
        if matches!(op, Op::Delete(..) | Op::Freeze | Op::FailToCut) {
            // These operations wait for every open admission, so a single thread would wait for itself. Drop the
            // latest first.
            while let (Some(admitted), Some(of_model)) = (open.pop(), model.open.pop()) {
                model.publish(&of_model);
                let _published = admitted.publish(Position(of_model.at));
            }
        }
        match op {
            Op::Admit(runs) => match cache.admit(batches[step].as_ref().expect("made above")) {
                Ok(admitted) => {
                    assert!(model.admit(runs), "step {step}: admitted");
                    open.push(admitted);
                    model.open.push(Open { runs: runs.clone(), at });
                }
                Err(refused) => {
                    assert!(!model.admit(runs), "step {step}: {refused}");
                    assert!(matches!(refused, Error::Full { .. } | Error::TypeConflict { .. }));
                }
            },
            Op::Publish(which) if !open.is_empty() => {
                let which = which % open.len();
                let of_model = model.open.remove(which);
                model.publish(&of_model);
                assert_eq!(
                    open.remove(which).publish(Position(of_model.at)).position(),
                    Position(of_model.at)
                );
            }
            Op::Drop(which) if !open.is_empty() => {
                let which = which % open.len();
                drop(open.remove(which));
                let of_model = model.open.remove(which);
                model.give_back(&of_model);
            }
            Op::Delete(key, min, max) => {
                cache.delete(field_key(*key), TimeRange::new(*min, *max));
                model.delete(*key, TimeRange::new(*min, *max));
            }
            Op::Freeze => {
                let given = cache.freeze(|| Ok::<_, ()>(Position(at))).expect("the cut succeeds");
                if model.frozen.is_none() && !model.live.points.is_empty() {
                    model.frozen = Some((std::mem::take(&mut model.live), at));
                }
                let (cut, bytes) = model.frozen.as_ref().map(|(store, cut)| (*cut, store.bytes)).unzip();
                assert_eq!(
                    given.as_ref().map(|frozen| frozen.cut().0),
                    cut,
                    "step {step}: the cut of its own attempt"
                );
                assert_eq!(given.as_ref().map(Frozen::bytes), bytes);
                frozen = given;
            }
            Op::FailToCut => {
                let given = cache.freeze(|| Err("no space left on device"));
                let nothing_to_cut = model.frozen.is_some() || model.live.points.is_empty();
                assert_eq!(given.is_ok(), nothing_to_cut, "step {step}");
            }
            Op::Forget => {
                if let Some(frozen) = frozen.take() {
                    cache.drop_frozen(frozen.clone());
                    cache.drop_frozen(frozen);
                    model.frozen = None;
                }
            }
            Op::Read(key, min, max) => {
                let mut out = Column::new(FieldType::Integer);
                let found = cache.read(field_key(*key), TimeRange::new(*min, *max), &mut out);
                assert_eq!(cells(&out), model.read(*key, TimeRange::new(*min, *max)), "step {step}");
                assert_eq!(found, !out.is_empty());
            }
            _ => {}
        }
        assert_eq!(cache.size(), model.size(), "step {step}: {op:?}");
        assert_eq!(cache.live_bytes(), model.live.bytes, "step {step}: {op:?}");
    }
    let mut named = BTreeMap::new();
    cache.keys(&mut |key, field_type| {
        assert!(named.insert(key.to_composite(), field_type).is_none(), "{key} twice");
    });
    for series in 0..SERIES.len() {
        for field in 0..FIELDS.len() {
            let expected = model.read((series, field), TimeRange::ALL);
            let named = named.remove(&field_key((series, field)).to_composite());
            assert_eq!(named, expected.first().map(|(_, cell)| cell.value().field_type()));
        }
    }
    assert!(named.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ring_matches_the_model(ops in prop::collection::vec(op(), 1..80), limit in 200u64..6000) {
        play::<Ring>(&ops, limit);
    }

    #[test]
    fn hashmap_matches_the_model(ops in prop::collection::vec(op(), 1..80), limit in 200u64..6000) {
        play::<OneMap>(&ops, limit);
    }
}
