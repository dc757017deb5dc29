//! The network behind the scores' baseline: V(s), regressed on the returns of one generation of units after the other.
//!
//! It trains beside the policy and neither sees the other: its samples, its Adam and its order of rows are its own. A
//! generation is gone through a few times in small batches, in an order that the seed and the generation's number give. What
//! comes back is a copy of the network with the spread of its errors on the samples *before* it learned from them, so that
//! the scale is not flattered by what has been learned by heart.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::adam::{self, Adam, Proposal};
use super::network::Network;
use super::settings::LearnerSettings;
use super::{BatchError, Learner, initial};
use crate::batch::BaselineBatch;
use crate::policy::{Tensor, forward};
use crate::score::NetworkFit;

const HIDDEN: [usize; 2] = [64, 64];
/// V, and the size of what it leaves.
const OUTPUTS: usize = 2;
const EPOCHS: usize = 4;
const ROWS: usize = 128;
/// Apart from the policy's first weights and from the objective's estimate, whose seeds are near.
const STREAM: u64 = 0x4241_5345_4C49_4E45;
/// Below this share of the targets' own size a spread is rounding error.
const SPREAD_FLOOR: f64 = 1e-6;

/// Part of every checkpoint of a learner whose scores want it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline {
    tensors: Vec<Tensor>,
    adam: Adam,
    /// Learned from so far.
    generations: u64,
    targets: Targets,
    scale: f64,
    #[serde(skip)]
    proposal: Proposal,
}

/// Running mean and squared deviations of all targets (Welford).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Targets {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Learner {
    /// Learns from a generation, and says what is known after it. An error means that the generation is not the next one or
    /// does not fit, and has changed nothing.
    pub fn learn_baseline(&mut self, batch: &BaselineBatch) -> Result<NetworkFit, BatchError> {
        let inputs = self.settings.state_dimension + 1;
        let expected = self.baseline.as_ref().map_or(0, |baseline| baseline.generations);
        let number = batch.generation;
        if number != expected || batch.targets.is_empty() {
            let (expected, found) = (expected as usize, number as usize);
            return Err(BatchError::Length { number, part: "generations of the baseline before it", expected, found });
        }
        let (expected, found) = (batch.targets.len() * inputs, batch.features.len());
        if expected != found {
            return Err(BatchError::Length { number, part: "feature numbers", expected, found });
        }
        let (settings, network) = (&self.settings, &self.network);
        let baseline = self.baseline.get_or_insert_with(|| Baseline::new(settings, inputs));
        let (applied, refused) = network.pool().install(|| baseline.learn(network, settings, batch));
        self.counters.baseline_updates += applied;
        self.counters.baseline_refused += refused;
        Ok(baseline.fit())
    }

    /// What was known after the last generation; `None` before the first.
    pub fn baseline_fit(&self) -> Option<NetworkFit> {
        self.baseline.as_ref().map(Baseline::fit)
    }
}

impl Baseline {
    fn new(settings: &LearnerSettings, inputs: usize) -> Baseline {
        let tensors = initial::trunk(settings.seed ^ STREAM, inputs, &HIDDEN, OUTPUTS);
        let adam = Adam::new(&tensors);
        Baseline {
            tensors,
            adam,
            generations: 0,
            targets: Targets::default(),
            scale: 1.0,
            proposal: Proposal::default(),
        }
    }

