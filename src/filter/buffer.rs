//! The buffer of admitted steps: what was kept is scarce, so it is drawn more than once.
//!
//! Every draw meets the *current* threshold again, so that what an older, lower bar let in is not trained on for ever.
//! The generator is part of the state: the sequence of batches is a function of the log.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::batch::{Action, Actions, Batch};
use crate::window::{Cut, Level, Score};

/// A step that passed the filter, as the learner will need it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdmittedStep {
    pub state: Box<[f32]>,
    pub action: Action,
    /// The score of the unit it belongs to.
    pub score: Score,
    pub propensity: Option<f32>,
}

/// How many times the buffer is drawn per newly admitted step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReplayRatio {
    Fixed(f64),
    /// By the count of admitted steps: 256 at first, 64 at three thousand, 16 at ten thousand, 1 in an endless stream. Short
    /// logs are used up, long streams run at full speed, and the schedule is a function of the log.
    Auto,
}

#[derive(Debug, Clone, PartialEq)]
pub struct BufferRules {
    pub capacity: usize,
    pub batch: usize,
    pub replay_ratio: ReplayRatio,
    pub seed: u64,
}

#[derive(Debug, Clone)]
pub struct Buffer {
    rules: BufferRules,
    state: BufferState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BufferState {
    /// A ring once it is full; `oldest` is the next to be overwritten.
    steps: Vec<Arc<AdmittedStep>>,
    oldest: usize,
    generator: Xoshiro256PlusPlus,
    /// Draws owed, the fraction of a replay ratio included.
    owed: f64,
    /// Rows of the batch that is being filled.
    pending: Vec<Row>,
    admitted: u64,
    draws: u64,
    /// Draws that the current threshold refused.
    stale_draws: u64,
    batches: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    step: Arc<AdmittedStep>,
    threshold: f32,
    weight: f32,
}

impl ReplayRatio {
    /// Draws per admitted step when `admitted` steps came before it.
    pub fn at(self, admitted: u64) -> f64 {
        match self {
            ReplayRatio::Fixed(ratio) => ratio,
            // 256 / (1 + 3 n / 10,000)^2: 256 at n = 0, 16 at n = 10,000, 1 from n = 50,000 on. So few steps as a short log
            // admits need some hundred draws each before they are learned; the sum of all that is above 1 is bounded.
            ReplayRatio::Auto => (160_000.0 / (10_000.0 + 3.0 * admitted as f64)).powi(2).max(1.0),
        }
    }
}

impl BufferState {
    /// Steps that are kept.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn batches(&self) -> u64 {
        self.batches
    }

    pub fn draws(&self) -> u64 {
        self.draws
    }

    pub fn stale_draws(&self) -> u64 {
        self.stale_draws
    }
}

impl Buffer {
    pub fn new(rules: BufferRules) -> Buffer {
        let state = BufferState {
            steps: Vec::new(),
            oldest: 0,
            generator: Xoshiro256PlusPlus::seed_from_u64(rules.seed),
            owed: 0.0,
            pending: Vec::new(),
            admitted: 0,
            draws: 0,
            stale_draws: 0,
            batches: 0,
        };
        Buffer { rules, state }
    }

    pub fn restore(rules: BufferRules, state: BufferState) -> Result<Buffer, String> {
        if state.oldest > state.steps.len() || !state.owed.is_finite() {
            return Err("the buffer of admitted steps contradicts itself".to_owned());
        }
        let mut buffer = Buffer { rules, state };
        if buffer.state.steps.len() > buffer.rules.capacity {
            // The setting shrank: keep the newest.
            buffer.state.steps.rotate_left(buffer.state.oldest);
            buffer.state.steps.drain(..buffer.state.steps.len() - buffer.rules.capacity);
            buffer.state.oldest = 0;
        }
        Ok(buffer)
    }

    pub fn snapshot(&self) -> BufferState {
        self.state.clone()
    }

    pub fn len(&self) -> usize {
        self.state.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.state.steps.is_empty()
    }

