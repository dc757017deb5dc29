//! From a batch to the gradients of a policy, whichever head it has.

use super::network::Network;
use super::settings::{LearnerSettings, PolicyKind, Sigma, Vectors};
use super::{gaussian, softmax};
use crate::batch::{Actions, Batch};
use crate::policy::Policy;

/// What a head makes of the trunk's output.
pub struct HeadGradients {
    /// With respect to the trunk's output.
    pub output: Vec<f32>,
    /// With respect to the head's own tensor, where it has one that learns.
    pub own: Option<Vec<f32>>,
    pub loss: f64,
    /// log pi(a | s) of every row.
    pub log_probabilities: Vec<f64>,
    /// How far every action lies from the policy: mean squared z over the dimensions, or -log pi(a | s) for softmax.
    pub remoteness: Vec<f64>,
    pub mean_distance: f64,
    pub distance_ratio: f64,
}

impl HeadGradients {
    /// Mean of log pi(a | s) over the rows, unweighted.
    pub fn log_likelihood(&self) -> f64 {
        self.log_probabilities.iter().sum::<f64>() / self.log_probabilities.len() as f64
    }

    /// What makes the guard refuse, for a combination that the types allow and a checked batch does not have.
    fn unknown(outputs: usize, rows: usize) -> HeadGradients {
        HeadGradients {
            output: vec![f32::NAN; outputs],
            own: None,
            loss: f64::NAN,
            log_probabilities: vec![f64::NAN; rows],
            remoteness: vec![f64::NAN; rows],
            mean_distance: f64::NAN,
            distance_ratio: f64::NAN,
        }
    }
}

/// A policy in front of a batch.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub network: &'a Network,
    pub settings: &'a LearnerSettings,
    pub policy: &'a Policy,
    pub batch: &'a Batch,
}

impl View<'_> {
    /// Gradients of the loss, one for each tensor of the policy; `None` where a tensor does not learn. `weigh` is given
    /// the trunk's output and says what each row weighs.
    pub fn gradients(
        self,
        states: &[f32],
        weigh: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> (Vec<Option<Vec<f32>>>, HeadGradients) {
        let mut head = None;
        let trunk = self.network.gradients(self.policy.trunk(), states.to_vec(), self.batch.rows, |output| {
            let mut found = self.head(output, &weigh(output));
            let to_output = std::mem::take(&mut found.output);
            head = Some(found);
            to_output
        });
        let mut head = head.unwrap_or_else(|| HeadGradients::unknown(0, self.batch.rows));
        let mut gradients: Vec<Option<Vec<f32>>> = trunk.into_iter().map(Some).collect();
        if gradients.len() < self.policy.tensors().len() {
            gradients.push(head.own.take());
        }
        (gradients, head)
    }

    /// How the head judges the rows before anything is weighed.
    pub fn measure(self, output: &[f32]) -> HeadGradients {
        self.head(output, &vec![0.0; self.batch.rows])
    }

    fn head(self, output: &[f32], weights: &[f32]) -> HeadGradients {
        match (&self.settings.policy, &self.batch.actions, self.policy.tensors().last()) {
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
                softmax::gradients(self.network, output, &vectors, &shown, weights)
            }
            // A batch of the other kind is refused before anything is computed.
            (PolicyKind::Gaussian { .. } | PolicyKind::Softmax { .. }, _, _) => {
                HeadGradients::unknown(output.len(), self.batch.rows)
            }
        }
    }
}
