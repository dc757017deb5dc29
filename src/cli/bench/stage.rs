//! One stage of `bench`, alone in its process; its answer is one JSON value on standard output.

use std::path::Path;

use super::report::Stage;
use super::{CATALOG, PARTITIONS, checkpoint, latency, topic};
use crate::bench::workload::Shape;
use crate::bench::{step, usage, window};
use crate::cli::args::{BenchStage, StageName};
use crate::cli::print_json;
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure};
use crate::settings::{self, Settings, Sources};

pub fn bench_stage(arguments: &BenchStage) -> Result<Exit, Failure> {
    let arguments_for = |ratio: &str| settings_of(arguments, ratio);
    match arguments.stage {
        StageName::Write => {
            print_json(&topic::write(&arguments_for("1")?, shape(arguments), arguments.events, arguments.rate)?)
        }
        StageName::Consume => print_json(&topic::consume(&arguments_for("1")?, arguments.events)?),
        StageName::Decode => print_json(&topic::decode(&arguments_for("1")?, arguments.events)?),
        StageName::Filter => print_json(&topic::filter(&arguments_for("1")?, arguments.events)?),
        StageName::Job => print_json(&topic::job(&arguments_for("1")?, arguments.events)?),
        StageName::JobDefaultRatio => print_json(&topic::job(&arguments_for("auto")?, arguments.events)?),
        StageName::Latency => print_json(&latency::measure(&arguments_for("auto")?, arguments)?),
        StageName::Window => {
            let (window, operations) = (arguments.window as usize, arguments.operations as usize);
            print_json(&window::measure(window, arguments.kappa, operations, arguments.seed))
        }
        StageName::Step => {
            let measured = step::measure(arguments.turns as usize, arguments.seed);
            print_json(&measured.map_err(|error| Exit::Bug.because(error))?)
        }
        StageName::Checkpoint => print_json(&checkpoint::measure(&arguments_for("1")?, arguments)?),
    }?;
    Ok(Exit::Success)
}

fn shape(arguments: &BenchStage) -> Shape {
    Shape { seed: arguments.seed, users: 2_048, partitions: PARTITIONS, rate: 1_000, ends: false }
}

/// What belongs to the bench itself, and why.
const FIXED: [(&str, &str); 12] = [
    ("kafka.brokers", "the broker is embedded, and --brokers names others beside it"),
    ("kafka.topics", "the log is written into topics of its own"),
    ("kafka.security_protocol", "the embedded broker speaks plain text"),
    ("kafka.sasl_mechanism", "the embedded broker speaks plain text"),
    ("mapping", "the log is its own"),
    ("catalog.file", "the items of the log are its own"),
    ("catalog.item", "the items of the log are its own"),
    ("catalog.embedding", "the items of the log are its own"),
    ("simulate", "the log is its own and not the simulator's"),
    ("checkpoint.directory", "states are thrown away at the end"),
    ("decisions.file", "states are thrown away at the end"),
    ("dead_letters", "every record of the log can be read"),
];

/// Refuses overrides that are wrong by themselves, or of what is fixed, before anything is measured.
pub(super) fn check_overrides(set: &[String]) -> Result<(), Failure> {
    for written in set {
        let name = written.split('=').next().unwrap_or_default().trim();
        let is_of = |fixed: &str| name.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if let Some((_, why)) = FIXED.iter().find(|(fixed, _)| is_of(fixed)) {
            return Err(Exit::Config.because(format!("--set {written}: bench sets {name} itself, for {why}")));
        }
    }
    let sources = Sources { assignments: set.to_vec(), ..Sources::default() };
    settings::read(&sources).map_err(|error| error.exit().because(error)).map(drop)
}

