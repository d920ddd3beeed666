//! Values of flags. An unknown name is a usage error that lists the known names.

use std::path::{Path, PathBuf};

use tsmith_codecs::BLOCK_VALUES_MAX;

use crate::adapter;
use crate::workload::Workload;

/// Most series of a generated dataset, and most points of a call.
const COUNT_MAX: usize = 10_000_000;

pub(crate) type Parsed<T = String> = Result<T, String>;

fn one_of(what: &str, text: &str, names: &[(&str, &str)]) -> Parsed {
    if names.iter().any(|(name, _)| *name == text) {
        return Ok(text.to_owned());
    }
    let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    Err(format!("there is no {what} `{text}`; there are: {}", known.join(", ")))
}

pub(crate) fn order(text: &str) -> Parsed {
    one_of("order", text, adapter::ORDERS)
}

pub(crate) fn durability(text: &str) -> Parsed {
    let interval =
        text.strip_prefix("interval:").is_some_and(|time| tsmith_engine::parse_duration(time).is_some());
    let known = [adapter::DURABILITIES, &[adapter::INTERVAL]].concat();
    if interval { Ok(text.to_owned()) } else { one_of("durability", text, &known) }
}

/// The number of points of a block, as text.
pub(crate) fn block(text: &str) -> Parsed {
    let points = text.parse().ok().filter(|points| (1..=BLOCK_VALUES_MAX).contains(points));
    points
        .map(|points: usize| points.to_string())
        .ok_or_else(|| format!("`{text}` is not a number of points from 1 to {BLOCK_VALUES_MAX}"))
}

/// Parses a number such as `1000`, `100k` or `1M`.
pub(super) fn count(text: &str) -> Parsed<usize> {
    let (digits, unit) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let count = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    let count = count.filter(|count| (1..=COUNT_MAX).contains(count));
    count.ok_or_else(|| format!("`{text}` is not a number from 1 to 10M, such as 1000, 100k or 1M"))
}

pub(super) fn workload(text: &str) -> Parsed<Workload> {
    let known = Workload::ALL.map(Workload::name).join(", ");
    let found = Workload::ALL.into_iter().find(|workload| workload.name() == text);
    found.ok_or_else(|| format!("there is no workload `{text}`; there are: {known}"))
}

/// A dataset: its name in reports and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dataset {
    pub(super) name: String,
    /// Empty if the dataset is generated.
    pub(super) path: PathBuf,
    /// Number of series, if the dataset is generated.
    pub(super) series: Option<usize>,
}

impl Dataset {
    /// The datasets of the repository.
    pub(super) fn bundled() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        let named = |name: &str| Self {
            name: name.into(),
            path: folder.join(format!("{name}.lp.zst")),
            series: None,
        };
        ["nyc_weather", "nyc_flights"].map(named).into()
    }

    /// A dataset of this many series, as Telegraf sends them.
    pub(super) fn generated(series: usize) -> Self {
        Self { name: format!("telegraf_{series}"), path: PathBuf::new(), series: Some(series) }
    }
}

pub(super) fn dataset(text: &str) -> Parsed<Dataset> {
    let bundled = Dataset::bundled();
    if let Some(found) = bundled.iter().find(|dataset| dataset.name == text) {
        return Ok(found.clone());
    }
    let path = PathBuf::from(text);
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match [".zst", ".gz"].iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file).strip_suffix(".lp") {
        Some(name) if path.is_file() => Ok(Dataset { name: name.into(), path, series: None }),
        Some(_) => Err(format!("{text}: no such file")),
        None => {
            let known: Vec<&str> = bundled.iter().map(|dataset| dataset.name.as_str()).collect();
            Err(format!(
                "there is no dataset `{text}`; there are: {}, and files *.lp, *.lp.gz and *.lp.zst",
                known.join(", ")
            ))
        }
    }
}

/// Leaves out repetitions, and names datasets by their paths if their files have one name.
pub(super) fn distinct(datasets: &[Dataset]) -> Vec<Dataset> {
    let mut out: Vec<Dataset> = Vec::new();
    for dataset in datasets {
        if !out.contains(dataset) {
            out.push(dataset.clone());
        }
    }
    let names: Vec<String> = out.iter().map(|dataset| dataset.name.clone()).collect();
    for dataset in &mut out {
        if names.iter().filter(|name| **name == dataset.name).count() > 1 {
            dataset.name = dataset.path.display().to_string();
        }
    }
    out
}

/// Parses `slower>5%` as the ratio 0.95.
pub(super) fn fail_if(text: &str) -> Parsed<f64> {
    let percent = text.strip_prefix("slower>").and_then(|rest| rest.strip_suffix('%'));
    let percent =
        percent.and_then(|number| number.trim().parse::<f64>().ok()).filter(|p| (0.0..100.0).contains(p));
    percent
        .map(|p| 1.0 - p / 100.0)
        .ok_or_else(|| format!("`{text}` does not have the form slower>N%, such as slower>5%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_name_lists_the_known_ones() {
        assert_eq!(
            order("random").expect_err("unknown"),
            "there is no order `random`; there are: sync-then-publish, publish-then-sync"
        );
        assert!(workload("x").expect_err("unknown").contains("ingest, snapshot, "));
        assert!(dataset("x").expect_err("unknown").contains("nyc_weather, nyc_flights"));
        assert!(dataset("no/such.lp").expect_err("absent").contains("no such file"));
    }

    #[test]
    fn a_threshold_is_a_ratio() {
        assert!((fail_if("slower>5%").expect("fine") - 0.95).abs() < 1e-12);
        assert!(fail_if("slower>500%").is_err() && fail_if("5%").is_err());
    }

    #[test]
    fn counts_have_units() {
        assert_eq!(["7", "100k", "1M"].map(|text| count(text).expect("fine")), [7, 100_000, 1_000_000]);
        assert!(["0", "1G", "k", "11M", "-1"].iter().all(|text| count(text).is_err()));
        assert!(block("65536").is_ok() && block("65537").is_err() && block("0").is_err());
    }

    #[test]
    fn files_of_one_name_are_named_by_path() {
        let dataset = |name: &str, path: &str| Dataset { name: name.into(), path: path.into(), series: None };
        let given =
            [dataset("x", "a/x.lp"), dataset("y", "a/y.lp"), dataset("x", "b/x.lp"), dataset("x", "a/x.lp")];
        let names: Vec<String> = distinct(&given).into_iter().map(|dataset| dataset.name).collect();
        assert_eq!(names, ["a/x.lp", "y", "b/x.lp"]);
    }

    #[test]
    fn bundled_datasets_exist() {
        assert!(Dataset::bundled().iter().all(|dataset| dataset.path.is_file()));
    }
}
