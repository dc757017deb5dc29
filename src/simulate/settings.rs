//! Every constant of the simulator.
//!
//! [`RawSimulateSettings`] is what stands in the file, with a default for each field; [`SimulateSettings`] is the same
//! after checking, with times as times. The defaults make the log of the demo: about 78,000 events over some eight
//! hours of event time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::logger::Logger;
use crate::time::{EventTime, Span};

/// How the log was written: the shares of sessions served by expert, popular and random recommender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// 10 % expert, 60 % popular, 30 % random.
    Medium,
    /// 5 % expert, 5 % popular, 90 % random.
    Extreme,
}

impl Regime {
    /// Shares in the order of [`Logger::ALL`]; they sum to 1.
    pub fn shares(self) -> [f64; 3] {
        match self {
            Regime::Medium => [0.10, 0.60, 0.30],
            Regime::Extreme => [0.05, 0.05, 0.90],
        }
    }
}

/// What people like, and what there is to show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorldKind {
    /// A catalog, hidden tastes, three recommenders.
    Taste,
    /// The control problem of [`super::cu1`]: five actions in every context, one recommender.
    Cu1,
}

/// The section `[simulate]` as it is written in the settings file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSimulateSettings {
    /// The same seed and settings give the same bytes.
    pub seed: u64,
    pub world: WorldKind,
    /// In the world `cu1`: how often the negative is shown for each time that one of the four positives is.
    pub negative_weight: f64,

    // Of the world `taste`, until `popular_fashion`; `user_share` and `reward_noise` of both.
    pub regime: Regime,
    /// Share of sessions that are given to the random recommender whatever the regime says.
    pub noise_share: f64,

    /// Catalogue size.
    pub items: usize,
    /// Length of an item's embedding.
    pub dimension: usize,
    /// Items lie in this many heaps ...
    pub clusters: usize,
    /// ... of this width: the length of the normal deviate that is added to a heap's center before scaling to length 1.
    pub cluster_spread: f64,

    /// Length of the context vector x.
    pub context: usize,
    /// Hidden units of the taste u*(x) = unit(tanh(x W1) W2).
    pub hidden: usize,
    /// Share of a context's variance that belongs to the person; the rest changes from decision to decision.
    pub user_share: f64,
    /// Width of the reward: latent = exp(-(1 - cos(item, taste)) / (2 delta^2)).
    pub delta: f64,
    /// Standard deviation of the noise on an observed reward, which is then clipped to [0, 1].
    pub reward_noise: f64,

    /// Temperature of the recommenders' softmax over cosines: the lower, the closer they stay to their target.
    pub temperature: f64,
    /// Share of uniformly random choices in every recommender: no propensity is below this over `items`.
    pub exploration: f64,
    /// The popular recommender aims at unit(popular_taste u*(x) + popular_fashion p) for one fixed direction p.
    pub popular_taste: f64,
    pub popular_fashion: f64,

    /// People.
    pub users: u64,
    /// Sessions in the log; 0 is endless.
    pub sessions: u64,
    pub steps_min: u32,
    pub steps_max: u32,
    /// Event time at which the log begins, RFC 3339; or `now`, for a log that is written as time goes by.
    pub start: String,
    /// Mean time from the start of one session to the start of the next (of any user).
    #[serde(with = "duration_text")]
    pub session_every: Duration,
    /// Mean time from one decision of a session to the next.
    #[serde(with = "duration_text")]
    pub step_every: Duration,
    /// Mean delay of a reward after its decision ...
    #[serde(with = "duration_text")]
    pub feedback_after: Duration,
    /// ... except for this share of rewards, ...
    pub delayed_share: f64,
    /// ... which has this mean delay, often after the session's end, ...
    #[serde(with = "duration_text")]
    pub delayed_after: Duration,
    /// ... but no reward comes later than this. A `reward.wait` of as much misses none.
    #[serde(with = "duration_text")]
    pub delayed_max: Duration,
    /// Share of sessions that say so when they end; the others just fall silent.
    pub end_share: f64,

    /// Share of records that arrive after younger ones, by at most `disorder_max`.
    pub disorder_share: f64,
    #[serde(with = "duration_text")]
    pub disorder_max: Duration,
    /// Share of events that are sent twice.
    pub duplicate_share: f64,
    /// Broken records per decision, added to the good ones.
    pub bad_record_share: f64,
    /// Event time between two watermark records; 0 writes none.
    #[serde(with = "duration_text")]
    pub watermark_every: Duration,

    /// From this event time after the start, for `drift_length`, taste moves over ...
    #[serde(with = "duration_text")]
    pub drift_after: Duration,
    /// (0 is an abrupt change)
    #[serde(with = "duration_text")]
    pub drift_length: Duration,
    /// ... to another one: 0 not at all, 1 entirely.
    pub drift_strength: f64,

    /// Records to write per second of the clock on the wall; 0 is as fast as they are taken. Changes no record.
    pub rate: f64,
}

