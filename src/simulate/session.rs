//! What happens to one person in one visit.

use rand::RngExt;
use rand_distr::{Distribution, Exp1, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Duration;

use super::logger::Logger;
use super::seed::generator;
use super::settings::SimulateSettings;
use super::world::{World, normals, rounded};
use crate::time::{EventTime, Span};

/// One logged session, with what the log does not tell: who served it, and what its items really paid.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub number: u64,
    pub user: u64,
    /// `None` where one recommender serves all.
    pub logger: Option<Logger>,
    pub steps: Vec<SimulatedStep>,
    /// When the person said goodbye; `None` for the sessions that just fall silent.
    pub ended: Option<EventTime>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedStep {
    pub time: EventTime,
    pub context: Vec<f32>,
    pub item: usize,
    /// What `item` stands for where there is no catalog.
    pub action: Option<Action>,
    /// Under the session's recommender, in (0, 1].
    pub propensity: f64,
    pub latent: f64,
    /// What the feedback says.
    pub reward: f64,
    pub feedback_time: EventTime,
}

/// Something to show that no catalog lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Action {
    pub name: &'static str,
    pub embedding: [f32; 2],
}

/// What a recommender shows in one context, how likely that was, and what it pays.
pub(super) struct Served {
    pub item: usize,
    pub action: Option<Action>,
    pub propensity: f64,
    pub latent: f64,
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
    pub(super) fn draw(settings: &SimulateSettings, random: &mut Xoshiro256PlusPlus) -> Situation {
        let (raw, context) = (settings.raw(), settings.context());
        let user = random.random_range(0..raw.users);
        let person = normals(context, &mut generator(raw.seed, "user", user));
        let (lasting, passing) = (raw.user_share.sqrt() as f32, (1.0 - raw.user_share).sqrt() as f32);
        let steps = random.random_range(raw.steps_min..=raw.steps_max);
        let contexts = (0..steps)
            .map(|_| {
                let moment = normals(context, random);
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
        let who = |random: &mut Xoshiro256PlusPlus| Some(Logger::draw(settings, random));
        walk(settings, number, start, who, |logger, context, time, random| {
            let taste = world.taste(context, settings.drift_at(time));
            let (item, propensity) = logger.unwrap_or(Logger::Random).choose(world, &taste, random);
            Served { item, action: None, propensity, latent: world.latent_reward(item, &taste) }
        })
    }

    /// Sum of the observed rewards.
    pub fn total_reward(&self) -> f64 {
        self.steps.iter().map(|step| step.reward).sum()
    }
}

/// A visit as every world has it: `who` serves it, and `serve` what is shown in a context.
pub(super) fn walk(
    settings: &SimulateSettings,
    number: u64,
    start: EventTime,
    who: impl FnOnce(&mut Xoshiro256PlusPlus) -> Option<Logger>,
    serve: impl Fn(Option<Logger>, &[f32], EventTime, &mut Xoshiro256PlusPlus) -> Served,
) -> Session {
    let raw = settings.raw();
    let mut random = generator(raw.seed, "session", number);
    let situation = Situation::draw(settings, &mut random);
    let logger = who(&mut random);
    let mut time = start;
    let mut steps = Vec::with_capacity(situation.contexts.len());
    for (context, luck) in situation.contexts.into_iter().zip(situation.luck) {
        let Served { item, action, propensity, latent } = serve(logger, &context, time, &mut random);
        let propensity = six_digits(propensity);
        let reward = settings.observed_reward(latent, luck);
        let feedback_time = time.plus(feedback_delay(settings, &mut random));
        steps.push(SimulatedStep { time, context, item, action, propensity, latent, reward, feedback_time });
        time = time.plus(waiting_time(raw.step_every, &mut random));
    }
    let ended = random.random_bool(raw.end_share).then_some(time);
    Session { number, user: situation.user, logger, steps, ended }
}

fn feedback_delay(settings: &SimulateSettings, random: &mut Xoshiro256PlusPlus) -> Span {
    let raw = settings.raw();
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
