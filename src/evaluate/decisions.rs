//! Estimators that take each decision for itself: contextual bandits.
//!
//! In each term w is the importance weight pi(a | x) / propensity, r the reward, q(x, a) the reward model's guess for
//! what was shown, and v(x) = sum over a of pi(a | x) q(x, a). Names end in `table` where the model takes part.

use super::sample::LoggedStep;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DecisionEstimator {
    /// Inverse propensity scores (Horvitz and Thompson 1952).
    Ips,
    /// Weights cut at lambda (Ionides 2008).
    ClippedIps {
        lambda: f64,
    },
    /// Self-normalized (Swaminathan and Joachims 2015).
    Snips,
    /// The reward model alone.
    DirectMethod,
    /// Doubly robust (Dudik et al. 2011).
    DoublyRobust,
    SelfNormalizedDoublyRobust,
    /// The model alone where the weight exceeds lambda (Wang et al. 2017).
    SwitchDoublyRobust {
        lambda: f64,
    },
    /// Optimistic shrinkage of the weights (Su et al. 2020).
    ShrunkDoublyRobust {
        lambda: f64,
    },
}

impl DecisionEstimator {
    pub fn all(lambdas: &[f64]) -> Vec<DecisionEstimator> {
        use DecisionEstimator::{
            ClippedIps, DirectMethod, DoublyRobust, Ips, SelfNormalizedDoublyRobust, ShrunkDoublyRobust, Snips,
            SwitchDoublyRobust,
        };
        let mut all = vec![Ips, Snips];
        all.extend(lambdas.iter().map(|&lambda| ClippedIps { lambda }));
        all.extend([DirectMethod, DoublyRobust, SelfNormalizedDoublyRobust]);
        all.extend(lambdas.iter().map(|&lambda| SwitchDoublyRobust { lambda }));
        all.extend(lambdas.iter().map(|&lambda| ShrunkDoublyRobust { lambda }));
        all
    }

    pub fn name(self) -> String {
        match self {
            DecisionEstimator::Ips => "ips".to_owned(),
            DecisionEstimator::ClippedIps { lambda } => format!("ips_clip_{lambda}"),
            DecisionEstimator::Snips => "snips".to_owned(),
            DecisionEstimator::DirectMethod => "dm_table".to_owned(),
            DecisionEstimator::DoublyRobust => "dr_table".to_owned(),
            DecisionEstimator::SelfNormalizedDoublyRobust => "sndr_table".to_owned(),
            DecisionEstimator::SwitchDoublyRobust { lambda } => format!("switch_dr_{lambda}_table"),
            DecisionEstimator::ShrunkDoublyRobust { lambda } => format!("dros_{lambda}_table"),
        }
    }

    /// One term per decision; their mean is the estimate.
    pub fn terms(self, steps: &[LoggedStep]) -> Vec<f64> {
        let each = |term: fn(&LoggedStep) -> f64| steps.iter().map(term).collect::<Vec<f64>>();
        // v + w' (r - q), the weight changed by `weigh`.
        let corrected = |weigh: &dyn Fn(f64) -> f64| {
            let term = |step: &LoggedStep| step.expected + weigh(step.weight) * (step.reward - step.model);
            steps.iter().map(term).collect()
        };
        match self {
            DecisionEstimator::Ips => each(|step| step.weight * step.reward),
            DecisionEstimator::ClippedIps { lambda } => {
                steps.iter().map(|step| step.weight.min(lambda) * step.reward).collect()
            }
            DecisionEstimator::Snips => {
                linearized_ratio(&each(|step| step.weight * step.reward), &each(|step| step.weight))
            }
            DecisionEstimator::DirectMethod => each(|step| step.expected),
            DecisionEstimator::DoublyRobust => corrected(&|weight| weight),
            DecisionEstimator::SelfNormalizedDoublyRobust => {
                let residuals = each(|step| step.weight * (step.reward - step.model));
                let ratio = linearized_ratio(&residuals, &each(|step| step.weight));
                steps.iter().zip(ratio).map(|(step, ratio)| step.expected + ratio).collect()
            }
            DecisionEstimator::SwitchDoublyRobust { lambda } => {
                corrected(&|weight| if weight <= lambda { weight } else { 0.0 })
            }
            DecisionEstimator::ShrunkDoublyRobust { lambda } => corrected(&|weight| shrunk(weight, lambda)),
        }
    }
}

/// lambda w / (w^2 + lambda), in a form whose square cannot overflow.
fn shrunk(weight: f64, lambda: f64) -> f64 {
    if weight > 0.0 { lambda / (weight + lambda / weight) } else { 0.0 }
}

/// Terms of R = sum n / sum d: R + (n_i - R d_i) / mean d, whose mean is R.
pub fn linearized_ratio(numerators: &[f64], denominators: &[f64]) -> Vec<f64> {
    let sum = denominators.iter().sum::<f64>();
    let ratio = numerators.iter().sum::<f64>() / sum;
    let mean = sum / denominators.len() as f64;
    numerators.iter().zip(denominators).map(|(n, d)| ratio + (n - ratio * d) / mean).collect()
}
