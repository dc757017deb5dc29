//! C-U1: a control problem in which negative feedback, in the right amount, is worth having.
//!
//! Four positives lie on a circle around a* such that their mean is a_+, .70 short of a*; one negative a_- lies behind
//! a_+. With the frozen advantages R - .40, p of a positive and -n of the negative, and the negative weighed by alpha
//! against the mean of the positives, the stable point of a policy's mean is a_+ + rho/(1-rho) (a_+ - a_-), rho = alpha
//! n/p: it goes beyond imitation, toward a*, and past it, and at rho = 1 there is none (arXiv 2602.10430; its authors'
//! correction).
//!
//! As a world of the log, alpha is the recommender's: it shows the negative alpha times as often as all four positives
//! together, and says so in the propensity. So the signed sum over the log is the loss of the paper, and weights by the
//! propensities turn the log of one alpha into that of another.

use std::f64::consts::{PI, TAU};

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::session::{Action, Served, Session, walk};
use super::settings::{SimulateSettings, WorldKind};
use super::world::rounded;
use crate::time::EventTime;

/// Numbers of a context; it is normal, with mean 0 and variance 1 in each.
pub const CONTEXT: usize = 6;
/// Numbers of an action.
pub const DIMENSION: usize = 2;
/// What lies between the mean of the positives and a*, and between it and the negative.
pub const GAP: f64 = 0.70;
pub const BEHIND: f64 = 0.50;
/// What an advantage is measured from.
pub const BASELINE: f64 = 0.40;
const RADIUS: f64 = 0.75;

/// The ids of the actions in the log: positives in the order of [`Problem::positives`], then the negative.
const ACTIONS: [&str; 5] = ["near-left", "near-right", "far-left", "far-right", "negative"];
const NEGATIVE: usize = 4;

/// The problem in one context.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// a_+.
    pub positive_mean: [f64; 2],
    /// a*.
    pub best: [f64; 2],
    /// From a_+ toward a*, of length 1.
    pub u: [f64; 2],
    v: [f64; 2],
}

impl Problem {
    pub fn at(s: &[f64; CONTEXT]) -> Problem {
        let positive_mean = [
            0.70 * (0.85 * s[0] - 0.30 * s[1] * s[2] + 0.20 * (1.6 * s[3]).sin()).tanh(),
            0.65 * (-0.50 * s[1] + 0.35 * (1.1 * s[4]).cos() + 0.22 * s[0] * s[5]).tanh(),
        ];
        let phi = 1.15 * (0.75 * s[0] + 0.50 * s[2] - 0.30 * s[5]).tanh() + 0.30 * (1.35 * s[1]).sin();
        let u = [phi.cos(), phi.sin()];
        let v = [-u[1], u[0]];
        let best = [positive_mean[0] + GAP * u[0], positive_mean[1] + GAP * u[1]];
        Problem { positive_mean, best, u, v }
    }

    pub fn negative(&self) -> [f64; 2] {
        [self.positive_mean[0] - BEHIND * self.u[0], self.positive_mean[1] - BEHIND * self.u[1]]
    }

    pub fn positives(&self) -> [[f64; 2]; 4] {
        // Two angles and their mirror images, the second such that the mean of all four lies GAP before a*.
        let (near, far) = (PI + 0.20, (1.4 / RADIUS - 0.20_f64.cos()).acos());
        [near, TAU - near, PI + far, PI - far].map(|t| {
            let (cos, sin) = (t.cos(), t.sin());
            [0, 1].map(|axis| self.best[axis] + RADIUS * (cos * self.u[axis] + sin * self.v[axis]))
        })
    }

    /// R = exp(-|a - a*|^2 / (2 * .75^2)).
    pub fn reward(&self, action: [f64; 2]) -> f64 {
        let squares: f64 = [0, 1].iter().map(|&axis| (action[axis] - self.best[axis]).powi(2)).sum();
        (-squares / (2.0 * RADIUS * RADIUS)).exp()
    }

    /// A = R - .40, frozen.
    pub fn advantage(&self, action: [f64; 2]) -> f64 {
        self.reward(action) - BASELINE
    }

    /// How far a mean lies beyond imitation, in units of the way from a_+ to a*.
    pub fn displacement(&self, mean: [f64; 2]) -> f64 {
        (0..2).map(|axis| (mean[axis] - self.positive_mean[axis]) * self.u[axis]).sum::<f64>() / GAP
    }
}

/// The problem as a world: people whose visits a recommender serves with one of the five actions.
#[derive(Debug, Clone)]
pub struct Cu1 {
    settings: SimulateSettings,
}

impl Cu1 {
    /// `None` if the settings are of another world.
    pub fn new(settings: SimulateSettings) -> Option<Cu1> {
        (settings.raw().world == WorldKind::Cu1).then_some(Cu1 { settings })
    }

    pub fn settings(&self) -> &SimulateSettings {
        &self.settings
    }

    /// Session `number` of the log, beginning at `start`.
    pub(super) fn play(&self, number: u64, start: EventTime) -> Session {
        walk(
            &self.settings,
            number,
            start,
            |_| None,
            |_, context, _, random| {
                let problem = Problem::at(&widened(context));
                let (item, propensity) = self.choose(random);
                let at = problem.positives().get(item).copied().unwrap_or_else(|| problem.negative());
                // What the record says is what is paid for.
                let embedding = at.map(|x| rounded(x as f32));
                let latent = problem.reward(embedding.map(f64::from));
                Served { item, action: Some(Action { name: ACTIONS[item], embedding }), propensity, latent }
            },
        )
    }

    /// An action and its probability: alpha / (1 + alpha) for the negative, the rest in equal parts for the positives.
    fn choose(&self, random: &mut Xoshiro256PlusPlus) -> (usize, f64) {
        let alpha = self.settings.raw().negative_weight;
        let positive = 0.25 / (1.0 + alpha);
        let left: f64 = random.random();
        match (left / positive) as usize {
            action if action < NEGATIVE => (action, positive),
            _ if alpha > 0.0 => (NEGATIVE, alpha / (1.0 + alpha)),
            // Rounding may leave a crumb of probability behind the last positive.
            _ => (NEGATIVE - 1, positive),
        }
    }
}

/// The numbers of a record, which has as many as this world's contexts do.
fn widened(context: &[f32]) -> [f64; CONTEXT] {
    let mut wide = [0.0; CONTEXT];
    wide.iter_mut().zip(context).for_each(|(wide, x)| *wide = f64::from(*x));
    wide
}
