//! What some objectives have to estimate beside the policy: V(s), and the behavior that wrote the log.
//!
//! Both are small networks that learn from the very batches the policy learns from, before the policy's step and by their
//! own Adam. They step exactly when the policy steps: a refused update leaves them as they were, to the bit. They are
//! part of the state, and come into being and go with the objective that needs them.

use serde::{Deserialize, Serialize};

use super::adam::{self, Adam, Proposal};
use super::heads::View;
use super::initial;
use super::network::Network;
use super::objective::Objective;
use super::remoteness::Balance;
use super::settings::LearnerSettings;
use crate::batch::Batch;
use crate::policy::{Head, Policy, Tensor};

/// Widths of the value network's hidden layers.
const VALUE_HIDDEN: [usize; 2] = [64, 64];
/// Apart from the policy's first weights, whose seed is the setting itself.
const VALUE_SEED: u64 = 0x5641_4c55_4553;

/// All that the objective needs; empty for most.
#[derive(Debug, Default)]
pub struct Estimators {
    pub value: Option<Value>,
    pub behavior: Option<Behavior>,
    pub balance: Balance,
}

/// V(s): an expectile of the score in a state.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Value {
    pub tensors: Vec<Tensor>,
    pub adam: Adam,
    #[serde(skip)]
    proposal: Proposal,
}

/// The behavior policy, by imitation of every row.
#[derive(Debug)]
pub struct Behavior {
    pub policy: Policy,
    pub adam: Adam,
    pub updates: u64,
    proposal: Proposal,
}

/// What the estimators say of a batch.
#[derive(Debug, Default)]
pub struct Estimates {
    /// V(s) of every row.
    pub values: Vec<f64>,
    /// log behavior(a | s) of every row; `None` while there is no estimate to go by.
    pub behavior: Option<Vec<f64>>,
}

impl Estimators {
    /// What the objective needs and nothing else: kept where it is there, begun where it is not.
    pub fn fit(&mut self, settings: &LearnerSettings, policy: &Policy) {
        match settings.objective.value_expectile() {
            Some(_) => {
                self.value.get_or_insert_with(|| Value::new(settings));
            }
            None => self.value = None,
        }
        match settings.objective {
            Objective::Bppo { .. } => {
                self.behavior.get_or_insert_with(|| Behavior::new(policy.clone()));
            }
            Objective::Drpo
            | Objective::DrpoExp { .. }
            | Objective::AdaptiveBc
            | Objective::Bc
            | Objective::Apg
            | Objective::Asymre { .. }
            | Objective::Remoteness { .. }
            | Objective::Awr { .. }
            | Objective::Crr { .. }
            | Objective::Iql { .. }
            | Objective::Given => self.behavior = None,
        }
        if !matches!(settings.objective, Objective::Remoteness { .. }) {
            self.balance = Balance::default();
        }
    }

    /// Estimates for a batch; the estimators' own steps are computed, and wait for [`Estimators::accept`].
    pub fn look(&mut self, network: &Network, settings: &LearnerSettings, states: &[f32], batch: &Batch) -> Estimates {
        let mut estimates = Estimates::default();
        if let (Some(value), Some(expectile)) = (&mut self.value, settings.objective.value_expectile()) {
            estimates.values = value.look(network, settings, states, batch, expectile);
        }
        if let (Some(behavior), Objective::Bppo { behavior_updates, .. }) = (&mut self.behavior, settings.objective) {
            let log_probabilities = behavior.look(network, settings, states, batch);
            estimates.behavior = (behavior.updates >= behavior_updates).then_some(log_probabilities);
        }
        estimates
    }

    /// The policy has made its step: so do the estimators.
    pub fn accept(&mut self, balance: Option<Balance>) {
        if let Some(value) = &mut self.value {
            value.adam.accept(&mut value.tensors, &mut value.proposal);
        }
        if let Some(behavior) = &mut self.behavior {
            behavior.adam.accept(behavior.policy.tensors_mut(), &mut behavior.proposal);
            behavior.updates = behavior.updates.saturating_add(1);
        }
        self.balance = balance.unwrap_or(self.balance);
    }
}

impl Value {
    fn new(settings: &LearnerSettings) -> Value {
        let tensors = initial::trunk(settings.seed ^ VALUE_SEED, settings.state_dimension, &VALUE_HIDDEN, 1);
        Value { adam: Adam::new(&tensors), tensors, proposal: Proposal::default() }
    }

    /// Whether it is the network that the settings describe.
    pub fn fits(&self, settings: &LearnerSettings) -> bool {
        let shapes = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.shape.clone()).collect::<Vec<_>>();
        let is_sound = |tensor: &Tensor| tensor.is_whole() && tensor.values.iter().all(|value| value.is_finite());
        shapes(&self.tensors) == shapes(&Value::new(settings).tensors) && self.tensors.iter().all(is_sound)
    }

    /// V(s), and a step down |expectile - 1{R < V}| (R - V)^2.
    fn look(
        &mut self,
        network: &Network,
        settings: &LearnerSettings,
        states: &[f32],
        batch: &Batch,
        expectile: f64,
    ) -> Vec<f64> {
        let mut values = Vec::new();
        let gradients = network.gradients(&self.tensors, states.to_vec(), batch.rows, |output| {
            values = output.iter().map(|&value| f64::from(value)).collect();
            let slope = |(&score, value): (&f32, &f64)| {
                let gap = f64::from(score) - value;
                let side = if gap < 0.0 { 1.0 - expectile } else { expectile };
                (-2.0 * side * gap / batch.rows as f64) as f32
            };
            batch.scores.iter().zip(&values).map(slope).collect()
        });
        let norm = adam::norm(gradients.iter().map(Vec::as_slice));
        let gradients: Vec<Option<Vec<f32>>> = gradients.into_iter().map(Some).collect();
        self.adam.propose(settings, &self.tensors, &gradients, norm, &mut self.proposal);
        values
    }
}

impl Behavior {
    /// Begins where the policy stands, so that both are the same until the policy leaves imitation.
    fn new(policy: Policy) -> Behavior {
        Behavior::resumed(Adam::new(policy.tensors()), policy, 0)
    }

    pub fn resumed(adam: Adam, policy: Policy, updates: u64) -> Behavior {
        Behavior { adam, policy, updates, proposal: Proposal::default() }
    }

    fn look(&mut self, network: &Network, settings: &LearnerSettings, states: &[f32], batch: &Batch) -> Vec<f64> {
        let view = View { network, settings, policy: &self.policy, batch };
        let (gradients, head) = view.gradients(states, |_| vec![1.0; batch.rows]);
        let norm = adam::norm(gradients.iter().flatten().map(Vec::as_slice));
        self.adam.propose(settings, self.policy.tensors(), &gradients, norm, &mut self.proposal);
        if let (Head::Gaussian { .. }, Some(log_sigma)) = (self.policy.head(), self.proposal.values.last_mut()) {
            Policy::bound_log_sigma(log_sigma);
        }
        head.log_probabilities
    }
}
