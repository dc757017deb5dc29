//! Notices that the log has changed its mean: Page and Hinkley's test (Page 1954) on the scores.
//!
//! Scores are residuals over a baseline, so in a steady log they wander around one mean. What they exceed it by (or fall
//! short of it by), less a tolerance, is summed up; when the sum has come far from its least value the mean has moved.
//! Then the window forgets all but its newest units, so that the threshold is that of the new regime at once, and not only
//! after a whole window. Everything is counted in standard deviations, estimated on the way.

use serde::{Deserialize, Serialize};

/// What is tolerated, in standard deviations: a drift slower than this is left to the window's own sliding.
const TOLERANCE: f64 = 0.2;
/// Scores before anything can be called unusual.
const SCORES_MIN: u64 = 200;
/// One wild score is no drift.
const DEVIATE_MAX: f64 = 5.0;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Drift {
    count: u64,
    mean: f64,
    /// Sum of squared deviations (Welford).
    squares: f64,
    /// How far the sums stand above their least values.
    risen: f64,
    fallen: f64,
}

impl Drift {
    /// Takes a score in; `true` when the mean has moved, after which the test starts anew. `threshold` is in standard
    /// deviations: a shift by one of them is noticed after about as many units.
    pub fn record(&mut self, score: f64, threshold: f64) -> bool {
        let deviation = (self.squares / self.count.max(1) as f64).sqrt();
        if self.count >= SCORES_MIN && deviation > 0.0 {
            let deviate = ((score - self.mean) / deviation).clamp(-DEVIATE_MAX, DEVIATE_MAX);
            self.risen = (self.risen + deviate - TOLERANCE).max(0.0);
            self.fallen = (self.fallen - deviate - TOLERANCE).max(0.0);
        }
        self.count = self.count.saturating_add(1);
        let gap = score - self.mean;
        self.mean += gap / self.count as f64;
        self.squares += gap * (score - self.mean);
        let has_moved = self.risen > threshold || self.fallen > threshold;
        if has_moved {
            *self = Drift::default();
        }
        has_moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn scores(seed: u64, count: usize) -> impl Iterator<Item = f64> {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        // Skewed, as rewards are: standard deviation 1.
        (0..count).map(move |_| -(1.0 - generator.random::<f64>()).ln())
    }

    #[test]
    fn a_steady_log_is_left_alone() {
        for seed in 0..5 {
            let mut drift = Drift::default();
            let alarms = scores(seed, 50_000).filter(|score| drift.record(*score, 50.0)).count();
            assert_eq!(alarms, 0, "seed {seed}");
        }
    }

    #[test]
    fn a_shift_of_one_deviation_is_noticed_within_a_hundred_units_and_once() {
        for (seed, shift) in [(1, 1.0), (2, -1.0), (3, 3.0)] {
            let mut drift = Drift::default();
            assert!(!scores(seed, 5_000).any(|score| drift.record(score, 50.0)), "seed {seed}: too early");
            let alarms: Vec<usize> = (0..)
                .zip(scores(seed + 100, 5_000))
                .filter_map(|(at, score)| drift.record(score + shift, 50.0).then_some(at))
                .collect();
            assert!(alarms.len() == 1 && alarms[0] < 100, "seed {seed}: {alarms:?}");
        }
    }
}
