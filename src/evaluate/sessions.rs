//! Estimators that take a session as a whole: reinforcement learning.
//!
//! w_0..t is the product of the weights of steps 0 to t, gamma the discount. The model of the sequential estimators says
//! that what is shown now does not change what comes later in the session:
//! Q_t(a) = q(x_t, a) + gamma V_t+1 and V_t = v(x_t) + gamma V_t+1, V being 0 after the last step.
//!
//! A session that has ended earns nothing more and keeps its weight: where a self-normalized estimator divides by the
//! mean of w_0..t, sessions shorter than t count with their last product.

use super::sample::{LoggedStep, Sample};

/// Gamma, in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Discount(f64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEstimator {
    /// w_0..T sum of gamma^t r_t.
    TrajectoryWise,
    /// sum of gamma^t w_0..t r_t (Precup et al. 2000).
    PerDecision,
    SelfNormalizedTrajectoryWise,
    /// Each step divided by the mean of its own products.
    SelfNormalizedPerDecision,
    /// V_t + w_t (r_t + gamma DR_t+1 - Q_t) (Jiang and Li 2016).
    DoublyRobust,
    SelfNormalizedDoublyRobust,
    /// sum of gamma^t w_t r_t: no step changes the state of another.
    Independent,
}

impl Discount {
    pub const NONE: Discount = Discount(1.0);

    pub fn new(gamma: f64) -> Option<Discount> {
        (0.0..=1.0).contains(&gamma).then_some(Discount(gamma))
    }
}

impl SessionEstimator {
    pub const ALL: [SessionEstimator; 7] = [
        SessionEstimator::TrajectoryWise,
        SessionEstimator::PerDecision,
        SessionEstimator::SelfNormalizedTrajectoryWise,
        SessionEstimator::SelfNormalizedPerDecision,
        SessionEstimator::DoublyRobust,
        SessionEstimator::SelfNormalizedDoublyRobust,
        SessionEstimator::Independent,
    ];

    pub fn name(self, Discount(gamma): Discount) -> String {
        let name = match self {
            SessionEstimator::TrajectoryWise => "tis",
            SessionEstimator::PerDecision => "pdis",
            SessionEstimator::SelfNormalizedTrajectoryWise => "sn_tis",
            SessionEstimator::SelfNormalizedPerDecision => "sn_pdis",
            SessionEstimator::DoublyRobust => "dr_table",
            SessionEstimator::SelfNormalizedDoublyRobust => "sndr_table",
            SessionEstimator::Independent => "iips",
        };
        format!("{name}_g{gamma:?}")
    }

    /// What Open Bandit Pipeline, SCOPE-RL and hand-written checks call the same number, for laying reports side by side.
    pub fn other_names(self, discount: Discount) -> Vec<String> {
        let Discount(gamma) = discount;
        let (scope, undiscounted) = match self {
            SessionEstimator::TrajectoryWise => ("scope_TrajectoryWiseImportanceSampling", Some("obp_SIPS")),
            SessionEstimator::PerDecision => ("scope_PerDecisionImportanceSampling", Some("obp_RIPS(=PDIS gamma=1)")),
            SessionEstimator::SelfNormalizedTrajectoryWise => ("scope_SelfNormalizedTIS", None),
            SessionEstimator::SelfNormalizedPerDecision => ("scope_SelfNormalizedPDIS", Some("obp_SNRIPS")),
            SessionEstimator::DoublyRobust => ("scope_DoublyRobust_table", None),
            SessionEstimator::SelfNormalizedDoublyRobust => ("scope_SelfNormalizedDR_table", None),
            SessionEstimator::Independent => {
                return if discount == Discount::NONE { vec!["obp_IIPS".to_owned()] } else { Vec::new() };
            }
        };
        let mut names = vec![format!("{scope}_g{gamma:?}")];
        names.extend(undiscounted.filter(|_| discount == Discount::NONE).map(str::to_owned));
        if self == SessionEstimator::PerDecision {
            names.push(format!("numpy_PDIS_g{}", if discount == Discount::NONE { 1.0 } else { gamma }));
        }
        names
    }

