//! The batch form: rows drawn at random from the whole log, the best kappa of each batch kept.

use rand::RngExt;

use super::data::{Data, generator};
use super::recipe::{Keep, Recipe};
use crate::batch::{Actions, Batch};
use crate::filter::Curriculum;
use crate::learner::{Counters, GuardSettings, Learner, LearnerError, LearnerSettings, PolicyKind};
use crate::policy::Policy;

/// The paper's batch.
pub const ROWS: usize = 320;

/// How a learner is set up and for how long it learns.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    pub steps: usize,
    pub hidden: Vec<usize>,
    pub learning_rate: f64,
    pub weight_decay: f64,
    /// Without it nothing is refused: what diverges shall be seen to.
    pub guarded: bool,
}

/// What learning left.
pub struct Trained {
    pub policy: Policy,
    pub counters: Counters,
}

pub fn learner(data: &Data, recipe: &Recipe, setup: &Setup, seed: u64) -> Result<Learner, LearnerError> {
    let kind = PolicyKind::Gaussian { dimension: data.dimension, sigma: recipe.sigma };
    let guard = if setup.guarded { GuardSettings::default() } else { unguarded() };
    Learner::new(LearnerSettings {
        hidden: setup.hidden.clone(),
        objective: recipe.objective,
        learning_rate: setup.learning_rate,
        weight_decay: setup.weight_decay,
        seed,
        guard,
        ..LearnerSettings::new(data.context, kind)
    })
}

pub fn unguarded() -> GuardSettings {
    GuardSettings {
        distance_ratio_max: f64::MAX,
        gradient_ratio_max: f64::MAX,
        parameter_size_max: f64::MAX,
        ..GuardSettings::default()
    }
}

/// Draws `setup.steps` batches.
pub fn train(data: &Data, recipe: &Recipe, setup: &Setup, seed: u64) -> Result<Trained, LearnerError> {
    let mut random = generator(seed, 0x6261_7463);
    let mut learner = learner(data, recipe, setup, seed)?;
    let mut kappa = recipe.keep.kappa();
    for number in 0..setup.steps {
        let drawn: Vec<usize> = (0..ROWS).map(|_| random.random_range(0..data.len() as u64) as usize).collect();
        let batch = kept(data, &drawn, kappa, number as u64);
        kappa = next_kappa(recipe.keep, kappa, data, &drawn);
        // The batch is made for this learner; what the guard refuses it counts.
        let _ = learner.update(&batch);
    }
    Ok(Trained { policy: learner.policy().clone(), counters: learner.counters() })
}

fn next_kappa(keep: Keep, kappa: f64, data: &Data, drawn: &[usize]) -> f64 {
    if keep.curriculum() == Curriculum::Fixed {
        return kappa;
    }
    let mut scores: Vec<f64> = drawn.iter().map(|&row| f64::from(data.rewards[row])).collect();
    keep.curriculum().next(kappa, &mut scores)
}

/// The rows that the exact solution at kappa holds, with the atom's share where it holds a part of them.
fn kept(data: &Data, drawn: &[usize], kappa: f64, number: u64) -> Batch {
    let mut sorted: Vec<f32> = drawn.iter().map(|&row| data.rewards[row]).collect();
    sorted.sort_unstable_by(|left, right| right.total_cmp(left));
    let count = ((kappa * drawn.len() as f64).round() as usize).clamp(1, drawn.len().max(1));
    let threshold = sorted.get(count - 1).copied().unwrap_or(0.0);
    let above = sorted.iter().filter(|reward| **reward > threshold).count();
    let equal = sorted.iter().filter(|reward| **reward == threshold).count().max(1);
    let share = (count - above) as f32 / equal as f32;
    let rows: Vec<usize> = drawn.iter().copied().filter(|&row| data.rewards[row] >= threshold).collect();
    let weight = |&row: &usize| if data.rewards[row] > threshold { 1.0 } else { share };
    let weights = rows.iter().map(weight).collect();
    gathered(data, &rows, vec![threshold; rows.len()], weights, number)
}

pub fn gathered(data: &Data, rows: &[usize], thresholds: Vec<f32>, weights: Vec<f32>, number: u64) -> Batch {
    Batch {
        number,
        rows: rows.len(),
        states: rows.iter().flat_map(|&row| data.state(row)).copied().collect(),
        actions: Actions::Embeddings {
            dimension: data.dimension,
            values: rows.iter().flat_map(|&row| data.action(row)).copied().collect(),
        },
        scores: rows.iter().map(|&row| data.rewards[row]).collect(),
        thresholds,
        propensities: vec![None; rows.len()],
        weights,
    }
}
