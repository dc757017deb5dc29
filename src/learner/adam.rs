//! Adam with decoupled weight decay (AdamW) over plain vectors, and the global norm of a gradient.
//!
//! A step is written beside the current values and only then exchanged with them, so that a step which turns out bad
//! has touched nothing.

use serde::{Deserialize, Serialize};

use super::settings::LearnerSettings;
use crate::policy::Tensor;

/// Moments of every tensor, in the tensors' order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    /// Steps taken; the moments are biased towards 0 by their count.
    pub step: u64,
    pub first: Vec<Vec<f32>>,
    pub second: Vec<Vec<f32>>,
}

/// A step that has been computed but not made.
#[derive(Debug, Default, PartialEq)]
pub struct Proposal {
    pub values: Vec<Vec<f32>>,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
}

/// The numbers of one step.
#[derive(Clone, Copy)]
struct Step {
    beta_1: f32,
    beta_2: f32,
    /// learning rate / (1 - beta_1^t).
    rate: f32,
    /// 1 / sqrt(1 - beta_2^t).
    root: f32,
    epsilon: f32,
    /// What clipping multiplies the gradient with.
    gradient_scale: f32,
}

impl Adam {
    pub fn new(tensors: &[Tensor]) -> Adam {
        let zeros = || tensors.iter().map(|tensor| vec![0.0; tensor.values.len()]).collect();
        Adam { step: 0, first: zeros(), second: zeros() }
    }

    /// Computes the next step into `proposal`. A tensor without a gradient stays as it is.
    pub fn propose(
        &self,
        settings: &LearnerSettings,
        tensors: &[Tensor],
        gradients: &[Option<Vec<f32>>],
        gradient_norm: f64,
        proposal: &mut Proposal,
    ) {
        let t = self.step.saturating_add(1) as f64;
        let step = Step {
            beta_1: settings.beta_1 as f32,
            beta_2: settings.beta_2 as f32,
            rate: (settings.learning_rate / (1.0 - settings.beta_1.powf(t))) as f32,
            root: (1.0 / (1.0 - settings.beta_2.powf(t)).sqrt()) as f32,
            epsilon: settings.epsilon as f32,
            gradient_scale: (settings.gradient_norm_max / gradient_norm.max(settings.gradient_norm_max)) as f32,
        };
        let decay = (settings.learning_rate * settings.weight_decay) as f32;
        proposal.copy_shape(self);
        for (index, (tensor, gradient)) in tensors.iter().zip(gradients).enumerate() {
            let next = (&mut proposal.values[index], &mut proposal.first[index], &mut proposal.second[index]);
            match gradient {
                Some(gradient) => {
                    // Matrices decay; biases and log sigma, which are vectors, do not.
                    let keep = if tensor.shape.len() == 2 { 1.0 - decay } else { 1.0 };
                    let current = (&tensor.values[..], &self.first[index][..], &self.second[index][..]);
                    step.compute(gradient, current, keep, next);
                }
                None => {
                    next.0.copy_from_slice(&tensor.values);
                    next.1.copy_from_slice(&self.first[index]);
                    next.2.copy_from_slice(&self.second[index]);
                }
            }
        }
    }

    /// Makes the proposed step; the proposal keeps the old values as room for the next one.
    pub fn accept(&mut self, tensors: &mut [Tensor], proposal: &mut Proposal) {
        self.step = self.step.saturating_add(1);
        for (tensor, values) in tensors.iter_mut().zip(&mut proposal.values) {
            std::mem::swap(&mut tensor.values, values);
        }
        std::mem::swap(&mut self.first, &mut proposal.first);
        std::mem::swap(&mut self.second, &mut proposal.second);
    }
}

impl Proposal {
    fn copy_shape(&mut self, adam: &Adam) {
        for room in [&mut self.values, &mut self.first, &mut self.second] {
            room.resize_with(adam.first.len(), Vec::new);
            for (room, moments) in room.iter_mut().zip(&adam.first) {
                room.resize(moments.len(), 0.0);
            }
        }
    }
}

type Current<'a> = (&'a [f32], &'a [f32], &'a [f32]);
type Next<'a> = (&'a mut Vec<f32>, &'a mut Vec<f32>, &'a mut Vec<f32>);

impl Step {
    fn compute(self, gradient: &[f32], current: Current<'_>, keep: f32, next: Next<'_>) {
        let count = gradient.len();
        let (values, first, second) = (&current.0[..count], &current.1[..count], &current.2[..count]);
        let (next_values, next_first, next_second) = (&mut next.0[..count], &mut next.1[..count], &mut next.2[..count]);
        for i in 0..count {
            let g = gradient[i] * self.gradient_scale;
            let m = self.beta_1 * first[i] + (1.0 - self.beta_1) * g;
            let v = self.beta_2 * second[i] + (1.0 - self.beta_2) * g * g;
            next_first[i] = m;
            next_second[i] = v;
            next_values[i] = keep * values[i] - self.rate * m / (v.sqrt() * self.root + self.epsilon);
        }
    }
}

/// sqrt of the sum of squares over all vectors together. Not finite as soon as one number is not.
pub fn norm<'a>(vectors: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    vectors.into_iter().map(sum_of_squares).sum::<f64>().sqrt()
}

/// In eight interleaved sums, which the compiler may keep in one register: a fixed order, whatever the hardware.
fn sum_of_squares(values: &[f32]) -> f64 {
    let (blocks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for block in blocks {
        for (sum, &value) in sums.iter_mut().zip(block) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>()
}
