//! Progressive validation: a matured step is a test before it can be a lesson.
//!
//! A share of all steps, chosen by a hash of their place in the log, is shown to the policy as it is just before the
//! batches that the step itself may be in. So no step that is counted here had been trained on, and nothing is held back
//! from training. What is counted lies in a sliding window: how often the policy would have chosen what was shown, how
//! likely that was to it, and, where propensities are logged, what the policy would earn (self-normalized inverse
//! propensity scores). The window is part of the checkpoint; with the batches it is a function of the log.
//!
//! **Architecture invariant:** knows the policy and its inputs, not the learner, the filter or the disk.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::Action;
use crate::catalog::Catalog;
use crate::evaluate::ESS_MIN;
use crate::policy::{Head, Policy};
use crate::position::{Partition, Place};
use crate::time::Span;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationRules {
    /// Of all steps, in [0, 1]; at 0 nothing is scored.
    pub share: f64,
    /// Steps that are counted together.
    pub window: usize,
}

const SHOWN_EVERY: u64 = 100;

/// A step on its way to be scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Batches that the policy has been given before it is asked.
    pub batches_before: u64,
    /// The same of the critic.
    pub critic_batches_before: u64,
    pub state: Box<[f32]>,
    /// `None` for an item that has no number yet: no policy can know it.
    pub action: Option<Action>,
    /// Among the catalog's items, for a policy over their embeddings.
    pub row: Option<u32>,
    pub propensity: Option<f64>,
    pub reward: f64,
    pub delay: Delay,
}

/// How long after the decision its reward was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delay {
    UnderMinute,
    UnderTenMinutes,
    UnderHour,
    UnderDay,
    DayOrMore,
}

/// What a step said about the policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Verdict {
    /// The policy's first choice is what was shown; `None` where it chooses among no list.
    hit: Option<bool>,
    /// Natural logarithm of probability or density; `None` for an item that the policy does not know.
    log_likelihood: Option<f64>,
    /// `None` without a propensity, or without a probability to divide by it.
    weight: Option<f64>,
    reward: f64,
    delay: Delay,
}

/// Scores steps and counts the last of them.
#[derive(Debug)]
pub struct Validation {
    window: usize,
    catalog: Arc<Catalog>,
    state: ValidationState,
}

/// What a checkpoint keeps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ValidationState {
    scored: u64,
    verdicts: VecDeque<Verdict>,
}

/// The sliding window in numbers; `None` where nothing speaks for one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Steps scored since the start of the log.
    pub scored: u64,
    #[serde(flatten)]
    pub all: Figures,
    pub by_delay: Vec<DelayFigures>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DelayFigures {
    pub delay: Delay,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    pub steps: u64,
    pub hit_rate: Option<f64>,
    /// Mean over the steps whose item the policy knows.
    pub log_likelihood: Option<f64>,
    /// Steps whose item it does not know.
    pub unknown: u64,
    /// What the policy would earn by step, and how many steps that rests on.
    pub snips: Option<f64>,
    /// 95 % interval of it, by the delta method.
    pub snips_interval: Option<[f64; 2]>,
    pub ess: Option<f64>,
    /// What the logger earned by step.
    pub mean_reward: Option<f64>,
}

/// Whether a step is scored: by its place alone, so the same in every run.
pub fn is_chosen(share: f64, partition: Partition, place: Place) -> bool {
    let mut bytes = [0_u8; 16];
    bytes[..4].copy_from_slice(&partition.0.to_le_bytes());
    bytes[4..12].copy_from_slice(&place.offset.raw().to_le_bytes());
    bytes[12..].copy_from_slice(&place.index.to_le_bytes());
    // 53 bits fill a double; a share of 1 lies above them all.
    let uniform = (xxhash_rust::xxh3::xxh3_64(&bytes) >> 11) as f64 / (1_u64 << 53) as f64;
    uniform < share
}

impl Delay {
    pub const ALL: [Delay; 5] =
        [Delay::UnderMinute, Delay::UnderTenMinutes, Delay::UnderHour, Delay::UnderDay, Delay::DayOrMore];

    pub fn of(span: Span) -> Delay {
        const MINUTE: i64 = 60_000;
        match span.millis() {
            millis if millis < MINUTE => Delay::UnderMinute,
            millis if millis < 10 * MINUTE => Delay::UnderTenMinutes,
            millis if millis < 60 * MINUTE => Delay::UnderHour,
            millis if millis < 24 * 60 * MINUTE => Delay::UnderDay,
            _ => Delay::DayOrMore,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Delay::UnderMinute => "under_minute",
            Delay::UnderTenMinutes => "under_ten_minutes",
            Delay::UnderHour => "under_hour",
            Delay::UnderDay => "under_day",
            Delay::DayOrMore => "day_or_more",
        }
    }
}

