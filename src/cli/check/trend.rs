//! Does the score say how good behavior was, or only how early or long it was?
//!
//! A return that counts what is still to come is greater at the first step than at the last, whoever recommends. Judged
//! step by step by such a number, a filter admits beginnings, not good choices; judged whole, it admits long sessions.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::assemble::{Lane, SessionRules};
use crate::event::Event;
use crate::position::Partition;
use crate::score::{Baseline, ScoreKind, Unit};
use crate::settings::Score;
use crate::trajectory::Trajectory;

/// From this strength on a person should know.
const STRONG: f64 = 0.8;
/// Fewer say nothing about a trend.
const UNITS_MIN: f64 = 30.0;

/// Assembles the sample in memory and follows two trends.
pub struct Trend {
    rules: SessionRules,
    score: Score,
    lanes: BTreeMap<Partition, Lane>,
    closed: Vec<Trajectory>,
    by_step: Correlation,
    by_length: Correlation,
    trajectories: u64,
    steps: u64,
    reward: f64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// Sessions as the sample gives them; those at its edges are cut.
    pub trajectories: u64,
    pub steps: u64,
    pub mean_return: Option<f64>,
    /// Of a step's number and the discounted reward from it on.
    pub score_step_correlation: Option<f64>,
    /// Of a session's length and its discounted reward.
    pub score_length_correlation: Option<f64>,
}

/// Running sums of Pearson's coefficient (Welford: no cancellation).
#[derive(Debug, Default)]
struct Correlation {
    count: f64,
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Trend {
    pub fn new(rules: SessionRules, score: Score) -> Trend {
        let (by_step, by_length) = (Correlation::default(), Correlation::default());
        let (lanes, closed) = (BTreeMap::new(), Vec::new());
        Trend { rules, score, lanes, closed, by_step, by_length, trajectories: 0, steps: 0, reward: 0.0 }
    }

    pub fn observe(&mut self, partition: Partition, events: Vec<Event>) {
        let lane = self.lanes.entry(partition).or_insert_with(|| Lane::new(partition, self.rules));
        for event in events {
            lane.observe(event, &mut self.closed);
        }
        self.count_closed();
    }

    pub fn report(mut self) -> Report {
        for lane in self.lanes.values_mut() {
            lane.finish(&mut self.closed);
        }
        self.count_closed();
        Report {
            trajectories: self.trajectories,
            steps: self.steps,
            mean_return: (self.trajectories > 0).then(|| self.reward / self.trajectories as f64),
            score_step_correlation: self.by_step.coefficient(),
            score_length_correlation: self.by_length.coefficient(),
        }
    }

    fn count_closed(&mut self) {
        for trajectory in self.closed.drain(..) {
            let mut to_go = 0.0;
            for (number, step) in trajectory.steps.iter().enumerate().rev() {
                to_go = match self.score.kind {
                    ScoreKind::Advantage | ScoreKind::SessionMean | ScoreKind::Return => {
                        step.reward + self.score.discount * to_go
                    }
                    ScoreKind::Reward => step.reward,
                };
                self.by_step.add(number as f64, to_go);
                self.reward += step.reward;
            }
            let whole = match self.score.kind {
                ScoreKind::Advantage | ScoreKind::SessionMean | ScoreKind::Return => to_go,
                ScoreKind::Reward => trajectory.steps.iter().map(|step| step.reward).sum(),
            };
            self.by_length.add(trajectory.steps.len() as f64, whole);
            self.trajectories += 1;
            self.steps += trajectory.steps.len() as u64;
        }
    }
}

impl Report {
    pub fn warning(&self, score: &Score, unit: Unit) -> Option<String> {
        if matches!(score.kind, ScoreKind::Advantage | ScoreKind::SessionMean) && score.baseline == Baseline::Linear {
            // This baseline takes the step number out.
            return None;
        }
        let (correlation, what, way_out) = match unit {
            Unit::Step => (self.score_step_correlation, "step number", "score.baseline = \"linear\""),
            Unit::Trajectory => (self.score_length_correlation, "length of the session", "score.discount below 1"),
        };
        let strong = correlation.filter(|correlation| correlation.abs() >= STRONG)?;
        Some(format!(
            "the score mostly tracks the {what} (correlation {strong:.2}): the filter would keep that instead of good \
             choices. Consider {way_out}, or score.kind = \"advantage\"."
        ))
    }
}

impl Correlation {
    fn add(&mut self, x: f64, y: f64) {
        self.count += 1.0;
        let (dx, dy) = (x - self.mean_x, y - self.mean_y);
        self.mean_x += dx / self.count;
        self.mean_y += dy / self.count;
        self.xx += dx * (x - self.mean_x);
        self.yy += dy * (y - self.mean_y);
        self.xy += dx * (y - self.mean_y);
    }

    /// `None` for too few points, and where one side never changes.
    fn coefficient(&self) -> Option<f64> {
        let spread = (self.xx * self.yy).sqrt();
        (self.count >= UNITS_MIN && spread > 0.0).then(|| (self.xy / spread).clamp(-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coefficient(points: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
        let mut correlation = Correlation::default();
        points.for_each(|(x, y)| correlation.add(x, y));
        correlation.coefficient()
    }

    #[test]
    fn a_line_correlates_entirely_and_a_constant_or_a_handful_not_at_all() {
        let close = |found: Option<f64>, wanted: f64| assert!((found.unwrap() - wanted).abs() < 1e-12, "{found:?}");
        close(coefficient((0..50).map(|n| (f64::from(n), 3.0 - 2.0 * f64::from(n)))), -1.0);
        close(coefficient((0..50).map(|n| (f64::from(n), 1e9 + f64::from(n)))), 1.0);
        assert_eq!(coefficient((0..50).map(|n| (f64::from(n), 7.0))), None);
        assert_eq!(coefficient((0..5).map(|n| (f64::from(n), f64::from(n)))), None);
    }
}
