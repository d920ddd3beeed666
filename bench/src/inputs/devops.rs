//! Line protocol of a monitoring agent: each host sends a `cpu` point with ten tags and ten fields every ten seconds.

use std::io::Write as _;

use super::{EPOCH, Rng, STEP};

/// The fields of a point.
pub(crate) const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

const REGIONS: [&str; 9] = [
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
];
const SYSTEMS: [&str; 3] = ["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"];
const ARCHITECTURES: [&str; 2] = ["x64", "x86"];
const TEAMS: [&str; 4] = ["SF", "NYC", "LON", "CHI"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "test"];

/// How a field is printed; its value is kept in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Floats with two decimals.
    F2,
    /// Integers.
    I,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F2 => "f2",
            Self::I => "i",
        }
    }
}

/// A random walk for every field of every host, inside 0 to 100, ordered by time.
#[derive(Debug)]
pub(crate) struct Devops {
    rng: Rng,
    kind: Kind,
    series: Vec<String>,
    state: Vec<i64>,
    host: usize,
    time: i64,
}

impl Devops {
    pub(crate) fn new(hosts: usize, kind: Kind) -> Self {
        let mut rng = Rng::named("devops");
        let series = (0..hosts).map(|host| series_of(&mut rng, host)).collect();
        let state = (0..hosts * FIELDS.len()).map(|_| rng.below(10_001) as i64).collect();
        Self { rng, kind, series, state, host: 0, time: EPOCH }
    }

    /// The series key of every host.
    pub(crate) fn series(&self) -> &[String] {
        &self.series
    }

    /// Appends the next line and its newline.
    pub(crate) fn append_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.series[self.host].as_bytes());
        for (at, field) in FIELDS.iter().enumerate() {
            let value = &mut self.state[self.host * FIELDS.len() + at];
            *value = (*value + self.rng.below(201) as i64 - 100).clamp(0, 10_000);
            out.push(if at == 0 { b' ' } else { b',' });
            out.extend_from_slice(field.as_bytes());
            let written = match self.kind {
                Kind::F2 => write!(out, "={}", *value as f64 / 100.0),
                Kind::I => write!(out, "={}i", *value / 100),
            };
            written.expect("writes to memory");
        }
        writeln!(out, " {}", self.time).expect("writes to memory");
        self.host += 1;
        if self.host == self.series.len() {
            (self.host, self.time) = (0, self.time + STEP);
        }
    }

    /// Returns the next `points` lines in texts of `per` lines.
    pub(crate) fn batches(&mut self, points: usize, per: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::with_capacity(points.div_ceil(per));
        for from in (0..points).step_by(per) {
            let mut text = Vec::new();
            for _ in from..points.min(from + per) {
                self.append_line(&mut text);
            }
            out.push(text);
        }
        out
    }
}

/// Draws random numbers in the order of the Go driver.
fn series_of(rng: &mut Rng, host: usize) -> String {
    fn one_of<'a>(rng: &mut Rng, names: &[&'a str]) -> &'a str {
        names[rng.below(names.len() as u64) as usize]
    }
    let region = one_of(rng, &REGIONS);
    let arch = one_of(rng, &ARCHITECTURES);
    let zone = char::from(b'a' + rng.below(3) as u8);
    let os = one_of(rng, &SYSTEMS);
    let rack = rng.below(100);
    let service = rng.below(20);
    let environment = one_of(rng, &ENVIRONMENTS);
    let version = rng.below(2);
    let team = one_of(rng, &TEAMS);
    format!(
        "cpu,arch={arch},datacenter={region}{zone},hostname=host_{host},os={os},rack={rack},region={region},\
         service={service},service_environment={environment},service_version={version},team={team}"
    )
}

/// Host and field of key `at`. Each host has ten keys in a row, one for each field.
pub(crate) fn field_of(at: usize) -> (usize, &'static str) {
    (at / FIELDS.len(), FIELDS[at % FIELDS.len()])
}
