//! What another policy would have earned: off-policy estimates from the log, with all that they rest on.
//!
//! An estimator turns every unit of the log (a decision, or a whole session) into one number, its *term*, and its value
//! is the mean of the terms. Variance and intervals need nothing but the terms, so each formula stands in one place:
//! [`decisions`] and [`sessions`]. For a self-normalized estimator, which is a ratio, the terms are its linearization
//! (the delta method): their mean is the ratio exactly, their variance its asymptotic variance.
//!
//! The log must be what the logger did, all of it. What a filter has admitted is biased by its rewards, and no weight
//! undoes that.
//!
//! **Architecture invariant:** no I/O, no clock; randomness by seed alone. Policies are known by their probabilities.

mod decisions;
mod interval;
mod reward_model;
mod sample;
mod sessions;
mod table;
mod target;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use decisions::DecisionEstimator;
pub use interval::{Interval, IntervalKind};
pub use reward_model::RewardModel;
pub use sample::{LoggedStep, Sample};
pub use sessions::{Discount, SessionEstimator};
pub use table::{PolicyTable, TableError};
pub use target::{Refusal, Target};

use interval::{Resampling, Summary};
use sample::Overlap;

/// Below this effective sample size a handful of units decides.
pub(crate) const ESS_MIN: f64 = 100.0;
/// The mean weight is 1 in expectation; further away, propensities or target are not what they claim to be.
const MEAN_WEIGHT_SLACK: f64 = 0.1;

/// What to estimate, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Thresholds of clipping, switching and shrinkage.
    pub lambdas: Vec<f64>,
    pub discounts: Vec<Discount>,
    /// Which interval stands in `interval_low` and `interval_high`.
    pub interval: IntervalKind,
    pub resamples: u32,
    pub seed: u64,
}

/// One estimator's answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub estimator: String,
    /// The entry of which this one is a copy, under the name that another package gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    pub value: f64,
    /// Of the terms, divided by `n`: the standard error is the root of variance / (n - 1).
    pub variance: f64,
    pub interval_low: f64,
    pub interval_high: f64,
    /// What is weighed, and counted in `n`.
    pub unit: Unit,
    pub n: u64,
    /// Kish's effective sample size of the importance weights.
    pub ess: f64,
    pub max_weight: f64,
    pub mean_weight: f64,
    pub intervals: Intervals,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Decision,
    Session,
}

/// Two-sided, 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Intervals {
    pub bernstein: Interval,
    pub student: Interval,
    pub bootstrap: Interval,
}

/// Every estimate that the sample allows: of decisions first, then of sessions.
pub fn estimate(sample: &Sample, plan: &Plan) -> Vec<Estimate> {
    let mut estimates = of_decisions(sample, plan);
    estimates.extend(of_sessions(sample, plan));
    estimates
}

fn of_decisions(sample: &Sample, plan: &Plan) -> Vec<Estimate> {
    let overlap = Overlap::of(Unit::Decision, sample.steps().iter().map(|step| step.weight));
    let estimators = DecisionEstimator::all(&plan.lambdas);
    let mut resampling = Resampling::new(sample.session_lengths());
    let mut answers = Vec::new();
    for estimator in &estimators {
        let terms = estimator.terms(sample.steps());
        resampling.add(&terms);
        answers.push((estimator.name(), Summary::of(&terms)));
    }
    let bootstrap = resampling.intervals(plan.resamples, plan.seed);
    let mut estimates = Vec::new();
    for ((name, summary), bootstrap) in answers.into_iter().zip(bootstrap) {
        let estimate = Estimate::new(name, (&summary, bootstrap), overlap, plan.interval);
        let bounds = (estimate.estimator == "ips").then(|| estimate.bounds(&summary));
        estimates.push(estimate);
        estimates.extend(bounds.into_iter().flatten());
    }
    estimates
}

fn of_sessions(sample: &Sample, plan: &Plan) -> Vec<Estimate> {
    let overlap = Overlap::of(Unit::Session, sample.sessions().map(sessions::weight));
    let mut resampling = Resampling::new(sample.sessions().map(|_| 1));
    let mut answers = Vec::new();
    for &discount in &plan.discounts {
        for estimator in SessionEstimator::ALL {
            let terms = estimator.terms(sample, discount);
            resampling.add(&terms);
            answers.push((estimator, discount, Summary::of(&terms)));
        }
    }
    // The same seed: both families see the same resampled logs.
    let bootstrap = resampling.intervals(plan.resamples, plan.seed);
    let mut estimates = Vec::new();
    for ((estimator, discount, summary), bootstrap) in answers.into_iter().zip(bootstrap) {
        let estimate = Estimate::new(estimator.name(discount), (&summary, bootstrap), overlap, plan.interval);
        let copies = estimator.other_names(discount).into_iter().map(|name| estimate.copied_as(name));
        let copies: Vec<Estimate> = copies.collect();
        estimates.push(estimate);
        estimates.extend(copies);
    }
    estimates
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Decision => "decision",
            Unit::Session => "session",
        }
    }
}

impl Estimate {
    fn new(
        estimator: String,
        (summary, bootstrap): (&Summary, Interval),
        overlap: Overlap,
        kind: IntervalKind,
    ) -> Estimate {
        let intervals = Intervals { bernstein: summary.bernstein(), student: summary.student(), bootstrap };
        let shown = match kind {
            IntervalKind::Bernstein => intervals.bernstein,
            IntervalKind::Student => intervals.student,
            IntervalKind::Bootstrap => intervals.bootstrap,
        };
        let mut warnings = overlap.warnings();
        if !summary.mean.is_finite() {
            let problem = "the value does not exist: all weights are zero, or their products exceed the numbers";
            warnings.push(problem.to_owned());
        }
        Estimate {
            estimator,
            same_as: None,
            value: summary.mean,
            variance: summary.variance,
            interval_low: shown.low,
            interval_high: shown.high,
            unit: overlap.unit,
            n: summary.n,
            ess: overlap.ess,
            max_weight: overlap.max_weight,
            mean_weight: overlap.mean_weight,
            intervals,
            warnings,
        }
    }

    /// How many units there are, and how they are weighted.
    pub fn overlap_in_words(&self) -> String {
        let Estimate { n, ess, max_weight, mean_weight, .. } = self;
        let weight = |weight: f64| if weight < 1e-3 { format!("{weight:.2e}") } else { format!("{weight:.4}") };
        let (greatest, mean) = (weight(*max_weight), weight(*mean_weight));
        format!("n {n}, effective {ess:.1}, greatest weight {greatest}, mean weight {mean}")
    }

    fn copied_as(&self, name: String) -> Estimate {
        Estimate { estimator: name, same_as: Some(self.estimator.clone()), ..self.clone() }
    }

    /// High-confidence answers: what the value exceeds with 95 % confidence, by one-sided bounds; and the interval of
    /// the bootstrap by its own name.
    fn bounds(&self, summary: &Summary) -> Vec<Estimate> {
        let lower = |kind: &str, value: f64| Estimate {
            estimator: format!("{}_{kind}_lb95", self.estimator),
            value,
            interval_low: value,
            interval_high: f64::INFINITY,
            ..self.clone()
        };
        let Interval { low, high } = self.intervals.bootstrap;
        vec![
            lower("bernstein", summary.bernstein_lower()),
            lower("hoeffding", summary.hoeffding_lower()),
            lower("student", summary.student_lower()),
            Estimate {
                estimator: format!("{}_bootstrap_ci95", self.estimator),
                interval_low: low,
                interval_high: high,
                ..self.clone()
            },
        ]
    }
}
