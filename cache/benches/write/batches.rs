//! Batches as a fleet of hosts sends them: points of ten float fields, keys of about 170 bytes, distributed round
//! robin.

use tsmith_cache::{Batch, BatchBuilder, Value};

const FIELDS: [&str; 10] = [
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
const EPOCH: i64 = 1_600_000_000_000_000_000;
const INTERVAL: i64 = 10_000_000_000;

/// The `SplitMix64` generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[(self.next() % of.len() as u64) as usize]
    }
}

fn series_key(host: usize, random: &mut Random) -> Vec<u8> {
    let regions =
        ["us-east-1", "us-west-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-1", "sa-east-1"];
    let (region, arch) = (random.pick(&regions), random.pick(&["x64", "x86"]));
    let (os, team) =
        (random.pick(&["Ubuntu16.10", "Ubuntu16.04LTS"]), random.pick(&["SF", "NYC", "LON", "CHI"]));
    let (rack, service) = (random.next() % 100, random.next() % 20);
    let environment = random.pick(&["production", "staging", "test"]);
    format!(
        "cpu,arch={arch},datacenter={region}a,hostname=host_{host},os={os},rack={rack},region={region},\
         service={service},service_environment={environment},service_version=1,team={team}"
    )
    .into_bytes()
}

/// `values` values in batches of `per_batch`, distributed over `keys` keys.
pub(crate) fn build(keys: usize, values: usize, per_batch: usize) -> Vec<Batch<'static>> {
    let mut random = Random(17);
    let hosts: Vec<Vec<u8>> = (0..keys / FIELDS.len()).map(|host| series_key(host, &mut random)).collect();
    let mut point = 0;
    (0..values / per_batch)
        .map(|_| {
            let mut builder = BatchBuilder::new();
            for _ in 0..per_batch / FIELDS.len() {
                builder.begin(hosts[point % hosts.len()].clone().into());
                for field in FIELDS {
                    let value = Value::Float((random.next() % 10_001) as f64 / 100.0);
                    builder.field(field.as_bytes().into(), value).expect("all are floats");
                }
                builder.commit(EPOCH + (point / hosts.len()) as i64 * INTERVAL);
                point += 1;
            }
            builder.finish()
        })
        .collect()
}
