//! The commands about what has been learned.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{FileSource, SettingsFrom};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox evaluate -c my.toml --policy-table policy.csv --from last=7d
  sluicebox evaluate -c my.toml --policy published --from last=7d
  sluicebox evaluate -c configs/obd.toml --file obd.jsonl.gz --policy-table policy.csv --lambda 1,5,20 --json

Needs the log itself with the propensities of its logger, never what a filter has admitted.
Estimators of decisions: ips, snips, ips_clip_L, dm_table, dr_table, sndr_table,
switch_dr_L_table, dros_L_table for every L of --lambda. Estimators of sessions: tis, pdis,
sn_tis, sn_pdis, dr_table, sndr_table, iips, each with _gG for every G of --gamma. Look at
the effective sample size first: below 100 an estimate is a guess, whatever its interval.

The policy table is CSV: either numbers alone (line = item id from 0, column = position), or
a header with item, probability and any of position, session, step.")]
pub struct Evaluate {
    #[command(flatten)]
    pub settings: SettingsFrom,
    #[command(flatten)]
    pub source: FileSource,
    #[command(flatten)]
    pub target: EvaluationTarget,
    /// First record, as for replay
    #[arg(long, value_name = "POINT", default_value = "earliest")]
    pub from: String,
    /// End, not included, as for replay
    #[arg(long, value_name = "POINT", default_value = "now")]
    pub until: String,
    /// Thresholds of clipping, switching and shrinkage
    #[arg(long, value_name = "L,...", value_delimiter = ',', default_values_t = [1.0, 5.0, 20.0], value_parser = positive)]
    pub lambda: Vec<f64>,
    /// Discounts of whole sessions [default: 1 and score.discount of the settings]
    #[arg(long, value_name = "G,...", value_delimiter = ',', value_parser = share)]
    pub gamma: Vec<f64>,
    /// Which interval stands in interval_low and interval_high
    #[arg(long, value_name = "KIND", default_value = "bootstrap")]
    pub interval: IntervalName,
    /// Logs to draw for the bootstrap, session by session
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub resamples: u32,
    /// Seed of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON object on stdout instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What is evaluated: one of these.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct EvaluationTarget {
    /// The policy to evaluate, as a table of action probabilities
    #[arg(long, value_name = "FILE.csv")]
    pub policy_table: Option<PathBuf>,
    /// The policy to evaluate, as `publish` or `export` wrote it, sampled as it is served
    #[arg(long, value_name = "DIR")]
    pub policy: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IntervalName {
    /// Percentiles over logs resampled by session
    Bootstrap,
    /// Student's t: right for many units and tame weights
    Student,
    /// Empirical Bernstein: holds for every n, and is wide
    Bernstein,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "must be a number greater than 0".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox inspect /var/lib/sluicebox              the newest intact checkpoint
  sluicebox inspect /var/lib/sluicebox/checkpoint-42 --json")]
pub struct Inspect {
    /// A state directory, or one checkpoint in it [default: checkpoint.directory]
    #[arg(value_name = "DIR", conflicts_with = "state")]
    pub directory: Option<PathBuf>,
    /// The same, by the name that the other commands use
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Print one JSON object on stdout instead of a description
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsFrom,
}

impl Inspect {
    /// The directory that was named either way.
    pub fn place(&self) -> Option<&PathBuf> {
        self.directory.as_ref().or(self.state.as_ref())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox export --state /var/lib/sluicebox --out /tmp/policy
  sluicebox export --state /var/lib/sluicebox --out /tmp/sharp --set publish.temperature=0.5

Writes policy.safetensors and manifest.json, from the newest intact checkpoint. Settings are
those that the checkpoint was made with, unless -c names others.")]
pub struct Export {
    /// A state directory, or one checkpoint in it
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Directory to write: new, or empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print one JSON object on stdout instead of a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsFrom,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox publish --state /var/lib/sluicebox                the newest checkpoint becomes current
  sluicebox publish --state /var/lib/sluicebox --list         what was published
  sluicebox publish --state /var/lib/sluicebox --rollback     back to the parent of the current one
  sluicebox publish --state /var/lib/sluicebox --rollback --to 1200

Publications lie in publish.dir, or in `published` in the state directory; `current` points to
the one to serve. publish.gate refuses a policy whose estimate falls too far below that of the
current one: exit code 1. After a rollback `run` publishes nothing until somebody publishes by
hand. Settings are those that the checkpoint was made with, unless -c names others.")]
pub struct Publish {
    /// A state directory [default: checkpoint.directory of the settings]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Make an earlier publication current
    #[arg(long)]
    pub rollback: bool,
    /// Which one [default: the parent of the current one]
    #[arg(long, value_name = "NAME", requires = "rollback")]
    pub to: Option<String>,
    /// Show what was published, and change nothing
    #[arg(long, conflicts_with = "rollback")]
    pub list: bool,
    /// Print one JSON object on stdout instead of a summary
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsFrom,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox recommend --policy /var/lib/sluicebox/published -c my.toml --stdin
  sluicebox recommend --policy /tmp/policy -c my.toml --stdin --sample --seed 7

One question a line, one answer a line:
  {\"session\": \"s1\", \"events\": [RAW EVENTS SINCE ITS LAST LINE], \"decision\": {RAW EVENT}, \"top\": 1}
  {\"items\": [\"a\"], \"scores\": [1.5], \"propensities\": [0.25], \"policy_version\": 1200}
The decision is the raw event as it will stand in the topic, without item and propensity; its
candidates (mapping.candidates) restrict what can be shown. Without \"session\", events are the
whole history; \"end\": true forgets the session. A wrong line gets {\"error\": ..} and changes
nothing.

Best first, or with --sample drawn without replacement. The propensity of an item is its
probability as the first choice, under the distribution with temperature and tilt; of the
k-th drawn item, divide it by 1 - the sum of those before it. Sessions beyond
serve.max_sessions or serve.max_bytes are forgotten, those unused for longest first.")]
pub struct Recommend {
    /// publish.dir, one publication in it, an export, or a state directory that holds `published`
    #[arg(long, value_name = "DIR")]
    pub policy: PathBuf,
    /// Read questions from standard input
    #[arg(long, required = true)]
    pub stdin: bool,
    /// Draw items instead of taking the best
    #[arg(long)]
    pub sample: bool,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1, requires = "sample")]
    pub seed: u64,
    /// Temperature of the distribution [default: that of the publication]
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// Show the state vector with every answer
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub settings: SettingsFrom,
}
