//! The commands that measure, and those that only other commands start.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::SettingsFrom;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox bench
  sluicebox bench --quick --json > bench.json
  sluicebox bench --set learner.batch=128       with another setting
  sluicebox bench --brokers 127.0.0.1:9092      the same over brokers of your own, beside the embedded one

Each stage is a process of its own, so CPU time and memory are its own; the broker is apart.
A busy machine disturbs events per second most, CPU time less, ratios least. With --brokers a
topic named bench-<number> with five times the events is made there, and deleted in the end.

--set changes what the stages do with the log: filter, learner, score, session, state and so
on. The log itself, its topics and where things are written are the bench's own, and refused.
job_default_replay_ratio keeps the default ratio; window and step are always measured in the
same shape. Neither a settings file nor the environment is read.")]
pub struct Bench {
    /// A minute instead of five
    #[arg(long)]
    pub quick: bool,
    /// Measure on these brokers too
    #[arg(long, value_name = "HOST:PORT,...")]
    pub brokers: Option<String>,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub size: BenchSize,
    /// Override one setting of the measured job; can be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one JSON object on stdout instead of a table
    #[arg(long)]
    pub json: bool,
}

/// How much bench measures; the figures that are compared with others are those of the defaults.
#[derive(Debug, Args)]
pub struct BenchSize {
    /// Events of the log [default: 800000, quick 400000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10_000..=2_000_000))]
    pub events: Option<u64>,
    /// Open sessions at a checkpoint [default: 1000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    pub sessions: Option<u64>,
    /// Elements of the window [default: 1000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    pub window: Option<u64>,
    /// Seconds at 10,000 events each, for the latency [default: 20, quick 6]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=60))]
    pub seconds: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StageName {
    Write,
    Consume,
    Decode,
    Filter,
    Job,
    JobDefaultRatio,
    Latency,
    Window,
    Step,
    Checkpoint,
}

impl StageName {
    pub fn name(self) -> &'static str {
        match self {
            StageName::Write => "write",
            StageName::Consume => "consume",
            StageName::Decode => "decode",
            StageName::Filter => "filter",
            StageName::Job => "job",
            StageName::JobDefaultRatio => "job-default-ratio",
            StageName::Latency => "latency",
            StageName::Window => "window",
            StageName::Step => "step",
            StageName::Checkpoint => "checkpoint",
        }
    }
}

#[derive(Debug, Args)]
pub struct BenchStage {
    #[arg(value_enum)]
    pub stage: StageName,
    #[arg(long)]
    pub directory: PathBuf,
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub brokers: String,
    #[arg(long, default_value = "bench")]
    pub topic: String,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long, default_value_t = 0)]
    pub events: u64,
    #[arg(long, default_value_t = 1_000_000)]
    pub window: u64,
    #[arg(long, default_value_t = 1_000_000)]
    pub operations: u64,
    #[arg(long, default_value_t = 0.2)]
    pub kappa: f64,
    #[arg(long, default_value_t = 5)]
    pub turns: u64,
    #[arg(long, default_value_t = 1_000_000)]
    pub sessions: u64,
    #[arg(long, default_value_t = 50)]
    pub snapshots: u64,
    #[arg(long, default_value_t = 6)]
    pub seconds: u64,
    /// Events a second that `write` writes at most
    #[arg(long)]
    pub rate: Option<u64>,
    #[arg(long)]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DemoSimulator {
    #[command(flatten)]
    pub settings: SettingsFrom,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub partitions: u32,
}

#[derive(Debug, Args)]
pub struct DemoBroker {
    /// Topics to make
    #[arg(long = "topic", value_name = "TOPIC")]
    pub topics: Vec<String>,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub partitions: u32,
}
