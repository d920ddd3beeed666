//! InfluxDB 1.x: its server `influxd`, with line protocol and queries over HTTP.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value as Json;
use tsmith_bench::{Found, Keeps, OpenPeer, PeerResult, StorePeer};
use tsmith_codecs::{Batch, Column, FieldKey, FieldType, SeriesKey, TimeRange, Value};

use super::lines;
use super::server::{Server, missing, version};

const PROGRAM: &str = "influxd";

/// The database of all points.
const DATABASE: &str = "bench";

/// Longest time until the server has written its log to files.
const FLUSH: Duration = Duration::from_mins(1);

/// The server.
#[derive(Debug)]
pub struct Influxd;

impl StorePeer for Influxd {
    fn name(&self) -> &'static str {
        "influxd"
    }

    fn summary(&self) -> String {
        format!("{}: a server, over HTTP; reads are parsed from JSON", version(PROGRAM, "version"))
    }

    fn promise(&self, durable: bool) -> Option<&'static str> {
        durable.then_some("a power cut: one fsync of its log for each call")
    }

    fn keeps(&self, field_type: FieldType) -> Keeps {
        // Only special builds know unsigned integers.
        if field_type == FieldType::Unsigned { Keeps::Nothing } else { Keeps::Exactly }
    }

    fn missing(&self) -> Option<String> {
        missing(PROGRAM)
    }

    fn prepare(&self, batch: &Batch<'_>) -> Vec<u8> {
        lines::text(batch)
    }

    fn open(&self, dir: &Path, durable: bool) -> PeerResult<Box<dyn OpenPeer>> {
        let server = Server::start(PROGRAM, dir, "/ping", |port| {
            let config = dir.join("influxd.conf");
            fs::write(&config, configuration(dir, port, durable)?)?;
            Ok(vec!["-config".into(), config.into()])
        })?;
        let open = Open { server, log: dir.join("wal"), types: Mutex::new(None) };
        open.server.client.post("/query", &[("q", &format!("CREATE DATABASE {DATABASE}"))], b"")?;
        Ok(Box::new(open))
    }
}

/// With `durable`, the log stays as it is while a process measures. Else the server writes it to files soon.
fn configuration(dir: &Path, port: u16, durable: bool) -> PeerResult<String> {
    let dir = dir.to_str().ok_or("the path of the directory is not text")?;
    let dir = fs::canonicalize(dir)?;
    let (dir, cold) = (dir.display(), if durable { "10m" } else { "1s" });
    Ok(format!(
        "reporting-disabled = true
bind-address = \"127.0.0.1:0\"
[meta]
  dir = \"{dir}/meta\"
[data]
  dir = \"{dir}/data\"
  wal-dir = \"{dir}/wal\"
  wal-fsync-delay = \"0s\"
  index-version = \"inmem\"
  max-series-per-database = 0
  cache-snapshot-write-cold-duration = \"{cold}\"
[monitor]
  store-enabled = false
[retention]
  enabled = false
[http]
  bind-address = \"127.0.0.1:{port}\"
  log-enabled = false
  max-body-size = 0
[logging]
  level = \"error\"
"
    ))
}

struct Open {
    server: Server,
    log: PathBuf,
    /// `None` if they may have changed since the last read.
    types: Mutex<Option<Arc<Types>>>,
}

impl Open {
    fn query(&self, query: &str) -> PeerResult<Vec<Series>> {
        let query =
            [("db", DATABASE), ("epoch", "ns"), ("chunked", "true"), ("chunk_size", "10000"), ("q", query)];
        let body = self.server.client.get("/query", &query)?;
        let mut all = Vec::new();
        for response in serde_json::Deserializer::from_slice(&body).into_iter::<Response>() {
            for result in response?.results {
                if let Some(error) = result.error {
                    return Err(error.into());
                }
                all.extend(result.series);
            }
        }
        Ok(all)
    }

    /// The types of the fields of all measurements.
    fn types(&self) -> PeerResult<Arc<Types>> {
        let mut known = self.types.lock().expect("no panic while it is locked");
        if let Some(types) = &*known {
            return Ok(Arc::clone(types));
        }
        let mut types = Types::new();
        for Series { name, values, .. } in self.query("SHOW FIELD KEYS")? {
            for row in values {
                let [Json::String(field), Json::String(of)] = &row[..] else {
                    return Err("SHOW FIELD KEYS returned another table".into());
                };
                let of = match of.as_str() {
                    "float" => FieldType::Float,
                    "integer" => FieldType::Integer,
                    "boolean" => FieldType::Boolean,
                    "string" => FieldType::String,
                    other => return Err(format!("a field has the type {other}").into()),
                };
                types.insert((name.clone(), field.clone()), of);
            }
        }
        Ok(Arc::clone(known.insert(Arc::new(types))))
    }
}

