//! When an update must not happen, and the copy to which a row of refusals leads back.
//!
//! Everything here is state of the learner and travels with it: a restart must neither forget that seven updates in a
//! row were refused nor where the eighth would lead.

use serde::{Deserialize, Serialize};

use super::adam::Adam;
use super::settings::GuardSettings;
use crate::policy::Tensor;

/// Norms seen before a norm can be called large.
const NORMS_MIN: u64 = 100;
/// Weight of a new norm in the running mean of their logarithms. A refused norm counts too, so that a new regime of
/// larger gradients is taken for good after some tens of refusals instead of never.
const NORM_SHARE: f64 = 0.01;

/// Why an update was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The loss, a gradient or a parameter is not finite.
    NotFinite,
    /// The policy's mean has run away from the actions.
    Distance,
    /// The gradient is far larger than it used to be.
    Gradient,
    /// The parameters have grown out of bounds.
    Size,
}

/// What the guard looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs {
    pub loss: f64,
    pub gradient_norm: f64,
    pub distance_ratio: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// Running mean of the logarithm of the gradient norm.
    log_norm: f64,
    norms: u64,
    refused_in_a_row: u32,
    applied_since_snapshot: u64,
    snapshot: Snapshot,
}

/// A copy of policy and optimizer whose health the batch after it confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub tensors: Vec<Tensor>,
    pub adam: Adam,
}

impl Refusal {
    pub const ALL: [Refusal; 4] = [Refusal::NotFinite, Refusal::Distance, Refusal::Gradient, Refusal::Size];

    pub fn name(self) -> &'static str {
        match self {
            Refusal::NotFinite => "not_finite",
            Refusal::Distance => "distance",
            Refusal::Gradient => "gradient",
            Refusal::Size => "size",
        }
    }
}

impl Guard {
    pub fn new(snapshot: Snapshot) -> Guard {
        Guard { log_norm: 0.0, norms: 0, refused_in_a_row: 0, applied_since_snapshot: 0, snapshot }
    }

    /// Looks at a gradient before it is used.
    pub fn judge(&mut self, signs: Signs, settings: &GuardSettings) -> Result<(), Refusal> {
        if !(signs.loss.is_finite() && signs.gradient_norm.is_finite() && signs.distance_ratio.is_finite()) {
            return Err(Refusal::NotFinite);
        }
        let is_large = self.observe_norm(signs.gradient_norm, settings.gradient_ratio_max.ln());
        if signs.distance_ratio > settings.distance_ratio_max {
            return Err(Refusal::Distance);
        }
        if is_large { Err(Refusal::Gradient) } else { Ok(()) }
    }

    /// Looks at the parameters that a step would lead to. Their norm is over `count` numbers.
    pub fn judge_parameters(&self, norm: f64, count: usize, settings: &GuardSettings) -> Result<(), Refusal> {
        if !norm.is_finite() {
            return Err(Refusal::NotFinite);
        }
        let is_large = norm > settings.parameter_size_max * (count as f64).sqrt();
        if is_large { Err(Refusal::Size) } else { Ok(()) }
    }

    /// A batch confirmed the state before its update; every so often that state becomes the copy.
    pub fn confirm(&mut self, settings: &GuardSettings, copy: impl FnOnce() -> Snapshot) {
        self.refused_in_a_row = 0;
        if self.applied_since_snapshot >= settings.snapshot_updates {
            self.snapshot = copy();
            self.applied_since_snapshot = 0;
        }
        self.applied_since_snapshot = self.applied_since_snapshot.saturating_add(1);
    }

    /// Counts a refusal. `Some` when it was one too many: the state to go back to.
    pub fn refuse(&mut self, settings: &GuardSettings) -> Option<Snapshot> {
        self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
        if self.refused_in_a_row < settings.refused_in_a_row {
            return None;
        }
        self.refused_in_a_row = 0;
        self.applied_since_snapshot = 0;
        Some(self.snapshot.clone())
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether all numbers are ones that this code can have written.
    pub fn is_sound(&self) -> bool {
        self.log_norm.is_finite()
    }

    /// Whether the norm is large beside those before it; then it joins them, but once there are enough to
    /// compare with never by more than the limit.
    fn observe_norm(&mut self, norm: f64, log_ratio_max: f64) -> bool {
        // A policy with one item to choose from has no gradient, and that says nothing about those that follow.
        if norm == 0.0 {
            return false;
        }
        let log = norm.ln();
        if self.norms == 0 {
            self.log_norm = log;
        }
        let gap = log - self.log_norm;
        let is_known = self.norms >= NORMS_MIN;
        let limit = if is_known { log_ratio_max } else { f64::INFINITY };
        let share = NORM_SHARE.max(1.0 / (self.norms + 1) as f64);
        self.log_norm += share * gap.clamp(-limit, limit);
        self.norms = self.norms.saturating_add(1);
        is_known && gap > log_ratio_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(norms: impl Iterator<Item = f64>) -> Vec<Result<(), Refusal>> {
        let mut guard = Guard::new(Snapshot { tensors: Vec::new(), adam: Adam::new(&[]) });
        let judge = |gradient_norm| {
            guard.judge(Signs { loss: 1.0, gradient_norm, distance_ratio: 0.0 }, &GuardSettings::default())
        };
        norms.map(judge).collect()
    }

    #[test]
    fn a_start_without_gradients_does_not_make_ordinary_ones_large() {
        let start = [0.0, 0.0, 1e-30].into_iter().chain(std::iter::repeat_n(1.0, 500));
        assert!(outcomes(start).iter().all(Result::is_ok));
    }

    #[test]
    fn a_norm_far_beyond_those_before_it_is_refused() {
        let norms = std::iter::repeat_n(1.0, 150).chain([2e3, 1.0]);
        let found = outcomes(norms);
        assert_eq!(found[150..], [Err(Refusal::Gradient), Ok(())]);
    }
}
