//! The commands that look at events, move them and make them up.

use std::path::PathBuf;

use clap::Args;

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

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox simulate --file events.jsonl.gz --events 100000
  sluicebox simulate -c configs/demo.toml --topic events

The simulator's own settings stand under [simulate].")]
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