    /// Batches emitted so far.
    pub fn batches(&self) -> u64 {
        self.state.batches
    }

    pub fn draws(&self) -> u64 {
        self.state.draws
    }

    pub fn stale_draws(&self) -> u64 {
        self.state.stale_draws
    }

    /// Takes in a step admitted with `weight` at `cut`, draws what it pays for, and emits the batches that became full.
    pub fn admit(&mut self, step: AdmittedStep, weight: f64, cut: Option<&Cut>, batches: &mut Vec<Batch>) {
        let step = Arc::new(step);
        let ratio = self.rules.replay_ratio.at(self.state.admitted);
        self.state.admitted += 1;
        if ratio == 0.0 {
            self.push_row(&step, weight, cut, batches);
            return;
        }
        self.insert(step);
        self.state.owed += ratio;
        while self.state.owed >= 1.0 {
            self.state.owed -= 1.0;
            self.draw(cut, batches);
        }
    }

    fn insert(&mut self, step: Arc<AdmittedStep>) {
        let state = &mut self.state;
        if state.steps.len() < self.rules.capacity {
            // A ring that a larger setting made room in again is opened at its oldest element.
            state.steps.rotate_left(state.oldest);
            state.oldest = 0;
            state.steps.push(step);
        } else {
            state.steps[state.oldest] = step;
            state.oldest = (state.oldest + 1) % self.rules.capacity;
        }
    }

    fn draw(&mut self, cut: Option<&Cut>, batches: &mut Vec<Batch>) {
        let drawn = self.state.generator.random_range(0..self.state.steps.len() as u64) as usize;
        self.state.draws += 1;
        let step = Arc::clone(&self.state.steps[drawn]);
        let weight = cut.map_or(1.0, |cut| weight_at(cut, step.score));
        if weight > 0.0 {
            self.push_row(&step, weight, cut, batches);
        } else {
            self.state.stale_draws += 1;
        }
    }

    fn push_row(&mut self, step: &Arc<AdmittedStep>, weight: f64, cut: Option<&Cut>, batches: &mut Vec<Batch>) {
        // Before there is a threshold a step is its own: its excess is 0 and the weight alone counts.
        let threshold = cut.map_or(step.score, |cut| cut.threshold).value();
        self.state.pending.push(Row { step: Arc::clone(step), threshold, weight: weight as f32 });
        if self.state.pending.len() >= self.rules.batch {
            let rows = std::mem::take(&mut self.state.pending);
            batches.push(assemble_batch(self.state.batches, &rows));
            self.state.batches += 1;
        }
    }
}

/// What keeps everything keeps also what lies below all that the window has seen.
fn weight_at(cut: &Cut, score: Score) -> f64 {
    if cut.level == Level::ONE { 1.0 } else { cut.weight(score) }
}

fn assemble_batch(number: u64, rows: &[Row]) -> Batch {
    let mut states = Vec::with_capacity(rows.len() * rows.first().map_or(0, |row| row.step.state.len()));
    rows.iter().for_each(|row| states.extend_from_slice(&row.step.state));
    Batch {
        number,
        rows: rows.len(),
        states,
        actions: assemble_actions(rows),
        scores: rows.iter().map(|row| row.step.score.value()).collect(),
        thresholds: rows.iter().map(|row| row.threshold).collect(),
        weights: rows.iter().map(|row| row.weight).collect(),
        propensities: rows.iter().map(|row| row.step.propensity).collect(),
    }
}

/// All rows of a buffer hold the same form of action: the policy's form is structural.
fn assemble_actions(rows: &[Row]) -> Actions {
    let (mut values, mut chosen, mut candidates) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match &row.step.action {
            Action::Embedding(embedding) => values.extend_from_slice(embedding),
            Action::Item { chosen: item, candidates: set } => {
                chosen.push(*item);
                candidates.push(set.clone());
            }
        }
    }
    if chosen.is_empty() {
        Actions::Embeddings { dimension: values.len() / rows.len().max(1), values }
    } else {
        Actions::Items { chosen, candidates }
    }
}
