//! The cost of type erasure: an engine `ring/file/tsm1` opened by name, compared with the same engine opened
//! by its types.
//!
//! ```text
//! cargo bench -p tsmith-engine --bench erased [PAIRS]
//! ```
//!
//! Each pair runs both on the same lines. Flights have many series with few points, so blocks are small.
//! Weather has few series and full blocks. For each stage the benchmark prints the median ratio of CPU time,
//! erased to static, and the 95 % confidence interval of the median.

use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use tsmith_engine::driver::Driver;
use tsmith_engine::parts::{FileLog, Parts, Ring, Tsm1};
use tsmith_engine::{
    Column, Dirs, Durability, Engine, FieldKey, FieldType, LineOptions, Options, Registry, Result, TimeRange,
    Timestamp,
};

/// Lines per write.
const BATCH: usize = 5000;
const STAGES: [&str; 4] = ["write", "replay", "snapshot", "scan"];

fn main() {
    // Cargo passes its own flags, too.
    let pairs = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(15);
    for name in ["nyc_flights", "nyc_weather"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../bench/data/{name}.lp.zst"));
        let text = zstd::decode_all(&*std::fs::read(path).expect("bundled")).expect("a complete frame");
        let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
        let batches: Vec<Vec<u8>> = lines.chunks(BATCH).map(<[_]>::concat).collect();
        let mut ratios = [const { Vec::new() }; STAGES.len()];
        for pair in 0..pairs {
            // Alternate the order, because the second run finds warm memory.
            let order = [pair % 2 == 0, pair % 2 == 1];
            let [first, second] = order.map(|erased| run(erased, &batches));
            let (erased, plain) = if order[0] { (first, second) } else { (second, first) };
            for (stage, ratios) in ratios.iter_mut().enumerate() {
                ratios.push(erased[stage] / plain[stage]);
            }
        }
        for (stage, mut ratios) in STAGES.into_iter().zip(ratios) {
            let [low, median, high] = interval(&mut ratios);
            println!("{name:12} {stage:9} erased/static {median:.3}, 95 % within {low:.3} to {high:.3}");
        }
    }
}

fn open(erased: bool, dir: &Path) -> Result<Box<dyn Driver>> {
    let mut options =
        Options { background: false, cache_bytes_max: None, encode_threads: 1, ..Options::default() };
    options.log.durability = Durability::None;
    let dirs = Dirs::under(dir);
    if erased {
        Registry::standard().open(&Parts::default(), dirs, options)
    } else {
        Ok(Box::new(Engine::<Ring, FileLog, Tsm1>::open(dirs, options)?))
    }
}

/// CPU seconds per stage.
fn run(erased: bool, batches: &[Vec<u8>]) -> [f64; STAGES.len()] {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = open(erased, dir.path()).expect("opens");
    let lines = LineOptions::new(Timestamp(0));
    let write = seconds(|| {
        for batch in batches {
            let report = engine.write_lines(batch, &lines).expect("enough space");
            assert!(report.rejected.is_empty(), "{:?}", report.rejected);
        }
    });
    engine.close().expect("closes");
    let mut reopened = None;
    let replay = seconds(|| reopened = Some(open(erased, dir.path()).expect("opens")));
    let engine = reopened.expect("opened");
    let snapshot = seconds(|| drop(engine.snapshot().expect("enough space")));
    let scan = seconds(|| {
        let (mut reader, mut column) = (engine.reader(), Column::new(FieldType::Float));
        for key in engine.keys() {
            let key = FieldKey::parse(&key).expect("a composite key");
            reader.read(key, TimeRange::ALL, &mut column).expect("readable");
        }
    });
    engine.close().expect("closes");
    [write, replay, snapshot, scan]
}

/// CPU time of all threads, user and system.
fn seconds(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let begun = now();
    work();
    now() - begun
}

/// The median, and the order statistics that bound it with 95 % confidence.
fn interval(ratios: &mut [f64]) -> [f64; 3] {
    ratios.sort_by(f64::total_cmp);
    let count = ratios.len();
    let below = ((count as f64 - 1.96 * (count as f64).sqrt()) / 2.0).max(0.0) as usize;
    [ratios[below], ratios[count / 2], ratios[count - 1 - below]]
}
