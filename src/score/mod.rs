//! What the filter compares: one number for a unit of behavior, be it a step or a whole trajectory.
//!
//! `score = (return - baseline) / scale`. A plain return would mostly tell which *contexts* are easy; the baseline takes
//! that out, so that what is left says how well the behavior did. The baseline lags behind: units of generation g
//! are measured by a fit over the generations up to g-2, and a fit is never undone, so the score of a unit is a
//! function of the units before it.

mod network;
mod ridge;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::batch::BaselineBatch;
use crate::state::{StateEncoder, States};
use crate::trajectory::{Step, Trajectory};
use crate::window::Score;
pub use network::NetworkFit;
use network::NetworkState;
use ridge::{Fit, Moments, Samples};

/// What is judged as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Step,
    Trajectory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreKind {
    /// (discounted return - baseline) / scale.
    Advantage,
    /// The discounted return itself, as in the paper's offline setting.
    Return,
    /// Of a step: the mean advantage of its session. A step then counts for how good the whole session was, by many small
    /// comparisons instead of one large sum.
    SessionMean,
    /// The reward of the step, or the plain sum of the trajectory's rewards.
    Reward,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    None,
    Mean,
    /// Ridge regression on the state vector and [1, step, ln(1 + step)].
    Linear,
    /// A network on the state vector and ln(1 + step), which the learner trains beside the policy.
    Network,
}

/// What an advantage is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The deviation of all that the baseline leaves unexplained.
    Global,
    /// What it leaves unexplained in such a context: else the filter picks contexts with much noise.
    Context,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRules {
    pub unit: Unit,
    pub kind: ScoreKind,
    pub baseline: Baseline,
    pub scale: Scale,
    /// In [0, 1].
    pub discount: f64,
    /// Rewards are clipped to this range before anything else (keep-the-best invites bots).
    pub clip: Option<(f64, f64)>,
    /// Units per generation of the baseline.
    pub generation: u64,
    /// Ridge penalty, per sample.
    pub ridge: f64,
}

/// A unit with its score; `steps` counts from the trajectory's first step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub first_step: usize,
    pub steps: usize,
    /// Discounted return from the unit's first step on.
    pub value: f64,
    /// `None` while no baseline has been fitted, or when the arithmetic left the range of f32.
    pub score: Option<Score>,
}

/// A second regression beside the first, over the same features and generations: |value - baseline|.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Spread {
    settled: Moments,
    previous: Moments,
    current: Moments,
    fit: Option<Fit>,
    #[serde(skip)]
    fresh: Samples,
}

/// Rewards to scores. Its state is part of every checkpoint.
#[derive(Debug, Clone)]
pub struct Scorer {
    rules: ScoreRules,
    state: ScorerState,
    /// Samples that belong to the current generation and have not been added to it. When they are makes no difference.
    fresh: Samples,
    /// Samples of a generation that has ended, until they are fetched.
    full: Option<BaselineBatch>,
    network_dimension: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScorerState {
    /// Units scored so far.
    units: u64,
    /// Generations up to g-2, the one before this, and this one.
    settled: Moments,
    previous: Moments,
    current: Moments,
    fit: Option<Fit>,
    /// Of the sizes of what the fits left, with `scale = "context"`.
    spread: Option<Spread>,
    /// With `baseline = "network"`, in the place of all these.
    network: Option<NetworkState>,
}

impl Scorer {
    pub fn new(rules: ScoreRules, encoder: &StateEncoder) -> Scorer {
        let dimension = match rules.baseline {
            Baseline::None | Baseline::Network => 0,
            Baseline::Mean => 1,
            Baseline::Linear => encoder.dimension() + 3,
        };
        let empty = Moments::new(dimension);
        let network = rules.learns_network().then(NetworkState::new);
        let (settled, previous) = (empty.clone(), empty.clone());
        let spread = rules.learns_spread().then(|| Spread::new(dimension));
        let state = ScorerState { units: 0, settled, previous, current: empty, fit: None, spread, network };
        let network_dimension = NETWORK_FEATURES + encoder.dimension();
        Scorer { rules, state, fresh: Samples::default(), full: None, network_dimension }
    }

    pub fn snapshot(&mut self) -> ScorerState {
        self.state.current.add(&mut self.fresh);
        if let Some(spread) = &mut self.state.spread {
            spread.current.add(&mut spread.fresh);
        }
        self.state.clone()
    }

    /// `false`, and nothing changes, when the state was made for features of another dimension.
    pub fn restore(&mut self, state: ScorerState) -> bool {
        let fits = state.settled.dimension() == self.state.settled.dimension()
            && state.spread.as_ref().map(Spread::dimension) == self.state.spread.as_ref().map(Spread::dimension)
            && state.network.is_some() == self.state.network.is_some()
            && state.network.as_ref().is_none_or(|network| network.is_sound(self.network_dimension));
        if fits {
            self.state = state;
        }
        fits
    }

    pub fn unit(&self) -> Unit {
        self.rules.unit
    }

