//! What the critic learns from: every matured step with the return of its session, whether the filter admits it or not.
//!
//! Neighboring steps come from one session and share one return, which would make poor batches. So steps enter a ring of
//! the last few thousand, and each step that enters pays for one draw from it by a seeded generator: every step is
//! drawn once on average, among steps of many sessions. Returns are standardized at the draw, by the mean and the deviation of
//! all sessions so far; until some tens of sessions have closed there is no telling, and the draws wait.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::batch::CriticBatch;

/// Steps in the ring: some tens of sessions.
const RING: usize = 8_192;
/// Sessions whose returns a deviation needs.
const SESSIONS_MIN: u64 = 30;
/// Apart from the generator of the admitted steps' buffer, whose seed is the setting itself.
const STREAM: u64 = 0x4352_4954_4943;

#[derive(Debug, Clone, PartialEq)]
pub struct CriticRules {
    pub batch: usize,
    pub seed: u64,
}

#[derive(Debug, Clone)]
pub struct CriticFeed {
    rules: CriticRules,
    state: CriticFeedState,
}

/// Part of every checkpoint of a learner with a tilt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CriticFeedState {
    /// A ring once it is full; `oldest` is the next to be overwritten.
    steps: Vec<Arc<CriticStep>>,
    oldest: usize,
    generator: Xoshiro256PlusPlus,
    /// Draws that have been paid for.
    owed: u64,
    pending: Vec<Row>,
    returns: Returns,
    decisions: u64,
    batches: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CriticStep {
    state: Box<[f32]>,
    item: u32,
    /// Of the whole session.
    r#return: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    step: Arc<CriticStep>,
    target: f32,
}

/// Running mean and squared deviations (Welford).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Returns {
    sessions: u64,
    mean: f64,
    squares: f64,
}

impl CriticFeed {
    pub fn new(rules: CriticRules) -> CriticFeed {
        let state = CriticFeedState {
            steps: Vec::new(),
            oldest: 0,
            generator: Xoshiro256PlusPlus::seed_from_u64(rules.seed ^ STREAM),
            owed: 0,
            pending: Vec::new(),
            returns: Returns::default(),
            decisions: 0,
            batches: 0,
        };
        CriticFeed { rules, state }
    }

    pub fn restore(rules: CriticRules, state: CriticFeedState) -> Result<CriticFeed, String> {
        let is_sound = state.oldest <= state.steps.len()
            && state.steps.len() <= RING
            && state.returns.mean.is_finite()
            && state.returns.squares.is_finite();
        if is_sound { Ok(CriticFeed { rules, state }) } else { Err("the critic's ring contradicts itself".to_owned()) }
    }

    /// Batches emitted so far.
    pub fn batches(&self) -> u64 {
        self.state.batches
    }

    pub fn snapshot(&self) -> CriticFeedState {
        self.state.clone()
    }

