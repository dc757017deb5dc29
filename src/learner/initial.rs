//! First values of the parameters, drawn from our own generator: a function of the seed alone.
//!
//! Uniform in +-1/sqrt(inputs), for weights and biases alike.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::settings::{LearnerSettings, PolicyKind, Sigma, Vectors};
use crate::policy::{
    CRITIC_WIDTH, Head, ITEM_VECTORS, LOG_SIGMA, LOG_SIGMA_CAP, LOG_SIGMA_FLOOR, Tensor, Tilt, bias_name, weight_name,
};

/// All tensors of a policy that has seen nothing yet.
pub fn tensors(settings: &LearnerSettings) -> Vec<Tensor> {
    let outputs = settings.head().dimension();
    let mut tensors = trunk(settings.seed, settings.state_dimension, &settings.hidden, outputs);
    match &settings.policy {
        PolicyKind::Gaussian { dimension, sigma } => {
            tensors.push(Tensor::new(LOG_SIGMA, vec![*dimension], log_sigma(*dimension, *sigma)));
        }
        PolicyKind::Softmax { vectors: Vectors::Learned { dimension, .. } } => {
            tensors.push(Tensor::new(ITEM_VECTORS, vec![0, *dimension], Vec::new()));
        }
        PolicyKind::Softmax { vectors: Vectors::Given(_) } => {}
    }
    tensors
}

/// A critic that has seen nothing. Items begin without weights of their own, so it does not matter when one is met.
pub fn critic(settings: &LearnerSettings) -> Vec<Tensor> {
    /// Apart from the policy's first weights, whose seed is the setting itself.
    const STREAM: u64 = 0x4352_4954_4943;
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(settings.seed ^ STREAM);
    let inputs = settings.state_dimension
        + match settings.head() {
            Head::Given { dimension } => dimension,
            Head::Learned { .. } | Head::Gaussian { .. } => 0,
        };
    let bound = 1.0 / (inputs.max(1) as f32).sqrt();
    let weight = uniform(&mut generator, inputs * CRITIC_WIDTH, bound);
    let bias = uniform(&mut generator, CRITIC_WIDTH, bound);
    let output = uniform(&mut generator, CRITIC_WIDTH, 1.0 / (CRITIC_WIDTH as f32).sqrt());
    Tilt::named(settings.head(), weight, bias, output)
}

/// Weights and biases in turn, from a state through hidden layers to an output.
pub fn trunk(seed: u64, state_dimension: usize, hidden: &[usize], outputs: usize) -> Vec<Tensor> {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut tensors = Vec::new();
    let mut inputs = state_dimension.max(1);
    for (layer, width) in hidden.iter().copied().chain([outputs]).enumerate() {
        let bound = 1.0 / (inputs as f32).sqrt();
        let weight = uniform(&mut generator, inputs * width, bound);
        let bias = uniform(&mut generator, width, bound);
        tensors.push(Tensor::new(weight_name(layer), vec![inputs, width], weight));
        tensors.push(Tensor::new(bias_name(layer), vec![width], bias));
        inputs = width;
    }
    tensors
}

/// The first log sigma, and the only one where sigma is fixed.
pub fn log_sigma(dimension: usize, sigma: Sigma) -> Vec<f32> {
    let (Sigma::Learned { initial: sigma } | Sigma::Fixed(sigma)) = sigma;
    vec![sigma.ln().clamp(LOG_SIGMA_FLOOR, LOG_SIGMA_CAP); dimension]
}

/// The first vector of one item. It depends on nothing but the seed and the number, so it does not matter when, or
/// how often, an item comes into being.
pub fn item_vector(seed: u64, item: usize, dimension: usize) -> Vec<f32> {
    // The golden ratio's multiples are far apart, so neighbors do not share a stream with each other or the trunk.
    let stream = seed ^ (item as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(stream);
    uniform(&mut generator, dimension, 1.0 / (dimension as f32).sqrt())
}

fn uniform(generator: &mut Xoshiro256PlusPlus, count: usize, bound: f32) -> Vec<f32> {
    // 24 bits are all that an f32 in [0, 1) can hold.
    let unit = |bits: u32| (bits >> 8) as f32 / (1_u32 << 24) as f32;
    (0..count).map(|_| (2.0 * unit(generator.next_u32()) - 1.0) * bound).collect()
}
