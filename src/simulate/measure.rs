//! What a policy is worth in the world itself.
//!
//! The return of an episode is the sum of the observed rewards of one visit: the very number that the log shows for a
//! session, so a learner's policy and the recommenders of the log are measured with one rule. Trials with the same
//! seed meet the same people in the same situations with the same luck, whoever serves them.

use super::logger::Logger;
use super::seed::generator;
use super::session::Situation;
use super::world::World;
use crate::time::EventTime;

/// What a policy answers to a state.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// A direction: the item with the greatest inner product is shown.
    Embedding(Vec<f32>),
    Item(usize),
}

/// Who serves the visits of a trial.
pub enum Actor<'a> {
    /// One recommender of the log.
    Logger(Logger),
    /// The log's recommenders with their shares, one for each visit.
    Mixture,
    /// The best item for everybody: what nobody can beat.
    Best,
    /// A policy under test; its state vector is the context.
    Policy(&'a mut dyn FnMut(&[f32]) -> Choice),
}

/// How to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    pub episodes: u64,
    pub seed: u64,
    /// Taste as it is at this time: [`EventTime::START`] before all drift, [`EventTime::END`] after it.
    pub time: EventTime,
}

/// A mean return with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredReturn {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    pub episodes: u64,
    /// Mean reward of a step.
    pub reward: f64,
}

impl World {
    /// Serves `trial.episodes` visits by `actor`.
    pub fn rollout(&self, mut actor: Actor<'_>, trial: Trial) -> MeasuredReturn {
        let drift = self.settings().drift_at(trial.time);
        let mut returns = Vec::new();
        let mut steps = 0_usize;
        for episode in 0..trial.episodes {
            let situation = Situation::draw(self.settings(), &mut generator(trial.seed, "episode", episode));
            let mut dice = generator(trial.seed, "choice", episode);
            let serving = match actor {
                Actor::Mixture => Some(Logger::draw(self.settings(), &mut dice)),
                Actor::Logger(logger) => Some(logger),
                Actor::Best | Actor::Policy(_) => None,
            };
            steps += situation.contexts.len();
            let mut total = 0.0;
            for (context, luck) in situation.contexts.iter().zip(&situation.luck) {
                let taste = self.taste(context, drift);
                let item = match (serving, &mut actor) {
                    (Some(logger), _) => logger.choose(self, &taste, &mut dice).0,
                    (None, Actor::Policy(policy)) => self.shown(policy(context)),
                    (None, Actor::Best | Actor::Mixture | Actor::Logger(_)) => self.nearest(&taste),
                };
                total += self.settings().observed_reward(self.latent_reward(item, &taste), *luck);
            }
            returns.push(total);
        }
        MeasuredReturn::of(&returns, steps)
    }

    /// A number beyond the catalogue is its last item.
    fn shown(&self, choice: Choice) -> usize {
        match choice {
            Choice::Embedding(direction) => self.nearest(&direction),
            Choice::Item(item) => item.min(self.settings().raw().items - 1),
        }
    }
}

impl MeasuredReturn {
    /// Normal interval: with the hundreds of episodes of a trial Student's t is no wider to the eye.
    fn of(returns: &[f64], steps: usize) -> MeasuredReturn {
        let count = returns.len().max(1) as f64;
        let total: f64 = returns.iter().sum();
        let mean = total / count;
        let squares: f64 = returns.iter().map(|value| (value - mean) * (value - mean)).sum();
        let half = 1.96 * (squares / (count - 1.0).max(1.0) / count).sqrt();
        let episodes = returns.len() as u64;
        MeasuredReturn { mean, low: mean - half, high: mean + half, episodes, reward: total / steps.max(1) as f64 }
    }
}