    /// Takes in a session's steps, drawing what they pay for, and emits the batches that became full. A return that is not
    /// finite is no return: such a session is passed over.
    pub fn observe(
        &mut self,
        session_return: f64,
        steps: impl Iterator<Item = (Box<[f32]>, u32)>,
        batches: &mut Vec<CriticBatch>,
    ) {
        if !self.state.returns.add(session_return) {
            return;
        }
        for (state, item) in steps {
            self.state.decisions += 1;
            self.state.owed += 1;
            self.insert(Arc::new(CriticStep { state, item, r#return: session_return }));
        }
        while self.state.returns.sessions >= SESSIONS_MIN && self.state.owed > 0 && !self.state.steps.is_empty() {
            self.state.owed -= 1;
            self.draw(batches);
        }
    }

    fn insert(&mut self, step: Arc<CriticStep>) {
        let state = &mut self.state;
        if state.steps.len() < RING {
            state.steps.push(step);
        } else {
            state.steps[state.oldest] = step;
            state.oldest = (state.oldest + 1) % RING;
        }
    }

    fn draw(&mut self, batches: &mut Vec<CriticBatch>) {
        let state = &mut self.state;
        let drawn = state.generator.random_range(0..state.steps.len() as u64) as usize;
        let step = Arc::clone(&state.steps[drawn]);
        let target = state.returns.standardize(step.r#return) as f32;
        state.pending.push(Row { step, target });
        if state.pending.len() >= self.rules.batch {
            let rows = std::mem::take(&mut state.pending);
            let mut states = Vec::with_capacity(rows.len() * rows.first().map_or(0, |row| row.step.state.len()));
            rows.iter().for_each(|row| states.extend_from_slice(&row.step.state));
            batches.push(CriticBatch {
                number: state.batches,
                rows: rows.len(),
                states,
                items: rows.iter().map(|row| row.step.item).collect(),
                targets: rows.iter().map(|row| row.target).collect(),
                decisions: state.decisions,
            });
            state.batches += 1;
        }
    }
}

impl CriticFeedState {
    pub fn batches(&self) -> u64 {
        self.batches
    }
}

impl Returns {
    /// `false`, and nothing changes, when a sum would leave the range of f64.
    fn add(&mut self, value: f64) -> bool {
        let sessions = self.sessions + 1;
        let gap = value - self.mean;
        let mean = self.mean + gap / sessions as f64;
        let squares = self.squares + gap * (value - mean);
        let is_finite = mean.is_finite() && squares.is_finite();
        if is_finite {
            *self = Returns { sessions, mean, squares };
        }
        is_finite
    }

    /// 0 while all returns are the same.
    fn standardize(&self, value: f64) -> f64 {
        let deviation = (self.squares / self.sessions as f64).sqrt();
        if deviation > 0.0 { (value - self.mean) / deviation } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state and the item that was shown in it.
    type Shown = (Box<[f32]>, u32);

    fn session(number: u64, steps: usize) -> (f64, Vec<Shown>) {
        let step = |step: usize| (Box::from([number as f32, step as f32]), (number % 7) as u32);
        ((number % 5) as f64 * 10.0, (0..steps).map(step).collect())
    }

    fn feed(feed: &mut CriticFeed, numbers: std::ops::Range<u64>) -> Vec<CriticBatch> {
        let mut batches = Vec::new();
        for number in numbers {
            let (value, steps) = session(number, 9);
            feed.observe(value, steps.into_iter(), &mut batches);
        }
        batches
    }

    #[test]
    fn every_step_pays_for_one_draw_and_returns_are_standardized() {
        let mut whole = CriticFeed::new(CriticRules { batch: 16, seed: 3 });
        let batches = feed(&mut whole, 0..400);
        assert_eq!(batches.len(), 400 * 9 / 16, "as many draws as steps");
        assert!(batches.iter().zip(0..).all(|(batch, number)| batch.number == number && batch.rows == 16));
        assert!(batches.iter().all(|batch| batch.states.len() == 32 && batch.items.len() == 16));
        assert_eq!(batches[0].decisions, SESSIONS_MIN * 9, "no draw before a deviation can be told");
        for batch in &batches[20..] {
            for (row, target) in batch.states.chunks(2).zip(&batch.targets) {
                // Returns 0, 10, .., 40 in turn: mean 20, deviation sqrt(200).
                let expected = ((row[0] as u64 % 5) as f32 * 10.0 - 20.0) / 200_f32.sqrt();
                assert!((target - expected).abs() < 0.1, "{target} and not {expected}");
            }
        }
        let sessions: std::collections::BTreeSet<u32> =
            batches[200].states.chunks(2).map(|row| row[0] as u32).collect();
        assert!(sessions.len() > 8, "a batch mixes sessions: {sessions:?}");
    }

    #[test]
    fn a_restored_feed_goes_on_with_the_same_batches() {
        let rules = CriticRules { batch: 10, seed: 5 };
        let mut straight = CriticFeed::new(rules.clone());
        let all = feed(&mut straight, 0..2_000);
        for cut in [0, 7, 31, 950, 1_999] {
            let mut first = CriticFeed::new(rules.clone());
            let mut found = feed(&mut first, 0..cut);
            let bytes = postcard::to_stdvec(&first.snapshot()).unwrap();
            let mut second = CriticFeed::restore(rules.clone(), postcard::from_bytes(&bytes).unwrap()).unwrap();
            found.extend(feed(&mut second, cut..2_000));
            assert!(found == all, "cut at {cut}");
            assert_eq!(second.snapshot(), straight.snapshot(), "cut at {cut}");
        }
    }

    #[test]
    fn equal_returns_divide_by_nothing_and_endless_ones_are_passed_over() {
        let mut feed = CriticFeed::new(CriticRules { batch: 4, seed: 1 });
        let mut batches = Vec::new();
        for _ in 0..60 {
            feed.observe(7.0, session(1, 3).1.into_iter(), &mut batches);
            feed.observe(f64::INFINITY, session(2, 3).1.into_iter(), &mut batches);
        }
        assert_eq!(batches.len(), 60 * 3 / 4);
        assert!(batches.iter().all(|batch| batch.targets.iter().all(|target| *target == 0.0)));
    }
}