impl Default for RawSimulateSettings {
    fn default() -> RawSimulateSettings {
        RawSimulateSettings {
            seed: 1,
            world: WorldKind::Taste,
            negative_weight: 0.5,
            regime: Regime::Medium,
            noise_share: 0.0,
            items: 5_000,
            dimension: 32,
            clusters: 200,
            cluster_spread: 0.5,
            context: 16,
            hidden: 8,
            user_share: 0.5,
            delta: 0.5,
            reward_noise: 0.1,
            temperature: 0.03,
            exploration: 0.02,
            popular_taste: 0.55,
            popular_fashion: 0.85,
            users: 1_000,
            sessions: 5_000,
            steps_min: 5,
            steps_max: 10,
            start: "2026-01-01T00:00:00Z".to_owned(),
            session_every: Duration::from_secs(6),
            step_every: Duration::from_secs(20),
            feedback_after: Duration::from_secs(2),
            delayed_share: 0.1,
            delayed_after: Duration::from_secs(5 * 60),
            delayed_max: Duration::from_secs(30 * 60),
            end_share: 0.7,
            disorder_share: 0.02,
            disorder_max: Duration::from_secs(20),
            duplicate_share: 0.005,
            bad_record_share: 0.002,
            watermark_every: Duration::ZERO,
            drift_after: Duration::ZERO,
            drift_length: Duration::ZERO,
            drift_strength: 0.0,
            rate: 0.0,
        }
    }
}

/// The same after checking. Made by [`SimulateSettings::new`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulateSettings {
    raw: RawSimulateSettings,
    start: EventTime,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SimulateSettingsError {
    #[error("simulate.{field} must be {wanted}, not {found}")]
    OutOfRange { field: &'static str, wanted: &'static str, found: String },
    #[error("simulate.{field} belongs to the world taste; leave it out in the world cu1")]
    OtherWorld { field: &'static str },
}

impl SimulateSettings {
    /// `now` is what a `start` of that name stands for; nothing else depends on it.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn new(raw: RawSimulateSettings, now: EventTime) -> Result<SimulateSettings, SimulateSettingsError> {
        check_shares(&raw)?;
        check_sizes(&raw)?;
        check_scales(&raw)?;
        check_times(&raw)?;
        check_world(&raw)?;
        let named = (raw.start == "now").then_some(now);
        let written = || raw.start.parse().ok().map(|start: jiff::Timestamp| start.as_millisecond());
        let start = named
            .or_else(|| EventTime::new(written()?))
            .ok_or_else(|| out_of_range("start", "an RFC 3339 time in the years 2000 to 2099, or now", &raw.start))?;
        Ok(SimulateSettings { raw, start })
    }

    /// The checked values.
    pub fn raw(&self) -> &RawSimulateSettings {
        &self.raw
    }

    /// Numbers of a context.
    pub fn context(&self) -> usize {
        match self.raw.world {
            WorldKind::Taste => self.raw.context,
            WorldKind::Cu1 => super::cu1::CONTEXT,
        }
    }

    /// What the log shows of a reward, `deviate` being standard normal: clipped to [0, 1], five decimals.
    pub fn observed_reward(&self, latent: f64, deviate: f64) -> f64 {
        let noisy = (latent + self.raw.reward_noise * deviate).clamp(0.0, 1.0);
        (noisy * 1e5).round() / 1e5
    }

    pub fn start(&self) -> EventTime {
        self.start
    }

    /// Records per second of the wall clock; `None` for as fast as they are taken.
    pub fn rate(&self) -> Option<f64> {
        (self.raw.rate > 0.0).then_some(self.raw.rate)
    }

    /// `None` for a log without end.
    pub fn sessions(&self) -> Option<u64> {
        (self.raw.sessions > 0).then_some(self.raw.sessions)
    }

    /// What share of sessions each of [`Logger::ALL`] serves, noise included. Sums to 1.
    pub fn logger_shares(&self) -> [(Logger, f64); 3] {
        let [expert, popular, random] = self.raw.regime.shares();
        let kept = 1.0 - self.raw.noise_share;
        [
            (Logger::Expert, expert * kept),
            (Logger::Popular, popular * kept),
            (Logger::Random, random * kept + self.raw.noise_share),
        ]
    }

    /// How far taste has moved at `time`: 0 not at all, 1 entirely.
    pub fn drift_at(&self, time: EventTime) -> f64 {
        let begin = self.start.plus(Span::from_duration(self.raw.drift_after));
        let length = self.raw.drift_length.as_millis() as f64;
        let share = if time < begin {
            0.0
        } else if length == 0.0 {
            1.0
        } else {
            (time.since(begin).millis() as f64 / length).min(1.0)
        };
        share * self.raw.drift_strength
    }
}