    /// Whether the next trajectory has to wait for a fit of the learner's.
    pub fn is_waiting(&self) -> bool {
        self.state.network.as_ref().is_some_and(NetworkState::is_waiting)
    }

    /// Takes the fit that it waits for; `false`, and nothing changes, for any other.
    pub fn accept(&mut self, fit: NetworkFit) -> bool {
        self.state.network.as_mut().is_some_and(|network| network.accept(fit))
    }

    /// The samples of a generation that has ended: once, and before the next trajectory.
    pub fn take_generation(&mut self) -> Option<BaselineBatch> {
        self.full.take()
    }

    /// The generation whose samples were fetched and whose fit has not come back.
    pub fn fit_in_flight(&self) -> Option<u64> {
        self.state.network.as_ref().and_then(NetworkState::in_flight)
    }

    /// Scores all units of a trajectory, in step order. `states` are its steps' state vectors.
    pub fn score(&mut self, trajectory: &Trajectory, states: &States) -> Vec<Scored> {
        let rewards: Vec<f64> = trajectory.steps.iter().map(|step| self.clip(step.reward)).collect();
        let returns = returns_to_go(&rewards, self.discount());
        let values = match (self.rules.unit, self.rules.kind) {
            // Every step has its part in the mean.
            (_, ScoreKind::SessionMean) | (Unit::Step, ScoreKind::Advantage | ScoreKind::Return) => &returns[..],
            (Unit::Step, ScoreKind::Reward) => &rewards[..],
            (Unit::Trajectory, _) => &returns[..returns.len().min(1)],
        };
        let mut advantages = self.advantages(values, states);
        if self.rules.kind == ScoreKind::SessionMean {
            // There is none before all steps have one.
            let sum: Option<f64> = advantages.iter().copied().sum();
            advantages.fill(sum.map(|sum| sum / returns.len() as f64));
        }
        let score = |advantage: Option<f64>| advantage.and_then(|advantage| Score::new(advantage as f32));
        let scored = match self.rules.unit {
            Unit::Trajectory => {
                let value = returns.first().copied().unwrap_or(0.0);
                let score = advantages.first().copied().and_then(score);
                vec![Scored { first_step: 0, steps: rewards.len(), value, score }]
            }
            Unit::Step => {
                let steps = values.iter().zip(advantages).enumerate();
                let unit =
                    |(first_step, (&value, advantage))| Scored { first_step, steps: 1, value, score: score(advantage) };
                steps.map(unit).collect()
            }
        };
        // A generation of the network's ends between two trajectories: there is the only place to wait.
        self.full = self.state.network.as_mut().and_then(|network| network.close(self.rules.generation));
        scored
    }

    /// Discounted return from the first step on, of clipped rewards; 0 without steps.
    pub fn session_return(&self, trajectory: &Trajectory) -> f64 {
        let reward = |step: &Step| self.clip(step.reward);
        trajectory.steps.iter().rev().map(reward).fold(0.0, |to_go, reward| reward + self.discount() * to_go)
    }

    fn discount(&self) -> f64 {
        match self.rules.kind {
            ScoreKind::Reward => 1.0,
            ScoreKind::Advantage | ScoreKind::SessionMean | ScoreKind::Return => self.rules.discount,
        }
    }

    fn clip(&self, reward: f64) -> f64 {
        self.rules.clip.map_or(reward, |(low, high)| reward.clamp(low, high))
    }

    /// What the values of the steps, from the first on, come to beside the baseline, which then learns of them.
    fn advantages(&mut self, values: &[f64], states: &States) -> Vec<Option<f64>> {
        let mut advantages = Vec::with_capacity(values.len());
        while let Some(rest) = values.get(advantages.len()..).filter(|rest| !rest.is_empty()) {
            // One fit measures all up to the end of a generation.
            let generation = self.rules.generation - self.state.units % self.rules.generation;
            let count = usize::try_from(generation).map_or(rest.len(), |generation| rest.len().min(generation));
            let (first, rest) = (advantages.len(), &rest[..count]);
            match (self.rules.kind, self.rules.baseline) {
                (ScoreKind::Return | ScoreKind::Reward, _) | (_, Baseline::None) => {
                    advantages.extend(rest.iter().copied().map(Some));
                }
                (_, Baseline::Mean | Baseline::Linear) => self.measure(first, rest, states, &mut advantages),
                (_, Baseline::Network) => {
                    let steps = rest.iter().zip(first..);
                    advantages.extend(steps.map(|(value, step)| self.measure_by_network(*value, states, step)));
                }
            }
            self.state.units += count as u64;
            if self.state.network.is_none() && self.state.units.is_multiple_of(self.rules.generation) {
                self.close_generation();
            }
        }
        advantages
    }