    /// Whether it is the network that the settings describe, with numbers that this code can have written.
    pub fn fits(&self, settings: &LearnerSettings) -> bool {
        let shapes = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.shape.clone()).collect::<Vec<_>>();
        let is_sound = |tensor: &Tensor| tensor.is_whole() && tensor.values.iter().all(|value| value.is_finite());
        shapes(&self.tensors) == shapes(&Baseline::new(settings, settings.state_dimension + 1).tensors)
            && self.tensors.iter().all(is_sound)
            && self.targets.mean.is_finite()
            && self.targets.squares.is_finite()
            && self.scale > 0.0
    }

    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    pub fn adam(&self) -> &Adam {
        &self.adam
    }

    fn fit(&self) -> NetworkFit {
        NetworkFit {
            generation: self.generations.saturating_sub(1),
            trunk: self.tensors.clone(),
            mean: self.targets.mean,
            deviation: self.targets.deviation(),
            scale: self.scale,
        }
    }

    /// Steps made and steps refused.
    fn learn(&mut self, network: &Network, settings: &LearnerSettings, batch: &BaselineBatch) -> (u64, u64) {
        batch.targets.iter().for_each(|target| self.targets.add(*target));
        let (mean, deviation) = (self.targets.mean, self.targets.deviation());
        let targets: Vec<f32> = batch.targets.iter().map(|target| ((target - mean) / deviation) as f32).collect();
        let inputs = batch.features.len() / targets.len();
        self.scale = deviation * self.error(batch.features.chunks_exact(inputs), &targets);

        let seed = settings.seed ^ STREAM ^ batch.generation.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..targets.len()).collect();
        let (mut applied, mut refused) = (0, 0);
        for _ in 0..EPOCHS {
            order.shuffle(&mut generator);
            for rows in order.chunks(ROWS) {
                let features = rows.iter().flat_map(|row| &batch.features[row * inputs..(row + 1) * inputs]);
                let wanted: Vec<f32> = rows.iter().map(|row| targets[*row]).collect();
                match self.step(network, settings, features.copied().collect(), &wanted) {
                    true => applied += 1,
                    false => refused += 1,
                }
            }
        }
        self.generations += 1;
        (applied, refused)
    }

    /// Root mean square of what the network gets wrong, in deviations of the targets; 1 where that cannot be told from 0.
    fn error<'a>(&self, features: impl Iterator<Item = &'a [f32]>, targets: &[f32]) -> f64 {
        let output = |features: &[f32]| forward(&self.tensors, features.to_vec()).first().copied().unwrap_or(f32::NAN);
        let gaps = features.zip(targets).map(|(features, target)| f64::from(target - output(features)));
        let error = (gaps.map(|gap| gap * gap).sum::<f64>() / targets.len() as f64).sqrt();
        if error.is_finite() && error > SPREAD_FLOOR { error } else { 1.0 }
    }

    /// One step down the squared errors; `false` when it would lead to numbers that are none, and is not made.
    fn step(&mut self, network: &Network, settings: &LearnerSettings, features: Vec<f32>, targets: &[f32]) -> bool {
        let rows = targets.len();
        let gradients = network.gradients(&self.tensors, features, rows, |output| {
            let (outputs, _) = output.as_chunks::<OUTPUTS>();
            let slopes = outputs.iter().zip(targets).flat_map(|([value, size], target)| {
                let left = target - value;
                // What is left is a target for the second output, and not to be made smaller for its sake.
                [-2.0 * left / rows as f32, 2.0 * (size - left.abs()) / rows as f32]
            });
            slopes.collect()
        });
        let norm = adam::norm(gradients.iter().map(Vec::as_slice));
        if !norm.is_finite() {
            return false;
        }
        let gradients: Vec<Option<Vec<f32>>> = gradients.into_iter().map(Some).collect();
        self.adam.propose(settings, &self.tensors, &gradients, norm, &mut self.proposal);
        let is_finite = adam::norm(self.proposal.values.iter().map(Vec::as_slice)).is_finite();
        if is_finite {
            self.adam.accept(&mut self.tensors, &mut self.proposal);
        }
        is_finite
    }
}

impl Targets {
    /// A target that would lead out of the range of f64 is passed over.
    fn add(&mut self, target: f64) {
        let count = self.count + 1;
        let gap = target - self.mean;
        let mean = self.mean + gap / count as f64;
        let squares = self.squares + gap * (target - mean);
        if mean.is_finite() && squares.is_finite() {
            *self = Targets { count, mean, squares };
        }
    }

    /// 1 where it cannot be told from 0 (constant returns).
    fn deviation(&self) -> f64 {
        let deviation = (self.squares / self.count.max(1) as f64).sqrt();
        if deviation > SPREAD_FLOOR * self.mean.abs().max(f64::MIN_POSITIVE) { deviation } else { 1.0 }
    }
}