/// The settings that the figures are for; everything else has its default, or is what the user says.
fn settings_of(arguments: &BenchStage, replay_ratio: &str) -> Result<Settings, Failure> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let directory = &arguments.directory;
    let replay_ratio = format!("learner.replay_ratio={replay_ratio}");
    let mut set = vec![
        format!("learner.hidden=[{}, {}]", step::HIDDEN[0], step::HIDDEN[1]),
        format!("learner.batch={}", step::ROWS),
        replay_ratio.clone(),
        "filter.kappa=0.1".to_owned(),
    ];
    match arguments.stage {
        // Sessions end by an event, so what the clock of the log waits for is nothing but the next event.
        StageName::Latency => set.extend(["time.lateness=0s".to_owned(), "checkpoint.every=1s".to_owned()]),
        StageName::Checkpoint => set.extend([
            "time.lateness=0s".to_owned(),
            "session.max_open_per_partition=10000000".to_owned(),
            "session.max_bytes_per_partition=64GiB".to_owned(),
        ]),
        // A log of minutes, in which sessions end all the time.
        StageName::Write
        | StageName::Consume
        | StageName::Decode
        | StageName::Filter
        | StageName::Job
        | StageName::JobDefaultRatio
        | StageName::Window
        | StageName::Step => set.extend(["time.lateness=2s".to_owned(), "session.gap=20s".to_owned()]),
    }
    set.extend_from_slice(&arguments.set);
    set.extend([
        format!("kafka.brokers={}", arguments.brokers),
        format!("kafka.topics={}", arguments.topic),
        format!("mapping.context_dimension={}", crate::bench::workload::CONTEXT),
        format!("catalog.file={}", path(&directory.join(CATALOG))),
    ]);
    // Its name says at which ratio it is measured.
    if arguments.stage == StageName::JobDefaultRatio {
        set.push(replay_ratio);
    }
    settings::load(None, &set).map_err(|error| error.exit().because(error))
}

/// What `work` over so many events costs.
pub(super) fn measured(events: u64, work: impl FnOnce() -> Result<u64, Failure>) -> Result<Stage, Failure> {
    let (watch, before) = (Stopwatch::start(), usage::cpu_time());
    let seen = work()?;
    let (seconds, cpu) = (watch.seconds(), usage::cpu_time() - before);
    if seen != events {
        return Err(Exit::Data.because(format!("{events} events were written, and {seen} found")));
    }
    let count = (events as f64).max(1.0);
    Ok(Stage {
        events_per_second: count / seconds.max(1e-9),
        cpu_us_per_event: cpu.as_secs_f64() * 1e6 / count,
        peak_rss_bytes: usage::peak_resident_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Arguments, Command};
    use crate::filter::ReplayRatio;

    fn settings(stage: &str) -> Settings {
        let set = ["--set", "learner.batch=128", "--set", "learner.replay_ratio=3", "--set", "filter.kappa=.05"];
        let line = ["sluicebox", "bench-stage", stage, "--directory", "d"].into_iter().chain(set);
        let Command::BenchStage(arguments) = Arguments::try_parse_from(line).unwrap().command else { panic!() };
        settings_of(&arguments, if stage == "job" { "1" } else { "auto" }).unwrap()
    }

    #[test]
    fn the_measured_job_follows_the_user_but_for_the_ratio_that_its_name_says() {
        let (job, other) = (settings("job"), settings("job-default-ratio"));
        assert_eq!((job.learner.batch, job.filter.kappa), (128, 0.05));
        assert_eq!((other.learner.batch, other.filter.kappa), (128, 0.05));
        assert_eq!(job.learner.replay_ratio, ReplayRatio::Fixed(3.0));
        assert_eq!(other.learner.replay_ratio, ReplayRatio::Auto);
        assert_eq!(job.kafka.topics, ["bench"]);
    }

    #[test]
    fn what_the_bench_fixes_is_refused_by_name() {
        for written in ["kafka.topics=mine", "mapping.user.pointer=/u", "catalog.file = x"] {
            let refused = check_overrides(&[written.to_owned()]).unwrap_err();
            let name = written.split('=').next().unwrap().trim();
            assert!(refused.to_string().contains(&format!("bench sets {name} itself")), "{refused}");
            assert_eq!(refused.exit, Exit::Config);
        }
        let unknown = check_overrides(&["learner.bach=1".to_owned()]).unwrap_err();
        assert!(unknown.to_string().contains("did you mean learner.batch?"), "{unknown}");
        assert!(check_overrides(&["kafka.group=g".to_owned()]).is_ok());
    }
}
