//! A log in memory: rows of (state, action, reward), in the order in which they were logged.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::simulate::{Session, World};
use crate::time::{EventTime, Span};

#[derive(Debug, Clone)]
pub struct Data {
    pub context: usize,
    pub dimension: usize,
    pub states: Vec<f32>,
    pub actions: Vec<f32>,
    pub rewards: Vec<f32>,
}

impl Data {
    pub fn new(context: usize, dimension: usize) -> Data {
        Data { context, dimension, states: Vec::new(), actions: Vec::new(), rewards: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    pub fn push(&mut self, state: &[f64], action: &[f64], reward: f64) {
        self.states.extend(state.iter().map(|&x| x as f32));
        self.actions.extend(action.iter().map(|&x| x as f32));
        self.rewards.push(reward as f32);
    }

    pub fn append(&mut self, other: &Data) {
        self.states.extend_from_slice(&other.states);
        self.actions.extend_from_slice(&other.actions);
        self.rewards.extend_from_slice(&other.rewards);
    }

    pub fn state(&self, row: usize) -> &[f32] {
        &self.states[row * self.context..(row + 1) * self.context]
    }

    pub fn action(&self, row: usize) -> &[f32] {
        &self.actions[row * self.dimension..(row + 1) * self.dimension]
    }

    /// The steps of a simulated world's first sessions.
    pub fn simulated(world: &World, sessions: u64) -> Data {
        let raw = world.settings().raw();
        let mut data = Data::new(raw.context, raw.dimension);
        let mut start = EventTime::START;
        for number in 0..sessions {
            for step in Session::play(world, number, start).steps {
                data.states.extend_from_slice(&step.context);
                data.actions.extend_from_slice(world.embedding(step.item));
                data.rewards.push(step.reward as f32);
            }
            start = start.plus(Span::from_millis(1_000));
        }
        data
    }
}

/// Independent of every other (seed, purpose).
pub fn generator(seed: u64, purpose: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose)
}
