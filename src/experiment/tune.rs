//! Tuned once, on logs that no study uses, and then frozen: every method gets the best of its candidates.
//!
//! The logs are the same whatever study is run, so that one study alone shows the figures that it shows among the others;
//! and they range over what the studies vary, so that what is chosen does not need a clean log.

use std::collections::BTreeMap;

use super::data::generator;
use super::jobs::each;
use super::plan::{MEDIUM, Plan, Toy};
use super::recipe::{Method, Recipe};
use super::toy::{TOY, ToyWorld};
use super::train::{Setup, train};
use crate::learner::LearnerError;

/// Seed (apart from those of the studies, which count from 0), share of random behavior, noise on the reward.
const LOGS: [(u64, f64, f64); 5] =
    [(1_000, 0.0, 0.1), (1_001, 0.4, 0.1), (1_002, 0.8, 0.1), (1_003, 0.0, 0.5), (1_004, 0.0, 1.0)];
const SAMPLES: usize = 20_000;

/// The recipe of each method, with the mean of what it reached in tuning; `None` where there was nothing to choose.
#[derive(Debug, Clone, Default)]
pub struct Frozen(BTreeMap<Method, (Recipe, Option<f64>)>);

impl Frozen {
    pub fn recipe(&self, method: Method) -> Option<Recipe> {
        self.0.get(&method).map(|(recipe, _)| recipe.clone()).or_else(|| Recipe::untuned(method))
    }

    pub fn describe(&self) -> Vec<String> {
        let line = |(recipe, value): &(Recipe, Option<f64>)| match value {
            Some(value) => format!("{} ({value:.3} in tuning)", recipe.describe()),
            None => format!("{} (not tuned)", recipe.describe()),
        };
        self.0.values().map(line).collect()
    }

    /// Tunes what is not tuned yet.
    pub fn tune(&mut self, methods: &[Method], steps: usize) -> Result<(), LearnerError> {
        let setup = Setup { steps, hidden: vec![64, 64], learning_rate: 3e-4, weight_decay: 0.0, guarded: false };
        for &method in methods {
            if self.0.contains_key(&method) {
                continue;
            }
            let candidates = method.candidates();
            let runs = if candidates.len() > 1 { candidates.len() * LOGS.len() } else { 0 };
            let values = each(runs, |run| {
                let (seed, noise, reward_noise) = LOGS[run % LOGS.len()];
                let toy = Toy { reward_noise, ..Toy::default() };
                let mut random = generator(seed, TOY);
                let world = ToyWorld::new(&toy, &mut random);
                let data = world.log(SAMPLES, MEDIUM, noise, &mut random);
                train(&data, &candidates[run / LOGS.len()], &setup, seed).map(|trained| world.measure(&trained.policy))
            })?;
            let means = values.chunks(LOGS.len()).map(|of| of.iter().sum::<f64>() / of.len() as f64);
            let best = means.zip(&candidates).max_by(|(left, _), (right, _)| left.total_cmp(right));
            let best = best.map(|(value, recipe)| (recipe.clone(), Some(value)));
            if let Some(chosen) = best.or_else(|| Some((candidates.first()?.clone(), None))) {
                self.0.insert(method, chosen);
            }
        }
        Ok(())
    }
}

pub fn setup(plan: &Plan, steps: usize, guarded: bool) -> Setup {
    Setup { steps, hidden: plan.hidden.clone(), learning_rate: plan.learning_rate, weight_decay: 0.0, guarded }
}
