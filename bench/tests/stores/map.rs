//! A store for tests: a map in memory, and a file of text when it is closed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tsmith_bench::{Found, Keeps, OpenPeer, PeerResult, StorePeer};
use tsmith_codecs::{Batch, Column, FieldKey, FieldType, SeriesKey, TimeRange, Value, ValuesRef};

/// The kind. It keeps floating-point numbers.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) name: &'static str,
    /// Changes one bit of what it returns.
    pub(crate) lies: bool,
    /// Rounds times to seconds and is never durable.
    pub(crate) rough: bool,
    pub(crate) missing: bool,
}

impl Map {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, lies: false, rough: false, missing: false }
    }
}

impl StorePeer for Map {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> String {
        "a map in memory".into()
    }

    fn promise(&self, durable: bool) -> Option<&'static str> {
        if durable { (!self.rough).then_some("a file that is synced") } else { Some("nothing") }
    }

    fn keeps(&self, field_type: FieldType) -> Keeps {
        match field_type {
            FieldType::Float if self.rough => Keeps::Roughly,
            FieldType::Float => Keeps::Exactly,
            _ => Keeps::Nothing,
        }
    }

    fn missing(&self) -> Option<String> {
        self.missing.then(|| "it is not here".into())
    }

    fn prepare(&self, batch: &Batch<'_>) -> Vec<u8> {
        batch.value_count().to_string().into()
    }

    fn open(&self, dir: &Path, _durable: bool) -> PeerResult<Box<dyn OpenPeer>> {
        let path = dir.join("map");
        let mut points: Points = BTreeMap::new();
        for line in fs::read_to_string(&path).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split('\t').collect();
            let (time, bits) = (words[1].parse()?, words[2].parse()?);
            points.entry(words[0].as_bytes().to_vec()).or_default().insert(time, f64::from_bits(bits));
        }
        Ok(Box::new(Open { points: Mutex::new(points), path, lies: self.lies, rough: self.rough }))
    }
}

type Points = BTreeMap<Vec<u8>, BTreeMap<i64, f64>>;

struct Open {
    points: Mutex<Points>,
    path: PathBuf,
    lies: bool,
    rough: bool,
}

impl Open {
    /// Calls `found` with the points of a key in a range, if there are any.
    fn give(
        &self,
        key: FieldKey<'_>,
        of: &BTreeMap<i64, f64>,
        range: TimeRange,
        found: &mut Found<'_>,
    ) -> PeerResult {
        let mut column = Column::new(FieldType::Float);
        for (&time, &value) in of.range(range.min..=range.max) {
            let value = if self.lies { f64::from_bits(value.to_bits() ^ 1) } else { value };
            let time = if self.rough { time / 1_000_000_000 * 1_000_000_000 } else { time };
            column.push(time, Value::Float(value))?;
        }
        if !column.is_empty() {
            found(key, &column);
        }
        Ok(())
    }
}

impl OpenPeer for Open {
    fn write(&self, batch: &Batch<'_>, prepared: &[u8]) -> PeerResult {
        assert_eq!(prepared, batch.value_count().to_string().as_bytes());
        let mut points = self.points.lock().expect("no panic");
        for (key, data) in batch.columns() {
            let ValuesRef::Float(values) = data.values() else { continue };
            let of = points.entry(key.to_composite()).or_default();
            of.extend(data.times().iter().copied().zip(values.iter().copied()));
        }
        Ok(())
    }

    fn scan(&self, found: &mut Found<'_>) -> PeerResult {
        for (key, of) in &*self.points.lock().expect("no panic") {
            self.give(FieldKey::parse(key).expect("was one"), of, TimeRange::ALL, found)?;
        }
        Ok(())
    }

    fn range(
        &self,
        series: SeriesKey<'_>,
        fields: &[&[u8]],
        range: TimeRange,
        found: &mut Found<'_>,
    ) -> PeerResult {
        let points = self.points.lock().expect("no panic");
        for field in fields {
            let key = FieldKey::new(series.0, field);
            if let Some(of) = points.get(&key.to_composite()) {
                self.give(key, of, range, found)?;
            }
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> PeerResult {
        let mut text = String::new();
        for (key, of) in &*self.points.lock().expect("no panic") {
            for (time, value) in of {
                let _ = writeln!(text, "{}\t{time}\t{}", String::from_utf8_lossy(key), value.to_bits());
            }
        }
        Ok(fs::write(&self.path, text)?)
    }
}