    /// One term per session; their mean is the estimate.
    pub fn terms(self, sample: &Sample, Discount(gamma): Discount) -> Vec<f64> {
        let each = |term: &dyn Fn(&[LoggedStep]) -> f64| sample.sessions().map(term).collect::<Vec<f64>>();
        match self {
            SessionEstimator::TrajectoryWise => each(&|session| weight(session) * discounted(session, gamma)),
            SessionEstimator::PerDecision => each(&|session| {
                let mut sum = 0.0;
                for_each_product(session, gamma, |discount, product, step| sum += discount * product * step.reward);
                sum
            }),
            SessionEstimator::SelfNormalizedTrajectoryWise => {
                let returns = each(&|session| weight(session) * discounted(session, gamma));
                super::decisions::linearized_ratio(&returns, &each(&weight))
            }
            SessionEstimator::SelfNormalizedPerDecision => stepwise_ratios(sample, gamma, |step| step.reward),
            SessionEstimator::DoublyRobust => each(&|session| doubly_robust(session, gamma)),
            SessionEstimator::SelfNormalizedDoublyRobust => {
                // r_t + gamma V_t+1 - Q_t = r_t - q(x_t, a_t) in this model.
                let corrections = stepwise_ratios(sample, gamma, |step| step.reward - step.model);
                let values = sample
                    .sessions()
                    .map(|session| session.iter().rev().fold(0.0, |later, step| step.expected + gamma * later));
                values.zip(corrections).map(|(value, correction)| value + correction).collect()
            }
            SessionEstimator::Independent => {
                each(&|session| session.iter().rev().fold(0.0, |later, step| step.weight * step.reward + gamma * later))
            }
        }
    }
}

/// w_0..T of a session.
pub fn weight(session: &[LoggedStep]) -> f64 {
    session.iter().map(|step| step.weight).product()
}

fn discounted(session: &[LoggedStep], gamma: f64) -> f64 {
    session.iter().rev().fold(0.0, |later, step| step.reward + gamma * later)
}

/// Calls back with gamma^t, w_0..t and step t.
fn for_each_product(session: &[LoggedStep], gamma: f64, mut visit: impl FnMut(f64, f64, &LoggedStep)) {
    let (mut discount, mut product) = (1.0, 1.0);
    for step in session {
        product *= step.weight;
        visit(discount, product, step);
        discount *= gamma;
    }
}

/// From the last step to the first, as the recursion is written.
fn doubly_robust(session: &[LoggedStep], gamma: f64) -> f64 {
    let (mut estimate, mut value) = (0.0, 0.0);
    for step in session.iter().rev() {
        let shown = step.model + gamma * value;
        value = step.expected + gamma * value;
        estimate = value + step.weight * (step.reward + gamma * estimate - shown);
    }
    estimate
}

/// Terms of sum over t of gamma^t (sum_i w_i,0..t y_i,t) / (sum_i w_i,0..t), each ratio linearized.
fn stepwise_ratios(sample: &Sample, gamma: f64, outcome: impl Fn(&LoggedStep) -> f64) -> Vec<f64> {
    let sessions = sample.session_lengths().count() as f64;
    let longest = sample.session_lengths().max().unwrap_or(0);
    let (mut weights, mut outcomes) = (vec![0.0; longest], vec![0.0; longest]);
    // Sum of the last products of all sessions that end before step t: they keep their weight.
    let mut ended = vec![0.0; longest + 1];
    for session in sample.sessions() {
        let mut at = 0;
        let mut last = 1.0;
        for_each_product(session, gamma, |_, product, step| {
            weights[at] += product;
            outcomes[at] += product * outcome(step);
            (at, last) = (at + 1, product);
        });
        ended[at] += last;
    }
    let mut before = 0.0;
    for (weight, ended) in weights.iter_mut().zip(&ended) {
        before += ended;
        *weight += before;
    }
    let mut discount = 1.0;
    let mut value = 0.0;
    // What a unit of weight costs at step t and from then on: gamma^t ratio_t / mean weight_t.
    let (mut costs, mut scales) = (vec![0.0; longest + 1], vec![0.0; longest]);
    for at in 0..longest {
        let ratio = outcomes[at] / weights[at];
        scales[at] = discount / (weights[at] / sessions);
        costs[at] = ratio * scales[at];
        value += discount * ratio;
        discount *= gamma;
    }
    let mut later = vec![0.0; longest + 1];
    for at in (0..longest).rev() {
        later[at] = later[at + 1] + costs[at];
    }
    let term = |session: &[LoggedStep]| {
        let (mut term, mut at, mut last) = (value, 0, 1.0);
        for_each_product(session, gamma, |_, product, step| {
            term += product * (outcome(step) * scales[at] - costs[at]);
            (at, last) = (at + 1, product);
        });
        term - last * later[at]
    };
    sample.sessions().map(term).collect()
}
