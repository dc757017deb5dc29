//! What can be typed: commands, flags and their help. Nothing here runs anything.

mod learning;
mod data;
mod policy;
mod measuring;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::Exit;
use crate::files::PARTITIONS_MAX;

pub use data::{Check, Load, Regime, Simulate, World};
pub use learning::{Demo, Experiment, Replay, Run, VerifyResume, WarmStart};
pub use measuring::{Bench, BenchSize, BenchStage, DemoBroker, DemoSimulator, StageName};
pub use policy::{Evaluate, EvaluationTarget, Export, Inspect, IntervalName, Publish, Recommend};

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
  sluicebox recommend --policy DIR -c my.toml --stdin  ask the published policy

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
    /// Write the policy of a checkpoint into a directory, for whoever serves it
    Export(Export),
    /// Make the policy of a checkpoint the published one, or go back to an earlier one
    Publish(Publish),
    /// Answer with a published policy: questions on stdin, one JSON object a line
    Recommend(Recommend),
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
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=i64::from(PARTITIONS_MAX)))]
    pub partitions: u32,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print the JSON Schema of the settings: every name, range, default and purpose
    ///
    /// It describes what can be set and takes no settings itself: neither -c nor --set.
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
            "sluicebox evaluate -c a.toml --policy published --from last=7d",
            "sluicebox evaluate -c a.toml --file f --policy-table p.csv --lambda 1,5,20 --gamma 1,.9 --json",
            "sluicebox inspect s --json",
            "sluicebox replay -c a.toml --file f.gz --publish --set publish.dir=p --state s",
            "sluicebox recommend --policy p -c a.toml --stdin",
            "sluicebox recommend --policy p -c a.toml --stdin --sample --seed 3 --temperature .5",
            "sluicebox export --state s --out o",
            "sluicebox publish -c a.toml --state s --rollback --to 7 --json",
            "sluicebox inspect --state s",
            "sluicebox run -c a.toml --state s --log debug --log-format json",
            "sluicebox config show -c a.toml --json",
            "sluicebox config schema",
            "sluicebox bench --quick --json --set learner.batch=128",
            "sluicebox experiment a.toml --quick --set full.seeds=3 --set learning_rate=1e-3",
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
        assert_eq!(exit("sluicebox replay --partitions 1025"), Some(Exit::Usage));
        assert_eq!(exit("sluicebox --help"), Some(Exit::Success));
    }

    #[test]
    fn every_command_takes_set_or_says_that_it_has_no_settings() {
        fn check(command: &clap::Command) {
            let commands: Vec<_> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
            commands.iter().for_each(|command| check(command));
            let says_so = command.get_long_about().is_some_and(|text| text.to_string().contains("takes no settings"));
            let takes_set = command.get_arguments().any(|argument| argument.get_long() == Some("set"));
            assert!(takes_set || says_so || !commands.is_empty(), "{}", command.get_name());
        }
        check(&Arguments::command());
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
