//! A world small enough to be run hundreds of times: a context, an action in R^d, a reward that falls with the angle to
//! the best action u*(x) = unit(tanh(x W1) W2).
//!
//! Its log is written by a mixture of three: near the best action; a popular one, unit(.55 u* + .85 p + .1 noise) with
//! one direction p for everybody; and any direction at all.

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::data::Data;
use super::plan::Toy;
use crate::policy::Policy;

/// What the worlds of the studies draw from.
pub const TOY: u64 = 0x0074_6f79;

/// Contexts in which a policy is measured.
const MEASURED: usize = 500;

#[derive(Debug, Clone)]
pub struct ToyWorld {
    pub settings: Toy,
    first: Vec<f64>,
    second: Vec<f64>,
    popular: Vec<f64>,
}

impl ToyWorld {
    pub fn new(settings: &Toy, random: &mut Xoshiro256PlusPlus) -> ToyWorld {
        let first = normals(settings.context * settings.hidden, random);
        let first = first.into_iter().map(|weight| settings.bend * weight).collect();
        let second = normals(settings.hidden * settings.dimension, random);
        let popular = unit(normals(settings.dimension, random));
        ToyWorld { settings: settings.clone(), first, second, popular }
    }

    /// u*(x).
    pub fn best(&self, context: &[f64]) -> Vec<f64> {
        let (hidden, dimension) = (self.settings.hidden, self.settings.dimension);
        let activity = |j: usize| -> f64 {
            context.iter().enumerate().map(|(i, x)| x * self.first[i * hidden + j]).sum::<f64>().tanh()
        };
        let activities: Vec<f64> = (0..hidden).map(activity).collect();
        let sum = |k: usize| activities.iter().enumerate().map(|(j, a)| a * self.second[j * dimension + k]).sum();
        unit((0..dimension).map(sum).collect())
    }

    /// exp(-(1 - cos(a, u*)) / (2 delta^2)).
    pub fn latent(&self, context: &[f64], action: &[f64]) -> f64 {
        let cosine: f64 = self.best(context).iter().zip(unit(action.to_vec())).map(|(a, b)| a * b).sum();
        (-(1.0 - cosine) / (2.0 * self.settings.delta * self.settings.delta)).exp()
    }

    /// What the log shows of it: noise, then clipped to [0, 1].
    pub fn observed(&self, context: &[f64], action: &[f64], random: &mut Xoshiro256PlusPlus) -> f64 {
        let deviate: f64 = StandardNormal.sample(random);
        (self.latent(context, action) + self.settings.reward_noise * deviate).clamp(0.0, 1.0)
    }

    pub fn context(&self, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
        normals(self.settings.context, random)
    }

    /// An action of the log's mixture: expert, popular, random; `noise` of them random whatever the mixture says.
    pub fn logged_action(
        &self,
        mixture: [f64; 3],
        noise: f64,
        context: &[f64],
        random: &mut Xoshiro256PlusPlus,
    ) -> Vec<f64> {
        let best = self.best(context);
        let deviates = normals(self.settings.dimension, random);
        let (is_noise, lot) = (random.random::<f64>() < noise, random.random::<f64>());
        if is_noise || lot >= mixture[0] + mixture[1] {
            return unit(deviates);
        }
        let near = |target: Vec<f64>| -> Vec<f64> { target.iter().zip(&deviates).map(|(t, z)| t + 0.1 * z).collect() };
        if lot < mixture[0] {
            return near(best);
        }
        unit(near(best.iter().zip(&self.popular).map(|(best, p)| 0.55 * best + 0.85 * p).collect()))
    }

    pub fn log(&self, samples: usize, mixture: [f64; 3], noise: f64, random: &mut Xoshiro256PlusPlus) -> Data {
        let mut data = Data::new(self.settings.context, self.settings.dimension);
        for _ in 0..samples {
            let context = self.context(random);
            let action = self.logged_action(mixture, noise, &context, random);
            let reward = self.observed(&context, &action, random);
            data.push(&context, &action, reward);
        }
        data
    }

    /// Latent reward at the policy's mean action, over contexts that are the same for everybody.
    pub fn measure(&self, policy: &Policy) -> f64 {
        let mut random = super::data::generator(self.settings.measure_seed, 0);
        let mut total = 0.0;
        for _ in 0..MEASURED {
            let context = self.context(&mut random);
            let state: Vec<f32> = context.iter().map(|&x| x as f32).collect();
            // A policy of another kind, or one that has lost itself, is worth nothing.
            let mean = policy.mean(&state).unwrap_or_default();
            let mean: Vec<f64> = mean.iter().map(|&x| f64::from(x)).collect();
            total += if mean.iter().all(|x| x.is_finite()) { self.latent(&context, &mean) } else { 0.0 };
        }
        total / MEASURED as f64
    }
}

pub fn normals(count: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    (0..count).map(|_| StandardNormal.sample(random)).collect()
}

pub fn unit(vector: Vec<f64>) -> Vec<f64> {
    let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    if norm == 0.0 { vector } else { vector.into_iter().map(|value| value / norm).collect() }
}
