//! The learner as a whole, against arithmetic that shares nothing with it.

mod baseline;
mod critic;
mod estimators;
mod gradients;
mod objective;
mod refusals;
mod resume;
mod toy;

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Learner, LearnerSettings, Objective, Outcome, PolicyKind, Sigma, UpdateReport, Vectors};
use crate::batch::{Actions, Batch};
use crate::policy::ItemVectors;

/// Numbers of our own, so that a test does not draw from the code under test.
pub struct Numbers(Xoshiro256PlusPlus);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f64) as usize
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal() as f32).collect()
    }
}

/// A batch of admitted rows: every score stands above its threshold 0.
pub fn batch(number: u64, rows: usize, states: Vec<f32>, actions: Actions, numbers: &mut Numbers) -> Batch {
    Batch {
        number,
        rows,
        states,
        actions,
        scores: (0..rows).map(|_| numbers.unit() as f32 + 0.1).collect(),
        thresholds: vec![0.0; rows],
        weights: (0..rows).map(|_| if numbers.unit() < 0.2 { 0.3 } else { 1.0 }).collect(),
        propensities: vec![None; rows],
    }
}

pub const STATE: usize = 5;
pub const DIMENSION: usize = 4;
pub const ITEMS: usize = 12;

pub fn gaussian() -> LearnerSettings {
    let sigma = Sigma::Learned { initial: 0.8 };
    small(LearnerSettings::new(STATE, PolicyKind::Gaussian { dimension: DIMENSION, sigma }))
}

pub fn learned_items() -> LearnerSettings {
    let vectors = Vectors::Learned { capacity: 100, dimension: DIMENSION };
    small(LearnerSettings::new(STATE, PolicyKind::Softmax { vectors }))
}

pub fn given_items() -> LearnerSettings {
    let vectors = ItemVectors::new(DIMENSION, Numbers::new(77).normals(ITEMS * DIMENSION)).expect("whole rows");
    small(LearnerSettings::new(STATE, PolicyKind::Softmax { vectors: Vectors::Given(Arc::new(vectors)) }))
}

fn small(mut settings: LearnerSettings) -> LearnerSettings {
    settings.hidden = vec![7, 6];
    settings.seed = 11;
    settings
}

pub fn embeddings(number: u64, rows: usize, numbers: &mut Numbers) -> Batch {
    let states = numbers.normals(rows * STATE);
    let actions = Actions::Embeddings { dimension: DIMENSION, values: numbers.normals(rows * DIMENSION) };
    batch(number, rows, states, actions, numbers)
}

/// Every other row with candidates, in no order, with a repetition, and not always with the chosen item among them.
pub fn items(number: u64, rows: usize, known: usize, numbers: &mut Numbers) -> Batch {
    let states = numbers.normals(rows * STATE);
    let chosen = (0..rows).map(|_| numbers.below(known) as u32).collect();
    let mut candidate_set = || -> Arc<[u32]> {
        let mut set: Vec<u32> = (0..4).map(|_| numbers.below(known) as u32).collect();
        set.push(set[0]);
        set.into()
    };
    let candidates = (0..rows).map(|row| (row % 2 == 0).then(&mut candidate_set)).collect();
    batch(number, rows, states, Actions::Items { chosen, candidates }, numbers)
}

/// One stream of batches for each kind of policy.
pub fn some_batches(settings: &LearnerSettings, count: u64, seed: u64) -> Vec<Batch> {
    let mut numbers = Numbers::new(seed);
    let batch = |number| match &settings.policy {
        PolicyKind::Gaussian { .. } => embeddings(number, 16, &mut numbers),
        // New items keep appearing, as they do in a log.
        PolicyKind::Softmax { vectors: Vectors::Learned { .. } } => {
            items(number, 16, 3 + number as usize / 2, &mut numbers)
        }
        PolicyKind::Softmax { vectors: Vectors::Given(_) } => items(number, 16, ITEMS, &mut numbers),
    };
    (0..count).map(batch).collect()
}

pub fn update(learner: &mut Learner, batch: &Batch) -> UpdateReport {
    learner.update(batch).expect("the batch fits")
}

#[test]
fn a_batch_of_another_shape_is_an_error_and_changes_nothing() {
    for settings in [gaussian(), learned_items(), given_items()] {
        let mut learner = Learner::new(settings.clone()).expect("valid settings");
        let good = some_batches(&settings, 1, 5).remove(0);
        let before = learner.export();
        let rows = good.rows;
        let one_more = vec![0.0; rows * (DIMENSION + 1)];
        let far = Some(Arc::from([1_u32, 4_000_000_000]));
        let wrong_actions = [
            Actions::Embeddings { dimension: DIMENSION + 1, values: one_more },
            Actions::Embeddings { dimension: DIMENSION, values: vec![0.0; 1] },
            Actions::Items { chosen: vec![0; rows], candidates: vec![far; rows] },
            Actions::Items { chosen: vec![100; rows], candidates: vec![None; rows] },
            Actions::Items { chosen: vec![0; rows], candidates: Vec::new() },
        ];
        let mut wrong = vec![
            Batch { rows: 0, ..good.clone() },
            Batch { rows: rows + 1, ..good.clone() },
            Batch { states: good.states[1..].to_vec(), ..good.clone() },
            Batch { scores: good.scores[1..].to_vec(), ..good.clone() },
            Batch { thresholds: good.thresholds[1..].to_vec(), ..good.clone() },
            Batch { weights: good.weights[1..].to_vec(), ..good.clone() },
            Batch { propensities: good.propensities[1..].to_vec(), ..good.clone() },
        ];
        wrong.extend(wrong_actions.map(|actions| Batch { actions, ..good.clone() }));
        for (index, batch) in wrong.iter().enumerate() {
            assert!(learner.update(batch).is_err(), "wrong batch {index} was taken by {:?}", settings.policy);
            assert_eq!(learner.export(), before, "wrong batch {index} changed {:?}", settings.policy);
        }
        assert_eq!(update(&mut learner, &good).outcome, Outcome::Applied);
    }
}

#[test]
fn without_a_state_the_policy_is_one_distribution() {
    let sigma = Sigma::Learned { initial: 1.0 };
    let mut settings = LearnerSettings::new(0, PolicyKind::Gaussian { dimension: 1, sigma });
    settings.objective = Objective::Bc;
    settings.learning_rate = 0.01;
    settings.weight_decay = 0.0;
    let mut learner = Learner::new(settings).expect("valid settings");
    let mut numbers = Numbers::new(3);
    for number in 0..400 {
        let values = (0..64).map(|_| (2.0 + 0.5 * numbers.normal()) as f32).collect();
        let batch = batch(number, 64, Vec::new(), Actions::Embeddings { dimension: 1, values }, &mut numbers);
        update(&mut learner, &batch);
    }
    let mean = learner.policy().mean(&[]).expect("a Gaussian policy")[0];
    let sigma = learner.policy().sigma().expect("a Gaussian policy")[0];
    assert!((mean - 2.0).abs() < 0.1, "seed 3: mean {mean}");
    assert!((sigma - 0.5).abs() < 0.05, "seed 3: sigma {sigma}");
}
