//! The commands that look at events, move them and make them up.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::SettingsFrom;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox load events.jsonl.gz --topic events --partitions 4
  sluicebox load more.jsonl --topic events --append -c my.toml

The key is the user, found by [mapping]; the partition is murmur2 of the key, as Java
producers choose it, and 0 without a user. The record's time is the event's. The topic is
made if it is not there.")]
pub struct Load {
    /// File of JSON lines (plain, .gz, .zst)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Topic to write [default: kafka.topics of the settings]
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Partitions of a topic that is made
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub partitions: u32,
    /// Write even if the topic already holds records
    #[arg(long)]
    pub append: bool,
    /// Print one JSON object on stdout instead of a summary
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsFrom,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox check -c my.toml --sample events.jsonl.gz
  sluicebox check -c my.toml --sample topic --set kafka.topics=events

Shows, field by field, what the mapping reads, the first malformed records and why, and
warns when users appear in two partitions or when the score only follows the step number.
Ends with 1 if the sample is malformed beyond dead_letters.max_malformed_share.")]
pub struct Check {
    #[command(flatten)]
    pub settings: SettingsFrom,
    /// A file of JSON lines, or the word "topic" for the topic of the settings
    #[arg(long, value_name = "FILE|topic", default_value = "topic")]
    pub sample: PathBuf,
    /// Records to read at most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub records: u64,
    /// Print one JSON object on stdout instead of a summary
    #[arg(long)]
    pub json: bool,
}

/// The mixtures of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Regime {
    /// 10 % expert, 60 % popular, 30 % random
    Medium,
    /// 5 % expert, 5 % popular, 90 % random
    Extreme,
}

/// What there is to recommend, and what it pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum World {
    /// A catalog, hidden tastes, three recommenders of different quality
    Taste,
    /// C-U1: four good actions and a bad one in every context, with a known best use of the bad one
    #[value(alias = "c-u1")]
    Cu1,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox simulate --file events.jsonl.gz --events 100000
  sluicebox simulate -c configs/demo.toml --topic events
  sluicebox simulate --file hard.jsonl --regime extreme --noise 0.8 --reward-noise 0.5
  sluicebox simulate --file moved.jsonl --set simulate.drift_after=4h --set simulate.drift_strength=1
  sluicebox simulate --file cu1.jsonl --world cu1 --set simulate.negative_weight=0.5

Sessions are served by an expert, a popular and a random recommender (regime medium: 10, 60 and
30 %; extreme: 5, 5 and 90 %), and every decision carries the probability with which its
recommender chose. The same seed and settings write the same bytes. What else can be set under
[simulate]: catalog (items, dimension, clusters), people and sessions (users, sessions, steps_min,
steps_max, end_share), delayed feedback (feedback_after, delayed_share, delayed_after,
delayed_max), disorder, repeated records, watermarks, drift of taste (drift_after, drift_length,
drift_strength).

The world cu1 is the control problem C-U1: a context of 6 numbers, and an action of 2 that is
written as the decision's `embedding`, one of four positives around the best action (reward .607)
or the negative (.278), which is shown simulate.negative_weight (alpha) times as often as all four
together. With advantages from .40, signed learning has its stable point beyond imitation: .299 of
the way to the best action at alpha .5, 1.03 at 1, and none from 1.693 on. People, sessions,
delays, disorder and broken records are the same in both worlds; regime, noise_share and drift are
of the world taste alone. To read it: mapping.context_dimension 6, mapping.embedding_dimension 2.

In the world taste, a policy over embeddings needs the items: with --set catalog.file=items.jsonl
they are written there first, if the file is not there yet; give `replay` and `run` the same setting.

configs/demo.toml writes out every setting with its default.")]
pub struct Simulate {
    #[command(flatten)]
    pub settings: SettingsFrom,
    /// Write to this file (plain, .gz, .zst) instead of the topic
    #[arg(long, value_name = "FILE", conflicts_with = "topic")]
    pub file: Option<PathBuf>,
    /// Topic to write [default: kafka.topics of the settings]
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Partitions of a topic that is made
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub partitions: u32,
    /// Events to write [default: as the section simulate says]
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    /// World to log [default: as the section simulate says, or taste]
    #[arg(long, value_enum, value_name = "WORLD")]
    pub world: Option<World>,
    /// Who serves: shares of expert, popular and random recommender [default: as the section simulate says]
    #[arg(long, value_enum, value_name = "REGIME")]
    pub regime: Option<Regime>,
    /// Share of sessions that the random recommender serves whatever the regime says, 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub noise: Option<f64>,
    /// Standard deviation of the noise on a reward, which is then clipped to 0..1
    #[arg(long, value_name = "SD")]
    pub reward_noise: Option<f64>,
    /// Broken records per decision
    #[arg(long, value_name = "SHARE")]
    pub bad_records: Option<f64>,
    /// Events per second [default: as the section simulate says]
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// Seed of everything random [default: as the section simulate says]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print one JSON object on stdout instead of a summary
    #[arg(long)]
    pub json: bool,
}
