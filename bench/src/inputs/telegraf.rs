//! Generated points as the agent Telegraf sends them: several measurements of many hosts, every ten seconds.

use std::path::Path;

use tsmith_codecs::Value;

use super::dataset::Used;
use super::prepared::PointWriter;
use super::{EPOCH, Rng, STEP};
use crate::failure::Failure;

/// Points of all series together. With 1,000 series each has the points of a full block.
const POINTS: usize = 1_000_000;

/// Series of one host.
const SERIES_PER_HOST: usize = 5;

/// Measurement and tags of a series of a host, its four fields, and how their values change.
struct Template {
    measurement: &'static str,
    tags: &'static str,
    fields: [(&'static str, Walk); 4],
}

/// How a value changes from point to point.
#[derive(Clone, Copy)]
enum Walk {
    /// Percent, as a quotient of two counters: all digits of a float.
    Percent,
    /// A float with two decimals.
    Load,
    /// Bytes in pages of 4 KiB: an integer that goes up and down.
    Pages,
    /// An integer that grows.
    Counter,
}

const TEMPLATES: [Template; SERIES_PER_HOST] = [
    Template {
        measurement: "cpu",
        tags: ",cpu=cpu-total",
        fields: [
            ("usage_user", Walk::Percent),
            ("usage_system", Walk::Percent),
            ("usage_idle", Walk::Percent),
            ("usage_iowait", Walk::Percent),
        ],
    },
    Template {
        measurement: "disk",
        tags: ",device=vda1,fstype=ext4",
        fields: [
            ("used", Walk::Pages),
            ("free", Walk::Pages),
            ("used_percent", Walk::Percent),
            ("inodes_used", Walk::Pages),
        ],
    },
    Template {
        measurement: "mem",
        tags: "",
        fields: [
            ("used", Walk::Pages),
            ("available", Walk::Pages),
            ("cached", Walk::Pages),
            ("used_percent", Walk::Percent),
        ],
    },
    Template {
        measurement: "net",
        tags: "",
        fields: [
            ("bytes_recv", Walk::Counter),
            ("bytes_sent", Walk::Counter),
            ("packets_recv", Walk::Counter),
            ("packets_sent", Walk::Counter),
        ],
    },
    Template {
        measurement: "system",
        tags: "",
        fields: [
            ("load1", Walk::Load),
            ("load5", Walk::Load),
            ("load15", Walk::Load),
            ("uptime", Walk::Counter),
        ],
    },
];

/// Writes the points of `series` series to a prepared dataset, ordered by time. The number of points is about the same for any
/// number of series, but each series has at least one. A quick check gives `points`.
pub(crate) fn generate(series: usize, points: Option<usize>, to: &Path) -> Result<Used, Failure> {
    let rounds = (points.unwrap_or(POINTS) / series).max(1);
    let keys: Vec<String> = (0..series).map(key).collect();
    let mut rng = Rng::named("telegraf");
    let mut state: Vec<[i64; 4]> = (0..series).map(|_| [0; 4].map(|_| rng.below(10_001) as i64)).collect();
    let mut writer = PointWriter::default();
    for round in 0..rounds {
        let time = EPOCH + round as i64 * STEP;
        for (at, (key, state)) in keys.iter().zip(&mut state).enumerate() {
            let fields = &TEMPLATES[at % SERIES_PER_HOST].fields;
            let mut values = [(&b""[..], Value::Integer(0)); 4];
            for ((out, (name, walk)), state) in values.iter_mut().zip(fields).zip(state) {
                *out = (name.as_bytes(), walk.next(state, &mut rng));
            }
            writer.point(key.as_bytes(), time, &values);
        }
    }
    writer.write_to(to).map_err(|error| Failure::io(to, &error))?;
    let (lines, series) = (writer.point_count(), writer.series_count());
    Ok(Used { lines, series, lines_of_all: lines, series_of_all: series })
}

fn key(at: usize) -> String {
    let Template { measurement, tags, .. } = &TEMPLATES[at % SERIES_PER_HOST];
    let host = at / SERIES_PER_HOST;
    format!("{measurement}{tags},dc=dc{},host=server-{host:06},rack=r{:02}", host % 3, host % 40)
}

impl Walk {
    fn next(self, state: &mut i64, rng: &mut Rng) -> Value<'static> {
        match self {
            Self::Counter => {
                *state += rng.below(1500) as i64;
                Value::Integer(*state)
            }
            Self::Percent | Self::Load | Self::Pages => {
                *state = (*state + rng.below(201) as i64 - 100).clamp(0, 10_000);
                match self {
                    Self::Percent => Value::Float(*state as f64 / (9_990 + rng.below(21)) as f64 * 100.0),
                    Self::Load => Value::Float(*state as f64 / 100.0),
                    _ => Value::Integer(*state * 4096),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::prepared::Points;
    use super::*;

    #[test]
    fn number_of_points_does_not_depend_on_series() {
        let dir = tempfile::tempdir().expect("a directory");
        let to = dir.path().join("points");
        for (series, each) in [(10, 20), (50, 4), (300, 1)] {
            let used = generate(series, Some(200), &to).expect("writes");
            assert_eq!((used.series, used.lines), (series, series * each));
        }
        let points = Points::read(&to).expect("reads");
        let batches = points.batches(100, usize::MAX).expect("complete");
        assert_eq!((batches.len(), batches[0].value_count()), (3, 400));
    }

    #[test]
    fn two_runs_generate_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = ["a", "b"].map(|name| dir.path().join(name));
        for file in &files {
            generate(10, Some(100), file).expect("writes");
        }
        let [a, b] = files.map(|file| std::fs::read(file).expect("reads"));
        assert!(a == b);
    }
}