    /// Of steps of one generation, by the mean or the linear baseline.
    fn measure(&mut self, first: usize, values: &[f64], states: &States, advantages: &mut Vec<Option<f64>>) {
        let ScorerState { current, fit, spread, .. } = &mut self.state;
        let mut steps = values.iter().zip(first..).peekable();
        while steps.peek().is_some() {
            if self.fresh.room() == 0 {
                current.add(&mut self.fresh);
            }
            let begin = self.fresh.len();
            for (value, step) in steps.by_ref().take(self.fresh.room()) {
                match self.rules.baseline {
                    Baseline::Linear => {
                        let state = states.get(step).unwrap_or_default();
                        self.fresh.push(&step_features(step), state, *value);
                    }
                    Baseline::None | Baseline::Mean | Baseline::Network => self.fresh.push(&[1.0], &[0.0; 0], *value),
                }
            }
            // Only now, for what was just written piece by piece cannot be read in one piece at once.
            advantages.extend(self.fresh.since(begin).map(|(features, value)| {
                let fit = fit.as_ref()?;
                let left = value - fit.expected(features);
                let spread = spread.as_mut();
                Some(left / spread.map_or(fit.scale(), |spread| spread.of(features, left, fit.scale())))
            }));
        }
    }

    fn measure_by_network(&mut self, value: f64, states: &States, step: usize) -> Option<f64> {
        let state = states.get(step).into_iter().flatten().copied();
        // The logarithm alone: a network bends it where it must, and takes large numbers ill.
        let features: Vec<f32> = [(step as f32).ln_1p()].into_iter().chain(state).collect();
        let scale = self.rules.scale;
        self.state.network.as_mut().and_then(|network| network.measure(&features, value, scale))
    }

    fn close_generation(&mut self) {
        self.state.current.add(&mut self.fresh);
        let state = &mut self.state;
        state.settled.merge(&state.previous);
        state.previous = std::mem::replace(&mut state.current, Moments::new(state.settled.dimension()));
        if state.settled.count() > 0 {
            state.fit = Some(state.settled.solve(self.rules.ridge));
        }
        if let Some(spread) = &mut state.spread {
            spread.close_generation(self.rules.ridge);
        }
    }
}

impl Spread {
    fn new(dimension: usize) -> Spread {
        let empty = Moments::new(dimension);
        let (settled, previous) = (empty.clone(), empty.clone());
        Spread { settled, previous, current: empty, fit: None, fresh: Samples::default() }
    }

    fn dimension(&self) -> usize {
        self.settled.dimension()
    }

    /// The deviation to be expected in a context, which learns of what the baseline has left there.
    fn of(&mut self, features: &[f64], left: f64, global: f64) -> f64 {
        let scale = self.fit.as_ref().map_or(global, |fit| deviation_of(fit.expected(features), global));
        if self.fresh.room() == 0 {
            self.current.add(&mut self.fresh);
        }
        self.fresh.push(&[], features, left.abs());
        scale
    }

    fn close_generation(&mut self, ridge: f64) {
        self.current.add(&mut self.fresh);
        self.settled.merge(&self.previous);
        self.previous = std::mem::replace(&mut self.current, Moments::new(self.settled.dimension()));
        if self.settled.count() > 0 {
            self.fit = Some(self.settled.solve(ridge));
        }
    }
}

/// The deviation of a normal variable whose mean size this is, within a factor of ten of the deviation over all contexts: a
/// regression may come out at nothing, or below.
fn deviation_of(mean_size: f64, global: f64) -> f64 {
    let deviation = mean_size * (std::f64::consts::PI / 2.0).sqrt();
    if deviation.is_finite() { deviation.clamp(0.1 * global, 10.0 * global) } else { global }
}

/// Features of the network beside the state vector.
const NETWORK_FEATURES: usize = 1;

impl ScoreRules {
    /// Whether there is a network to wait for: plain returns are measured from nothing.
    pub fn learns_network(&self) -> bool {
        self.has_baseline() && self.baseline == Baseline::Network
    }

    fn learns_spread(&self) -> bool {
        let has_moments = matches!(self.baseline, Baseline::Mean | Baseline::Linear);
        self.has_baseline() && has_moments && self.scale == Scale::Context
    }

    fn has_baseline(&self) -> bool {
        match self.kind {
            ScoreKind::Advantage | ScoreKind::SessionMean => true,
            ScoreKind::Return | ScoreKind::Reward => false,
        }
    }
}

/// Features of the linear baseline beside the state: known at the decision, not shown to the policy. Without the step number
/// the filter would pick early steps (their returns-to-go are long) instead of good ones.
fn step_features(step: usize) -> [f64; 3] {
    /// Of the steps that most sessions have.
    static LOGARITHMS: LazyLock<[f64; 64]> = LazyLock::new(|| std::array::from_fn(|step| (step as f64).ln_1p()));
    let number = step as f64;
    [1.0, number, LOGARITHMS.get(step).copied().unwrap_or_else(|| number.ln_1p())]
}

/// G_t = r_t + discount * G_{t+1}.
fn returns_to_go(rewards: &[f64], discount: f64) -> Vec<f64> {
    let mut returns = rewards.to_vec();
    for step in (0..returns.len().saturating_sub(1)).rev() {
        returns[step] += discount * returns[step + 1];
    }
    returns
}

#[cfg(test)]
mod tests;
