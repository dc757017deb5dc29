//! From a state to items: the served distribution, best first or drawn.

use std::cmp::Ordering;
use std::collections::HashMap;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{ServeError, Situation, UnfitError};
use crate::event::Id;
use crate::policy::{Head, Policy};
use crate::publish::{Draft, Publication, StateShape};

/// A published policy, ready to be asked. Nothing in it changes.
#[derive(Debug)]
pub struct Recommender {
    policy: Policy,
    items: Vec<Id>,
    numbers: HashMap<Id, u32>,
    /// `[items, dimension]`, for a Gaussian policy.
    embeddings: Vec<f32>,
    temperature: f64,
    version: u64,
}

/// What a policy chooses among.
struct Items {
    ids: Vec<Id>,
    dimension: usize,
    /// `[ids, dimension]`.
    embeddings: Option<Vec<f32>>,
}

/// One item of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub item: Id,
    /// What the policy prefers it by, before the temperature: greater is better.
    pub score: f32,
    /// Its probability as the first choice under the served distribution, over all that could be shown.
    pub propensity: f64,
}

/// In which order items are answered.
#[derive(Debug)]
pub enum Draw {
    BestFirst,
    /// Without replacement, by the generator.
    Sampled(Box<Xoshiro256PlusPlus>),
}

impl Draw {
    /// Equal seeds and equal questions give equal draws.
    pub fn sampled(seed: u64) -> Draw {
        Draw::Sampled(Box::new(Xoshiro256PlusPlus::seed_from_u64(seed)))
    }
}

impl Recommender {
    /// `state` is what the caller's settings build; it must be what the policy was trained on.
    pub fn new(publication: Publication, state: &StateShape, temperature: Option<f64>) -> Result<Self, UnfitError> {
        let Publication { manifest, policy, item_embeddings } = publication;
        let differences = manifest.state.differences(state);
        if !differences.is_empty() {
            return Err(UnfitError::OtherStates(differences));
        }
        let temperature = temperature.unwrap_or(manifest.serving.temperature);
        let items =
            Items { ids: manifest.items, dimension: manifest.state.item_dimension, embeddings: item_embeddings };
        Recommender::of(manifest.version, policy, items, temperature)
    }

    /// A policy that goes from the learner straight to those who ask.
    pub fn from_draft(draft: Draft, state: &StateShape) -> Result<Self, UnfitError> {
        let Draft { version, policy, items, item_embeddings, state: own, serving, .. } = draft;
        let differences = own.differences(state);
        if !differences.is_empty() {
            return Err(UnfitError::OtherStates(differences));
        }
        let items = Items { ids: items, dimension: own.item_dimension, embeddings: item_embeddings };
        Recommender::of(version, policy, items, serving.temperature)
    }

