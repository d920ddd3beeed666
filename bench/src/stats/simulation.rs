//! Simulated runs with known ratios: how many verdicts are false, and how many effects are found.

use super::{BLOCKS_MIN, Comparison, Judge, Need, Share, Verdict, looks_paid, noise};
use crate::inputs::Rng;

const GROUPS: usize = 10;
const CELLS: usize = 70;

/// A machine: the time of a run is disturbed by noise, and some runs by other load.
#[derive(Clone, Copy)]
struct Machine {
    /// Standard deviation of the logarithm of a pass.
    noise: f64,
    /// Share of passes that other load hits, and how much longer these take on average.
    hit_share: f64,
    hit_mean: f64,
    /// A run reports the minimum of these.
    passes: u32,
    /// Blocks in which every pass takes 1.5 times as long, or twice, or anything between.
    burst: (usize, usize),
}

const LOADED: Machine = Machine { noise: 0.03, hit_share: 0.15, hit_mean: 0.3, passes: 1, burst: (0, 0) };
const NOISY: Machine = Machine { noise: 0.08, hit_share: 0.2, hit_mean: 0.5, passes: 3, burst: (0, 0) };
const BURST: Machine = Machine { burst: (1, 2), ..LOADED };

impl Machine {
    /// The logarithm of the time of one run.
    fn run(&self, rng: &mut Rng, block: usize, ln_speed: f64) -> f64 {
        let pass = |rng: &mut Rng| {
            let hit =
                if rng.unit() < self.hit_share { 1.0 - self.hit_mean * (1.0 - rng.unit()).ln() } else { 1.0 };
            let burst =
                if (self.burst.0..self.burst.1).contains(&block) { 1.5 + 0.5 * rng.unit() } else { 1.0 };
            self.noise * normal(rng) + hit.ln() + burst.ln()
        };
        let fastest = (0..self.passes).map(|_| pass(rng)).fold(f64::INFINITY, f64::min);
        fastest - ln_speed
    }

    /// Runs the whole procedure with the time of `blocks` full blocks.
    fn verdicts(&self, ratios: &[f64], blocks: f64, rng: &mut Rng) -> Vec<Verdict> {
        let mut comparisons = vec![Comparison::default(); ratios.len()];
        let (mut judge, mut pairs) = (Judge::new(ratios.len()), Vec::new());
        let mut left = blocks * (ratios.len() + 2 * GROUPS) as f64;
        let mut share = Share { chosen: vec![true; ratios.len()], blocks: BLOCKS_MIN as u32 };
        let (mut live, mut block) = (share.chosen.clone(), 0);
        for look in 1..=Judge::LOOKS_MAX {
            for _ in 0..share.blocks {
                for group in 0..GROUPS {
                    let here: Vec<usize> =
                        (group..ratios.len()).step_by(GROUPS).filter(|&cell| live[cell]).collect();
                    let cost = here.len() as f64 + 2.0;
                    if here.is_empty() || cost > left {
                        continue;
                    }
                    left -= cost;
                    let (first, second) = (self.run(rng, block, 0.0), self.run(rng, block, 0.0));
                    pairs.push(first - second);
                    for cell in here {
                        let time = self.run(rng, block, ratios[cell].ln());
                        comparisons[cell].ln_ratios.push(f64::midpoint(first, second) - time);
                    }
                }
                block += 1;
            }
            judge.look(&comparisons, looks_paid(noise(&pairs), look));
            let open: Vec<usize> =
                (0..ratios.len()).filter(|&at| !judge.findings()[at].verdict.is_decided()).collect();
            if open.is_empty() || left < 3.0 || look == Judge::LOOKS_MAX {
                break;
            }
            let need = |&at: &usize| {
                let blocks = judge.findings()[at].blocks_missing;
                Need { group: at % GROUPS, blocks, seconds: 1.0, reference_seconds: 2.0 }
            };
            share = Share::of(&open.iter().map(need).collect::<Vec<_>>(), left, Judge::LOOKS_MAX - look);
            live.fill(false);
            open.iter().zip(&share.chosen).for_each(|(&at, &chosen)| live[at] = chosen);
        }
        judge.findings().iter().map(|finding| finding.verdict).collect()
    }
}

/// By Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}

fn differs(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Faster | Verdict::Slower)
}

/// The share of runs of equal cells in which any is called faster or slower.
fn false_share(machine: Machine, runs: u32) -> f64 {
    let mut rng = Rng::named("equal cells");
    let any = (0..runs)
        .filter(|_| machine.verdicts(&[1.0; CELLS], 4.5, &mut rng).iter().any(|&verdict| differs(verdict)))
        .count();
    any as f64 / f64::from(runs)
}

/// The share of cells with this ratio that are called faster, among equal ones. Half of the cells have it.
fn found_share(machine: Machine, ratio: f64, runs: u32) -> f64 {
    let mut rng = Rng::named("planted");
    let ratios: Vec<f64> = (0..CELLS).map(|cell| if cell < CELLS / 2 { ratio } else { 1.0 }).collect();
    let found: usize = (0..runs)
        .map(|_| {
            let verdicts = machine.verdicts(&ratios, 4.5, &mut rng);
            let (planted, equal) = verdicts.split_at(CELLS / 2);
            assert!(!planted.contains(&Verdict::Slower), "a faster cell is never called slower");
            assert!(
                equal.iter().filter(|verdict| differs(**verdict)).count() <= 6,
                "few equal cells are called different"
            );
            planted.iter().filter(|&&verdict| verdict == Verdict::Faster).count()
        })
        .sum();
    found as f64 / (f64::from(runs) * (CELLS / 2) as f64)
}

/// 1,000 runs in which nothing differs.
#[test]
fn equal_cells_are_rarely_called_different() {
    for (name, machine, runs) in [("load", LOADED, 500), ("noise", NOISY, 500), ("burst", BURST, 200)] {
        let share = false_share(machine, runs);
        println!("{name}: {:.1} % of runs have a false verdict", share * 100.0);
        assert!(share <= 0.07, "{name}: {share}");
    }
}

#[test]
fn planted_ratios_are_found() {
    for (name, machine) in [("load", LOADED), ("noise", NOISY), ("burst", BURST)] {
        for (ratio, at_least) in [(1.1, 0.0), (1.3, 0.6), (2.0, 0.95)] {
            let share = found_share(machine, ratio, 30);
            println!("{name}: {:.0} % of the cells with ratio {ratio} are decided", share * 100.0);
            assert!(share >= at_least, "{name}, {ratio}: {share}");
        }
    }
}
