//! What happens to one person in one visit.

use rand::RngExt;
use rand_distr::{Distribution, Exp1, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Duration;

use super::logger::Logger;
use super::seed::generator;
use super::world::{World, normals, rounded};
use crate::time::{EventTime, Span};

/// One logged session, with what the log does not tell: who served it, and what its items really paid.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub number: u64,
    pub user: u64,
    pub logger: Logger,
    pub steps: Vec<SimulatedStep>,
    /// When the person said goodbye; `None` for the sessions that just fall silent.
    pub ended: Option<EventTime>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedStep {
    pub time: EventTime,
    pub context: Vec<f32>,
    pub item: usize,
    /// Under the session's recommender, in (0, 1].
    pub propensity: f64,
    pub latent: f64,
    /// What the feedback says.
    pub reward: f64,
    pub feedback_time: EventTime,
}

/// Who comes, how often they will be served and with which luck: everything about a visit that no recommender decides.
/// Two policies that are given the same situations are compared without the luck of the draw.
#[derive(Debug, Clone)]
pub(super) struct Situation {
    pub user: u64,
    /// One per step.
    pub contexts: Vec<Vec<f32>>,
    /// One per step: the standard normal deviate of its reward.
    pub luck: Vec<f64>,
}

impl Situation {
    pub(super) fn draw(world: &World, random: &mut Xoshiro256PlusPlus) -> Situation {
        let raw = world.settings().raw();
        let user = random.random_range(0..raw.users);
        let person = normals(raw.context, &mut generator(raw.seed, "user", user));
        let (lasting, passing) = (raw.user_share.sqrt() as f32, (1.0 - raw.user_share).sqrt() as f32);
        let steps = random.random_range(raw.steps_min..=raw.steps_max);
        let contexts = (0..steps)
            .map(|_| {
                let moment = normals(raw.context, random);
                person
                    .iter()
                    .zip(&moment)
                    .map(|(person, moment)| rounded(lasting * person + passing * moment))
                    .collect()
            })
            .collect();
        let luck = (0..steps).map(|_| StandardNormal.sample(random)).collect();
        Situation { user, contexts, luck }
    }
}

impl Session {
    /// Session `number` of the log, beginning at `start`.
    pub fn play(world: &World, number: u64, start: EventTime) -> Session {
        let settings = world.settings();
        let raw = settings.raw();
        let mut random = generator(raw.seed, "session", number);
        let situation = Situation::draw(world, &mut random);
        let logger = Logger::draw(settings, &mut random);
        let mut time = start;
        let mut steps = Vec::with_capacity(situation.contexts.len());
        for (context, luck) in situation.contexts.into_iter().zip(situation.luck) {
            let taste = world.taste(&context, settings.drift_at(time));
            let (item, propensity) = logger.choose(world, &taste, &mut random);
            let propensity = six_digits(propensity);
            let latent = world.latent_reward(item, &taste);
            let reward = world.observed_reward(latent, luck);
            let feedback_time = time.plus(feedback_delay(world, &mut random));
            steps.push(SimulatedStep { time, context, item, propensity, latent, reward, feedback_time });
            time = time.plus(waiting_time(raw.step_every, &mut random));
        }
        let ended = random.random_bool(raw.end_share).then_some(time);
        Session { number, user: situation.user, logger, steps, ended }
    }

    /// Sum of the observed rewards.
    pub fn total_reward(&self) -> f64 {
        self.steps.iter().map(|step| step.reward).sum()
    }
}

fn feedback_delay(world: &World, random: &mut Xoshiro256PlusPlus) -> Span {
    let raw = world.settings().raw();
    let mean = if random.random_bool(raw.delayed_share) { raw.delayed_after } else { raw.feedback_after };
    waiting_time(mean, random).min(Span::from_duration(raw.delayed_max))
}

/// Six significant digits, which no importance weight can tell from all of them.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// Exponential, at least a millisecond: no two steps of a session share a time.
pub(super) fn waiting_time(mean: Duration, random: &mut Xoshiro256PlusPlus) -> Span {
    let units: f64 = Exp1.sample(random);
    Span::from_duration(mean.mul_f64(units).max(Duration::from_millis(1)))
}
