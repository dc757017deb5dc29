//! The learner: trains the policy on admitted steps.
//!
//! Its state is a function of the settings and of the sequence of batches, bit for bit: it knows no clock, no disk and
//! no randomness but its seed. An update either happens whole or, when the loss or a gradient is not finite or the
//! divergence guard objects, leaves policy and optimizer as they were, to the bit. Too many refusals in a row lead back
//! to a copy of both that is itself part of the state.
//!
//! The loss is -(1/rows) sum_i w_i log pi(a_i | s_i); [`objective`] makes the weights, [`gaussian`] and [`softmax`] the
//! gradient with respect to the trunk's output, [`network`] carries it through the trunk, [`adam`] makes the step.
//!
//! Architecture invariant: the only module that knows burn, and in it only [`network`] does.

pub mod adam;
mod critic;
mod gaussian;
mod guard;
mod initial;
mod network;
pub mod objective;
mod settings;
mod softmax;
mod state;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::adam::{Adam, Proposal};
use self::critic::Critic;
pub use self::critic::CriticReport;
pub use self::guard::Refusal;
use self::guard::{Guard, Signs, Snapshot};
use self::network::Network;
pub use self::objective::{Objective, Temperature, UnknownObjective};
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
    /// Matured steps up to the last critic batch.
    pub decisions: u64,
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

/// What a head makes of the trunk's output.
struct HeadGradients {
    /// With respect to the trunk's output.
    output: Vec<f32>,
    /// With respect to the head's own tensor, where it has one that learns.
    own: Option<Vec<f32>>,
    loss: f64,
    log_likelihood: f64,
    mean_distance: f64,
    distance_ratio: f64,
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
        let mut rows =
            objective::row_weights(self.settings.objective, &batch.scores, &batch.thresholds, &batch.weights);
        objective::apply_propensities(&mut rows.weights, &batch.propensities, self.settings.propensity_power);

        let items_before = self.policy.items();
        self.grow_to(items_in(&batch.actions));
        let (gradients, head) = self.gradients(batch, &rows.weights);
        let gradient_norm = adam::norm(gradients.iter().flatten().map(Vec::as_slice));
        let signs = Signs { loss: head.loss, gradient_norm, distance_ratio: head.distance_ratio };

        let judged = self.guard.judge(signs, &self.settings.guard);
        let mut is_rollback = false;
        let outcome = match judged.and_then(|()| self.propose(&gradients, gradient_norm)) {
            Ok(()) => {
                self.apply();
                Outcome::Applied
            }
            Err(refusal) => {
                self.shrink_to(items_before);
                is_rollback = self.refuse(refusal);
                Outcome::Refused(refusal)
            }
        };
        self.counters.uniform_fallbacks += u64::from(rows.is_uniform_fallback);
        UpdateReport {
            outcome,
            loss: head.loss,
            gradient_norm,
            log_likelihood: head.log_likelihood,
            effective_sample_size: rows.effective_sample_size,
            kept_std: rows.kept_std,
            mean_distance: head.mean_distance,
            is_uniform_fallback: rows.is_uniform_fallback,
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
        Learner::from_state(settings, policy, adam, guard, None, Counters::default())
    }

    fn from_state(
        settings: LearnerSettings,
        policy: Policy,
        adam: Adam,
        guard: Guard,
        critic: Option<Adam>,
        counters: Counters,
    ) -> Result<Learner, LearnerError> {
        let network = Network::new(settings.threads).map_err(LearnerError::Threads)?;
        let (policy, critic) = critic::fitted(&settings, policy, critic, counters.decisions)?;
        Ok(Learner { settings, network, policy, adam, guard, critic, counters, proposal: Proposal::default() })
    }

    /// Gradients of the loss, one for each tensor of the policy; `None` where a tensor does not learn.
    fn gradients(&self, batch: &Batch, weights: &[f32]) -> (Vec<Option<Vec<f32>>>, HeadGradients) {
        let states = if self.settings.state_dimension == 0 { vec![1.0; batch.rows] } else { batch.states.clone() };
        let mut head = None;
        let trunk = self.network.gradients(self.policy.trunk(), states, batch.rows, |output| {
            let mut found = self.head_gradients(output, batch, weights);
            let to_output = std::mem::take(&mut found.output);
            head = Some(found);
            to_output
        });
        let mut head = head.unwrap_or_else(|| HeadGradients::unknown(0));
        let mut gradients: Vec<Option<Vec<f32>>> = trunk.into_iter().map(Some).collect();
        if gradients.len() < self.policy.tensors().len() {
            gradients.push(head.own.take());
        }
        (gradients, head)
    }

