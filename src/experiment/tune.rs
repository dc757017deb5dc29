//! Tuned once, on a log that no study uses, and then frozen: every method gets the best of its candidates.

use std::collections::BTreeMap;

use super::data::generator;
use super::jobs::each;
use super::plan::{MEDIUM, Plan};
use super::recipe::{Method, Recipe};
use super::toy::{TOY, ToyWorld};
use super::train::{Setup, train};
use crate::learner::LearnerError;

/// Apart from the seeds of the studies, which count from 0.
const TUNING_SEEDS: [u64; 2] = [1_000, 1_001];

/// Share of random behavior in that log: what is chosen must not need a clean one.
const TUNING_NOISE: f64 = 0.4;

/// The recipe of each method, with what it reached in tuning.
#[derive(Debug, Clone, Default)]
pub struct Frozen(BTreeMap<Method, (Recipe, f64)>);

impl Frozen {
    pub fn recipe(&self, method: Method) -> Option<Recipe> {
        self.0.get(&method).map(|(recipe, _)| recipe.clone()).or_else(|| Recipe::untuned(method))
    }

    pub fn describe(&self) -> Vec<String> {
        self.0.values().map(|(recipe, value)| format!("{} ({value:.3} in tuning)", recipe.describe())).collect()
    }

    /// Tunes what is not tuned yet.
    pub fn tune(&mut self, methods: &[Method], plan: &Plan, steps: usize, samples: usize) -> Result<(), LearnerError> {
        let setup = setup(plan, steps, false);
        for &method in methods {
            let candidates = method.candidates();
            if self.0.contains_key(&method) {
                continue;
            }
            let runs = if candidates.len() > 1 { candidates.len() * TUNING_SEEDS.len() } else { 0 };
            let values = each(runs, |run| {
                let (candidate, seed) = (run / TUNING_SEEDS.len(), TUNING_SEEDS[run % TUNING_SEEDS.len()]);
                let mut random = generator(seed, TOY);
                let world = ToyWorld::new(&plan.toy, &mut random);
                let data = world.log(samples, MEDIUM, TUNING_NOISE, &mut random);
                train(&data, &candidates[candidate], &setup, seed).map(|trained| world.measure(&trained.policy))
            })?;
            let mean = |candidate: usize| -> f64 {
                let of = values.chunks(TUNING_SEEDS.len()).nth(candidate).unwrap_or_default();
                of.iter().sum::<f64>() / TUNING_SEEDS.len() as f64
            };
            let best = (0..candidates.len()).max_by(|&left, &right| mean(left).total_cmp(&mean(right)));
            if let Some((recipe, value)) = best.and_then(|best| Some((candidates.get(best)?.clone(), mean(best)))) {
                self.0.insert(method, (recipe, value));
            }
        }
        Ok(())
    }
}

pub fn setup(plan: &Plan, steps: usize, guarded: bool) -> Setup {
    Setup { steps, hidden: plan.hidden.clone(), learning_rate: plan.learning_rate, weight_decay: 0.0, guarded }
}
