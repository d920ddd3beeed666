//! How often a process repeats its timed work.

use super::mean_and_variance;

/// The fewest and the most passes of a process.
pub(crate) const PASSES_MIN: u32 = 3;
pub(crate) const PASSES_MAX: u32 = 20;

/// The costs of one cell, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PassCosts {
    /// Of a process without its passes: start, setup, verification.
    pub(crate) process: f64,
    /// Of one pass, with the work before it that is not timed.
    pub(crate) pass: f64,
}

/// Passes for the processes of a group: `sqrt(cost_process / cost_pass * var_pass / var_process)`, which gives the smallest
/// error for a time (Kalibera & Jones 2013). It is the largest over the cells, because all make the same number.
///
/// `cells` has the logarithms of the passes of each process; `pairs` has the difference `ln R1 - ln R2` of equal processes.
pub(crate) fn passes_per_process(costs: &[PassCosts], processes: &[Vec<f64>], pairs: &[f64]) -> u32 {
    let within: Vec<f64> = processes
        .iter()
        .filter(|passes| passes.len() > 1)
        .filter_map(|passes| Some(mean_and_variance(passes)?.1))
        .collect();
    let Some((of_pass, _)) = mean_and_variance(&within) else { return PASSES_MIN };
    // A difference has twice the variance of one process.
    let of_process = pairs.iter().map(|pair| pair * pair / 2.0).sum::<f64>() / pairs.len().max(1) as f64;
    let ratio = costs.iter().map(|cost| cost.process / cost.pass).fold(0.0, f64::max);
    let best = (ratio * of_pass / of_process).sqrt().ceil();
    if best.is_nan() { PASSES_MIN } else { (best as u32).clamp(PASSES_MIN, PASSES_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_follow_costs_and_variances() {
        let cost = |process| PassCosts { process, pass: 1.0 };
        // The variance of passes is 0.02, that of processes 0.005.
        let (processes, pairs) = (vec![vec![0.0, 0.2]; 3], vec![0.1, -0.1]);
        assert_eq!(passes_per_process(&[cost(9.0), cost(4.0)], &processes, &pairs), 6);
        assert_eq!(passes_per_process(&[cost(0.1)], &processes, &pairs), PASSES_MIN);
        assert_eq!(passes_per_process(&[cost(9e9)], &processes, &pairs), PASSES_MAX);
        assert_eq!(passes_per_process(&[cost(9.0)], &[], &pairs), PASSES_MIN);
    }
}
