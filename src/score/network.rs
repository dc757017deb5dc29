//! The baseline that a small network learns: what the scorer keeps of it, and how it waits for it.
//!
//! A generation ends with the first trajectory that fills it. Its samples then go to the learner, which answers with a fit
//! that has seen them and all before them; units of generation g are measured by the fit of generation g-2. So while one
//! generation is being collected the learner works on the one before it, and only at a boundary is there anything to wait
//! for: everything after it would be measured by a fit that is not there yet.
//!
//! *Invariant:* at most one fit that has been asked for is not in this state, that of the generation just before the present
//! one. The learner that answered it, or will, holds it: so a checkpoint of both is whole.

use serde::{Deserialize, Serialize};

use super::{Scale, deviation_of};
use crate::batch::BaselineBatch;
use crate::policy::{Tensor, forward};

/// V(s) and the spread of what it leaves unexplained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkFit {
    /// The last generation that it has learned from.
    pub generation: u64,
    /// Weights and biases in turn; the outputs are (V - mean) / deviation, and the size to be expected of what V leaves, over
    /// the deviation.
    pub trunk: Vec<Tensor>,
    pub mean: f64,
    pub deviation: f64,
    /// Of the values of that generation about what the fit before had foretold; never 0.
    pub scale: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkState {
    /// The one that is being collected.
    generation: u64,
    features: Vec<f32>,
    targets: Vec<f64>,
    /// Of two generations ago, once there are so many.
    fit: Option<NetworkFit>,
}

impl NetworkFit {
    /// (value - V) / scale.
    pub fn standardize(&self, features: &[f32], value: f64, scale: Scale) -> f64 {
        let outputs = forward(&self.trunk, features.to_vec());
        let output = |index: usize| self.deviation * f64::from(outputs.get(index).copied().unwrap_or(f32::NAN));
        let scale = match scale {
            Scale::Global => self.scale,
            Scale::Context => deviation_of(output(1), self.scale),
        };
        (value - self.mean - output(0)) / scale
    }
}

impl NetworkState {
    pub fn new() -> NetworkState {
        NetworkState { generation: 0, features: Vec::new(), targets: Vec::new(), fit: None }
    }

    /// What the value comes to beside the baseline, which is to learn of it.
    pub fn measure(&mut self, features: &[f32], value: f64, scale: Scale) -> Option<f64> {
        let advantage = self.fit.as_ref().map(|fit| fit.standardize(features, value, scale));
        self.features.extend_from_slice(features);
        self.targets.push(value);
        advantage
    }

    /// A trajectory is over: the samples of the generation that it has filled, if it has.
    pub fn close(&mut self, samples: u64) -> Option<BaselineBatch> {
        if (self.targets.len() as u64) < samples {
            return None;
        }
        let generation = self.generation;
        self.generation += 1;
        let (features, targets) = (std::mem::take(&mut self.features), std::mem::take(&mut self.targets));
        Some(BaselineBatch { generation, features, targets })
    }

    /// Whether the next unit would be measured by a fit that is not there yet.
    pub fn is_waiting(&self) -> bool {
        self.wanted().is_some_and(|wanted| self.fit.as_ref().is_none_or(|fit| fit.generation != wanted))
    }

    /// Takes the fit that it waits for; `false`, and nothing changes, for any other.
    pub fn accept(&mut self, fit: NetworkFit) -> bool {
        let is_wanted = self.is_waiting() && self.wanted() == Some(fit.generation);
        if is_wanted {
            self.fit = Some(fit);
        }
        is_wanted
    }

    /// The generation whose samples have been given away and whose fit has not come back.
    pub fn in_flight(&self) -> Option<u64> {
        self.generation.checked_sub(1)
    }

    fn wanted(&self) -> Option<u64> {
        self.generation.checked_sub(2)
    }

    /// Whether the numbers are ones that this code can have written, for features of this dimension.
    pub fn is_sound(&self, dimension: usize) -> bool {
        let has_fit = self.fit.as_ref().map(|fit| fit.generation) == self.wanted();
        let inputs = |fit: &NetworkFit| fit.trunk.first().and_then(|weight| weight.shape.first().copied());
        has_fit
            && self.features.len() == self.targets.len() * dimension
            && self
                .fit
                .as_ref()
                .is_none_or(|fit| inputs(fit) == Some(dimension) && fit.trunk.iter().all(Tensor::is_whole))
    }
}