/// By measurement and field.
type Types = HashMap<(String, String), FieldType>;

#[derive(Deserialize)]
struct Response {
    results: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    series: Vec<Series>,
    error: Option<String>,
}

/// Rows of one series: the time and its fields. A series with many rows comes in several pieces.
#[derive(Deserialize)]
struct Series {
    name: String,
    #[serde(default)]
    tags: HashMap<String, String>,
    columns: Vec<String>,
    #[serde(default)]
    values: Vec<Vec<Json>>,
}

impl Series {
    fn key(&self) -> Vec<u8> {
        lines::series_key(&self.name, self.tags.iter().map(|(name, value)| (&name[..], &value[..])))
    }

    /// Calls `found` with the points of each field.
    fn give(&self, types: &Types, found: &mut Found<'_>) -> PeerResult {
        let key = self.key();
        for (at, field) in self.columns.iter().enumerate().skip(1) {
            let Some(&of) = types.get(&(self.name.clone(), field.clone())) else {
                return Err(format!("{}: the field {field} has no type", self.name).into());
            };
            let mut column = Column::new(of);
            for row in self.values.iter().filter(|row| !row[at].is_null()) {
                let time = row[0].as_i64().ok_or("a row has no time")?;
                column.push(
                    time,
                    value(of, &row[at]).ok_or_else(|| format!("{field}: not a {}", of.name()))?,
                )?;
            }
            if !column.is_empty() {
                found(FieldKey::new(&key, field.as_bytes()), &column);
            }
        }
        Ok(())
    }
}

fn value(of: FieldType, json: &Json) -> Option<Value<'_>> {
    Some(match of {
        FieldType::Float => Value::Float(json.as_f64()?),
        FieldType::Integer => Value::Integer(json.as_i64()?),
        FieldType::Boolean => Value::Boolean(json.as_bool()?),
        FieldType::String => Value::String(json.as_str()?.as_bytes()),
        FieldType::Unsigned => return None,
    })
}

/// Joins the pieces of series.
fn joined(pieces: Vec<Series>) -> Vec<Series> {
    let mut out: Vec<Series> = Vec::new();
    for piece in pieces {
        match out.last_mut() {
            Some(last) if last.name == piece.name && last.tags == piece.tags => {
                last.values.extend(piece.values);
            }
            _ => out.push(piece),
        }
    }
    out
}

/// Quotes a name, or with `'` a text.
fn quoted(text: &str, quote: char) -> String {
    let escaped = text.replace('\\', r"\\").replace(quote, &format!("\\{quote}"));
    format!("{quote}{escaped}{quote}")
}

impl OpenPeer for Open {
    fn write(&self, _batch: &Batch<'_>, prepared: &[u8]) -> PeerResult {
        self.server.client.post("/write", &[("db", DATABASE)], prepared)?;
        *self.types.lock().expect("no panic while it is locked") = None;
        Ok(())
    }

    /// Waits until the log is empty.
    fn flush(&self) -> PeerResult {
        let begun = Instant::now();
        while bytes_below(&self.log) > 0 {
            if begun.elapsed() > FLUSH {
                return Err("the server keeps points in its log".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn scan(&self, found: &mut Found<'_>) -> PeerResult {
        let types = self.types()?;
        for series in joined(self.query("SELECT * FROM /.*/ GROUP BY *")?) {
            series.give(&types, found)?;
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
        let (measurement, tags) = lines::split_key(series.0);
        let names: Vec<String> =
            fields.iter().map(|field| quoted(&String::from_utf8_lossy(field), '"')).collect();
        let tags = tags.iter().fold(String::new(), |text, (name, value)| {
            text + &format!(" AND {} = {}", quoted(name, '"'), quoted(value, '\''))
        });
        let (min, max) = (range.min, range.max);
        let query = format!(
            "SELECT {} FROM {} WHERE time >= {min} AND time <= {max}{tags} GROUP BY *",
            names.join(", "),
            quoted(&measurement, '"'),
        );
        let types = self.types()?;
        for found_series in joined(self.query(&query)?) {
            // Series with further tags also fit the query.
            if found_series.key() == series.0 {
                found_series.give(&types, found)?;
            }
        }
        Ok(())
    }

    fn process(&self) -> Option<u32> {
        Some(self.server.process())
    }

    fn close(self: Box<Self>) -> PeerResult {
        self.server.stop()
    }
}

fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| {
        if entry.path().is_dir() {
            bytes_below(&entry.path())
        } else {
            entry.metadata().map_or(0, |meta| meta.len())
        }
    };
    entries.flatten().map(size).sum()
}