    fn head_gradients(&self, output: &[f32], batch: &Batch, weights: &[f32]) -> HeadGradients {
        match (&self.settings.policy, &batch.actions, self.policy.tensors().last()) {
            (PolicyKind::Gaussian { sigma, .. }, Actions::Embeddings { values, .. }, Some(log_sigma)) => {
                let mut head = gaussian::gradients(output, &log_sigma.values, values, weights);
                if matches!(sigma, Sigma::Fixed(_)) {
                    head.own = None;
                }
                head
            }
            (PolicyKind::Softmax { vectors }, Actions::Items { chosen, candidates }, _) => {
                let vectors = softmax::Vectors {
                    values: self.policy.item_vectors(),
                    dimension: self.settings.head().dimension(),
                    is_learned: matches!(vectors, Vectors::Learned { .. }),
                };
                let shown = softmax::Shown { chosen, candidates };
                softmax::gradients(&self.network, output, &vectors, &shown, weights)
            }
            // `check` refuses a batch of the other kind before anything is computed.
            (PolicyKind::Gaussian { .. } | PolicyKind::Softmax { .. }, _, _) => HeadGradients::unknown(output.len()),
        }
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

    fn apply(&mut self) {
        let (policy, adam) = (&self.policy, &self.adam);
        self.guard
            .confirm(&self.settings.guard, || Snapshot { tensors: policy.tensors().to_vec(), adam: adam.clone() });
        self.adam.accept(self.policy.tensors_mut(), &mut self.proposal);
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

    /// Gives every item number below `items` a vector, where vectors are learned.
    fn grow_to(&mut self, items: usize) {
        let Head::Learned { dimension } = self.policy.head() else { return };
        let (before, seed) = (self.policy.items(), self.settings.seed);
        let Some(vectors) = self.policy.tensors_mut().last_mut() else { return };
        for item in before..items {
            vectors.values.extend(initial::item_vector(seed, item, dimension));
        }
        self.fit_item_tensors(before.max(items), dimension);
    }

    /// Takes the vectors back that a refused batch was the first to need.
    fn shrink_to(&mut self, items: usize) {
        let Head::Learned { dimension } = self.policy.head() else { return };
        if let Some(vectors) = self.policy.tensors_mut().last_mut() {
            vectors.values.truncate(items * dimension);
        }
        self.fit_item_tensors(items, dimension);
    }

    /// The moments of item vectors are as long as the vectors are.
    fn fit_item_tensors(&mut self, items: usize, dimension: usize) {
        if let Some(vectors) = self.policy.tensors_mut().last_mut() {
            vectors.shape = vec![items, dimension];
        }
        for moments in [&mut self.adam.first, &mut self.adam.second] {
            if let Some(moments) = moments.last_mut() {
                moments.resize(items * dimension, 0.0);
            }
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
                match all_items(&batch.actions).find(|&item| item as usize >= capacity) {
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

impl HeadGradients {
    /// What makes the guard refuse, for a combination that the types allow and `check` does not.
    fn unknown(outputs: usize) -> HeadGradients {
        HeadGradients {
            output: vec![f32::NAN; outputs],
            own: None,
            loss: f64::NAN,
            log_likelihood: f64::NAN,
            mean_distance: f64::NAN,
            distance_ratio: f64::NAN,
        }
    }
}

/// Chosen items and candidates of all rows; none where actions are embeddings.
fn all_items(actions: &Actions) -> impl Iterator<Item = u32> {
    let (chosen, candidates) = match actions {
        Actions::Items { chosen, candidates } => (&chosen[..], &candidates[..]),
        Actions::Embeddings { .. } => (&[][..], &[][..]),
    };
    chosen.iter().chain(candidates.iter().flatten().flat_map(|set| set.iter())).copied()
}

/// One more than the greatest item number.
fn items_in(actions: &Actions) -> usize {
    all_items(actions).max().map_or(0, |item| item as usize + 1)
}