fn check_shares(raw: &RawSimulateSettings) -> Result<(), SimulateSettingsError> {
    let shares = [
        ("noise_share", raw.noise_share),
        ("user_share", raw.user_share),
        ("exploration", raw.exploration),
        ("delayed_share", raw.delayed_share),
        ("end_share", raw.end_share),
        ("disorder_share", raw.disorder_share),
        ("duplicate_share", raw.duplicate_share),
        ("bad_record_share", raw.bad_record_share),
        ("drift_strength", raw.drift_strength),
    ];
    for (field, share) in shares {
        require((0.0..=1.0).contains(&share), field, "between 0 and 1", share)?;
    }
    Ok(())
}

fn check_sizes(raw: &RawSimulateSettings) -> Result<(), SimulateSettingsError> {
    require((1..=1_000_000).contains(&raw.items), "items", "between 1 and 1000000", raw.items)?;
    require((2..=1_024).contains(&raw.dimension), "dimension", "between 2 and 1024", raw.dimension)?;
    require((1..=raw.items).contains(&raw.clusters), "clusters", "between 1 and simulate.items", raw.clusters)?;
    require((1..=1_024).contains(&raw.context), "context", "between 1 and 1024", raw.context)?;
    require((1..=1_024).contains(&raw.hidden), "hidden", "between 1 and 1024", raw.hidden)?;
    require((1..=1_000_000_000).contains(&raw.users), "users", "between 1 and 1000000000", raw.users)?;
    require((1..=1_000).contains(&raw.steps_max), "steps_max", "between 1 and 1000", raw.steps_max)?;
    require((1..=raw.steps_max).contains(&raw.steps_min), "steps_min", "between 1 and steps_max", raw.steps_min)
}

fn check_scales(raw: &RawSimulateSettings) -> Result<(), SimulateSettingsError> {
    let positive = [("delta", raw.delta), ("temperature", raw.temperature)];
    for (field, value) in positive {
        require((0.001..=1_000.0).contains(&value), field, "between 0.001 and 1000", value)?;
    }
    let not_negative = [
        ("cluster_spread", raw.cluster_spread),
        ("reward_noise", raw.reward_noise),
        ("negative_weight", raw.negative_weight),
        ("popular_taste", raw.popular_taste),
        ("popular_fashion", raw.popular_fashion),
    ];
    for (field, value) in not_negative {
        require((0.0..=1_000.0).contains(&value), field, "between 0 and 1000", value)?;
    }
    require((0.0..=1e9).contains(&raw.rate), "rate", "between 0 and 1e9", raw.rate)?;
    let aim = raw.popular_taste + raw.popular_fashion;
    require(aim > 0.0, "popular_fashion", "above 0 when popular_taste is 0", raw.popular_fashion)
}

fn check_times(raw: &RawSimulateSettings) -> Result<(), SimulateSettingsError> {
    let times = [
        ("session_every", raw.session_every),
        ("step_every", raw.step_every),
        ("feedback_after", raw.feedback_after),
        ("delayed_after", raw.delayed_after),
        ("delayed_max", raw.delayed_max),
        ("disorder_max", raw.disorder_max),
        ("watermark_every", raw.watermark_every),
        ("drift_length", raw.drift_length),
    ];
    // A month bounds how many records can be waiting for their turn at any moment.
    let month = Duration::from_secs(31 * 24 * 3_600);
    for (field, time) in times {
        require(time <= month, field, "at most 31 days", humantime::format_duration(time))?;
    }
    let at_least_a_millisecond = [("session_every", raw.session_every), ("step_every", raw.step_every)];
    for (field, time) in at_least_a_millisecond {
        require(time.as_millis() >= 1, field, "at least 1ms", humantime::format_duration(time))?;
    }
    Ok(())
}

/// In C-U1 nobody else recommends and nothing drifts: to ask for it would be to be ignored.
fn check_world(raw: &RawSimulateSettings) -> Result<(), SimulateSettingsError> {
    let is_asked = [
        ("regime", raw.regime != Regime::Medium),
        ("noise_share", raw.noise_share > 0.0),
        ("drift_strength", raw.drift_strength > 0.0),
    ];
    match (raw.world, is_asked.iter().find(|(_, is_asked)| *is_asked)) {
        (WorldKind::Cu1, Some(&(field, _))) => Err(SimulateSettingsError::OtherWorld { field }),
        (WorldKind::Taste, _) | (WorldKind::Cu1, None) => Ok(()),
    }
}

fn require(
    holds: bool,
    field: &'static str,
    wanted: &'static str,
    found: impl ToString,
) -> Result<(), SimulateSettingsError> {
    if holds { Ok(()) } else { Err(out_of_range(field, wanted, found)) }
}

fn out_of_range(field: &'static str, wanted: &'static str, found: impl ToString) -> SimulateSettingsError {
    SimulateSettingsError::OutOfRange { field, wanted, found: found.to_string() }
}

/// Durations as people write them: `30s`, `5m`, `1h 30m`.
mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|reason| D::Error::custom(format!("{text:?}: {reason}")))
    }
}