impl Validation {
    /// Goes on from `state`; a window that has become shorter forgets its oldest steps.
    pub fn new(rules: ValidationRules, catalog: Arc<Catalog>, state: ValidationState) -> Validation {
        let mut validation = Validation { window: rules.window, catalog, state };
        validation.forget();
        validation
    }

    /// Asks the policy about a step.
    pub fn score(&mut self, policy: &Policy, probe: &Probe) {
        let verdict = judge(policy, &self.catalog, probe);
        self.state.scored += 1;
        self.state.verdicts.push_back(verdict);
        self.forget();
    }

    /// For those who watch: after every hundredth step, and while there are few after each.
    pub fn due_summary(&self) -> Option<Summary> {
        let scored = self.state.scored;
        (scored < SHOWN_EVERY || scored.is_multiple_of(SHOWN_EVERY)).then(|| self.state.summary())
    }

    pub fn snapshot(&self) -> ValidationState {
        self.state.clone()
    }

    fn forget(&mut self) {
        while self.state.verdicts.len() > self.window {
            self.state.verdicts.pop_front();
        }
    }
}

impl ValidationState {
    /// Nothing was ever scored.
    pub fn is_empty(&self) -> bool {
        self.scored == 0
    }

    pub fn scored(&self) -> u64 {
        self.scored
    }

    pub fn summary(&self) -> Summary {
        let of = |delay: Delay| self.verdicts.iter().filter(move |verdict| verdict.delay == delay);
        let by_delay = Delay::ALL.into_iter().map(|delay| DelayFigures { delay, figures: Figures::of(of(delay)) });
        let by_delay = by_delay.filter(|group| group.figures.steps > 0).collect();
        Summary { scored: self.scored, all: Figures::of(self.verdicts.iter()), by_delay }
    }
}

impl Figures {
    pub fn in_words(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        let rests_on = self.ess.zip(self.snips_interval).map_or_else(String::new, |(ess, [low, high])| {
            let guess = if ess < ESS_MIN { ": a guess" } else { "" };
            format!(" [{low:.4}, {high:.4}] from an effective {ess:.0} steps{guess}")
        });
        format!(
            "hit rate {}, log-likelihood {}, would earn {} a step{rests_on} (logger {}), over {} steps, {} unknown",
            number(self.hit_rate),
            number(self.log_likelihood),
            number(self.snips),
            number(self.mean_reward),
            self.steps,
            self.unknown,
        )
    }

    fn of<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Figures {
        let (mut steps, mut asked, mut hits, mut known, mut likelihood) = (0_u64, 0_u64, 0_u64, 0_u64, 0.0);
        let (mut reward, mut weights, mut weighted) = (0.0, 0.0, 0.0);
        // Of w^2, w^2 r and w^2 r^2.
        let mut squares = [0.0; 3];
        for verdict in verdicts {
            steps += 1;
            reward += verdict.reward;
            if let Some(hit) = verdict.hit {
                asked += 1;
                hits += u64::from(hit);
            }
            if let Some(log_likelihood) = verdict.log_likelihood {
                known += 1;
                likelihood += log_likelihood;
            }
            if let Some(weight) = verdict.weight {
                weights += weight;
                weighted += weight * verdict.reward;
                let powers = [1.0, verdict.reward, verdict.reward * verdict.reward];
                squares.iter_mut().zip(powers).for_each(|(sum, power)| *sum += weight * weight * power);
            }
        }
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole).filter(|share| share.is_finite());
        let snips = share(weighted, weights);
        Figures {
            steps,
            hit_rate: share(hits as f64, asked as f64),
            log_likelihood: share(likelihood, known as f64),
            unknown: steps - known,
            snips,
            snips_interval: snips.map(|value| {
                // sum w^2 (r - v)^2 / (sum w)^2; rounding may leave a little less than nothing.
                let [plain, by_reward, by_square] = squares;
                let error = (by_square - 2.0 * value * by_reward + value * value * plain).max(0.0).sqrt() / weights;
                [value - 1.96 * error, value + 1.96 * error]
            }),
            ess: share(weights * weights, squares[0]),
            mean_reward: share(reward, steps as f64),
        }
    }
}

