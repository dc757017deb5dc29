//! The three recommenders that wrote the log, as probability distributions over the whole catalogue.
//!
//! Each session is served by one of them from beginning to end. The propensity in the log is that of *the recommender
//! that served the session*, not of the mixture: given that recommender the steps of a session are independent draws
//! with exactly these probabilities, so importance weights are unbiased for single steps and for whole sessions alike.

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;

use super::settings::SimulateSettings;
use super::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Logger {
    /// Knows the taste and stays close to it.
    Expert,
    /// Pulls everybody toward one fashion.
    Popular,
    /// Any item, all alike.
    Random,
}

impl Logger {
    pub const ALL: [Logger; 3] = [Logger::Expert, Logger::Popular, Logger::Random];

    pub fn name(self) -> &'static str {
        match self {
            Logger::Expert => "expert",
            Logger::Popular => "popular",
            Logger::Random => "random",
        }
    }

    /// The recommender of a session.
    pub(super) fn draw(settings: &SimulateSettings, random: &mut Xoshiro256PlusPlus) -> Logger {
        let mut left: f64 = random.random();
        for (logger, share) in settings.logger_shares() {
            if left < share {
                return logger;
            }
            left -= share;
        }
        Logger::Random
    }

    /// The probability of every item for a person of this taste; sums to 1, none is 0 unless `exploration` is.
    pub fn probabilities(self, world: &World, taste: &[f32]) -> Vec<f64> {
        let raw = world.settings().raw();
        let aim = match self {
            Logger::Expert => taste.to_vec(),
            Logger::Popular => world.popular_aim(taste),
            Logger::Random => return vec![1.0 / raw.items as f64; raw.items],
        };
        let cosines: Vec<f32> = world.products(&aim).collect();
        let greatest = cosines.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let per_cosine = (1.0 / raw.temperature) as f32;
        let weights: Vec<f32> = cosines.iter().map(|cosine| ((cosine - greatest) * per_cosine).exp()).collect();
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let (kept, explored) = ((1.0 - raw.exploration) / total, raw.exploration / raw.items as f64);
        weights.iter().map(|weight| f64::from(*weight) * kept + explored).collect()
    }

    /// An item and its probability.
    pub fn choose(self, world: &World, taste: &[f32], random: &mut Xoshiro256PlusPlus) -> (usize, f64) {
        let probabilities = self.probabilities(world, taste);
        let mut left: f64 = random.random();
        for (item, probability) in probabilities.iter().enumerate() {
            if left < *probability {
                return (item, *probability);
            }
            left -= probability;
        }
        // Rounding may leave a crumb of probability behind the last item.
        let last = probabilities.len() - 1;
        (last, probabilities[last])
    }
}
