//! One update of the learner, beside the same step written by hand.

use std::hint::black_box;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::plain_step::PlainStep;
use super::usage;
use super::workload::{CONTEXT, EMBEDDING};
use crate::batch::{Actions, Batch};
use crate::learner::{Learner, LearnerError, LearnerSettings, PolicyKind, Sigma};

pub const HIDDEN: [usize; 2] = [256, 256];
pub const ROWS: usize = 256;
/// Steps of one kind before the other kind has its turn: both see the same disturbances.
const TURN: usize = 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepReport {
    /// Per second of CPU time.
    pub samples_per_second: f64,
    /// Speed of ours over that of the plain one; below 1 the plain one is faster.
    pub ratio_to_plain: f64,
    pub plain_samples_per_second: f64,
}

/// Context, and the pooled embeddings of the session's items.
pub const STATE: usize = CONTEXT + EMBEDDING;

/// Measures so many turns of each.
pub fn measure(turns: usize, seed: u64) -> Result<StepReport, LearnerError> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| random.random_range(-1.0..1.0)).collect() };
    let batch = Batch {
        number: 0,
        rows: ROWS,
        states: numbers(ROWS * STATE),
        actions: Actions::Embeddings { dimension: EMBEDDING, values: numbers(ROWS * EMBEDDING) },
        scores: numbers(ROWS).iter().map(|score| score + 2.0).collect(),
        thresholds: vec![1.0; ROWS],
        weights: vec![1.0; ROWS],
        propensities: vec![None; ROWS],
    };
    let gaussian = PolicyKind::Gaussian { dimension: EMBEDDING, sigma: Sigma::Learned { initial: 1.0 } };
    let settings = LearnerSettings { hidden: HIDDEN.to_vec(), ..LearnerSettings::new(STATE, gaussian) };
    let mut learner = Learner::new(settings)?;
    let mut weights = numbers(STATE * HIDDEN[0] + HIDDEN[0] * HIDDEN[1] + HIDDEN[1] * EMBEDDING).into_iter();
    let mut plain = PlainStep::new(&[STATE, HIDDEN[0], HIDDEN[1], EMBEDDING], || weights.next().unwrap_or_default());
    let actions = numbers(ROWS * EMBEDDING);
    let (mut ours, mut plains) = (Vec::new(), Vec::new());
    for _ in 0..turns.max(1) + 1 {
        ours.push(turn(|| {
            // The batch fits, and a step that did not would only be slower to be refused.
            let _ = black_box(learner.update(&batch));
        }));
        plains.push(turn(|| {
            black_box(plain.update(&batch.states, &actions, &batch.weights));
        }));
    }
    // The first turn of each fetches its memory.
    let (ours, plains) = (median(&mut ours[1..]), median(&mut plains[1..]));
    let speed = |seconds: f64| (TURN * ROWS) as f64 / seconds.max(1e-9);
    Ok(StepReport {
        samples_per_second: speed(ours),
        ratio_to_plain: plains / ours.max(1e-9),
        plain_samples_per_second: speed(plains),
    })
}

fn turn(mut step: impl FnMut()) -> f64 {
    let before = usage::cpu_time();
    (0..TURN).for_each(|_| step());
    (usage::cpu_time() - before).as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