fn judge(policy: &Policy, catalog: &Catalog, probe: &Probe) -> Verdict {
    let unknown = Verdict {
        hit: Some(false),
        log_likelihood: None,
        weight: probe.propensity.map(|_| 0.0),
        reward: probe.reward,
        delay: probe.delay,
    };
    match (policy.head(), &probe.action) {
        (Head::Learned { .. } | Head::Given { .. }, Some(Action::Item { chosen, candidates })) => {
            let known = |item: &u32| (*item as usize) < policy.items();
            if !known(chosen) {
                return unknown;
            }
            let candidates: Option<Vec<u32>> =
                candidates.as_ref().map(|candidates| candidates.iter().copied().filter(known).collect());
            let at = match &candidates {
                Some(candidates) => candidates.iter().position(|item| item == chosen),
                None => Some(*chosen as usize),
            };
            match (policy.preferences(&probe.state, candidates.as_deref()), at) {
                (Ok(preferences), Some(at)) => among(&preferences, at, probe),
                (_, _) => unknown,
            }
        }
        (Head::Gaussian { .. }, Some(Action::Embedding(embedding))) => gaussian(policy, catalog, probe, embedding),
        (Head::Gaussian { .. } | Head::Learned { .. } | Head::Given { .. }, _) => unknown,
    }
}

/// Density at the item; choice among the catalog's items, where they have embeddings, by their densities.
fn gaussian(policy: &Policy, catalog: &Catalog, probe: &Probe, embedding: &[f32]) -> Verdict {
    let none = Verdict { hit: None, log_likelihood: None, weight: None, reward: probe.reward, delay: probe.delay };
    let (Ok(mean), Ok(sigma)) = (policy.mean(&probe.state), policy.sigma()) else { return none };
    if embedding.len() != mean.len() {
        return none;
    }
    let density = Density::new(mean, &sigma);
    let log_likelihood = Some(density.log_at(embedding));
    match probe.row {
        Some(row) if catalog.dimension() == embedding.len() => {
            let rows = catalog.embeddings().chunks_exact(embedding.len());
            let preferences: Vec<f32> = rows.map(|row| density.log_at(row) as f32).collect();
            Verdict { log_likelihood, ..among(&preferences, row as usize, probe) }
        }
        Some(_) | None => Verdict { log_likelihood, ..none },
    }
}

/// A Gaussian that is asked about many points: what they share is computed once.
struct Density {
    mean: Vec<f32>,
    /// 1 / sigma.
    inverse: Vec<f32>,
    log_volume: f64,
}

impl Density {
    fn new(mean: Vec<f32>, sigma: &[f32]) -> Density {
        let half_log_two_pi = 0.5 * std::f64::consts::TAU.ln();
        let log_volume = sigma.iter().map(|sigma| f64::from(*sigma).ln() + half_log_two_pi).sum();
        Density { mean, inverse: sigma.iter().map(|sigma| 1.0 / sigma).collect(), log_volume }
    }

    fn log_at(&self, point: &[f32]) -> f64 {
        // Eight interleaved sums, none of which waits for another: a fixed order, whatever the hardware.
        let (points, point_rest) = point.as_chunks::<8>();
        let (means, mean_rest) = self.mean.as_chunks::<8>();
        let (inverses, inverse_rest) = self.inverse.as_chunks::<8>();
        let square = |point: &f32, mean: &f32, inverse: &f32| {
            let z = (point - mean) * inverse;
            z * z
        };
        let mut sums = [0.0_f32; 8];
        for ((points, means), inverses) in points.iter().zip(means).zip(inverses) {
            for (((sum, point), mean), inverse) in sums.iter_mut().zip(points).zip(means).zip(inverses) {
                *sum += square(point, mean, inverse);
            }
        }
        let rest = point_rest.iter().zip(mean_rest).zip(inverse_rest);
        let rest: f32 = rest.map(|((point, mean), inverse)| square(point, mean, inverse)).sum();
        -0.5 * f64::from(sums.iter().sum::<f32>() + rest) - self.log_volume
    }
}

/// The shown item's place in a softmax over preferences.
fn among(preferences: &[f32], at: usize, probe: &Probe) -> Verdict {
    let greatest = preferences.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = preferences.iter().map(|preference| f64::from(preference - greatest).exp()).sum();
    let own = preferences.get(at).copied().unwrap_or(f32::NEG_INFINITY);
    let log_probability = f64::from(own - greatest) - total.ln();
    // The first of equals: what `recommend` answers first.
    let hit = preferences.iter().position(|preference| *preference == greatest) == Some(at);
    Verdict {
        hit: Some(hit),
        log_likelihood: Some(log_probability).filter(|log| log.is_finite()),
        weight: probe.propensity.map(|propensity| log_probability.exp() / propensity).filter(|w| w.is_finite()),
        reward: probe.reward,
        delay: probe.delay,
    }
}
