//! The learner: trains the policy on admitted steps.
//!
//! Its state is a function of the settings and of the sequence of batches, bit for bit: it knows no clock, no disk and
//! no randomness but its seed. An update either happens whole or, when the loss or a gradient is not finite or the
//! divergence guard objects, leaves policy and optimizer as they were, to the bit. Too many refusals in a row lead back
//! to a copy of both that is itself part of the state.
//!
//! The loss is -(1/rows) sum_i w_i log pi(a_i | s_i); [`objective`] makes the weights, [`gaussian`] and [`softmax`] the
//! gradient with respect to the trunk's output, [`network`] carries it through the trunk, [`adam`] makes the step.
//! [`estimators`] are what some objectives have to learn beside the policy.
//!
//! Architecture invariant: the only module that knows burn, and in it only [`network`] does.

pub mod adam;
mod baseline;
mod critic;
mod estimators;
pub mod gaussian;
mod guard;
pub mod heads;
mod initial;
mod items;
mod network;
pub mod objective;
mod remoteness;
mod settings;
mod softmax;
mod state;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::adam::{Adam, Proposal};
use self::baseline::Baseline;
use self::critic::Critic;
pub use self::critic::CriticReport;
use self::estimators::{Estimates, Estimators};
pub use self::guard::Refusal;
use self::guard::{Guard, Signs, Snapshot};
use self::heads::View;
use self::network::Network;
pub use self::objective::{CrrWeight, Objective, Temperature, UnknownObjective};
use self::objective::{RowWeights, Rows};
use self::remoteness::Balance;
pub use self::remoteness::Taper;
pub use self::settings::{GuardSettings, LearnerSettings, PolicyKind, SettingsError, Sigma, Tilt, Vectors};
pub use self::state::Parts;
use crate::batch::{Actions, Batch};
use crate::policy::{Head, Policy, PolicyError};

/// Policy, optimizer and guard.
pub struct Learner {
    settings: LearnerSettings,
    network: Network,
    policy: Policy,
    adam: Adam,
    guard: Guard,
    /// What trains the policy's tilt; `None` exactly when the tilt is off.
    critic: Option<Critic>,
    /// What the scores are measured from, where they ask the learner for it.
    baseline: Option<Baseline>,
    estimators: Estimators,
    counters: Counters,
    /// Room for the next step; not state.
    proposal: Proposal,
}

/// What happened so far. Rollbacks do not turn these back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Applied updates: the policy's version.
    pub updates: u64,
    pub refused_not_finite: u64,
    pub refused_distance: u64,
    pub refused_gradient: u64,
    pub refused_size: u64,
    pub rollbacks: u64,
    /// Applied or refused updates in which all kept rows tied and therefore weighed the same.
    pub uniform_fallbacks: u64,
    /// Applied updates of the tilt's critic.
    pub critic_updates: u64,
    pub critic_refused: u64,
    /// Applied updates of the scores' baseline.
    pub baseline_updates: u64,
    pub baseline_refused: u64,
    /// Matured steps up to the last critic batch.
    pub decisions: u64,
    /// Applied updates of `remoteness` without their negatives, which would have had no stable point.
    pub negatives_dropped: u64,
}

/// What one batch did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateReport {
    pub outcome: Outcome,
    pub loss: f64,
    /// Over all tensors together, before clipping.
    pub gradient_norm: f64,
    /// Mean of log pi(a | s) over the rows, unweighted, before the update.
    pub log_likelihood: f64,
    pub effective_sample_size: f64,
    /// Standard deviation of the scores over the batch, weighted with the atom's share.
    pub kept_std: f64,
    /// Mean distance from the actions to the policy's mean; 0 for softmax.
    pub mean_distance: f64,
    pub is_uniform_fallback: bool,
    /// The refusal was one too many, and led back to the guard's copy.
    pub is_rollback: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    Refused(Refusal),
}

/// A batch that does not fit the learner. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    #[error("batch {number} has no rows")]
    Empty { number: u64 },
    #[error("batch {number}: {expected} {part} expected, {found} found")]
    Length { number: u64, part: &'static str, expected: usize, found: usize },
    #[error("batch {number}: actions of another kind of policy")]
    Kind { number: u64 },
    #[error("batch {number}: item {item}, where there is room for {capacity}")]
    Item { number: u64, item: u32, capacity: usize },
}

