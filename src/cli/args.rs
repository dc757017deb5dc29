//! What can be typed: commands, flags and their help. Nothing here runs anything.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::Exit;
use crate::runtime::KillMark;

/// Reads the command line. A wrong one is explained on stderr and ends with 64; `--help` and `--version` end with 0.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, Exit> {
    Arguments::try_parse_from(arguments).map_err(|error| {
        // Nothing can be done for a terminal that is gone.
        let _ = error.print();
        if error.use_stderr() { Exit::Usage } else { Exit::Success }
    })
}

#[derive(Debug, Parser)]
#[command(
    name = "sluicebox",
    version,
    about = "Learn a recommendation policy from the best of an event log, continuously and exactly",
    long_about = "Reads interaction events from Kafka (or files), builds sessions, holds the best kappa of them behind \
                  a sliding-window threshold, and trains a policy on those alone. A crash at any moment changes no bit \
                  of the result.",
    after_help = AFTER_HELP,
    max_term_width = 110
)]
pub struct Arguments {
    #[command(flatten)]
    pub logging: Logging,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  sluicebox demo                                       see it work, nothing else needed
  sluicebox check -c my.toml --sample events.jsonl     how would my records be read?
  sluicebox replay -c my.toml --from last=7d           learn from the last week, then report
  sluicebox run -c my.toml --state /var/lib/sluicebox  always on

Settings: a TOML file (-c), overridden by environment variables
(SLUICEBOX__FILTER__KAPPA=0.05), overridden by --set filter.kappa=0.05.
`sluicebox config schema` lists them all, `sluicebox config show` prints those in force.

Exit codes: 0 done, 1 the answer is no, 64 wrong command line, 65 wrong input,
69 broker or topic not there, 70 bug, 74 disk, 75 busy, 78 wrong settings.";

#[derive(Debug, Clone, Args)]
pub struct Logging {
    /// How much to log: error, warn, info, debug or trace; or per module, as in "info,sluicebox::kafka=debug"
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL", help_heading = "Logging")]
    pub log: String,
    /// Form of the log lines on stderr
    #[arg(long, global = true, default_value = "text", value_name = "FORM", help_heading = "Logging")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// See it work in two minutes: simulator, broker, learner, a crash on the way, and a report
    Demo(Demo),
    /// Learn continuously from the live topic
    Run(Run),
    /// Learn from a part of the log, report, and end
    Replay(Replay),
    /// Write a file of JSON lines into a topic
    Load(Load),
    /// Show how a sample of records would be read
    Check(Check),
    /// Estimate from the log what another policy would have earned
    Evaluate(Evaluate),
    /// Describe a checkpoint
    Inspect(Inspect),
    /// Prove that crashes change nothing: run with and without them and compare
    VerifyResume(VerifyResume),
    /// Write simulated events to a topic or a file
    Simulate(Simulate),
    /// Run the paper's studies again: claims, expected and measured values, intervals, a report
    Experiment(Experiment),
    /// Measure this machine: each stage of the path, window, train step, checkpoint, latency
    Bench(Bench),
    /// Print the settings in force, or all there are
    #[command(subcommand)]
    Config(Config),
    /// One stage of bench in a process of its own
    #[command(hide = true)]
    BenchStage(BenchStage),
    /// An embedded broker in a process of its own, for demo and tests
    #[command(hide = true)]
    DemoBroker(DemoBroker),
    /// The demo's log, written at a pace that a person can watch
    #[command(hide = true)]
    DemoSimulator(DemoSimulator),
}

/// Where settings come from.
#[derive(Debug, Clone, Args)]
pub struct SettingsFrom {
    /// Settings file (TOML) [default: none, so every setting has its default]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Override one setting; can be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// A file of JSON lines read as if it were a topic.
#[derive(Debug, Clone, Args)]
pub struct FileSource {
    /// Read this file of JSON lines (plain, .gz, .zst) instead of the topic
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Partitions to divide the file into, by user, as `load` does
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub partitions: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox experiment --quick
  sluicebox experiment --out docs/results
  sluicebox experiment configs/experiments/noise.toml --json | jq '.checks[] | select(.pass | not)'

Runs the studies of the paper (arXiv 2602.10430) in batch form, and the main methods in one pass
through the product's own pipeline. Needs no Kafka and no log. Methods are tuned once, on logs of
their own, and then frozen. Writes experiments.md, experiments.html (one file, with pictures) and
experiments.json. Exit code 0: every study ran (see `pass` of the checks); --strict: 1 if a check fails.")]
pub struct Experiment {
    /// Studies to run [default: all that the program carries, the files of configs/experiments]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Fewer seeds, shorter runs: three minutes on two processors instead of an hour
    #[arg(long)]
    pub quick: bool,
    /// Seeds of every study, instead of what it says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub seeds: Option<u32>,
    /// Directory for the report
    #[arg(long, value_name = "DIR", default_value = "sluicebox-experiments")]
    pub out: PathBuf,
    /// End with 1 if a check fails
    #[arg(long)]
    pub strict: bool,
    /// Print one JSON object on stdout instead of a summary
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox demo
  sluicebox demo --seed 7 --out /tmp/demo
  sluicebox demo --json | jq .policy_return

Starts a simulator, an embedded broker and a learner, kills the learner with SIGKILL on
the way, and compares the result with that of a run without the kill. Leaves an HTML report.")]
pub struct Demo {
    /// Print one JSON object on stdout instead of a summary
    #[arg(long)]
    pub json: bool,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Directory for the report and the checkpoints [default: sluicebox-demo]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub settings: SettingsFrom,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox run -c my.toml
  sluicebox run -c my.toml --state /var/lib/sluicebox --set http.listen=0.0.0.0:8077

SIGTERM or Ctrl-C: stop fetching, finish what was read, seal, commit, end with 0; at most
60 s. A second one stops at once, and is safe too. A restart goes on where the last seal stands.")]
pub struct Run {
    #[command(flatten)]
    pub settings: SettingsFrom,
    /// Go on from what a replay has left in the state directory, which belongs to `run` from then on
    #[arg(long)]
    pub adopt: bool,
    /// Where checkpoints go [default: checkpoint.directory of the settings]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Write one JSON line per judged unit here [default: decisions.file of the settings]
    #[arg(long, value_name = "FILE")]
    pub decisions: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox replay -c my.toml                                     the whole topic
  sluicebox replay -c my.toml --from last=7d --until now
  sluicebox replay -c my.toml --from ts=2026-01-01T00:00:00Z --until ts=2026-02-01T00:00:00Z
  sluicebox replay -c my.toml --from offset=0:1000,1:1200 --set filter.kappa=0.05 --state /tmp/try
  sluicebox replay -c my.toml --file events.jsonl.gz --partitions 4 --json
  sluicebox replay -c my.toml --sweep filter.kappa=.02,.05,.1 --state /tmp/sweep

The range is resolved to offsets once, before the first record, and stored: a restart with
the same --state goes on in the same range. Nothing is committed to the group. At the end
all open sessions are closed and the state is sealed as complete. The same log and settings
end in the same digest, from a topic or from the file it was loaded from.")]
pub struct Replay {
    #[command(flatten)]
    pub settings: SettingsFrom,
    #[command(flatten)]
    pub source: FileSource,
    /// First record: earliest, ts=TIME, offset=N, offset=P:N,..., last=LENGTH (as in last=7d)
    #[arg(long, value_name = "POINT", default_value = "earliest")]
    pub from: String,
    /// End, not included: now (or latest), ts=TIME, offset=N, offset=P:N,...
    #[arg(long, value_name = "POINT", default_value = "now")]
    pub until: String,
    /// Where checkpoints go [default: a new directory under the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Write one JSON line per judged unit here [default: decisions.file of the settings]
    #[arg(long, value_name = "FILE")]
    pub decisions: Option<PathBuf>,
    /// Repeat the decisions about idle partitions that a `run` left in this journal
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Compare values of a setting in one reading; several settings give every combination
    #[arg(long, value_name = "SECTION.KEY=VALUE,...")]
    pub sweep: Vec<String>,
    /// Write the comparison of a sweep here as a page [default: sweep.html in the directory of --state]
    #[arg(long, value_name = "FILE", requires = "sweep")]
    pub html: Option<PathBuf>,
    /// Die by SIGKILL at a mark of progress: record:N or disk:N
    #[arg(long, value_name = "MARK", hide = true, conflicts_with = "sweep")]
    pub kill_at: Option<KillMark>,
    /// Wait for offsets of --until that are not written yet
    #[arg(long, hide = true)]
    pub wait: bool,
    /// Tell the parent process how things stand
    #[arg(long, hide = true)]
    pub machine_progress: bool,
    /// Print one JSON object on stdout instead of a summary
    #[arg(long)]
    pub json: bool,
}

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
  sluicebox evaluate -c my.toml --policy-table policy.csv --from last=7d
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
    /// The policy to evaluate, as a table of action probabilities
    #[arg(long, value_name = "FILE.csv")]
    pub policy_table: PathBuf,
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
  sluicebox verify-resume -c my.toml --kills 20
  sluicebox verify-resume -c my.toml --file events.jsonl.gz --partitions 4 --kills 50 --seed 7 --json

Runs the range once straight through and once with SIGKILLs of the real process at seeded
marks of progress, restarting it each time, and compares the digests. Ends with 0 only if
they are identical and at least 80 % of the kills fell where they prove something: after a
first seal, with progress not yet sealed.")]
pub struct VerifyResume {
    #[command(flatten)]
    pub settings: SettingsFrom,
    #[command(flatten)]
    pub source: FileSource,
    /// First record, as for replay
    #[arg(long, value_name = "POINT", default_value = "earliest")]
    pub from: String,
    /// End, not included, as for replay
    #[arg(long, value_name = "POINT", default_value = "now")]
    pub until: String,
    /// How often to kill
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub kills: u32,
    /// Seed of the moments
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Where both runs keep their checkpoints [default: a new directory under the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
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

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print the JSON Schema of the settings: every name, range, default and purpose
    Schema,
    /// Print the settings in force and where each came from; secrets are masked
    Show {
        #[command(flatten)]
        settings: SettingsFrom,
        /// Print one JSON object on stdout instead of TOML
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox bench
  sluicebox bench --quick --json > bench.json
  sluicebox bench --brokers 127.0.0.1:9092      the same over brokers of your own, beside the embedded one

Each stage is a process of its own, so CPU time and memory are its own; the broker is apart.
A busy machine disturbs events per second most, CPU time less, ratios least. With --brokers a
topic named bench-<number> is made there and left.")]
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
    /// Print one JSON object on stdout instead of a table
    #[arg(long)]
    pub json: bool,
}

/// How much bench measures; the figures that are compared with others are those of the defaults.
#[derive(Debug, Args)]
pub struct BenchSize {
    /// Events of the log [default: 800000, quick 160000]
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_command_lines_that_scripts_rely_on_are_understood() {
        let lines = [
            "sluicebox demo --json --seed 3 --out /tmp/x",
            "sluicebox replay -c a.toml --from earliest --until now --file f.gz --partitions 4 --json --state s",
            "sluicebox replay -c a.toml --set filter.kappa=.1 --set score.kind=return --decisions d.jsonl --journal j",
            "sluicebox replay -c a.toml --sweep filter.kappa=.02,.05 --sweep learner.seed=1,2 --html s.html",
            "sluicebox verify-resume -c a.toml --file f --partitions 4 --kills 50 --seed 1 --json",
            "sluicebox load f.jsonl --topic t --partitions 4 --json --append -c a.toml",
            "sluicebox check --sample f.jsonl --json -c a.toml",
            "sluicebox evaluate -c a.toml --file f --policy-table p.csv --lambda 1,5,20 --gamma 1,.9 --json",
            "sluicebox inspect s --json",
            "sluicebox inspect --state s",
            "sluicebox run -c a.toml --state s --log debug --log-format json",
            "sluicebox config show -c a.toml --json",
            "sluicebox config schema",
            "sluicebox bench --quick --json",
            "sluicebox bench --brokers 127.0.0.1:9092 --events 20000",
            "sluicebox demo-broker --topic t --partitions 8",
        ];
        for line in lines {
            if let Err(error) = parsed(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn a_wrong_command_line_ends_with_64_and_help_with_0() {
        let exit = |line: &str| parse(line.split_whitespace().map(OsString::from)).err();
        assert_eq!(exit("sluicebox replya"), Some(Exit::Usage));
        assert_eq!(exit("sluicebox replay --partitions 0"), Some(Exit::Usage));
        assert_eq!(exit("sluicebox --help"), Some(Exit::Success));
    }

    #[test]
    fn the_help_names_every_exit_code_and_explains_every_flag() {
        for exit in Exit::ALL {
            let code = exit.code();
            let is_named = AFTER_HELP.split_whitespace().any(|word| word == code.to_string());
            assert!(is_named, "exit code {code} is not in the help");
        }
        let command = Arguments::command();
        for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
