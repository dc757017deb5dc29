//! The commands that learn, prove and study.

use std::path::PathBuf;

use clap::Args;

use super::{FileSource, SettingsFrom};
use crate::runtime::KillMark;

/// What an empty state begins with.
#[derive(Debug, Clone, Args)]
pub struct WarmStart {
    /// Begin with the policy of this checkpoint (or the newest of a state directory) and nothing else of it: for when a
    /// structural setting has changed. Only the first start looks there
    #[arg(long, value_name = "CHECKPOINT")]
    pub warm_start: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicebox experiment --quick
  sluicebox experiment --out docs/results
  sluicebox experiment configs/experiments/main.toml --set learning_rate=1e-3 --set full.seeds=3
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
    /// Override one key of the studies' files, as in full.seeds=3; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
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
  sluicebox replay -c my.toml --state /tmp/month && sluicebox run -c my.toml --continue-from /tmp/month

SIGTERM or Ctrl-C: stop fetching, finish what was read, seal, commit, end with 0; at most
60 s. A second one stops at once, and is safe too. A restart goes on where the last seal stands.")]
pub struct Run {
    #[command(flatten)]
    pub settings: SettingsFrom,
    /// Go on from what a replay has left in the state directory, which belongs to `run` from then on
    #[arg(long, conflicts_with_all = ["continue_from", "warm_start"])]
    pub adopt: bool,
    /// Begin where the replay in this state directory had read its range and closed nothing yet; only the first start
    /// looks there, and the directory is left as it is
    #[arg(long, value_name = "DIR", conflicts_with = "warm_start")]
    pub continue_from: Option<PathBuf>,
    #[command(flatten)]
    pub begin: WarmStart,
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
all open sessions are closed and the state is sealed as complete; the same command then
reports again, and another one is refused. The same log and settings
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
    #[command(flatten)]
    pub begin: WarmStart,
    /// Repeat the decisions about idle partitions that a `run` left in this journal
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Publish the policy at the end, into publish.dir or `published` in the state directory
    #[arg(long, conflicts_with = "sweep")]
    pub publish: bool,
    /// Compare values of a setting in one reading; several settings give every combination
    #[arg(long, value_name = "SECTION.KEY=VALUE,...", conflicts_with = "warm_start")]
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