#[derive(Debug, Error)]
pub enum LearnerError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("could not start the learner's threads")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    #[error("could not restore the policy")]
    Policy(#[from] PolicyError),
    #[error("the policy was made with other settings: {0}")]
    OtherSettings(&'static str),
    #[error("could not restore the optimizer: {0}")]
    Optimizer(&'static str),
}

/// What is learned beside the policy, as it was restored.
struct Beside {
    estimators: Estimators,
    critic: Option<Adam>,
    baseline: Option<Baseline>,
}

/// Weights of a batch, and what they leave to be remembered if the update happens.
struct Weighed {
    rows: RowWeights,
    balance: Option<Balance>,
    negatives_dropped: bool,
}

impl Learner {
    /// A learner that has seen nothing.
    pub fn new(settings: LearnerSettings) -> Result<Learner, LearnerError> {
        settings.validate()?;
        let head = settings.head();
        let policy =
            Policy::new(settings.state_dimension, head, initial::tensors(&settings), settings.given_vectors())?;
        Learner::from_policy(settings, policy)
    }

    /// One update, or a refusal. An error means that the batch does not fit, and has changed nothing either.
    pub fn update(&mut self, batch: &Batch) -> Result<UpdateReport, BatchError> {
        self.check(batch)?;
        // The whole update in one place: numbers that one thread allocates and another frees cost as much as Adam.
        let pool = self.network.pool();
        Ok(pool.install(|| self.update_checked(batch)))
    }

    fn update_checked(&mut self, batch: &Batch) -> UpdateReport {
        let items_before = self.policy.items();
        self.fit_items(items_before.max(items::count(&batch.actions)));
        let states = if self.settings.state_dimension == 0 { &vec![1.0; batch.rows] } else { &batch.states };
        let estimates = self.estimators.look(&self.network, &self.settings, states, batch);

        let mut weighed = None;
        let (gradients, head) = self
            .view(batch)
            .gradients(states, |output| weighed.insert(self.weigh(output, batch, &estimates)).rows.weights.clone());
        let gradient_norm = adam::norm(gradients.iter().flatten().map(Vec::as_slice));
        let signs = Signs { loss: head.loss, gradient_norm, distance_ratio: head.distance_ratio };

        let judged = self.guard.judge(signs, &self.settings.guard);
        let mut is_rollback = false;
        let balance = weighed.as_ref().and_then(|weighed| weighed.balance);
        let outcome = match judged.and_then(|()| self.propose(&gradients, gradient_norm)) {
            Ok(()) => {
                self.apply(balance);
                Outcome::Applied
            }
            Err(refusal) => {
                self.fit_items(items_before);
                is_rollback = self.refuse(refusal);
                Outcome::Refused(refusal)
            }
        };
        let is_uniform_fallback = weighed.as_ref().is_some_and(|weighed| weighed.rows.is_uniform_fallback);
        self.counters.uniform_fallbacks += u64::from(is_uniform_fallback);
        let dropped = outcome == Outcome::Applied && weighed.as_ref().is_some_and(|weighed| weighed.negatives_dropped);
        self.counters.negatives_dropped += u64::from(dropped);
        UpdateReport {
            outcome,
            loss: head.loss,
            gradient_norm,
            log_likelihood: head.log_likelihood(),
            effective_sample_size: weighed.as_ref().map_or(0.0, |weighed| weighed.rows.effective_sample_size),
            kept_std: weighed.as_ref().map_or(0.0, |weighed| weighed.rows.kept_std),
            mean_distance: head.mean_distance,
            is_uniform_fallback,
            is_rollback,
        }
    }

    /// The policy as it is now; cloning it costs a copy of its numbers.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub fn settings(&self) -> &LearnerSettings {
        &self.settings
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn from_policy(settings: LearnerSettings, policy: Policy) -> Result<Learner, LearnerError> {
        let adam = Adam::new(policy.tensors());
        let guard = Guard::new(Snapshot { tensors: policy.tensors().to_vec(), adam: adam.clone() });
        let beside = Beside { estimators: Estimators::default(), critic: None, baseline: None };
        Learner::from_state(settings, policy, adam, guard, beside, Counters::default())
    }

    fn from_state(
        settings: LearnerSettings,
        policy: Policy,
        adam: Adam,
        guard: Guard,
        beside: Beside,
        counters: Counters,
    ) -> Result<Learner, LearnerError> {
        let Beside { mut estimators, critic, baseline } = beside;
        let network = Network::new(settings.threads).map_err(LearnerError::Threads)?;
        estimators.fit(&settings, &policy);
        let (policy, critic) = critic::fitted(&settings, policy, critic, counters.decisions)?;
        Ok(Learner {
            settings,
            network,
            policy,
            adam,
            guard,
            estimators,
            critic,
            baseline,
            counters,
            proposal: Proposal::default(),
        })
    }

    fn view<'a>(&'a self, batch: &'a Batch) -> View<'a> {
        View { network: &self.network, settings: &self.settings, policy: &self.policy, batch }
    }

    /// What each row weighs, given what the trunk makes of its state.
    fn weigh(&self, output: &[f32], batch: &Batch, estimates: &Estimates) -> Weighed {
        let mut objective = self.settings.objective;
        let (mut log_ratios, mut tapers) = (Vec::new(), Vec::new());
        let (mut balance, mut negatives_dropped) = (None, false);
        if let Objective::Remoteness { taper } = objective {
            let remoteness = self.view(batch).measure(output).remoteness;
            let next;
            (tapers, next, negatives_dropped) = self.estimators.balance.tapers(taper, &batch.scores, &remoteness);
            balance = Some(next);
        }
        if let Objective::Bppo { .. } = objective {
            match &estimates.behavior {
                // Where there is no behavior to keep close to, the policy imitates as the estimate of it does.
                None => objective = Objective::Bc,
                Some(behavior) => {
                    let policy = self.view(batch).measure(output).log_probabilities;
                    log_ratios = policy.iter().zip(behavior).map(|(policy, behavior)| policy - behavior).collect();
                }
            }
        }
        let rows = Rows {
            scores: &batch.scores,
            thresholds: &batch.thresholds,
            atom_weights: &batch.weights,
            values: &estimates.values,
            log_ratios: &log_ratios,
            tapers: &tapers,
        };
        let mut rows = objective::row_weights(objective, &rows);
        objective::apply_propensities(&mut rows.weights, &batch.propensities, self.settings.propensity_power);
        Weighed { rows, balance, negatives_dropped }
    }

    /// Computes the step that the gradients lead to, and looks at where it would end.
    fn propose(&mut self, gradients: &[Option<Vec<f32>>], gradient_norm: f64) -> Result<(), Refusal> {
        self.adam.propose(&self.settings, self.policy.tensors(), gradients, gradient_norm, &mut self.proposal);
        if let (Head::Gaussian { .. }, Some(log_sigma)) = (self.policy.head(), self.proposal.values.last_mut()) {
            Policy::bound_log_sigma(log_sigma);
        }
        let norm = adam::norm(self.proposal.values.iter().map(Vec::as_slice));
        let count = self.proposal.values.iter().map(Vec::len).sum();
        self.guard.judge_parameters(norm, count, &self.settings.guard)
    }

    fn apply(&mut self, balance: Option<Balance>) {
        let (policy, adam) = (&self.policy, &self.adam);
        self.guard
            .confirm(&self.settings.guard, || Snapshot { tensors: policy.tensors().to_vec(), adam: adam.clone() });
        self.adam.accept(self.policy.tensors_mut(), &mut self.proposal);
        self.estimators.accept(balance);
        self.counters.updates = self.counters.updates.saturating_add(1);
    }

    /// Counts a refusal; true when it led back to the guard's copy.
    fn refuse(&mut self, refusal: Refusal) -> bool {
        let counter = match refusal {
            Refusal::NotFinite => &mut self.counters.refused_not_finite,
            Refusal::Distance => &mut self.counters.refused_distance,
            Refusal::Gradient => &mut self.counters.refused_gradient,
            Refusal::Size => &mut self.counters.refused_size,
        };
        *counter += 1;
        let Some(snapshot) = self.guard.refuse(&self.settings.guard) else { return false };
        *self.policy.tensors_mut() = snapshot.tensors;
        self.adam = snapshot.adam;
        self.counters.rollbacks += 1;
        true
    }

    /// Vectors for exactly so many items, in the policy and in the estimate of the behavior.
    fn fit_items(&mut self, items: usize) {
        let seed = self.settings.seed;
        items::fit(&mut self.policy, &mut self.adam, seed, items);
        if let Some(behavior) = &mut self.estimators.behavior {
            items::fit(&mut behavior.policy, &mut behavior.adam, seed, items);
        }
    }

    fn check(&self, batch: &Batch) -> Result<(), BatchError> {
        let (number, rows) = (batch.number, batch.rows);
        if rows == 0 {
            return Err(BatchError::Empty { number });
        }
        let length = |part: &'static str, found: usize, expected: Option<usize>| {
            let expected = expected.unwrap_or(usize::MAX);
            if found == expected { Ok(()) } else { Err(BatchError::Length { number, part, expected, found }) }
        };
        length("state numbers", batch.states.len(), rows.checked_mul(self.settings.state_dimension))?;
        length("scores", batch.scores.len(), Some(rows))?;
        length("thresholds", batch.thresholds.len(), Some(rows))?;
        length("weights", batch.weights.len(), Some(rows))?;
        length("propensities", batch.propensities.len(), Some(rows))?;
        match (&self.settings.policy, &batch.actions) {
            (PolicyKind::Gaussian { dimension, .. }, Actions::Embeddings { dimension: found, values }) => {
                length("embedding dimensions", *found, Some(*dimension))?;
                length("embedding numbers", values.len(), rows.checked_mul(*dimension))
            }
            (PolicyKind::Softmax { vectors }, Actions::Items { chosen, candidates }) => {
                length("items", chosen.len(), Some(rows))?;
                length("candidate sets", candidates.len(), Some(rows))?;
                let capacity = match vectors {
                    Vectors::Learned { capacity, .. } => *capacity,
                    Vectors::Given(vectors) => vectors.items(),
                };
                match items::all(&batch.actions).find(|&item| item as usize >= capacity) {
                    Some(item) => Err(BatchError::Item { number, item, capacity }),
                    None => Ok(()),
                }
            }
            (PolicyKind::Gaussian { .. }, Actions::Items { .. })
            | (PolicyKind::Softmax { .. }, Actions::Embeddings { .. }) => Err(BatchError::Kind { number }),
        }
    }
}

impl Counters {
    pub fn refused(&self) -> u64 {
        self.refused_not_finite + self.refused_distance + self.refused_gradient + self.refused_size
    }
}