    fn of(version: u64, policy: Policy, items: Items, temperature: f64) -> Result<Self, UnfitError> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(UnfitError::Temperature(temperature.to_string()));
        }
        let embeddings = match policy.head() {
            Head::Gaussian { dimension } if !items.ids.is_empty() && items.dimension != dimension => {
                return Err(UnfitError::Dimension { policy: dimension, items: items.dimension });
            }
            Head::Gaussian { .. } => items.embeddings.unwrap_or_default(),
            Head::Learned { .. } | Head::Given { .. } => Vec::new(),
        };
        let numbers = items.ids.iter().zip(0..).map(|(id, number)| (id.clone(), number)).collect();
        Ok(Recommender { policy, items: items.ids, numbers, embeddings, temperature, version })
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// Whether there is anything to choose from among these candidates, or among all items.
    pub fn check(&self, candidates: Option<&[Id]>) -> Result<(), ServeError> {
        if self.items.is_empty() {
            return Err(ServeError::NoItem);
        }
        match candidates {
            Some(candidates) if !candidates.iter().any(|id| self.numbers.contains_key(id)) => {
                Err(ServeError::NoCandidate(candidates.len()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// At most `top` items, each once, in the order of `draw`.
    pub fn choose(&self, situation: &Situation, top: usize, draw: &mut Draw) -> Result<Vec<Choice>, ServeError> {
        if top == 0 {
            return Err(ServeError::NothingAsked);
        }
        let numbers = situation.candidates.as_deref().map(|candidates| self.known(candidates)).transpose()?;
        let preferences = self.preferences(&situation.state, numbers.as_deref())?;
        if preferences.is_empty() {
            return Err(ServeError::NoItem);
        }
        if !preferences.iter().all(|preference| preference.is_finite()) {
            let sizes = situation.state.iter().map(|feature| feature.abs());
            return Err(ServeError::NotFinite(sizes.fold(0.0, f32::max)));
        }
        let log_propensities = tempered(&preferences, self.temperature);
        let keys = match draw {
            Draw::BestFirst => None,
            Draw::Sampled(generator) => {
                // Gumbel-top-k: adding this noise and taking the greatest draws without replacement.
                Some(log_propensities.iter().map(|log| log + gumbel(generator)).collect::<Vec<f64>>())
            }
        };
        let order = match &keys {
            Some(keys) => greatest(keys, top, f64::total_cmp),
            None => greatest(&preferences, top, f32::total_cmp),
        };
        let choice = |at: usize| {
            let number = numbers.as_ref().map_or(at, |numbers| numbers[at] as usize);
            let propensity = log_propensities[at].exp();
            Choice { item: self.items[number].clone(), score: preferences[at], propensity }
        };
        Ok(order.into_iter().map(choice).collect())
    }

    /// The numbers of the candidates that the policy knows; it says nothing about the others.
    fn known(&self, candidates: &[Id]) -> Result<Vec<u32>, ServeError> {
        let known: Vec<u32> = candidates.iter().filter_map(|id| self.numbers.get(&**id).copied()).collect();
        if known.is_empty() { Err(ServeError::NoCandidate(candidates.len())) } else { Ok(known) }
    }

    /// Of a softmax policy its own; of a Gaussian one the log-density at each item's embedding, so that best first is
    /// nearest to the mean, in units of sigma.
    fn preferences(&self, state: &[f32], numbers: Option<&[u32]>) -> Result<Vec<f32>, ServeError> {
        match self.policy.head() {
            Head::Learned { .. } | Head::Given { .. } => Ok(self.policy.preferences(state, numbers)?),
            Head::Gaussian { dimension } => {
                let (mean, sigma) = (self.policy.mean(state)?, self.policy.sigma()?);
                let normal = Normal::new(&mean, &sigma);
                let density = |embedding: &[f32]| normal.log_density(embedding);
                let mut rows = self.embeddings.chunks_exact(dimension);
                Ok(match numbers {
                    None => rows.map(density).collect(),
                    Some(numbers) => {
                        let rows: Vec<&[f32]> = rows.by_ref().collect();
                        numbers.iter().map(|&number| density(rows[number as usize])).collect()
                    }
                })
            }
        }
    }
}

/// Logarithms of softmax(preferences / temperature).
fn tempered(preferences: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = preferences.iter().map(|&preference| f64::from(preference) / temperature).collect();
    let greatest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mass: f64 = scaled.iter().map(|log| (log - greatest).exp()).sum();
    let normalizer = greatest + mass.ln();
    scaled.into_iter().map(|log| log - normalizer).collect()
}

/// A normal distribution, ready to be asked about many points: what they share is computed once.
struct Normal<'a> {
    mean: &'a [f32],
    precisions: Vec<f32>,
    /// The log-density at the mean.
    peak: f32,
}

impl Normal<'_> {
    fn new<'a>(mean: &'a [f32], sigma: &[f32]) -> Normal<'a> {
        const LN_TWO_PI: f32 = 1.837_877;
        let peak = sigma.iter().map(|sigma| -0.5 * LN_TWO_PI - sigma.ln()).sum();
        Normal { mean, precisions: sigma.iter().map(|sigma| 1.0 / sigma).collect(), peak }
    }

    fn log_density(&self, point: &[f32]) -> f32 {
        let per_dimension = self.mean.iter().zip(&self.precisions).zip(point).map(|((mean, precision), value)| {
            let z = (value - mean) * precision;
            z * z
        });
        self.peak - 0.5 * per_dimension.sum::<f32>()
    }
}

/// Where the `count` greatest values stand, greatest first; equal ones by their place.
fn greatest<T>(values: &[T], count: usize, compare: impl Fn(&T, &T) -> Ordering) -> Vec<usize> {
    let before = |one: &usize, other: &usize| compare(&values[*other], &values[*one]).then(one.cmp(other));
    let mut places: Vec<usize> = (0..values.len()).collect();
    if count < places.len() {
        places.select_nth_unstable_by(count, before);
        places.truncate(count);
    }
    places.sort_unstable_by(before);
    places
}

fn gumbel(generator: &mut Xoshiro256PlusPlus) -> f64 {
    // In the open interval: neither logarithm is infinite.
    let uniform = ((generator.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -(-uniform.ln()).ln()
}
