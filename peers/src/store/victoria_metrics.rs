//! `VictoriaMetrics`, with line protocol and its export over HTTP.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tsmith_bench::{Found, Keeps, OpenPeer, PeerResult, StorePeer};
use tsmith_codecs::{Batch, Column, FieldKey, FieldType, SeriesKey, TimeRange, Value};

use super::lines;
use super::server::{Server, missing};

const PROGRAM: &str = "victoria-metrics";

const NANOSECONDS: i64 = 1_000_000;

/// The server.
#[derive(Debug)]
pub struct VictoriaMetrics;

impl StorePeer for VictoriaMetrics {
    fn name(&self) -> &'static str {
        "victoria-metrics"
    }

    fn summary(&self) -> String {
        "VictoriaMetrics: a server, over HTTP; keeps times in ms, numbers as floats and texts as 0; reads are parsed from JSON"
            .into()
    }

    fn promise(&self, durable: bool) -> Option<&'static str> {
        (!durable).then_some("nothing: it answers before it writes, and writes about every second")
    }

    fn keeps(&self, _field_type: FieldType) -> Keeps {
        Keeps::Roughly
    }

    fn missing(&self) -> Option<String> {
        missing(PROGRAM)
    }

    fn prepare(&self, batch: &Batch<'_>) -> Vec<u8> {
        lines::text(batch)
    }

    fn open(&self, dir: &Path, _durable: bool) -> PeerResult<Box<dyn OpenPeer>> {
        let server = Server::start(PROGRAM, dir, "/health", |port| {
            let mut data = std::ffi::OsString::from("-storageDataPath=");
            data.push(dir.join("data"));
            let listen = format!("-httpListenAddr=127.0.0.1:{port}").into();
            Ok(vec![data, listen, "-retentionPeriod=100y".into(), "-loggerLevel=ERROR".into()])
        })?;
        Ok(Box::new(Open(server)))
    }
}

struct Open(Server);

/// A line of the export.
#[derive(Deserialize)]
struct Line {
    /// The name, which is measurement and field, under `__name__`; and the tags.
    metric: BTreeMap<String, String>,
    values: Vec<f64>,
    timestamps: Vec<i64>,
}

impl Line {
    /// All values are a field `value` of a series with the name of the metric.
    fn give(mut self, found: &mut Found<'_>) -> PeerResult {
        let name = self.metric.remove("__name__").unwrap_or_default();
        let series =
            lines::series_key(&name, self.metric.iter().map(|(name, value)| (&name[..], &value[..])));
        let mut column = Column::new(FieldType::Float);
        for (time, value) in self.timestamps.iter().zip(self.values) {
            column.push(time * NANOSECONDS, Value::Float(value))?;
        }
        found(FieldKey::new(&series, b"value"), &column);
        Ok(())
    }
}

impl Open {
    fn export(&self, query: &[(&str, &str)], mut line: impl FnMut(Line) -> PeerResult) -> PeerResult {
        let body = self.0.client.get("/api/v1/export", query)?;
        serde_json::Deserializer::from_slice(&body).into_iter::<Line>().try_for_each(|read| line(read?))
    }
}

/// The name of a label in a query.
fn label(name: &str) -> String {
    let escaped = |c: char| if c.is_alphanumeric() || c == '_' { c.into() } else { format!("\\{c}") };
    name.chars().map(escaped).collect()
}

impl OpenPeer for Open {
    fn write(&self, _batch: &Batch<'_>, prepared: &[u8]) -> PeerResult {
        self.0.client.post("/write", &[], prepared)?;
        Ok(())
    }

    fn flush(&self) -> PeerResult {
        self.0.client.get("/internal/force_flush", &[])?;
        Ok(())
    }

    fn scan(&self, found: &mut Found<'_>) -> PeerResult {
        // What was just written is not visible otherwise.
        self.flush()?;
        self.export(&[("match[]", "{__name__!=\"\"}")], |line| line.give(found))
    }

    fn range(
        &self,
        series: SeriesKey<'_>,
        fields: &[&[u8]],
        range: TimeRange,
        found: &mut Found<'_>,
    ) -> PeerResult {
        let (measurement, tags) = lines::split_key(series.0);
        let labels = tags
            .iter()
            .fold(String::new(), |text, (name, value)| text + &format!(",{}={value:?}", label(name)));
        let matches: Vec<String> = fields
            .iter()
            .map(|field| {
                let name = format!("{measurement}_{}", String::from_utf8_lossy(field));
                format!("{{__name__={name:?}{labels}}}")
            })
            .collect();
        let seconds = |time: i64| format!("{:.3}", (time / NANOSECONDS) as f64 / 1e3);
        let (start, end) = (seconds(range.min), seconds(range.max));
        let mut query = vec![("start", start.as_str()), ("end", end.as_str())];
        query.extend(matches.iter().map(|one| ("match[]", one.as_str())));
        self.export(&query, |line| {
            // Series with further tags also match.
            if line.metric.len() == tags.len() + 1 { line.give(found) } else { Ok(()) }
        })
    }

    fn process(&self) -> Option<u32> {
        Some(self.0.process())
    }

    fn close(self: Box<Self>) -> PeerResult {
        self.0.stop()
    }
}
